"""Devices without a GPU, in the place of `fastconv.backends.cuda.device.current`: memory is the computer's.

`Recorder` notes what would be launched, and leaves results at zero; `Interpreter` compiles each kernel to
PTX and runs that, with all its checks.
"""

from contextlib import contextmanager

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import cuda as package
from fastconv.backends.cuda import device, tiles

POISON = {"f": np.nan, "i": 0x55, "u": 0x55, "b": True}


class HostMemory:
    """Arrays of NumPy's as handles."""

    def take(self, size, dtype):
        return np.full(max(size, 1), POISON[np.dtype(dtype).kind], dtype), None

    def give_back(self, handle, key):
        pass

    def clear(self):
        pass

    def copy_in(self, handle, array):
        handle[...] = array.reshape(-1)

    def copy_out(self, handle):
        return handle.copy()


class Recorder(HostMemory):
    """Notes launches, (kernel, blocks, arguments); what they would have computed stays zeros."""

    def __init__(self):
        self.launches = []

    def take(self, size, dtype):
        return np.zeros(max(size, 1), dtype), None

    def launch(self, kernel, blocks, arguments):
        self.launches.append((kernel, blocks, device.handles(arguments)))


class Interpreter(HostMemory):
    """Runs each launch by `execute(kernel, blocks, arguments, fresh)`, and follows what of its memory was written.

    `fresh` has a mask for each argument that is an array: what has been written so far, and what the launch writes.
    """

    def __init__(self, execute):
        self.execute, self.launched = execute, 0
        self.written = {}

    def take(self, size, dtype):
        handle, key = super().take(size, dtype)
        self.written[id(handle)] = handle, np.zeros(handle.size, bool)  # kept: its id stays its own
        return handle, key

    def mask(self, handle):
        """Which of a handle's numbers, or of a part of one, have been written."""
        whole, mask = self.written[id(handle if handle.base is None else handle.base)]
        start = (handle.ctypes.data - whole.ctypes.data) // whole.itemsize
        return mask[start : start + handle.size]

    def copy_in(self, handle, array):
        super().copy_in(handle, array)
        self.mask(handle)[...] = True

    def copy_out(self, handle):
        assert self.mask(handle).all(), "a copy of numbers that nobody wrote"
        return super().copy_out(handle)

    def launch(self, kernel, blocks, arguments):
        self.launched += 1
        arguments = device.handles(arguments)
        arrays = {i: value for i, value in enumerate(arguments) if isinstance(value, np.ndarray)}
        fresh = {i: self.mask(array).copy() for i, array in arrays.items()}  # of an array that comes twice, two
        self.execute(kernel, blocks, arguments, fresh)
        for i, written in fresh.items():
            self.mask(arrays[i])[...] |= written


@contextmanager
def computing_on(stand_in):
    """The cuda backend is active, and computes on a device that stands in for a GPU."""
    patch = pytest.MonkeyPatch()
    patch.setattr(package, "require", lambda: None)
    patch.setattr(device, "current", stand_in)
    patch.setattr(tiles, "machine", lambda: tiles.Machine(132, 1.98e9, (9, 0)))
    fc.clear_cache()  # tables that are kept live on another device
    try:
        with fc.use_backend("cuda"):
            yield stand_in
    finally:
        fc.clear_cache()
        patch.undo()
        fc.backends.load.cache_clear()
