"""Interpolation and its gradient on the GPU: a thread for each pixel, which gathers.

Index letters: `i` plane (an image's channel); `d h w` input pixel; `o p q` output pixel; `a b c` tap along each axis.
What has fewer axes has extents of 1 before them.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.launching import MASK, Kernel, kernel, operation, threads
from fastconv.backends.cuda.sweeps import sweep
from fastconv.backends.cuda.tables import kept
from fastconv.backends.cuda.windows import fold, unfold
from fastconv.typing import Array, Shape

Inverse = tuple[Array, Array, Array]  # of each input pixel its first entry, and of each entry output pixel and weight


def interpolate(x: Array, sources: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
    """y[n, c, p, q] = sum over s, t: weights[0][p, s] weights[1][q, t] x[n, c, sources[0][p, s], sources[1][q, t]]."""
    return _interpolated(x, Tables(sources, weights))  # type: ignore[no-any-return]


def interpolate_input_grad(
    grad_output: Array, input_size: Shape, sources: tuple[Array, ...], weights: tuple[Array, ...]
) -> Array:
    """grad_x[n, c, sources[0][p, s], sources[1][q, t]] += weights[0][p, s] weights[1][q, t] grad_output[n, c, p, q]."""
    return _spread(grad_output, input_size, Tables(sources, weights))  # type: ignore[no-any-return]


class Tables:
    """Sources and weights, which stay the host's: what they say is kept on the device."""

    def __init__(self, sources: tuple[Array, ...], weights: tuple[Array, ...]) -> None:
        self.axes = list(zip(sources, weights, strict=True))

    def forward(self, dtype: np.dtype[Any]) -> list[DeviceArray]:
        """The tables of three axes."""
        first = [(np.zeros((1, 1), np.int64), np.ones((1, 1), dtype))] * (3 - len(self.axes))
        return [kept(table) for pair in (*first, *self.axes) for table in pair]

    def inverse(self, input_size: Shape, dtype: np.dtype[Any]) -> list[DeviceArray]:
        """The inverse tables of three axes."""
        axes = zip(input_size, self.axes, strict=True)
        found = [inverse(h, source.tobytes(), weight.tobytes(), source.shape, dtype) for h, (source, weight) in axes]
        first = (np.arange(2), np.zeros(1, np.int64), np.ones(1, dtype))
        return [kept(table) for three in (*(first,) * (3 - len(found)), *found) for table in three]


@lru_cache(maxsize=1024)
def inverse(h: int, source: bytes, weight: bytes, shape: Shape, dtype: np.dtype[Any]) -> Inverse:
    """Of each of `h` input pixels the outputs that take it, in rising order, and with what weights."""
    places = np.frombuffer(source, np.int64)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(h + 1))
    return starts.astype(np.int64), order // shape[1], np.frombuffer(weight, dtype)[order]


@operation()
def _interpolated(x: Any, tables: Tables) -> Any:
    taps = (1,) * (3 - len(tables.axes)) + tuple([source.shape[1] for source, _ in tables.axes])
    shape = tuple([len(source) for source, _ in tables.axes])
    y = empty((*x.shape[:2], *shape), x.dtype)
    arrays = x, y, *tables.forward(x.dtype)
    sweep(interpolated(x.dtype, taps), y.size, *arrays, _three(x.shape[2:]), _three(shape))
    return y


@operation()
def _spread(grad_output: Any, input_size: Shape, tables: Tables) -> Any:
    grad_x = empty((*grad_output.shape[:2], *input_size), grad_output.dtype)
    arrays = grad_output, grad_x, *tables.inverse(input_size, grad_x.dtype)
    sweep(spread(grad_x.dtype), grad_x.size, *arrays, _three(input_size), _three(grad_output.shape[2:]))
    return grad_x


def _three(size: Shape) -> Shape:
    return (1,) * (3 - len(size)) + tuple(size)


@cache
def interpolated(dtype: np.dtype[Any], taps: Shape) -> Kernel:
    """The kernel of interpolation with so many taps along each axis."""
    taps_a, taps_b, taps_c = taps
    zero = dtype.type(0)

    @kernel(threads(256))
    def interpolated(x, y, from_d, by_d, from_h, by_h, from_w, by_w, size, sizes, tasks):  # type: ignore[no-untyped-def]
        """y[i, o, p, q] = sum over c, b, a: by_w[q, c] by_h[p, b] by_d[o, a] x[i, from_d[o, a], ...], axis by axis."""
        task = cuda.grid(1)
        while task < tasks:
            i, o, p, q = unfold(task, sizes)
            total = zero
            for c in range(taps_c):
                w = from_w[q * taps_c + c]
                column = zero
                for b in range(taps_b):
                    h = from_h[p * taps_b + b]
                    depth = zero
                    for a in range(taps_a):
                        d = from_d[o * taps_a + a]
                        depth += by_d[o * taps_a + a] * x[fold(i, d, h, w, size)]
                    column += by_h[p * taps_b + b] * depth
                total += by_w[q * taps_c + c] * column
            y[task & MASK] = total
            task += cuda.gridsize(1)

    return interpolated


@cache
def spread(dtype: np.dtype[Any]) -> Kernel:
    """The kernel of interpolation's gradient: of each axis a table of the outputs that take a pixel."""
    zero = dtype.type(0)

    @kernel(threads(256))
    def spread(grad_output, grad_x, start_d, to_d, by_d, start_h, to_h, by_h, start_w, to_w, by_w, size, sizes, tasks):  # type: ignore[no-untyped-def]
        """grad_x[i, d, h, w] = sum over c, b, a: by_w[c] by_h[b] by_d[a] grad_output[i, to_d[a], to_h[b], to_w[c]]."""
        task = cuda.grid(1)
        while task < tasks:
            i, d, h, w = unfold(task, size)
            total = zero
            for c in range(start_w[w], start_w[w + 1]):
                q = to_w[c & MASK]
                column = zero
                for b in range(start_h[h], start_h[h + 1]):
                    p = to_h[b & MASK]
                    depth = zero
                    for a in range(start_d[d], start_d[d + 1]):
                        o = to_d[a & MASK]
                        depth += by_d[a & MASK] * grad_output[fold(i, o, p, q, sizes)]
                    column += by_h[b & MASK] * depth
                total += by_w[c & MASK] * column
            grad_x[task & MASK] = total
            task += cuda.gridsize(1)

    return spread
