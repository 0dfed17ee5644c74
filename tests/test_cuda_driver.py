"""Launches by the driver's own call: how arguments are packed, and what is told of one that fails."""

import ctypes
import struct
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends.cuda import driver

NUMBERS = [True, 7, -(1 << 40), 0.1, np.float32(0.1), np.float64(0.1), np.float16(0.1), np.bool(True), np.uint8(200)]
NUMBERS += [np.int8(-3), np.int16(-300), np.uint16(60000), np.int32(-70000), np.uint32(1 << 31), np.uint64(1 << 63)]


class Library:
    """A driver that keeps what it is given, as bytes, and answers with a status."""

    def __init__(self, status=0):
        self.status, self.calls = status, []

    def cuLaunchKernel(self, function, *rest):  # noqa: N802
        *sizes, stream, pointers, extra = rest
        taken = [ctypes.string_at(address, 8) for address in pointers]
        self.calls.append((function, sizes, stream, extra, taken))
        return self.status

    def cuGetErrorName(self, status, name):  # noqa: N802
        name._obj.value = b"CUDA_ERROR_ILLEGAL_ADDRESS"
        return 0


def array(address, size, dtype):
    dtype = np.dtype(dtype)
    return SimpleNamespace(dtype=dtype, words=driver.words(address, size, dtype.itemsize))


def packed(arguments):
    return driver.Packed(99, driver.signature(arguments))


def test_numbers_and_arrays_are_packed_as_compiled_code_takes_them(monkeypatch):
    library = Library()
    monkeypatch.setattr(driver, "library", lambda: library)
    arguments = (array(1 << 45, 12, "f4"), *NUMBERS[:4], (), (NUMBERS[4], tuple(NUMBERS[5:])), array(4096, 3, "u1"))
    packed(arguments).launch((5, 2, 1), 256, 17, arguments)
    ((function, sizes, stream, extra, taken),) = library.calls
    assert (function, sizes, stream, extra) == (99, [5, 2, 1, 256, 1, 1, 0], 17, None)
    words = [struct.unpack("<q", part)[0] for part in (*taken[:7], *taken[-7:])]
    assert words == [0, 0, 12, 4, 1 << 45, 12, 4, 0, 0, 3, 1, 4096, 3, 1]
    for value, part in zip(NUMBERS, taken[7:-7], strict=True):
        expected = np.asarray(value).tobytes()
        assert part[: len(expected)] == expected


def test_the_same_buffer_takes_later_arguments(monkeypatch):
    library = Library()
    monkeypatch.setattr(driver, "library", lambda: library)
    first, second = (array(64, 5, "f8"), 3, np.float64(0.5)), (array(128, 6, "f8"), 4, np.float64(1.5))
    one = packed(first)
    for arguments in (first, second):
        one.launch((1, 1, 1), 32, 0, arguments)
    taken = [call[-1] for call in library.calls]
    assert [struct.unpack("<q", parts[4])[0] for parts in taken] == [64, 128]
    assert [struct.unpack("<d", parts[-1])[0] for parts in taken] == [0.5, 1.5]


def test_signatures_tell_apart_what_compiled_code_does():
    x = array(64, 1, "f4")
    kinds = [driver.signature((x, value)) for value in NUMBERS]
    assert len(set(kinds)) == len({type(value) for value in NUMBERS})
    assert driver.signature((x, 1)) == driver.signature((array(128, 9, "f4"), 2))
    assert driver.signature((x, 1)) != driver.signature((array(64, 1, "f8"), 1))


def test_a_launch_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(driver, "library", lambda: Library(700))
    with pytest.raises(RuntimeError, match="did not launch a kernel: CUDA_ERROR_ILLEGAL_ADDRESS"):
        packed((3,)).launch((1, 1, 1), 32, 0, (3,))


def test_all_that_is_launched_can_be_packed(monkeypatch):
    from benchmarks import cuda_calls

    class Packing(cuda_calls.Recorder):
        launches = 0

        def launch(self, kernel, blocks, arguments):
            packed(arguments).launch((1, 1, 1), kernel.block, 0, arguments)
            self.launches += 1

    monkeypatch.setattr(cuda_calls, "Recorder", Packing)
    monkeypatch.setattr(driver, "library", Library)
    with cuda_calls.recording((9, 0)) as recorder:
        for call in cuda_calls.CALLS.values():
            call()
    assert recorder.launches > 200


@pytest.mark.gpu
def test_launches_after_the_first_are_the_drivers(gpu, rng, monkeypatch):
    from fastconv.backends.cuda import device

    if device.SIMULATED:
        pytest.skip("the simulator has no driver")
    x = rng.standard_normal((2, 8, 9, 9), np.float32)
    w = rng.standard_normal((6, 8, 3, 3), np.float32)
    there = fc.to_device(x), fc.to_device(w)
    first = fc.to_host(fc.functional.conv2d(*there, padding=1))
    made = []
    monkeypatch.setattr(device, "launch_by_numba", lambda *arguments: made.append(arguments))
    again = fc.to_host(fc.functional.conv2d(*there, padding=1))
    assert not made
    np.testing.assert_array_equal(again, first)
