"""Depthwise layers: planes are filtered one after the other, with pixels in the lanes.

Pixels are loaded where they lie, once for each column of taps, and none is copied or turned: what comes from far comes
at the memory's pace. Lanes beyond a row's ends are masked, and for rows beyond a plane's there is a row of zeros.

Index letters: `c` channel, `p q` output pixel, `r t` filter tap.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.moves import clear_numbers, flag_unless_finite
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

# A plan's words: channels; rows and columns of the source and of the target; how far the first row of taps is from an
# output pixel; columns of taps, and a table of them: how far its pixels are from the first output pixel, and where its
# taps' weights lie, in bytes; blocks of rows; channels of a task, and how many such sets there are.
CHANNELS, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH, TOP, ACROSS, TABLE, BLOCKS, TOGETHER, SETS = range(11)
CHECKED, SHARED, PER_THREAD = range(11, 14)
WORDS = 14
X, WEIGHT, BIAS, Y, WORKSPACE, FLAG = range(6)
MOST = 7  # rows of taps, at most: a column's weights stay in registers


@instruction(8)
def plane_columns(
    e: Emit,
    rows: int,
    vectors: int,
    high: int,
    down: int,
    across: int,
    some: int,
    x: Value,
    height: Value,
    width: Value,
    top: Value,
    left: Value,
    weights: Value,
    table: Value,
    taps: Value,
    bias: Value,
    zeros: Value,
    y: Value,
    y_pitch: Value,
    count: Value,
    keep: Value,
) -> None:
    """y[p, q] = bias + sum over r, t of w[t, r] x[top + p * down + r, left + q * across + table[t, 0]] for p < count.

    w[t, r] is the weight at the byte table[t, 1 + r]; beyond the rows and columns of x it is 0. Columns of taps, which
    are neighbours, are all taken at once if `some` is more than 1. Of a row `keep` pixels are stored, of so many
    vectors. At `zeros` there are as many as are loaded of a row. Rows are taken `rows` at a time; the last ones begin
    earlier and give the same numbers twice.
    """
    size, start = e.lanes * e.item, e.splat(e.number(bias))
    span, even = (rows - 1) * down + high, list(range(0, 2 * e.lanes, 2))
    pitch, entry = e.b.mul(width, e.long(e.item)), 8 * (1 + high)
    kept = [e.leading(e.b.sub(keep, e.long(v * e.lanes))) for v in range(vectors)]

    def prepared(index: Value) -> tuple[Any, Any, Any]:
        """Weights, masks of what is loaded, and how far that is, for some columns of taps."""
        entries = e.at(table, (some * entry, index))
        factors = [
            [e.splat(e.number(weights, e.word(entries, e.long(t * entry // 8 + 1 + r)))) for r in range(high)]
            for t in range(some)
        ]
        first = e.at(left, e.word(entries, e.long(0)))
        masks: dict[int, Value] = {}
        for place in [t // across * across + n * e.lanes for t in range(some) for n in range(vectors * across)]:
            at = e.at(first, place)
            masks[place] = e.b.xor(e.leading(e.b.neg(at)), e.leading(e.b.sub(width, at)))
        return factors, masks, e.b.mul(first, e.long(e.item))

    def columns(ready: tuple[Any, Any, Any], above: Value, sums: list[Value]) -> list[Value]:
        """The sums of some rows with some columns of taps; `above` is the first row that they meet."""
        factors, masks, shift = ready
        line = e.at(x, shift, e.b.mul(above, pitch))
        for q in range(span):
            inside = e.b.icmp_unsigned("<", e.at(above, q), height)
            source = e.b.select(inside, line, zeros)
            line = e.at(line, pitch)
            loaded = {place: e.masked_load(mask, source, place * e.item) for place, mask in masks.items()}
            for t in range(some):
                pixels = [loaded[t // across * across + n * e.lanes] for n in range(vectors * across)]
                if across == 2:
                    lanes = [lane + t % 2 for lane in even]
                    pixels = [e.shuffle(*pixels[2 * v : 2 * v + 2], lanes) for v in range(vectors)]
                for p in range(max(0, -((high - 1 - q) // down)), min(rows, q // down + 1)):
                    for v, pixel in enumerate(pixels):
                        sums[p * vectors + v] = e.fma(factors[t][q - p * down], pixel, sums[p * vectors + v])
        return sums

    once = prepared(e.long(0)) if some > 1 else None
    last = e.b.sub(count, e.long(rows))

    def tile(number: Value, _: list[Value]) -> list[Value]:
        begin = e.b.mul(number, e.long(rows))
        begin = e.b.select(e.b.icmp_signed("<", begin, last), begin, last)
        above, sums = e.at(top, (down, begin)), [start] * (rows * vectors)
        if once:
            sums = columns(once, above, sums)
        else:
            sums = e.loop(taps, sums, lambda t, inner: columns(prepared(t), above, inner))
        for p in range(rows):
            for v, mask in enumerate(kept):
                e.masked_store(sums[p * vectors + v], mask, e.at(y, (e.at(begin, p), y_pitch)), v * size)
        return []

    e.loop(e.b.sdiv(e.at(count, rows - 1), e.long(rows)), [], tile)


@cache
def planes_body(item: int, lanes: int, rows: int, vectors: int, high: int, down: int, across: int, some: int) -> Any:
    """The forward pass or the input gradient, by tiles of so many rows and vectors; strides down and across;
    `some` columns of taps at a time."""
    wide = vectors * lanes

    @body
    def planes(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, set of channels, block of rows)."""
        blocks, sets, together = word(plan, BLOCKS), word(plan, SETS), word(plan, TOGETHER)
        taps, width = high * word(plan, ACROSS) * item, word(plan, OUT_WIDTH)
        pixels, outputs = word(plan, HEIGHT) * word(plan, WIDTH), word(plan, OUT_HEIGHT) * width
        zeros = word(arrays, WORKSPACE) + word(plan, SHARED) + thread * word(plan, PER_THREAD)
        clear_numbers(item, lanes, wide * across + some, zeros)
        for task in range(first, end):
            block, rest = task % blocks, task // blocks
            channel, image = rest % sets * together, rest // sets
            count, own = min(together, word(plan, CHANNELS) - channel), image * word(plan, CHANNELS) + channel
            row = block * word(plan, OUT_HEIGHT) // blocks
            row_end = (block + 1) * word(plan, OUT_HEIGHT) // blocks
            if word(plan, CHECKED):
                all_taps = count * taps // item
                flag_unless_finite(item, lanes, 0, word(arrays, WEIGHT) + channel * taps, all_taps, word(arrays, FLAG))
            for left in range(0, width, wide):
                for k in range(count):
                    plane_columns(
                        item, lanes, rows, vectors, high, down, across, some,
                        word(arrays, X) + (own + k) * pixels * item, word(plan, HEIGHT), word(plan, WIDTH),
                        row * down + word(plan, TOP), left * across, word(arrays, WEIGHT) + (channel + k) * taps,
                        word(plan, TABLE), word(plan, ACROSS), word(arrays, BIAS) + (channel + k) * item, zeros,
                        word(arrays, Y) + ((own + k) * outputs + row * width + left) * item, width * item,
                        row_end - row, width - left,
                    )  # fmt: skip

    return planes
