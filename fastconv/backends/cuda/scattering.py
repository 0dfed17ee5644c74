"""Kernels that put numbers at any indices of a plane without atomics, in the windows' order: the same bits every time.

A block has a plane, and each of its threads owns the pixels t, t + threads, t + 2 threads, ...: it walks all windows,
whose indices the block's threads read together, and takes those that lead to its own pixels. So the work is windows *
threads for each plane whatever the indices are, none waits for another, and there are no races. (A gather from the
windows that can cover a pixel is less work, but needs to know where the windows are: see `windows.won`.)

Index letters: `i` plane; `p` window; `h` pixel of the plane.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda.launching import MASK, Kernel, kernel, threads


@cache
def scattered(dtype: np.dtype[Any], last: bool) -> Kernel:
    """The kernel that adds up what goes to a pixel, or keeps the last of it."""
    block, zero = threads(128), dtype.type(0)

    @kernel(block)
    def scattered(values, indices, target, windows, pixels, planes):  # type: ignore[no-untyped-def]
        """target[i, h] = sum (or last) of values[i, p] with indices[i, p] = h; an index of -1 leads nowhere."""
        t, i = cuda.threadIdx.x & 1023, cuda.blockIdx.x
        while i < planes:
            first, begin = i * pixels, i * windows
            for h in range(t, pixels, block):
                target[(first + h) & MASK] = zero
            for p in range(windows):
                h = indices[(begin + p) & MASK]
                if h >= 0 and (h & MASK) % block == t:
                    place = (first + h) & MASK
                    value = values[(begin + p) & MASK]
                    target[place] = value if last else target[place] + value
            i += cuda.gridDim.x

    return scattered


@cache
def latest() -> Kernel:
    """The kernel that finds the last window of each pixel; of a pixel without any it writes nothing."""
    block = threads(128)

    @kernel(block)
    def latest(indices, found, windows, pixels, planes):  # type: ignore[no-untyped-def]
        """found[i, h] = the greatest p with indices[i, p] = h."""
        t, i = cuda.threadIdx.x & 1023, cuda.blockIdx.x
        while i < planes:
            first, begin = i * pixels, i * windows
            for p in range(windows):
                h = indices[(begin + p) & MASK]
                if (h & MASK) % block == t:
                    found[(first + h) & MASK] = p
            i += cuda.gridDim.x

    return latest


@cache
def gathered(dtype: np.dtype[Any]) -> Kernel:
    """The kernel of max unpooling's gradient."""
    zero = dtype.type(0)

    @kernel(threads(256))
    def gathered(grad_output, indices, found, grad_x, windows, pixels, tasks):  # type: ignore[no-untyped-def]
        """grad_x[i, p] = grad_output[i, indices[i, p]] where p is the last of its pixel, else 0."""
        task = cuda.grid(1)
        while task < tasks:
            i = (task & MASK) // (windows & MASK)
            place = (i * pixels + indices[task & MASK]) & MASK
            grad_x[task & MASK] = grad_output[place] if found[place] == task - i * windows else zero
            task += cuda.gridsize(1)

    return gathered
