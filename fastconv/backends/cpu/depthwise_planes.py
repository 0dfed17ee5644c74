"""Depthwise layers of stride 1: planes are filtered one after the other, with pixels in the lanes.

A task copies some channels' planes of an image, or a block of their rows, into its thread's workspace with their
borders of zeros. Pixels are read and written in their order in memory, and none is turned: what comes from far comes at
the memory's pace.

Index letters: `c` channel, `p q` output pixel, `r t` filter tap.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.moves import clear_numbers, copy_rows, flag_unless_finite
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

# A plan's words: channels; rows and columns of the source and of the target; how far the first tap is from an output
# pixel; rows and columns of taps, and a table of each column: how far it is from the first one, and where its taps'
# weights lie, in bytes; blocks of rows; channels of a task, and how many such sets there are; a copied row's numbers,
# its bytes, and a plane's.
CHANNELS, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH, TOP, LEFT, ACROSS, TABLE = range(9)
BLOCKS, TOGETHER, SETS, SPAN, PITCH, PLANE, CHECKED, SHARED, PER_THREAD = range(9, 18)
WORDS = 18
X, WEIGHT, BIAS, Y, WORKSPACE, FLAG = range(6)
MOST = 7  # rows of taps, at most: a column's weights stay in registers


@instruction(6)
def plane_tile(
    e: Emit,
    rows: int,
    vectors: int,
    high: int,
    whole: int,
    x: Value,
    pitch: Value,
    weights: Value,
    table: Value,
    across: Value,
    bias: Value,
    y: Value,
    y_pitch: Value,
    keep: Value,
) -> None:
    """y[p, q] = bias + sum over r, t of weights[table[t, 1 + r]] x[p + r, q + table[t, 0]], for `keep` of each row.

    `whole`: that is all pixels of the tile. Addresses, pitches and the table's entries are bytes.
    """
    width, start = e.lanes * e.item, e.splat(e.number(bias))

    def column(t: Value, sums: list[Value]) -> list[Value]:
        entries = e.at(table, (8 * (1 + high), t))
        factors = [e.splat(e.number(weights, e.word(entries, e.long(1 + r)))) for r in range(high)]
        source = e.at(x, e.word(entries, e.long(0)))
        for q in range(rows + high - 1):
            pixels = [e.load(e.at(source, (q, pitch)), v * width) for v in range(vectors)]
            for p in range(max(0, q - high + 1), min(rows, q + 1)):
                for v, pixel in enumerate(pixels):
                    sums[p * vectors + v] = e.fma(factors[q - p], pixel, sums[p * vectors + v])
        return sums

    sums = e.loop(across, [start] * (rows * vectors), column)
    masks = [] if whole else [e.leading(e.b.sub(keep, e.long(v * e.lanes))) for v in range(vectors)]
    for p in range(rows):
        for v in range(vectors):
            place = e.at(y, (p, y_pitch))
            if whole:
                e.store(sums[p * vectors + v], place, v * width)
            else:
                e.masked_store(sums[p * vectors + v], masks[v], place, v * width)


@cache
def planes_body(item: int, lanes: int, rows: int, vectors: int, high: int) -> Any:
    """The forward pass or the input gradient, by tiles of so many rows and vectors."""
    wide = vectors * lanes

    @njit
    def copy_planes(plan, source, count, row, row_end, buffer):  # type: ignore[no-untyped-def]
        """What some rows of so many planes look at."""
        height, width, pitch = word(plan, HEIGHT), word(plan, WIDTH), word(plan, PITCH)
        top, left, span, wanted = row + word(plan, TOP), word(plan, LEFT), row_end - row + high - 1, word(plan, SPAN)
        before, skipped = min(wanted, max(0, -left)), max(0, left)
        some = max(0, min(width - skipped, wanted - before))
        begin = min(span, max(0, -top)) if some else span
        end = max(begin, min(span, height - top))
        if begin < end:
            copy_rows(
                item, lanes, 1, source + ((top + begin) * width + skipped) * item, width * item, end - begin,
                before, some, wanted, buffer + begin * pitch, pitch, count, height * width * item, word(plan, PLANE),
            )  # fmt: skip
        for k in range(count if end - begin < span else 0):
            place = buffer + k * word(plan, PLANE)
            clear_numbers(item, lanes, begin * pitch // item, place)
            clear_numbers(item, lanes, (span - end) * pitch // item, place + end * pitch)

    @njit
    def filter_plane(plan, buffer, weights, bias, y, count):  # type: ignore[no-untyped-def]
        """So many rows of a plane; tiles that begin late begin earlier instead, and give the same numbers twice."""
        pitch, out_pitch, table = word(plan, PITCH), word(plan, OUT_WIDTH) * item, word(plan, TABLE)
        for p in range(0, count, rows):
            i = min(p, count - rows)
            x, target, left = buffer + i * pitch, y + i * out_pitch, word(plan, OUT_WIDTH)
            while left >= wide:
                plane_tile(
                    item, lanes, rows, vectors, high, 1,
                    x, pitch, weights, table, word(plan, ACROSS), bias, target, out_pitch, left,
                )  # fmt: skip
                x, target, left = x + wide * item, target + wide * item, left - wide
            if left > 0:
                plane_tile(
                    item, lanes, rows, vectors, high, 0,
                    x, pitch, weights, table, word(plan, ACROSS), bias, target, out_pitch, left,
                )  # fmt: skip

    @body
    def planes(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, set of channels, block of rows)."""
        blocks, sets, together = word(plan, BLOCKS), word(plan, SETS), word(plan, TOGETHER)
        taps = high * word(plan, ACROSS) * item
        pixels, outputs = word(plan, HEIGHT) * word(plan, WIDTH), word(plan, OUT_HEIGHT) * word(plan, OUT_WIDTH)
        buffer = word(arrays, WORKSPACE) + word(plan, SHARED) + thread * word(plan, PER_THREAD)
        for task in range(first, end):
            block, rest = task % blocks, task // blocks
            channel, image = rest % sets * together, rest // sets
            count, own = min(together, word(plan, CHANNELS) - channel), image * word(plan, CHANNELS) + channel
            row = block * word(plan, OUT_HEIGHT) // blocks
            row_end = (block + 1) * word(plan, OUT_HEIGHT) // blocks
            if word(plan, CHECKED):
                all_taps = count * taps // item
                flag_unless_finite(item, lanes, 0, word(arrays, WEIGHT) + channel * taps, all_taps, word(arrays, FLAG))
            copy_planes(plan, word(arrays, X) + own * pixels * item, count, row, row_end, buffer)
            for k in range(count):
                filter_plane(
                    plan, buffer + k * word(plan, PLANE), word(arrays, WEIGHT) + (channel + k) * taps,
                    word(arrays, BIAS) + (channel + k) * item,
                    word(arrays, Y) + ((own + k) * outputs + row * word(plan, OUT_WIDTH)) * item, row_end - row,
                )  # fmt: skip

    return planes
