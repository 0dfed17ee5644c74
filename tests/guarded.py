"""Every array of a convolution beside a page that can't be touched: the script that test_guard_pages.py runs.

    python guarded.py <dtype> <shapes> <seed> <"few" or "all" tiles>

Each case is printed before it runs, so that the last line tells which one ended the process.
"""

import ctypes
import faulthandler
import mmap
import sys
from unittest import mock

import numpy as np
from drawn import arrays, calls, draw, few_tiles
from numpy.testing import assert_allclose

import fastconv as fc
from fastconv.backends.cpu import convolution, workspace

PAGE = mmap.PAGESIZE
NONE, READ = 0, 1  # PROT_NONE, PROT_READ
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
libc = ctypes.CDLL(None, use_errno=True)


def protect(address, size, rights):
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), rights):
        raise OSError(ctypes.get_errno(), "mprotect failed")


class Guard:
    """Makes arrays that end right before a page that can't be touched, or begin right after one."""

    def __init__(self, side):
        self.side = side
        self.made = []  # first and last address of every array that was asked for without values

    def block(self, size):
        """Bytes, those of a fresh page but for the guards."""
        inner = -(-max(size, 1) // PAGE) * PAGE
        memory = mmap.mmap(-1, inner + 2 * PAGE)
        block = np.frombuffer(memory, np.uint8)
        begin = PAGE if self.side == "after" else PAGE + inner - size
        protect(block.ctypes.data, PAGE, NONE)
        protect(block.ctypes.data + PAGE + inner, PAGE, NONE)
        return block[begin : begin + size]

    def empty(self, shape, dtype=np.float64):
        """An array full of NaN, for an output."""
        dtype = np.dtype(dtype)
        block = self.block(int(np.prod(shape)) * dtype.itemsize)
        block[:] = 0xFF
        self.made.append(block)
        return block.view(dtype).reshape(shape)

    def fixed(self, array):
        """An array of these values that can't be written to, in whichever way."""
        block = self.block(array.nbytes)
        block[:] = np.frombuffer(array.tobytes(), np.uint8)
        if array.nbytes:
            begin = block.ctypes.data // PAGE * PAGE
            protect(begin, block.ctypes.data + block.size - begin, READ)
        block = block.view(array.dtype).reshape(array.shape)
        block.flags.writeable = False
        return block

    def space(self, size):
        """A workspace full of NaN: what is read and was not written shows in the results."""
        assert size % 64 == 0, size
        block = self.block(size)
        block[:] = 0xFF
        return block


class NumPy:
    """NumPy, but for `empty`."""

    def __init__(self, empty):
        self.empty = empty

    def __getattr__(self, name):
        return getattr(np, name)


def check(case, dtype, side):
    given = arrays(case, dtype)
    wide = [array.astype(np.float64) for array in given]
    with fc.use_backend("reference"):
        expected = {name: function() for name, function in calls(case, *wide, lambda array: array).items()}
    guard = Guard(side)
    with (
        mock.patch.object(convolution, "np", NumPy(guard.empty)),
        mock.patch.object(workspace, "take", guard.space),
        mock.patch.object(workspace, "give"),
    ):
        for name, function in calls(case, *given, guard.fixed).items():
            found = function()
            assert any(np.shares_memory(found, block) for block in guard.made) or not found.size, f"{name}: no guard"
            limit = TOLERANCE[dtype] * max(1.0, np.abs(expected[name]).max(initial=0))
            assert_allclose(found, expected[name], rtol=0, atol=limit, err_msg=name)
            guard.made.clear()


def tell(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(dtype, shapes, seed, tiles):
    faulthandler.enable()
    rng = np.random.default_rng(int(seed))
    with few_tiles(int(seed)) if tiles == "few" else mock.patch("sys.argv"):
        for _ in range(int(shapes)):
            case = draw(rng)
            for side in ("before", "after"):
                tell(f"{side} {case}")
                check(case, dtype, side)
    tell("all right")


if __name__ == "__main__":
    main(*sys.argv[1:])
