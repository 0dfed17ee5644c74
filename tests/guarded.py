"""Every array of a call beside a page that can't be touched: the script that test_guard_pages.py runs.

    python guarded.py <dtype> <shapes> <seed> <tiles: "few" of drawn.py, or "all" that plans choose>

Each case is printed before it runs, so that the last line tells which one ended the process.
"""

import contextlib
import ctypes
import faulthandler
import functools
import mmap
import sys
from itertools import product
from unittest import mock

import numpy as np
from drawn import arrays, calls, draw, few_tiles
from numpy.testing import assert_allclose

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import channel_sums, linear, outputs, workspace

PAGE = mmap.PAGESIZE
LINE = 64  # bytes of a cache line, on which workspaces begin
NONE, READ = 0, 1  # PROT_NONE, PROT_READ
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def protect(address, size, rights):
    libc = ctypes.CDLL(None, use_errno=True)  # here, for not every system has one
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
        block = self.block(-(-size // LINE) * LINE)
        block[:] = 0xFF
        return block


class NumPy:
    """NumPy, but for `empty`."""

    def __init__(self, empty):
        self.empty = empty

    def __getattr__(self, name):
        return getattr(np, name)


@contextlib.contextmanager
def guarding(side):
    """Outputs and workspaces of convolutions and linear layers lie beside guards."""
    guard = Guard(side)
    with (
        mock.patch.object(channel_sums, "np", NumPy(guard.empty)),
        mock.patch.object(linear, "np", NumPy(guard.empty)),  # of the bias's gradient
        mock.patch.object(outputs, "empty", guard.empty),
        mock.patch.object(workspace, "take", guard.space),
        mock.patch.object(workspace, "give"),
    ):
        yield guard


def check(passes, given, side):
    """Run all passes, which `passes` makes of the arguments and of what is applied to each, and compare the results."""
    wide = [array.astype(np.float64) for array in given]
    with fc.use_backend("reference"):
        expected = {name: function() for name, function in passes(*wide, lambda array: array).items()}
    with guarding(side) as guard:
        for name, function in passes(*given, guard.fixed).items():
            found = function()
            assert any(np.shares_memory(found, block) for block in guard.made) or not found.size, f"{name}: no guard"
            limit = TOLERANCE[found.dtype.name] * max(1.0, np.abs(expected[name]).max(initial=0))
            assert_allclose(found, expected[name], rtol=0, atol=limit, err_msg=name)
            guard.made.clear()


def linear_calls(x, weight, bias, grad, into):
    x, weight, bias, grad = map(into, (x, weight, bias, grad))
    return {
        "linear": lambda: F.linear(x, weight, bias),
        "linear without bias": lambda: F.linear(x, weight),
        "linear_input_grad": lambda: F.linear_input_grad(weight, grad),
        "linear_weight_grad": lambda: F.linear_weight_grad(x, grad),
        "linear_bias_grad": lambda: F.linear_bias_grad(grad),
    }


def tell(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(dtype, shapes, seed, tiles):
    faulthandler.enable()
    rng = np.random.default_rng(int(seed))
    with few_tiles(int(seed)) if tiles == "few" else contextlib.nullcontext():
        for _ in range(int(shapes)):
            case = draw(rng)
            for side in ("before", "after"):
                tell(f"{side} {case}")
                check(functools.partial(calls, case), arrays(case, dtype), side)
    for stays in (1, 0):  # in a near cache
        for plan in (linear.forward, linear.input_grad, linear.weight_grad):
            plan.cache_clear()
        with mock.patch.object(linear, "stays", return_value=stays):
            for sizes in product((1, 3, 9), (1, 67, 600), (1, 9, 130), ("before", "after")):
                tell((stays, *sizes))
                rows, features, outputs, side = sizes
                shapes = (rows, features), (outputs, features), (outputs,), (rows, outputs)
                check(linear_calls, [rng.standard_normal(shape).astype(dtype) for shape in shapes], side)
    tell("all right")


if __name__ == "__main__":
    main(*sys.argv[1:])
