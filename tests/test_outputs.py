"""Memory of large results: used again only when nothing shows it any more."""

import gc
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import outputs


@pytest.fixture(autouse=True)
def no_buffers():
    fc.clear_cache()
    yield
    fc.clear_cache()


def address(array):
    return array.__array_interface__["data"][0]


def test_a_result_that_is_gone_leaves_its_memory():
    x, weight = np.ones((1, 8, 256, 256), np.float32), np.ones((8, 8, 1, 1), np.float32)
    y = F.conv2d(x, weight)
    first = address(y)
    del y
    gc.collect()
    assert address(F.conv2d(x, weight)) == first


def test_a_view_keeps_its_memory():
    x, weight = np.ones((1, 8, 256, 256), np.float32), np.ones((8, 8, 1, 1), np.float32)
    kept = F.conv2d(x, weight)[0, 3, 5:7]
    others = [F.conv2d(2 * x, weight) for _ in range(3)]
    assert_array_equal(kept, np.full((2, 256), 8, np.float32))
    assert not any(np.shares_memory(kept, other) for other in others)


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(outputs, "KEPT", 3 * outputs.LARGE)
    arrays = [outputs.empty((outputs.LARGE,), np.dtype(np.uint8)) for _ in range(8)]
    del arrays
    gc.collect()
    assert sum(buffer.size for buffer in outputs._waiting.values()) <= outputs.KEPT


def test_small_results_are_numpys_own():
    assert outputs.empty((3, 4), np.dtype(np.float64)).flags.owndata


def test_a_buffer_larger_than_all_that_may_wait_does_not_wait(monkeypatch):
    monkeypatch.setattr(outputs, "KEPT", 3 << 20)
    outputs.clear()
    small = outputs.empty((1 << 20,), np.dtype("u1"))
    large = outputs.empty((4 << 20,), np.dtype("u1"))
    del small, large
    assert sum(buffer.size for buffer in outputs._waiting.values()) <= 3 << 20


def test_a_result_that_outlives_the_library_ends_in_silence():
    """A module that was there before keeps it until the interpreter has taken the library's modules apart."""
    script = "import json, numpy, fastconv; ones = numpy.ones((1, 8, 256, 256), 'f4')\n"
    script += "json.kept = fastconv.functional.conv2d(ones, ones[0, :, None, :1, :1], groups=8)\n"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
