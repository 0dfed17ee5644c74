"""Sums in a fixed order: of the parts of a product's depth, and of all pixels of a channel.

Letters: `n` image or row, `o` channel, `p` pixel, `i` part.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import offsets as at
from fastconv.backends.cuda import tiles
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, kernel, threads

THREAD = 1023  # what a thread's index is masked with
THREADS = threads(256)
SHORTEST = 1024  # numbers of a part of a sum
ROWS, COLUMNS, PARTS, BATCHES, FIELDS = at.ROWS, at.COLUMNS, at.PARTS, at.BATCHES, at.FIELDS
C_AT, BIAS_AT, FILLED = at.C_AT, at.BIAS_AT, at.FILLED


@cache
def combine(dtype: np.dtype[Any], bias_on: str) -> Kernel:
    """The second stage of a product whose depth fell into parts; arguments as those of `products.product`."""
    zero, row_bias, column_bias = dtype.type(0), bias_on == "rows", bias_on == "columns"

    @kernel(THREADS)
    def combined(sums, bias, c, table, numbers, size):  # type: ignore[no-untyped-def]
        """C[row[m] + column[n]] = bias + sum over i of sums[i, batch, m, n]."""
        rows, columns = numbers[ROWS] & MASK, numbers[COLUMNS] & MASK
        place, step = cuda.blockIdx.x * THREADS + cuda.threadIdx.x, cuda.gridDim.x * THREADS
        while place < size:
            rest = (place & MASK) // columns
            n, batch = place - rest * columns, rest // rows
            m = rest - batch * rows
            own = (BATCHES + batch * FIELDS) & MASK
            if n < numbers[own + FILLED]:
                total = zero
                if row_bias:
                    total = bias[(numbers[own + BIAS_AT] + m) & MASK]
                if column_bias:
                    total = bias[n & MASK]
                for i in range(numbers[PARTS]):
                    total += sums[(place + i * size) & MASK]
                to = numbers[own + C_AT] + table[(rows + m) & MASK] + table[(2 * rows + columns + n) & MASK]
                c[to & MASK] = total
            place += step

    return combined


@cache
def planes(dtype: np.dtype[Any]) -> Kernel:
    """The kernel that sums a part of a channel's pixels in each block."""
    kind = dtype.type

    @kernel(THREADS)
    def summed(x, sums, images, channels, pixels, parts):  # type: ignore[no-untyped-def]
        """sums[i, o] = sum of x[n, o, p] over the pairs (n, p) of part i."""
        shared = cuda.shared.array(THREADS, kind)
        t = cuda.threadIdx.x & THREAD
        block = cuda.blockIdx.x & MASK
        part = block // (channels & MASK)
        o = block - part * channels
        count = (images * pixels + parts - 1) // (parts & MASK)
        first = part * count + t
        end = min((part + 1) * count, images * pixels)
        n = first // (pixels & MASK)
        p = first - n * pixels
        total = kind(0)
        for _ in range(first, end, THREADS):
            total += x[((n * channels + o) * pixels + p) & MASK]
            p += THREADS
            while p >= pixels:
                p -= pixels
                n += 1
        shared[t] = total
        cuda.syncthreads()
        half = THREADS // 2
        while half > 0:
            if t < half:
                shared[t] += shared[t + half]
            cuda.syncthreads()
            half //= 2
        if t == 0:
            sums[block] = shared[0]

    return summed


@kernel(THREADS)
def columns(x, sums, rows, width, parts):  # type: ignore[no-untyped-def]
    """sums[i, o] = sum of x[n, o] over the rows n of part i."""
    place = (cuda.blockIdx.x & MASK) * THREADS + (cuda.threadIdx.x & THREAD)
    if place < parts * width:
        part = place // (width & MASK)
        o = place - part * width
        count = (rows + parts - 1) // (parts & MASK)
        first, end = part * count, min((part + 1) * count, rows)
        total = x[(first * width + o) & MASK]
        for n in range(first + 1, end):
            total += x[(n * width + o) & MASK]
        sums[place & MASK] = total


def channel_sums(x: Any) -> Any:
    """The sums over images and pixels of x (N, O, pixels...), or over rows of x (N, O)."""
    images, channels = x.shape[:2]
    pixels = x.size // max(1, images * channels)
    if not x.size:
        found = empty((channels,), x.dtype)
        found[...] = 0
        return found
    if pixels == 1:
        return column_sums(x.reshape(images, channels))
    most = blocks_for(2 * tiles.machine().multiprocessors, channels)
    parts = max(1, min(most, images * pixels // SHORTEST))
    found = empty((parts, channels), x.dtype)
    planes(x.dtype)(parts * channels, x, found, images, channels, pixels, parts)
    return column_sums(found)


def column_sums(x: DeviceArray) -> DeviceArray:
    """The sums over the rows of x (N, O), not of none."""
    rows, width = x.shape
    while rows > 1:
        parts = blocks_for(rows, 32)
        found = empty((parts, width), x.dtype)
        columns(blocks_for(parts * width, THREADS), x, found, rows, width, parts)
        x, rows = found, parts
    return x.reshape(width)
