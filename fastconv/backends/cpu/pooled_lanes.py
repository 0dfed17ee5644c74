"""Convolution with 2x2 maximum pooling where x has one channel and filters are few: pooled pixels in the lanes.

Filters in the lanes would leave most of them empty. Here the four pixels of a quad are four vectors, of the even and
the odd columns of two rows; a weight is one number. What is stored is turned, so that filters are last, as ever.

Index letters and distances, which are in bytes, are those of pooled_tiles.py.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from fastconv.backends.cpu import native
from fastconv.backends.cpu.exponentials import activated
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.pooled_tiles import even, in_all_lanes, largest
from fastconv.backends.cpu.vectors import I32, Emit, Value, instruction

AT_ONCE = 6  # filters whose quads' sums are in registers together


def columns_of(e: Emit, line: Value, count: int, needed: int) -> list[Value]:
    """The vectors x[2 lane + b] for b < count: of x only what is needed, and a vector behind that, is read."""
    found = []
    for b in range(0, count, 2):
        parts = []
        for begin in (b, b + e.lanes):
            if begin + e.lanes <= needed + e.lanes:
                parts.append(e.load(line, begin * e.item))
            else:
                parts.append(e.masked_load(e.first(max(0, needed - begin)), line, begin * e.item))
        found += [e.shuffle(parts[0], parts[1], range(odd, 2 * e.lanes, 2)) for odd in range(2)]
    return found[:count]


def store_codes(e: Emit, codes: Sequence[Value], columns: int, target: Value) -> None:
    """Store the bytes [pixel][filter] of vectors of int32, each with four filters' codes; so many pixels."""
    step = 4 * len(codes)
    for part in range(len(codes)):
        values = codes[0]
        if len(codes) == 2:  # eight filters: the two words of a pixel become neighbours
            begin = part * e.lanes // 2
            places = [lane + own * e.lanes for lane in range(begin, begin + e.lanes // 2) for own in range(2)]
            values = e.shuffle(codes[0], codes[1], places)
        written = min(e.lanes, columns * step // 4 - part * e.lanes)
        if written > 0:
            words = Emit(e.b, 4, e.lanes)
            pointer = e.element(target, part * 4 * e.lanes, values.type)
            e.call(f"llvm.masked.store.v{e.lanes}i32.p0", ir.VoidType(), values, pointer, I32(1), words.first(written))


@instruction(6)
def lanes_tile(
    e: Emit,
    filters: int,
    width: int,
    columns: int,
    kind: int,
    x: Value,
    x_row: Value,
    rows: Value,
    weights: Value,
    filter_bytes: Value,
    bias: Value,
    y: Value,
    y_pixel: Value,
    codes: Value,
) -> None:
    """y[j, k] = f(max over quads of bias[k] + sum over r, s of w[k, r, s] x[dy + r, 2 j + dx + s]) for j < columns.

    Filters have `width` columns, and are no more than half the lanes.
    """
    pixels, needed, half = e.lanes // 2, 2 * columns + width - 1, Emit(e.b, e.item, e.lanes // 2)
    whole = ir.VectorType(I32, e.lanes)
    values, words = [e.zero] * pixels, [ir.Constant(whole, [0] * e.lanes)] * (pixels // 4)

    def add_row(r: Value, carried: list[Value], group: range) -> list[Value]:
        line, place = e.at(x, e.b.mul(r, x_row)), e.at(weights, e.b.mul(r, e.long(width * e.item)))
        quads = [columns_of(e, at, width + 1, needed) for at in (line, e.at(line, x_row))]
        sources, found = [e.at(place, (k, filter_bytes)) for k in group], list(carried)
        for s in range(width):
            for own, source in enumerate(sources):
                weight = in_all_lanes(e, source, s * e.item)
                for q in range(4):
                    found[4 * own + q] = e.fma(weight, quads[q // 2][s + q % 2], found[4 * own + q])
        return found

    each = even(filters, AT_ONCE)
    for begin in range(0, filters, each):
        group = range(begin, min(begin + each, filters))
        start = [in_all_lanes(e, bias, k * e.item) for k in group for _ in range(4)]
        sums = e.loop(rows, start, lambda r, carried, group=group: add_row(r, carried, group))  # type: ignore[misc]
        for own, k in enumerate(group):
            places = [ir.Constant(whole, [q << 8 * (k % 4)] * e.lanes) for q in range(4)]
            value, code = largest(e, sums[4 * own : 4 * own + 4], places)
            values[k], words[k // 4] = activated(e, kind, value), e.b.or_(words[k // 4], code)
    store_codes(e, words, columns, codes)
    for place, pair in enumerate(e.transposed(values)):
        for j in (place, place + pixels):
            if j < columns:
                lanes = range(pixels) if j < pixels else range(pixels, e.lanes)
                half.masked_store(e.shuffle(pair, pair, lanes), half.first(filters), e.at(y, (j, y_pixel)))


# Words of a plan: the places and distances of x and y, then these.
X, X_IMAGE, X_ROW, Y, Y_IMAGE, Y_ROW, Y_PIXEL, CODES_IMAGE, DOWN, ACROSS, STRIPS, ROWS, FILTER_BYTES = range(13)


def fits(lanes: int, registers: int, filters: int, pixel: int, across: int) -> bool:
    """Whether this is quicker than filters in the lanes: few filters, rows that fill vectors, and enough registers."""
    return pixel == 1 and lanes >= 8 and 2 * filters <= lanes and registers >= 32 and 4 * across >= 3 * lanes


@functools.cache
def lanes_body(item: int, lanes: int, filters: int, width: int, columns: int, kind: int) -> Any:
    """The body that computes a strip of an image's pooled rows; the last vector of a row ends with it."""
    pixel_codes = lanes // 2

    @native.body
    def convolve(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, strip)."""
        strips, down, across, y_pixel = word(plan, STRIPS), word(plan, DOWN), word(plan, ACROSS), word(plan, Y_PIXEL)
        for task in range(first, end):
            image, strip = task // strips, task % strips
            x = word(arrays, 0) + word(plan, X) + image * word(plan, X_IMAGE)
            y = word(arrays, 3) + word(plan, Y) + image * word(plan, Y_IMAGE)
            codes = word(arrays, 4) + image * word(plan, CODES_IMAGE)
            for i in range(strip * down // strips, (strip + 1) * down // strips):
                for start in range(0, across, columns):
                    j = min(start, across - columns)
                    lanes_tile(
                        item, lanes, filters, width, columns, kind,
                        x + 2 * (i * word(plan, X_ROW) + j * item), word(plan, X_ROW), word(plan, ROWS),
                        word(arrays, 1), word(plan, FILTER_BYTES), word(arrays, 2),
                        y + i * word(plan, Y_ROW) + j * y_pixel, y_pixel, codes + (i * across + j) * pixel_codes,
                    )  # fmt: skip

    return convolve
