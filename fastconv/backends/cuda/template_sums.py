"""Kernels of template matching: sums down columns, then across them, and the scores that windows make of these.

Sums are float64 whatever the image is: the contrast is what little is left when the square of a sum is taken from the
sum of squares, and a score is right to 1e-5 only where that is right to as much. Nothing else is ever subtracted from
a sum, so that a pixel, were it NaN or 1e30, reaches only the windows that hold it.

Index letters: `p q` window, by its first pixel; `r s` pixel in it; `k` channel; `i` place in a row, channels and all.
"""

from __future__ import annotations

from functools import cache
from math import sqrt
from typing import Any

import numpy as np
from numba import cuda, float64, from_dtype

from fastconv.backends.cuda.launching import MASK, Kernel, device_function, kernel, threads
from fastconv.backends.cuda.sweeps import split

CENTRED, PRODUCT, DIFFERENCE, RELATIVE = range(4)


@cache
def column_sums(kind: int) -> Kernel:
    """The kernel of sums down the columns under windows."""
    with_one = kind in (CENTRED, RELATIVE)

    @kernel(threads(256))
    def column_sums(x, shift, one, two, high, width, channels, tasks):  # type: ignore[no-untyped-def]
        """two[p, i] = sum over r of u[p + r, i]², with u = x - shift; one: of u, or for RELATIVE of x²."""
        task = cuda.grid(1)
        while task < tasks:
            p, i = split(task, width)
            offset = shift[(i % (channels & MASK)) & MASK]
            first, second = 0.0, 0.0
            for r in range(high):
                pixel = float64(x[((p + r) * width + i) & MASK])
                less = pixel - offset
                if kind == CENTRED:
                    first += less
                if kind == RELATIVE:
                    first += pixel * pixel
                second += less * less
            if with_one:
                one[task & MASK] = first
            two[task & MASK] = second
            task += cuda.gridsize(1)

    return column_sums


@device_function
def ratio(product, square):  # type: ignore[no-untyped-def]
    """Product / root of the square, from -1 to 1."""
    value = product / sqrt(square)
    if value > 1.0:
        value = 1.0
    if value < -1.0:
        value = -1.0
    return value


@device_function
def coefficient(x, weights, p, q, high, wide, channels, width, energy):  # type: ignore[no-untyped-def]
    """The normed coefficient of one window, from pixels less its first one."""
    product, var = 0.0, 0.0
    for k in range(channels):
        base = float64(x[(p * width + q * channels + k) & MASK])
        one, two = 0.0, 0.0
        for r in range(high):
            for s in range(wide):
                less = float64(x[((p + r) * width + (q + s) * channels + k) & MASK]) - base
                one += less
                two += less * less
                product += less * weights[((r * wide + s) * channels + k) & MASK]
        var += two - one * one / (high * wide)
    square = var * energy
    if square <= 0.0:
        return 0.0
    return ratio(product, square)


@cache
def scores(kind: int, target: np.dtype[Any]) -> Kernel:
    """The kernel of one kind of score."""
    number, with_one = from_dtype(target), kind in (CENTRED, RELATIVE)

    @kernel(threads(256))
    def scores(x, weights, one, two, y, high, wide, channels, width, columns, energy, rounding, doubt, tasks):  # type: ignore[no-untyped-def]
        """y[p, q] = the score of the product y[p, q] and of the sums over the window."""
        task = cuda.grid(1)
        while task < tasks:
            p, q = split(task, columns)
            begin, product = p * width + q * channels, float64(y[task & MASK])
            first, second = 0.0, 0.0
            for k in range(channels):
                total = 0.0
                for s in range(wide):
                    place = (begin + s * channels + k) & MASK
                    second += two[place]
                    if with_one:
                        total += one[place]
                first += total * total if kind == CENTRED else total
            value = 0.0
            if kind == CENTRED:
                var = second - first / (high * wide)
                if var <= rounding * second or energy == 0.0:
                    value = 0.0
                elif var < doubt * second:
                    value = coefficient(x, weights, p, q, high, wide, channels, width, energy)
                else:
                    value = ratio(product, var * energy)
            elif kind == PRODUCT:
                square = second * energy
                if square != 0.0:
                    value = ratio(product, square)
            else:
                value = second - 2.0 * product + energy
                if value < 0.0:
                    value = 0.0
                if second == np.inf:
                    value = second
                if kind == RELATIVE:
                    norm = sqrt(first * doubt)  # the sum of the template's squares comes in its place
                    value = 1.0 if norm == 0.0 else value / norm
                    if value > 1.0:
                        value = 1.0
            y[task & MASK] = number(value)
            task += cuda.gridsize(1)

    return scores
