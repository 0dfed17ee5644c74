"""Kernels over windows that slide over each plane: the largest pixel, the sum, and their gradients, which gather.

Index letters: `i` plane (an image's channel); `d h w` input pixel; `o p q` window; `e r s` pixel in a window. Sizes,
strides and paddings are triples; what has fewer axes has extents of 1 before them. A pixel's flat index counts those of
its plane.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, from_dtype

from fastconv.backends.cuda.launching import MASK, Kernel, device_function, kernel, threads
from fastconv.backends.cuda.sweeps import split
from fastconv.typing import Shape


@device_function
def unfold(place, extents):  # type: ignore[no-untyped-def]
    """Plane and place in it of a flat index over planes of so many rows and columns."""
    rest, w = split(place, extents[2])
    rest, h = split(rest, extents[1])
    i, d = split(rest, extents[0])
    return i, d, h, w


@device_function
def fold(i, d, h, w, extents):  # type: ignore[no-untyped-def]
    """The flat index."""
    return (((i * extents[0] + d) * extents[1] + h) * extents[2] + w) & MASK


@device_function
def covering(place, windows, stride, span):  # type: ignore[no-untyped-def]
    """The first window that spans a place of the padded input, and the one after the last."""
    first = 0
    if place >= span:
        first = ((place - span + stride) & MASK) // (stride & MASK)
    return first, min((place & MASK) // (stride & MASK) + 1, windows)


@cache
def largest(dtype: np.dtype[Any], kernel_size: Shape, with_indices: bool) -> Kernel:
    """The kernel of max pooling; without indices it is given any array in their place."""
    extent_e, extent_r, extent_s = kernel_size
    nothing = dtype.type(-np.inf)

    @kernel(threads(256))
    def largest(x, y, indices, size, windows, stride, before, dilation, tasks):  # type: ignore[no-untyped-def]
        """y[i, o, p, q] = max over e, r, s of x[i, ...], and the flat index of the first such; -1 if there is none."""
        task = cuda.grid(1)
        while task < tasks:
            i, o, p, q = unfold(task, windows)
            best, winner = nothing, -1
            for e in range(extent_e):
                d = o * stride[0] + e * dilation[0] - before[0]
                for r in range(extent_r):
                    h = p * stride[1] + r * dilation[1] - before[1]
                    if d >= 0 and d < size[0] and h >= 0 and h < size[1]:
                        for s in range(extent_s):
                            w = q * stride[2] + s * dilation[2] - before[2]
                            if w >= 0 and w < size[2]:
                                value = x[fold(i, d, h, w, size)]
                                # The first NaN is greater than all; -inf of a pixel is more than no pixel.
                                if winner < 0 or value > best or (value != value and best == best):
                                    best, winner = value, (d * size[1] + h) * size[2] + w
            y[task & MASK] = best
            if with_indices:
                indices[task & MASK] = winner
            task += cuda.gridsize(1)

    return largest


@cache
def sums(dtype: np.dtype[Any], kernel_size: Shape) -> Kernel:
    """The kernel of average pooling with small windows."""
    extent_e, extent_r, extent_s = kernel_size
    zero = dtype.type(0)

    @kernel(threads(256))
    def sums(x, y, deep, high, wide, size, windows, stride, before, tasks):  # type: ignore[no-untyped-def]
        """y[i, o, p, q] = sum over e, r, s of x[i, ...] / (deep[o] * high[p] * wide[q]), rows by themselves."""
        task = cuda.grid(1)
        while task < tasks:
            i, o, p, q = unfold(task, windows)
            total = zero
            for e in range(extent_e):
                d = o * stride[0] + e - before[0]
                for r in range(extent_r):
                    h = p * stride[1] + r - before[1]
                    if d >= 0 and d < size[0] and h >= 0 and h < size[1]:
                        row = zero
                        for s in range(extent_s):
                            w = q * stride[2] + s - before[2]
                            if w >= 0 and w < size[2]:
                                row += x[fold(i, d, h, w, size)]
                        total += row
            y[task & MASK] = total / (deep[o] * high[p] * wide[q])
            task += cuda.gridsize(1)

    return sums


@cache
def large_sums(dtype: np.dtype[Any]) -> Kernel:
    """The kernel of average pooling with large windows: a block for each, whose threads' sums are added in pairs."""
    block, held, zero = threads(256), from_dtype(dtype), dtype.type(0)

    @kernel(block)
    def large_sums(x, y, deep, high, wide, size, taps, windows, stride, before, tasks):  # type: ignore[no-untyped-def]
        """y[i, o, p, q] = sum over e, r, s of x[i, ...] / (deep[o] * high[p] * wide[q])."""
        parts = cuda.shared.array(block, held)
        t, task = cuda.threadIdx.x & 1023, cuda.blockIdx.x
        while task < tasks:
            i, o, p, q = unfold(task, windows)
            total = zero
            for tap in range(t, taps[0] * taps[1] * taps[2], block):
                _, e, r, s = unfold(tap, taps)
                d, h, w = o * stride[0] + e - before[0], p * stride[1] + r - before[1], q * stride[2] + s - before[2]
                if d >= 0 and d < size[0] and h >= 0 and h < size[1] and w >= 0 and w < size[2]:
                    total += x[fold(i, d, h, w, size)]
            parts[t] = total
            cuda.syncthreads()
            half = block // 2
            while half > 0:
                if t < half:
                    parts[t] += parts[t + half]
                cuda.syncthreads()
                half //= 2
            if t == 0:
                y[task & MASK] = parts[0] / (deep[o] * high[p] * wide[q])
            task += cuda.gridDim.x

    return large_sums


@cache
def shares(dtype: np.dtype[Any]) -> Kernel:
    """The kernel of average pooling's gradient."""
    zero = dtype.type(0)

    @kernel(threads(256))
    def shares(grad_output, grad_x, deep, high, wide, size, windows, stride, before, span, tasks):  # type: ignore[no-untyped-def]
        """grad_x[i, d, h, w] = sum over the windows there of grad_output[i, o, p, q] / (deep[o] high[p] wide[q])."""
        task = cuda.grid(1)
        while task < tasks:
            i, d, h, w = unfold(task, size)
            first_o, end_o = covering(d + before[0], windows[0], stride[0], span[0])
            first_p, end_p = covering(h + before[1], windows[1], stride[1], span[1])
            first_q, end_q = covering(w + before[2], windows[2], stride[2], span[2])
            total = zero
            for o in range(first_o, end_o):
                for p in range(first_p, end_p):
                    row = zero
                    for q in range(first_q, end_q):
                        part = deep[o & MASK] * high[p & MASK] * wide[q & MASK]
                        row += grad_output[fold(i, o, p, q, windows)] / part
                    total += row
            grad_x[task & MASK] = total
            task += cuda.gridsize(1)

    return shares


@cache
def won(dtype: np.dtype[Any], last: bool) -> Kernel:
    """The kernel that gathers what windows, whose places are known, give their winners: all of it or the last."""
    zero = dtype.type(0)

    @kernel(threads(256))
    def won(values, indices, target, size, windows, stride, before, span, tasks):  # type: ignore[no-untyped-def]
        """target[i, d, h, w] = sum (or last) of values[i, o, p, q] of windows with this index, among those there."""
        task = cuda.grid(1)
        while task < tasks:
            i, d, h, w = unfold(task, size)
            first_o, end_o = covering(d + before[0], windows[0], stride[0], span[0])
            first_p, end_p = covering(h + before[1], windows[1], stride[1], span[1])
            first_q, end_q = covering(w + before[2], windows[2], stride[2], span[2])
            own = (d * size[1] + h) * size[2] + w
            total = zero
            for o in range(first_o, end_o):
                for p in range(first_p, end_p):
                    for q in range(first_q, end_q):
                        window = fold(i, o, p, q, windows)
                        if indices[window] == own:
                            total = values[window] if last else total + values[window]
            target[task & MASK] = total
            task += cuda.gridsize(1)

    return won
