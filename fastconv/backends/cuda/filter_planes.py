"""Kernels of filters with any taps: sums of products, the least or greatest pixel, sums of integers modulo 2^64.

Index letters: `l p q` plane, row and column of the output; `e r s` tap along planes, rows and columns; see
`filter_grids` for the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, from_dtype, int64

from fastconv.backends.cuda import device
from fastconv.backends.cuda.filter_storage import product, stored
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, kernel, threads
from fastconv.backends.cuda.sweeps import split
from fastconv.typing import Shape


@dataclass(frozen=True)
class Tile:
    """What a block computes: a thread has `across` outputs side by side, and as many again each `lines` rows further.

    The pitch is 1 more than a multiple of 32, so that a warp of 8 threads by 4 rows reads 32 banks.
    """

    groups: int  # threads side by side
    lines: int  # rows of threads
    across: int
    down: int
    high: int  # rows and columns of taps that are summed at a time, at most
    wide: int
    pitch: int

    @property
    def rows(self) -> int:
        """Rows of outputs."""
        return self.lines * self.down

    @property
    def columns(self) -> int:
        """Columns of outputs."""
        return self.groups * self.across

    def blocks(self, shape: Shape) -> tuple[int, int, int]:
        """Blocks along planes, rows and columns of the output."""
        return shape[0], blocks_for(shape[1], self.rows), blocks_for(shape[2], self.columns)

    def chunk(self, taps: Shape) -> Shape:
        """Rows and columns of taps to sum at a time, so that they are summed row by row."""
        return (min(self.high, taps[1]), taps[2]) if taps[2] <= self.wide else (1, self.wide)


# For images, for what has few rows, and for a row; none takes more than 48 KB of shared memory in float64.
TILES = (Tile(8, 32, 4, 2, 16, 32, 65), Tile(32, 8, 4, 1, 8, 32, 161), Tile(256, 1, 4, 1, 4, 32, 1057))
if device.SIMULATED:
    TILES = (Tile(2, 2, 4, 4, 8, 16, 23), Tile(2, 2, 4, 2, 8, 16, 23), Tile(4, 1, 8, 1, 4, 16, 47))


def tile_for(shape: Shape) -> Tile:
    """The tile for an output of so many planes, rows and columns."""
    square, broad, row = TILES
    return row if shape[1] <= row.rows else broad if shape[1] <= broad.rows else square


@cache
def correlated(held: np.dtype[Any], target: np.dtype[Any], skip_zeros: bool, tile: Tile) -> Kernel:
    """The kernel of cross-correlation with sums of `held` that are stored as `target`.

    A tile of pixels with the taps' reach around it lies in shared memory, and the pixels under a thread's outputs move
    through its registers, a row at a time. Sums of float32 are of as many taps as are summed at a time, and then added.
    """
    groups, lines, across, down, wide, pitch = (
        *(tile.groups, tile.lines, tile.across, tile.down),
        *(tile.wide, tile.pitch),
    )
    block, tall, many, number = groups * lines, tile.rows, tile.columns, from_dtype(held)
    pixels, filters, each, last = (tall + tile.high - 1) * pitch, tile.high * wide, down * across, across - 1
    in_parts, multiply, store = held.itemsize == 4, product(target.kind != "f"), stored(target)
    zero = held.type(0)

    @kernel(block)
    def correlated(  # type: ignore[no-untyped-def]
        x, weights, y, planes, starts, shifts, rows, columns, size, shape, taps, chunk, blocks, cval
    ):
        """y[l, p, q] = sum over e, r, s of weights[e, r, s] * padded_x[starts[l] + shifts[e], p + r, q + s]."""
        image = cuda.shared.array(pixels, number)
        filter_ = cuda.shared.array(filters, number)
        sums = cuda.local.array(each, number)
        parts = cuda.local.array(each, number)
        near = cuda.local.array(each, number)
        t = cuda.threadIdx.x & 1023
        group, line = t % groups, t // groups
        rest, left = split(cuda.blockIdx.x, blocks[2])
        l, top = split(rest, blocks[1])  # noqa: E741
        top, left = top * tall, left * many
        seen_wide = (many + chunk[1] - 1) & 0xFFFF
        seen = ((tall + chunk[0] - 1) * seen_wide) & 0xFFFF
        for j in range(each):
            sums[j] = zero
            parts[j] = zero
        for e in range(taps[0]):
            plane = planes[(starts[l] + shifts[e & MASK]) & MASK]
            for first_r in range(0, taps[1], chunk[0]):
                for first_s in range(0, taps[2], chunk[1]):
                    count_r, count_s = min(chunk[0], taps[1] - first_r), min(chunk[1], taps[2] - first_s)
                    cuda.syncthreads()  # all have used the tile before
                    for j in range(t, seen, block):
                        j &= 0xFFFF
                        r, s = j // seen_wide, j % seen_wide
                        h, w = top + first_r + r, left + first_s + s
                        pixel = cval
                        if plane >= 0 and h < shape[1] + taps[1] - 1 and w < shape[2] + taps[2] - 1:
                            h, w = rows[h & MASK], columns[w & MASK]
                            if h >= 0 and w >= 0:
                                pixel = number(x[((plane * size[0] + h) * size[1] + w) & MASK])
                        image[(r * pitch + s) & 0xFFFF] = pixel
                    for j in range(t, filters, block):
                        j &= 0xFFFF
                        r, s = j // wide, j % wide
                        if r < count_r and s < count_s:
                            filter_[j] = weights[((e * taps[1] + first_r + r) * taps[2] + first_s + s) & MASK]
                    cuda.syncthreads()
                    for r in range(count_r):
                        begin = ((line + r) * pitch + group * across) & 0xFFFF
                        for u in range(down):
                            for v in range(last):
                                near[u * across + v + 1] = image[(begin + u * lines * pitch + v) & 0xFFFF]
                        for s in range(count_s):
                            weight = filter_[(r * wide + s) & 0xFFFF]
                            for u in range(down):
                                for v in range(last):
                                    near[u * across + v] = near[u * across + v + 1]
                                near[u * across + last] = image[(begin + u * lines * pitch + s + last) & 0xFFFF]
                            if not skip_zeros or weight != zero:
                                for j in range(each):
                                    parts[j] = parts[j] + multiply(weight, near[j])
                    if in_parts:
                        for j in range(each):
                            sums[j] += parts[j]
                            parts[j] = zero
        for u in range(down):
            p = top + line + u * lines
            for v in range(across):
                q = left + group * across + v
                if p < shape[1] and q < shape[2]:
                    total = sums[u * across + v] if in_parts else parts[u * across + v]
                    y[((l * shape[1] + p) * shape[2] + q) & MASK] = store(total)

    return correlated


@cache
def extremes(source: np.dtype[Any], held: np.dtype[Any], target: np.dtype[Any], minimum: bool) -> Kernel:
    """The kernel of the least or the greatest pixel of an image of `source`, compared as `held`; so is the constant."""
    number, store = from_dtype(held), stored(target)
    beyond = stored(np.dtype(np.uint8) if source.kind == "b" else source)

    @kernel(threads(256))
    def extremes(  # type: ignore[no-untyped-def]
        x, y, tap_e, tap_r, tap_s, planes, starts, rows, columns, size, shape, count, cval, tasks
    ):
        """y[l, p, q] = the least or greatest padded_x[starts[l] + tap_e[j], p + tap_r[j], q + tap_s[j]], j rising."""
        task, edge = cuda.grid(1), number(beyond(cval))
        while task < tasks:
            rest, q = split(task, shape[2])
            l, p = split(rest, shape[1])  # noqa: E741
            best = edge
            for j in range(count):
                j &= MASK
                plane = planes[(starts[l] + tap_e[j]) & MASK]
                h, w = rows[(p + tap_r[j]) & MASK], columns[(q + tap_s[j]) & MASK]
                pixel = edge
                if plane >= 0 and h >= 0 and w >= 0:
                    pixel = number(x[((plane * size[0] + h) * size[1] + w) & MASK])
                if j == 0 or (pixel < best if minimum else pixel > best):
                    best = pixel
            y[task & MASK] = store(best)
            task += cuda.gridsize(1)

    return extremes


@cache
def modular() -> Kernel:
    """The kernel of sums modulo 2^64, zeros beyond the edges."""

    @kernel(threads(256))
    def modular(x, weights, y, planes, starts, shifts, rows, columns, size, shape, taps, tasks):  # type: ignore[no-untyped-def]
        """y[l, p, q] = sum over e, r, s of weights[e, r, s] * padded_x[starts[l] + shifts[e], p + r, q + s]."""
        task = cuda.grid(1)
        while task < tasks:
            rest, q = split(task, shape[2])
            l, p = split(rest, shape[1])  # noqa: E741
            total = int64(0)
            for e in range(taps[0]):
                plane = planes[(starts[l] + shifts[e & MASK]) & MASK]
                for r in range(taps[1]):
                    h = rows[(p + r) & MASK]
                    if plane >= 0 and h >= 0:
                        for s in range(taps[2]):
                            w = columns[(q + s) & MASK]
                            if w >= 0:
                                weight = weights[((e * taps[1] + r) * taps[2] + s) & MASK]
                                total += weight * x[((plane * size[0] + h) * size[1] + w) & MASK]
            y[task & MASK] = total
            task += cuda.gridsize(1)

    return modular
