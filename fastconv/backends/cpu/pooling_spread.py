"""What pooling windows give back to their pixels: the gradients, as each pixel sees the windows over it.

A band is some rows of pixels that lie under the same rows of windows, and so receive the same.

Index letters: `n` plane (an image's channel), `a p q` window, `i j k` pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv.backends.cpu import native
from fastconv.backends.cpu import windows as w
from fastconv.backends.cpu.vectors import I64, Emit, Value, instruction
from fastconv.geometry import Pooling
from fastconv.typing import Array

# How a row of pixels finds its windows: each by a table, or neighbours by neighbouring ones (stride 1); from 2 on the
# width of windows that tile the row.
LISTED, SLIDING = 0, 1
WIDEST = 4  # windows that are told apart in registers

# Parameters of the spreading kernel, and the words of a band: its first row of pixels, how many, its first row of
# windows and how many of them along each axis.
(WIDTH, WINDOWS, BEFORE, TAPS, BANDS, PIECES, GRAD_PIXELS, X_PIXELS, DEEP_ROWS, ROW_SHARES, SHARES, FIRSTS, COUNTS) = (
    range(13)
)
TARGET, REPEAT, SOURCE, DEEP, DOWN = range(5)
BAND = 5


def boxes_over_pixels(geometry: Pooling) -> list[Array]:
    """For each of three axes (pixels, 2): the first window, not dilated, over each pixel, and their number."""
    found = [np.array([[0, 1]])] * (3 - len(geometry.input_size))
    axes = zip(
        geometry.input_size, geometry.output_size, geometry.kernel_size, geometry.stride, geometry.padding, strict=True
    )
    for h, windows, taps, stride, (before, _) in axes:
        place = np.arange(h) + before
        first = np.maximum(-((taps - 1 - place) // stride), 0)
        found.append(np.stack([first, np.maximum(np.minimum(place // stride + 1, windows) - first, 0)], axis=1))
    return found


def way_of(geometry: Pooling) -> int:
    """How a row's pixels find their windows."""
    taps, stride = geometry.kernel_size[-1], geometry.stride[-1]
    if stride == 1:
        return SLIDING
    return taps if taps == stride <= WIDEST else LISTED


def bands_of(geometry: Pooling) -> Array:
    """The bands of a plane."""
    deep, down, _ = boxes_over_pixels(geometry)
    rows = w.three(geometry.output_size, 1)[1]
    change = np.flatnonzero((down[1:] != down[:-1]).any(axis=1)) + 1
    starts, ends = np.concatenate([[0], change]), np.concatenate([change, [len(down)]])
    found = np.zeros((len(deep), len(starts), BAND), np.int64)
    found[..., TARGET] = np.arange(len(deep))[:, None] * len(down) + starts
    found[..., REPEAT] = ends - starts
    found[..., SOURCE] = deep[:, None, 0] * rows + down[None, starts, 0]
    found[..., DEEP], found[..., DOWN] = deep[:, None, 1], down[None, starts, 1]
    return found.reshape(-1, BAND)


def tables(geometry: Pooling, planes: int, by_row: Array, by_column: Array) -> tuple[tuple[int, ...], Array, int]:
    """The spreading kernel's parameters, its tables in one array, and its tasks.

    `by_row` and `by_column` are what gradients are multiplied by (float32) or divided by (float64).
    """
    bands, across = bands_of(geometry), boxes_over_pixels(geometry)[2]
    room = np.zeros(w.ROOM, np.int64)
    parts = [bands, by_row, np.concatenate([by_column, room]), *(np.concatenate([column, room]) for column in across.T)]
    ends = np.cumsum([8 * part.size for part in parts]).tolist()
    out, pieces = w.three(geometry.output_size, 1), w.pieces_of(planes, len(bands))
    found = (
        *(geometry.input_size[-1], out[2], geometry.padding[-1][0], geometry.kernel_size[-1], len(bands), pieces),
        *(prod(out), prod(geometry.input_size), out[1], *ends[:4]),
    )
    return found, np.concatenate([part.reshape(-1).view(np.int64) for part in parts]), planes * pieces


def interleaved(e: Emit, vectors: Sequence[Value]) -> list[Value]:
    """Vectors' first numbers, then their second ones, and so on."""
    count, lanes = len(vectors), e.lanes
    found = []
    for part in range(count):
        places = [divmod(part * lanes + lane, count) for lane in range(lanes)]  # number and vector
        whole = vectors[0]
        for k in range(1, count):
            begin = [number for number, _ in places] if k == 1 else range(lanes)
            chosen = [lanes + n if which == k else b for (n, which), b in zip(places, begin, strict=True)]
            whole = e.shuffle(whole, vectors[k], chosen)
        found.append(whole)
    return found


class Shares:
    """Loads what windows give to each of their pixels: their gradient over their divisor, in float64."""

    def __init__(self, e: Emit, plan: Value, grad: Value, table: Value) -> None:
        self.e, self.d, self.grad = e, Emit(e.b, 8, e.lanes), grad
        self.rows = e.at(table, e.word(plan, I64(ROW_SHARES)))
        self.columns = e.at(table, e.word(plan, I64(SHARES)))
        self.windows = e.word(plan, I64(WINDOWS))

    def over(self, grads: Value, factors: Value, row: Value, mask: Value) -> Value:
        """The shares of gradients of a row of windows; 0 where the mask says so."""
        e, d = self.e, self.d
        factor = e.b.fmul(factors, e.splat(d.number(self.rows, e.b.mul(row, I64(8)))))
        if e.item == 4:
            return e.b.fmul(e.widened(grads), factor)
        return e.b.select(mask, e.b.fdiv(grads, factor), d.zero)

    def near(self, row: Value, first: Value, mask: Value) -> Value:
        """Those of neighbours from window `first` on."""
        e = self.e
        factors = self.d.masked_load(mask, self.columns, e.b.mul(first, I64(8)))
        place = e.at(e.b.mul(row, self.windows), first)
        return self.over(e.masked_load(mask, self.grad, e.b.mul(place, I64(e.item))), factors, row, mask)

    def far(self, row: Value, windows: Value, mask: Value) -> Value:
        """Those of a vector of windows."""
        e = self.e
        factors = self.d.gather(self.places(self.columns, windows, 8), mask)
        places = self.places(e.at(self.grad, e.b.mul(e.b.mul(row, self.windows), I64(e.item))), windows, e.item)
        return self.over(e.gather(places, mask), factors, row, mask)

    def places(self, begin: Value, windows: Value, size: int) -> Value:
        """Addresses of a vector of windows."""
        e = self.e
        return e.b.add(e.splat(begin), e.b.mul(windows, e.splat(I64(size))))


class Pixels:
    """A vector of neighbouring pixels of a row (of windows, where they tile it), and what it receives."""

    def __init__(self, e: Emit, way: int, plan: Value, table: Value, shares: Shares, vector: Value) -> None:
        self.e, self.way, self.shares = e, way, shares
        self.place = e.b.mul(vector, I64(e.lanes))
        width, self.windows = e.word(plan, I64(WIDTH)), e.word(plan, I64(WINDOWS))
        before, self.taps = e.word(plan, I64(BEFORE)), e.word(plan, I64(TAPS))
        tiles = max(way, 1)
        first = e.b.sub(e.b.mul(self.place, I64(tiles)), before) if way > SLIDING else self.place
        self.firsts = [e.at(first, part * e.lanes) for part in range(tiles)]
        self.masks = [w.inside(e, pixel, width) for pixel in self.firsts]
        if way == LISTED:
            self.listed, self.counts = (
                self.column(e.at(table, e.word(plan, I64(FIRSTS)))),
                self.column(e.at(table, e.word(plan, I64(COUNTS)))),
            )
        elif way == SLIDING:  # the window that has this pixel as its last tap
            self.last = e.b.sub(e.b.add(self.place, before), e.b.sub(self.taps, I64(1)))

    def column(self, table: Value) -> Value:
        """A vector of a table of int64."""
        e, kind = self.e, ir.VectorType(I64, self.e.lanes)
        return e.b.load(e.element(table, e.b.mul(self.place, I64(8)), kind), align=8)

    def received(self, row: Value, total: Value) -> Value:
        """The total, and what a row of windows gives."""
        e, b = self.e, self.e.b
        if self.way > SLIDING:
            mask = e.leading(b.sub(self.windows, self.place))
            return b.fadd(total, self.shares.near(row, self.place, mask))

        def tap(t: Value, values: list[Value]) -> list[Value]:
            if self.way == SLIDING:
                window = e.at(self.last, t)
                return [b.fadd(values[0], self.shares.near(row, window, w.inside(e, window, self.windows)))]
            mask = b.icmp_signed("<", e.splat(t), self.counts)
            return [b.fadd(values[0], self.shares.far(row, b.add(self.listed, e.splat(t)), mask))]

        return e.loop(self.taps, [total], tap)[0]

    def store(self, found: Value, row: Value) -> None:
        """Store the vector of pixels to a row of x."""
        e = self.e
        vectors = interleaved(e, [found] * len(self.firsts)) if len(self.firsts) > 1 else [found]
        for vector, mask, first in zip(vectors, self.masks, self.firsts, strict=True):
            e.masked_store(vector, mask, row, e.b.mul(first, I64(e.item)))


@instruction(3)
def spread_bands(e: Emit, way: int, plan: Value, grad: Value, table: Value, x: Value, low: Value, high: Value) -> None:
    """x[i, j, k] = the sum of grad[a, p, q] / divisor[a, p, q] over the windows that have the pixel."""
    b, shares = e.b, Shares(e, plan, grad, table)
    width, deep_rows = e.word(plan, I64(WIDTH)), e.word(plan, I64(DEEP_ROWS))
    each = e.lanes * max(way, 1)

    def vector(v: Value, _: list[Value]) -> list[Value]:
        pixels = Pixels(e, way, plan, table, shares, v)

        def band(i: Value, _: list[Value]) -> list[Value]:
            entry = e.at(table, b.mul(b.add(low, i), I64(8 * BAND)))

            def plane(j: Value, values: list[Value]) -> list[Value]:
                row = e.at(e.word(entry, I64(SOURCE)), b.mul(j, deep_rows))
                down = e.word(entry, I64(DOWN))
                return e.loop(down, values, lambda k, inner: [pixels.received(b.add(row, k), inner[0])])

            (total,) = e.loop(e.word(entry, I64(DEEP)), [shares.d.zero], plane)
            found = e.narrowed(total)

            def again(j: Value, _: list[Value]) -> list[Value]:
                row = b.mul(b.add(e.word(entry, I64(TARGET)), j), width)
                pixels.store(found, e.at(x, b.mul(row, I64(e.item))))
                return []

            e.loop(e.word(entry, I64(REPEAT)), [], again)
            return []

        e.loop(b.sub(high, low), [], band)
        return []

    reach = b.add(width, e.word(plan, I64(BEFORE))) if way > SLIDING else width
    e.loop(b.sdiv(b.add(reach, I64(each - 1)), I64(each)), [], vector)


@cache
def spread_body(item: int, lanes: int, way: int) -> Any:
    """The body of average pooling's gradient: a task is some bands of a plane."""

    @native.body
    def avg_pooling_grad(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """grad_x[n, i, j, k] = the sum of grad[n, a, p, q] / divisor[a, p, q] over the windows that have the pixel."""
        grad, grad_x, table = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
        pieces, bands = native.word(plan, PIECES), native.word(plan, BANDS)
        for task in range(first, end):
            n, piece = task // pieces, task % pieces
            low, high = piece * bands // pieces, (piece + 1) * bands // pieces
            source = grad + n * native.word(plan, GRAD_PIXELS) * item
            spread_bands(
                item, lanes, way, plan, source, table, grad_x + n * native.word(plan, X_PIXELS) * item, low, high
            )

    return avg_pooling_grad
