import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv as fc
import fastconv.functional as F

WORK = """
import os, sys, threading
import numpy as np
import fastconv as fc, fastconv.functional as F
x = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32)
w = np.random.default_rng(1).standard_normal((5, 3, 3, 3), np.float32)
expected = F.conv2d(x, w)
"""


def python(code, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(autouse=True)
def default_threads():
    yield
    fc.set_num_threads(None)


def test_the_number_is_kept_and_reset():
    default = fc.get_num_threads()
    fc.set_num_threads(1)
    assert fc.get_num_threads() == 1
    fc.set_num_threads(None)
    assert fc.get_num_threads() == default >= 1


@pytest.mark.parametrize("count", [0, -1, 1.5, "two", True])
def test_a_wrong_number_is_told(count):
    with pytest.raises(ValueError, match=r"count is .*: an int of at least 1 is accepted"):
        fc.set_num_threads(count)


def test_the_environment_chooses():
    run = python("import fastconv; print(fastconv.get_num_threads())", FASTCONV_NUM_THREADS="1")
    assert run.stdout.strip() == "1"
    run = python("import fastconv; print(fastconv.get_num_threads())", FASTCONV_NUM_THREADS="none")
    assert "the environment variable FASTCONV_NUM_THREADS is 'none': an int of at least 1" in run.stderr


def test_more_threads_than_processors_are_no_error():
    fc.set_num_threads(10_000)
    assert F.conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 3)))[0, 0, 0] == 3


def test_numbas_own_number_is_left_alone():
    import numba

    numba.set_num_threads(1)
    try:
        F.conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 3)))
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_many_threads_at_once_are_right(rng):
    x, weight = rng.standard_normal((4, 3, 16, 16), np.float32), rng.standard_normal((5, 3, 3, 3), np.float32)
    expected, results = F.conv2d(x, weight), []
    threads = [
        threading.Thread(target=lambda: results.extend(F.conv2d(x, weight) for _ in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    for y in results:
        assert_array_equal(y, expected)


@pytest.mark.parametrize("layer", ["workqueue", "omp", "default"])
def test_many_threads_at_once_on_every_threading_layer(layer):
    code = WORK + (
        "def many():\n"
        "    for _ in range(50): assert np.array_equal(F.conv2d(x, w), expected)\n"
        "threads = [threading.Thread(target=many) for _ in range(6)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; print('done')"
    )
    run = python(code, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in run.stderr:
        pytest.skip(f"Numba has no {layer} layer here")
    assert run.stdout.strip() == "done", run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("layer", ["workqueue", "omp", "default"])
def test_a_forked_child_computes(layer):
    code = WORK + (
        "import warnings; warnings.simplefilter('ignore')\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if np.array_equal(F.conv2d(x, w), expected) else 3)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    run = python(code, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in run.stderr:
        pytest.skip(f"Numba has no {layer} layer here")
    assert run.stdout.strip() == "0", run.stderr
