"""Pooling and its gradients: loops over boxes of pixels.

A window, clipped to the image, is along each axis a first pixel and a number of them. Signals and images are volumes of
one pixel along the axes that they lack, so that every kernel serves ranks 1, 2 and 3.

Index letters: `n` plane (an image's channel), `a p q` output pixel, `i j k` pixel in its window.
"""

from functools import cache, lru_cache, reduce
from math import prod
from typing import Any

import numpy as np
from numba import njit

from fastconv.backends.cpu import machine, outputs
from fastconv.backends.cpu.kernels import kernel
from fastconv.backends.cpu.pooling_rows import highest_of_row, sums_of_row
from fastconv.geometry import Pooling
from fastconv.typing import Array, Shape

Boxes = tuple[
    Array, ...
]  # for each of three axes, (windows, 3): the first pixel, their number, the next one's distance


def max_pool(x: Array, geometry: Pooling) -> tuple[Array, Array]:
    """y[n, c, p] = max over r of x[n, c, p * stride + r * dilation - padding], and the flat index of the first such."""
    y = outputs.empty((*x.shape[:2], *geometry.output_size), x.dtype)
    indices = outputs.empty(y.shape, np.dtype(np.int64))
    out = volumes(y)
    windows = boxes(geometry)
    take, row = built(take_maximum, geometry, x)
    take(prod(out.shape[:3]), volumes(x), *windows, row, out, volumes(indices))
    return y, indices


def max_pool_input_grad(grad_output: Array, indices: Array, input_size: Shape) -> Array:
    """grad_x[n, c, indices[n, c, p]] += grad_output[n, c, p]; an index of -1 adds nowhere."""
    grad_x = outputs.empty((*grad_output.shape[:2], *input_size), grad_output.dtype)
    out = planes(grad_x)
    add_at(len(out), planes(grad_output), planes(indices), out)
    return grad_x


def avg_pool(x: Array, geometry: Pooling, counts: tuple[Shape, ...]) -> Array:
    """y[n, c, p, q] = sum over r, s of x[n, c, p * stride + r - padding, ...] / (counts[0][p] * counts[1][q])."""
    y = outputs.empty((*x.shape[:2], *geometry.output_size), x.dtype)
    out = volumes(y)
    over = volumes(divisors(counts, x.dtype))[0]
    add, row = built(sum_boxes, geometry, x)
    add(prod(out.shape[:3]), volumes(x), *boxes(geometry), row, over, out)
    return y


def avg_pool_input_grad(grad_output: Array, geometry: Pooling, counts: tuple[Shape, ...]) -> Array:
    """grad_x[n, c, p * stride + r - padding, ...] += grad_output[n, c, p, q] / (counts[0][p] * counts[1][q]).

    Seen from a pixel of x, the windows over it are a box too: their shares are summed, and no two sums meet.
    """
    grad_x = outputs.empty((*grad_output.shape[:2], *geometry.input_size), grad_output.dtype)
    with np.errstate(all="ignore"):  # infinities and NaN are results here, not accidents
        shares = grad_output / divisors(counts, grad_output.dtype)
    ones = divisors(tuple((1,) * h for h in geometry.input_size), grad_output.dtype)
    out = volumes(grad_x)
    windows = boxes_over_pixels(geometry)
    add, row = built(sum_boxes, geometry, shares, over_pixels=True)
    add(prod(out.shape[:3]), volumes(shares), *windows, row, volumes(ones)[0], out)
    return grad_x


def max_unpool(x: Array, indices: Array, output_size: Shape) -> Array:
    """y[n, c, indices[n, c, p]] = x[n, c, p], zeros elsewhere; of equal indices the last one holds."""
    y = outputs.empty((*x.shape[:2], *output_size), x.dtype)
    out = planes(y)
    put_at(len(out), planes(x), planes(indices), out)
    return y


def max_unpool_input_grad(grad_output: Array, indices: Array) -> Array:
    """grad_x[n, c, p] = grad_output[n, c, indices[n, c, p]]; of equal indices the last one alone receives it."""
    grad_x = np.empty(indices.shape, grad_output.dtype)
    out = planes(grad_x)
    take_last(len(out), planes(grad_output), planes(indices), out)
    return grad_x


def built(kernel: Any, geometry: Pooling, x: Array, over_pixels: bool = False) -> tuple[Any, Array]:
    """The kernel for x, and which windows of a row are alike."""
    row = alike(geometry, over_pixels)
    return kernel(x.itemsize, machine.vectors().lanes(x.itemsize), int(row[2]) if row[2] <= 2 else 0), row


def volumes(array: Array) -> Array:
    """(N, C, *spatial) as (N * C, D, H, W)."""
    spatial = array.shape[2:]
    return array.reshape(prod(array.shape[:2]), *(1,) * (3 - len(spatial)), *spatial)


def planes(array: Array) -> Array:
    """(N, C, *spatial) as (N * C, pixels)."""
    return array.reshape(prod(array.shape[:2]), prod(array.shape[2:]))


@lru_cache(maxsize=1024)
def divisors(counts: tuple[Shape, ...], dtype: np.dtype[Any]) -> Array:
    """The product of the axes' counts, one for each window: (1, 1, *output)."""
    grid: Array = reduce(np.multiply.outer, [np.array(count, dtype) for count in counts])
    return np.ascontiguousarray(grid[None, None])


@lru_cache(maxsize=1024)
def boxes(geometry: Pooling) -> Boxes:
    """The pixels of x in each window."""
    found = [np.array([[0, 1, 1]])] * (3 - len(geometry.input_size))
    axes = zip(
        geometry.input_size,
        geometry.output_size,
        geometry.kernel_size,
        geometry.stride,
        geometry.dilation,
        geometry.padding,
        strict=True,
    )
    for h, windows, taps, stride, dilation, (before, _) in axes:
        start = np.arange(windows) * stride - before
        skipped = np.maximum(-(start // dilation), 0)  # taps that lie before the image
        end = np.minimum(-((start - h) // dilation), taps)  # the first tap that lies after it
        found.append(_box(start + skipped * dilation, end - skipped, dilation))
    return tuple(found)


@lru_cache(maxsize=1024)
def boxes_over_pixels(geometry: Pooling) -> Boxes:
    """The windows, not dilated, over each pixel of x."""
    found = [np.array([[0, 1, 1]])] * (3 - len(geometry.input_size))
    axes = zip(
        geometry.input_size, geometry.output_size, geometry.kernel_size, geometry.stride, geometry.padding, strict=True
    )
    for h, windows, taps, stride, (before, _) in axes:
        place = np.arange(h) + before
        first = np.maximum(-((taps - 1 - place) // stride), 0)
        found.append(_box(first, np.minimum(place // stride + 1, windows) - first, 1))
    return tuple(found)


@lru_cache(maxsize=1024)
def alike(geometry: Pooling, over_pixels: bool = False) -> Array:
    """Along the last axis the first of the windows that have most pixels, all as far apart, the end, and how far."""
    box = (boxes_over_pixels if over_pixels else boxes)(geometry)[2]
    most = np.flatnonzero(box[:, 1] == box[:, 1].max(initial=1))
    if len(most) < 2 or most[-1] - most[0] + 1 != len(most):
        return np.zeros(3, np.int64)
    apart = np.diff(box[most, 0])
    same = (apart == apart[0]).all() and apart[0] > 0
    return np.array([most[0], most[-1] + 1, apart[0]] if same else [0, 0, 0], np.int64)


def _box(first: Array, count: Array, step: int) -> Array:
    return np.ascontiguousarray(np.stack([first, np.maximum(count, 0), np.full_like(first, step)], axis=1), np.int64)


@njit
def address(array):  # type: ignore[no-untyped-def]
    """Of its data, as the signed number that Numba adds to others."""
    return np.int64(array.ctypes.data)


@njit(inline="always")
def highest(pixels, start, deep, down, across, width, plane):  # type: ignore[no-untyped-def]
    """The largest pixel of a window's box and its place, the first of equals; NaN is the largest."""
    best, where = pixels[start], start
    for i in range(deep[1]):
        for j in range(down[1]):
            row = start + i * deep[2] * plane + j * down[2] * width
            for k in range(across[1]):
                place = row + k * across[2]
                value = pixels[place]
                wins = (not value <= best) & (best == best)
                best, where = (value if wins else best), (place if wins else where)
    return best, where


@cache
def take_maximum(item: int, lanes: int, kind: int) -> Any:
    """The kernel for numbers of `item` bytes in vectors of so many lanes; `kind` is the step, 0 unless 1 or 2."""

    @kernel
    def take_maximum(x, over_d, over_h, over_w, alike, y, indices, first, end):  # type: ignore[no-untyped-def]
        """y[n, a, p, q] = max of x[n, i, j, k] over the window's box; indices: the flat place of the first of equals.

        NaN is the largest. A box of no pixels gives -inf and -1. Windows that are alike go through their pixels
        together, a pixel of each at a time.
        """
        height, width = x.shape[2], x.shape[3]
        plane, per_plane, step = height * width, y.shape[1] * y.shape[2], alike[2]
        for task in range(first, end):
            n, a, p = task // per_plane, task % per_plane // y.shape[2], task % y.shape[2]
            pixels, deep, down = x[n].reshape(x.shape[1] * plane), over_d[a], over_h[p]
            corner = deep[0] * plane + down[0] * width
            empty = deep[1] * down[1] == 0
            low, high = (0, 0) if empty else (alike[0], alike[1])
            for other in range(y.shape[3] - (high - low)):
                q = other if other < low else other + high - low
                y[n, a, p, q], indices[n, a, p, q] = -np.inf, -1
                if not empty and over_w[q, 1] > 0:
                    found = highest(pixels, corner + over_w[q, 0], deep, down, over_w[q], width, plane)
                    y[n, a, p, q], indices[n, a, p, q] = found
            if low == high:
                continue
            best, where, across = y[n, a, p, low:high], indices[n, a, p, low:high], over_w[low]
            begin = corner + across[0]
            source = address(pixels) + begin * item
            highest_of_row(
                item, lanes, kind, source, step, best.size, begin, address(best), address(where),
                deep[1], deep[2] * plane, down[1], down[2] * width, across[1], across[2],
            )  # fmt: skip

    return take_maximum


@cache
def sum_boxes(item: int, lanes: int, kind: int) -> Any:
    """The kernel for numbers of `item` bytes in vectors of so many lanes; `kind` is the step, 0 unless 1 or 2."""

    @kernel
    def sum_boxes(x, over_d, over_h, over_w, alike, divisors, y, first, end):  # type: ignore[no-untyped-def]
        """y[n, a, p, q] = sum of x[n, i, j, k] over the box, in float64, / divisors[a, p, q]."""
        height, width = x.shape[2], x.shape[3]
        plane, per_plane, step = height * width, y.shape[1] * y.shape[2], alike[2]
        together = np.empty(alike[1] - alike[0])
        for task in range(first, end):
            n, a, p = task // per_plane, task % per_plane // y.shape[2], task % y.shape[2]
            pixels, deep, down = x[n].reshape(x.shape[1] * plane), over_d[a], over_h[p]
            corner = deep[0] * plane + down[0] * width
            for other in range(y.shape[3] - together.size):
                q, total = other if other < alike[0] else other + together.size, 0.0
                for i in range(deep[1]):
                    for j in range(down[1]):
                        row = corner + i * deep[2] * plane + j * down[2] * width + over_w[q, 0]
                        for k in range(over_w[q, 1]):
                            total += pixels[row + k * over_w[q, 2]]
                y[n, a, p, q] = total / divisors[a, p, q]
            if together.size == 0:
                continue
            across = over_w[alike[0]]
            source = address(pixels) + (corner + across[0]) * item
            sums_of_row(
                item, lanes, kind, source, step, together.size, address(together),
                deep[1], deep[2] * plane, down[1], down[2] * width, across[1], across[2],
            )  # fmt: skip
            for q in range(together.size):
                y[n, a, p, alike[0] + q] = together[q] / divisors[a, p, alike[0] + q]

    return sum_boxes


@kernel
def add_at(values, indices, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, indices[n, p]] = the sum of values[n, p] over all p with that index; -1 is nowhere."""
    for n in range(first, end):
        y[n] = 0
        for p in range(values.shape[1]):
            if indices[n, p] >= 0:
                y[n, indices[n, p]] += values[n, p]


@kernel
def put_at(values, indices, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, indices[n, p]] = values[n, p], the last p where several have that index; 0 elsewhere."""
    for n in range(first, end):
        y[n] = 0
        for p in range(values.shape[1]):
            y[n, indices[n, p]] = values[n, p]


@kernel
def take_last(values, indices, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, p] = values[n, indices[n, p]] if p is the last with that index, else 0."""
    for n in range(first, end):
        last = np.empty(values.shape[1], np.int64)
        for p in range(y.shape[1]):
            last[indices[n, p]] = p
        for p in range(y.shape[1]):
            place = indices[n, p]
            y[n, p] = values[n, place] if last[place] == p else 0
