"""The copy of images with zeros around them, where taps reach beyond their pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda.array import empty
from fastconv.backends.cuda.launching import MASK, Kernel, kernel, threads
from fastconv.backends.cuda.lowering import Frame
from fastconv.backends.cuda.sweeps import sweep

THREADS = threads(256)


@cache
def pad(dtype: np.dtype[Any]) -> Kernel:
    """The kernel that copies; images and signals are volumes with axes of one pixel."""
    zero = dtype.type(0)

    @kernel(THREADS)
    def padded(x, y, depth, height, width, before_d, before_h, before_w, deep, high, wide, size):  # type: ignore[no-untyped-def]
        """y[plane, d, h, w] = x[plane, d - before, h - before, w - before], zero where there is no such pixel."""
        place, step = cuda.blockIdx.x * THREADS + cuda.threadIdx.x, cuda.gridDim.x * THREADS
        while place < size:
            rest = (place & MASK) // (wide & MASK)
            w = place - rest * wide - before_w
            plane = rest // (high & MASK)
            h = rest - plane * high - before_h
            rest = plane // (deep & MASK)
            d = plane - rest * deep - before_d
            number = zero
            if d >= 0 and d < depth and h >= 0 and h < height and w >= 0 and w < width:
                number = x[(((rest * depth + d) * height + h) * width + w) & MASK]
            y[place & MASK] = number
            place += step

    return padded


def framed(x: Any, frame: Frame) -> Any:
    """x (N, C, pixels...) in a frame of zeros, or cut to it; x itself if it has that size already."""
    size = x.shape[2:]
    if frame.size == size:
        return x
    padded = empty((*x.shape[:2], *frame.size), x.dtype)
    ones, zeros = (1,) * (3 - len(size)), (0,) * (3 - len(size))
    sizes = *ones, *size, *zeros, *frame.before, *ones, *frame.size
    sweep(pad(x.dtype), padded.size, x, padded, *sizes)
    return padded
