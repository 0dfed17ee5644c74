"""Kernels of filters along one axis: x is (outer, h, inner), with h the pixels of a line, and y (outer, p, inner).

`places` says of each pixel of a line with its borders where it is in x, -1 for the constant. Sums are float64, and so
are all numbers that are compared, but where x and y are float32: SciPy's order of sums, and its results to the bit.

Index letters: `p` output pixel; `r` tap; `o` and `c` place before and behind the axis.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, from_dtype

from fastconv.backends.cuda.filter_storage import product, stored
from fastconv.backends.cuda.launching import MASK, Kernel, device_function, kernel, threads
from fastconv.backends.cuda.sweeps import split


@cache
def pixel_of(held: np.dtype[Any]) -> Any:
    """The function that reads a pixel of a line, as `held`."""
    number = from_dtype(held)

    @device_function
    def pixel(x, places, i, o, c, extent, inner, cval):  # type: ignore[no-untyped-def]
        """The pixel i of a line with its borders."""
        place = places[i & MASK]
        if place < 0:
            return cval
        return number(x[((o * extent + place) * inner + c) & MASK])

    return pixel


@cache
def correlated_lines(held: np.dtype[Any], target: np.dtype[Any], symmetry: int) -> Kernel:
    """The kernel of correlation with taps that are symmetric (1), antisymmetric (-1) or neither (0)."""
    pixel, multiply, store = pixel_of(held), product(target.kind != "f"), stored(target)

    @kernel(threads(256))
    def correlated_lines(x, taps, y, places, extent, count, inner, size, cval, tasks):  # type: ignore[no-untyped-def]
        """y[o, p, c] = sum over r of taps[r] * padded_x[o, p + r, c], of symmetric taps in pairs, the middle first."""
        task, middle = cuda.grid(1), size // 2
        while task < tasks:
            rest, c = split(task, inner)
            o, p = split(rest, count)
            if symmetry == 0:
                at = size - 1
                total = multiply(pixel(x, places, p + at, o, c, extent, inner, cval), taps[at & MASK])
                for r in range(size - 1):
                    total = total + multiply(pixel(x, places, p + r, o, c, extent, inner, cval), taps[r & MASK])
            else:
                total = multiply(pixel(x, places, p + middle, o, c, extent, inner, cval), taps[middle & MASK])
                for r in range(middle):
                    one = pixel(x, places, p + r, o, c, extent, inner, cval)
                    two = pixel(x, places, p + size - 1 - r, o, c, extent, inner, cval)
                    total = total + multiply(one + two if symmetry > 0 else one - two, taps[r & MASK])
            y[task & MASK] = store(total)
            task += cuda.gridsize(1)

    return correlated_lines


@cache
def running_means(target: np.dtype[Any]) -> Kernel:
    """The kernel of moving means, a thread for each line: a sum that runs along it depends on all before."""
    pixel, store = pixel_of(np.dtype(np.float64)), stored(target)

    @kernel(threads(128))
    def running_means(x, y, places, extent, count, inner, size, cval, lines):  # type: ignore[no-untyped-def]
        """y[o, p, c] = (the sum before + padded_x[o, p + size - 1, c] - padded_x[o, p - 1, c]) / size."""
        line = cuda.grid(1)
        while line < lines:
            o, c = split(line, inner)
            total = 0.0
            for i in range(size):
                total += pixel(x, places, i, o, c, extent, inner, cval)
            for p in range(count):
                if p > 0:
                    entering = pixel(x, places, p + size - 1, o, c, extent, inner, cval)
                    total += entering - pixel(x, places, p - 1, o, c, extent, inner, cval)
                y[((o * count + p) * inner + c) & MASK] = store(total / size)
            line += cuda.gridsize(1)

    return running_means


@cache
def moving_extremes(held: np.dtype[Any], target: np.dtype[Any], minimum: bool) -> Kernel:
    """The kernel of moving extremes of numbers."""
    pixel, store = pixel_of(held), stored(target)

    @kernel(threads(256))
    def moving_extremes(x, y, places, extent, count, inner, size, cval, tasks):  # type: ignore[no-untyped-def]
        """y[o, p, c] = the least or greatest of padded_x[o, p + r, c]."""
        task = cuda.grid(1)
        while task < tasks:
            rest, c = split(task, inner)
            o, p = split(rest, count)
            best = pixel(x, places, p, o, c, extent, inner, cval)
            for r in range(1, size):
                number = pixel(x, places, p + r, o, c, extent, inner, cval)
                if number < best if minimum else number > best:
                    best = number
            y[task & MASK] = store(best)
            task += cuda.gridsize(1)

    return moving_extremes


@cache
def unordered_extremes(held: np.dtype[Any], target: np.dtype[Any], minimum: bool) -> Kernel:
    """The kernel of moving extremes of lines with NaN, a thread for each: the order of comparisons decides.

    The numbers that may still become the greatest wait in a queue, with their places. One that enters removes those
    that it is not less than, from behind or all at once; NaN removes none, and shields what is before it from behind.
    """
    pixel, store = pixel_of(held), stored(target)

    @device_function
    def signed(x, places, i, o, c, extent, inner, cval):  # type: ignore[no-untyped-def]
        """The pixel, negative for minima: they are maxima then."""
        number = pixel(x, places, i, o, c, extent, inner, cval)
        return -number if minimum else number

    @kernel(threads(64))
    def unordered_extremes(x, y, queue, places, extent, count, inner, size, cval, lines):  # type: ignore[no-untyped-def]
        """y[o, p, c] = the least or greatest of padded_x[o, p + r, c], of lines with NaN; others stay as they are."""
        line, start = cuda.grid(1), cuda.grid(1) * size
        while line < lines:
            o, c = split(line, inner)
            ordered = True
            for i in range(count + size - 1):
                number = pixel(x, places, i, o, c, extent, inner, cval)
                ordered = ordered and number == number
            head, many = 0, 0  # the queue is a ring: its first entry, and how many there are
            for i in range(0 if ordered else count + size - 1):
                number = signed(x, places, i, o, c, extent, inner, cval)
                if many > 0 and queue[(start + head) & MASK] == i - size:
                    head, many = (head + 1) % size, many - 1
                front = signed(x, places, queue[(start + head) & MASK] if many > 0 else i, o, c, extent, inner, cval)
                if number >= front:  # with nobody before it, it is compared with itself
                    many = 0
                longer = many > 0
                while longer:
                    behind = queue[(start + (head + many - 1) % size) & MASK]
                    longer = number >= signed(x, places, behind, o, c, extent, inner, cval)
                    if longer:
                        many -= 1
                        longer = many > 0
                queue[(start + (head + many) % size) & MASK] = i
                many += 1
                if i >= size - 1:
                    best = signed(x, places, queue[(start + head) & MASK], o, c, extent, inner, cval)
                    y[((o * count + i - size + 1) * inner + c) & MASK] = store(-best if minimum else best)
            line += cuda.gridsize(1)

    return unordered_extremes
