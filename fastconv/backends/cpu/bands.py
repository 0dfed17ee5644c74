"""The register tile of filters of one channel: several output rows, whose windows share the pixels of their rows.

A pixel vector that is loaded feeds every output row that it belongs to. `taps` filter taps lie in a row of the filter,
`high` rows under each other: out[m, j] = sum over t and r of weights[t, r] * row[m + r][j + t].

A single row is filtered by the same tile. Folded after as many numbers as a vector has, it is an image whose rows are
its vectors: number v of them holds x[v * lanes + l], and a filter of S taps is one of `lanes` taps by S / lanes rows,
the last of which may be shorter (`full` taps). So a vector at an odd place, whose load takes twice as long, is loaded
once for all outputs that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import I1, I64, Emit, Value, instruction
from fastconv.typing import Array

# Words of the parameters: taps of a row of the filter, those of its last row, rows of the filter, and what lies between
# two columns of the packed weights, in bytes; how many columns (of short filters) or rows are summed before they are
# added to the others, and a bit for each place of a tile's first and last rows where that is due.
TAPS, FULL, HIGH, PITCH, PART, DUE = range(6)
# Words of a job: an address that is added to those of the rows; the tables of the rows' and of the results' addresses;
# another one that is added to these; the packed weights.
BASE, ROWS, OUT, OUTS, WEIGHTS = range(5)
JOB = 5
TOGETHER, MOST, PARTS = 40, 128, 8  # terms of a part at least and at most, and parts of a sum between
LARGEST = 24  # rows of a tile, at most
SHORT = 7  # rows of a filter up to which a column's weights stay in registers
TALL = 20  # rows from which on a tall tile wastes little at its ends

Step = Callable[[Value, list[Value]], list[Value]]  # the sums after one more tap


@dataclass(frozen=True)
class Tile:
    """Registers' shape: output rows by vectors of columns, for filters of `high` rows (0: any number from `rows` on).

    `parts`: whether a sum has so many terms that it falls in parts; `alone`: whether a row has a single tap.
    """

    rows: int
    vectors: int
    high: int
    parts: int
    alone: int


def tile_for(high: int, taps: int, folded: bool, registers: int) -> Tile:
    """A tile that leaves registers for a column's weights, or for one weight, and a pixel vector."""
    rest = int(high * taps > TOGETHER), int(taps == 1)
    if high <= SHORT:
        if folded:
            return Tile(min(registers - 1 - high, 16), 1, high, *rest)
        return Tile(max(1, min((registers - 2 - high) // 2, 8)), 2, high, *rest)
    if folded:
        return Tile(min(8, registers - 3), 1, 0, *rest)
    if registers < 32:
        return Tile(6, 2, 0, *rest)
    if taps == 1:
        return Tile(min(high, 10), 2, 0, *rest)
    return Tile(14, 2, 0, *rest) if high >= TALL else Tile(min(high, 9), 3, 0, *rest)


def sums_of(
    e: Emit,
    tile: tuple[int, int, int, int, int],
    base: Value,
    rows: Value,
    weights: Value,
    taps: Value,
    full: Value,
    high: Value,
    pitch: Value,
    part: Value,
    due: Value,
) -> list[Value]:
    """The sums, row after row."""
    count, vectors, known, parts, alone = tile
    width, zeros = e.lanes * e.item, [e.zero] * (count * vectors)

    def feed(q: Value, t: Value, outputs: Sequence[int], weight: Any, sums: list[Value]) -> list[Value]:
        """A row's pixels to the outputs that look at them, each with its weight."""
        source = e.b.add(e.word(rows, e.long(q)), e.at(base, (e.item, t)))
        pixels = [e.load(source, v * width) for v in range(vectors)]
        for m in outputs:
            factor = weight(m)
            for v, pixel in enumerate(pixels):
                place = m * vectors + v
                sums[place] = e.fma(factor, pixel, sums[place])
        return sums

    def columns(r: int, first: Value, number: Value, sums: list[Value]) -> list[Value]:
        """Columns of `r` taps each."""

        def column(index: Value, values: list[Value]) -> list[Value]:
            t = e.b.add(first, index)
            place = e.b.mul(t, pitch)
            factors = [e.splat(e.number(e.at(weights, place), e.item * k)) for k in range(r)]
            for q in range(count + r - 1):
                outputs = [m for m in range(count) if 0 <= q - m < r]
                values = feed(e.long(q), t, outputs, lambda m, q=q: factors[q - m], values)
            return values

        return column(e.long(0), sums) if alone else e.loop(number, sums, column)

    def along(begin: Value, end: Value, sums: list[Value], step: Step) -> list[Value]:
        """The sums after the taps of a row from `begin`, which is 0 or `full`, to `end`."""
        if alone:
            return sums if begin is full else step(e.long(0), sums)
        return e.loop(e.b.sub(end, e.long(begin)), sums, lambda index, values: step(e.at(index, begin), values))

    def band(q: Value, t: Value, outputs: Sequence[int], place: Value, sums: list[Value]) -> list[Value]:
        """A row of pixels. Weights lie bottom up, so that those of the outputs follow each other, from `place` on."""
        column = e.at(weights, e.b.mul(t, pitch), e.b.mul(e.long(place), e.long(e.item)))
        return feed(q, t, outputs, lambda m: e.splat(e.number(column, e.item * (m - outputs[0]))), sums)

    def turn(k: int, sums: list[Value]) -> list[Value]:
        """A row of taps of each output: those up to number k look at row k, the others at row k + high.

        Together they keep the multipliers busy as the rows in between do, at which all outputs look. The first of the
        others is at its last row of taps, which may be fewer.
        """
        near = range(k + 1)

        def step(far: Sequence[int], t: Value, values: list[Value]) -> list[Value]:
            values = band(e.long(k), t, near, e.b.sub(high, e.long(k + 1)), values)
            return band(e.at(high, k), t, far, far[0] - k - 1, values) if far else values

        sums = along(0, full, sums, partial(step, range(k + 1, count)))
        return along(full, taps, sums, partial(step, range(k + 2, count)))

    totals = Totals(e, len(zeros)) if parts else None
    if known:
        sums = in_parts(totals, full, part, zeros, partial(columns, known))
        return whole(totals, columns(known - 1, full, e.b.sub(taps, full), sums) if known > 1 and not alone else sums)

    def middle(first: Value, some: Value, values: list[Value]) -> list[Value]:
        def row(index: Value, inner: list[Value]) -> list[Value]:
            q = e.at(first, index, count - 1)
            place = e.b.sub(e.b.sub(high, e.long(1)), q)
            length = e.b.select(e.b.icmp_signed("==", place, I64(0)), full, taps)
            return along(0, length, inner, lambda t, innermost: band(q, t, range(count), place, innermost))

        return e.loop(some, values, row)

    sums = zeros
    for k in range(count - 1):
        sums = put_by(totals, turn(k, sums), bit(e, due, k))
    if totals:
        sums = totals.add(sums)
    sums = in_parts(totals, e.b.sub(high, e.long(count - 1)), part, sums, middle)
    if count > 1:  # the first output has no more taps
        last = e.b.sub(high, e.long(1))
        sums = along(full, taps, sums, lambda t, inner: band(last, t, range(1, count), 1, inner))
    return whole(totals, sums)


def parameters(taps: int, full: int, high: int, item: int) -> Array:
    """The words for a filter of `high` rows of taps."""
    terms = min(max(taps * high // PARTS, TOGETHER), MOST)  # of a part: roundings within and between parts are few
    part = max(1, terms // high) if high <= SHORT else -(-terms // taps)
    due = sum(1 << place for place in range(LARGEST) if (place + 1) % part == 0)
    return np.array([taps, full, high, high * item, part, due], np.int64)


def bit(e: Emit, bits: Value, place: int) -> Value:
    """Whether a bit is set."""
    return e.b.trunc(e.b.lshr(bits, e.long(place)), I1)


class Totals:
    """Sums of sums: one of a thousand terms would gather a thousand roundings of its whole, so they have two levels."""

    def __init__(self, e: Emit, count: int) -> None:
        self.e = e
        with e.b.goto_entry_block():
            block = e.b.alloca(e.vector, count)
            block.align = e.lanes * e.item
        self.spaces = [e.b.gep(block, [e.long(place)]) for place in range(count)]
        for space in self.spaces:
            e.b.store(e.zero, space)

    def add(self, sums: list[Value]) -> list[Value]:
        """Add these, and begin again at zero."""
        for space, total in zip(self.spaces, self.with_(sums), strict=True):
            self.e.b.store(total, space)
        return [self.e.zero] * len(sums)

    def with_(self, sums: list[Value]) -> list[Value]:
        """The totals with these."""
        return [self.e.b.fadd(self.e.b.load(space), value) for space, value in zip(self.spaces, sums, strict=True)]


def put_by(totals: Totals | None, sums: list[Value], wanted: Value = None) -> list[Value]:
    """The sums that go on: where it is wanted, those so far are added to the totals."""
    if totals is None:
        return sums
    return totals.add(sums) if wanted is None else when(totals.e, wanted, sums, totals.add)


def whole(totals: Totals | None, sums: list[Value]) -> list[Value]:
    """All that was summed."""
    return sums if totals is None else totals.with_(sums)


def in_parts(
    totals: Totals | None,
    count: Value,
    part: Value,
    zeros: list[Value],
    work: Callable[[Value, Value, list[Value]], list[Value]],
) -> list[Value]:
    """The sums that `work(first, some, sums)` makes of `count` terms; of several parts all but the last are put by."""
    if totals is None:
        return work(I64(0), count, zeros)
    e = totals.e

    def one(index: Value, _: list[Value]) -> list[Value]:
        totals.add(work(e.b.mul(index, part), part, zeros))
        return []

    parts = e.b.sdiv(e.b.sub(count, I64(1)), part)
    e.loop(parts, [], one)
    first = e.b.mul(parts, part)
    return work(first, e.b.sub(count, first), zeros)


def when(e: Emit, wanted: Value, values: list[Value], work: Callable[[list[Value]], list[Value]]) -> list[Value]:
    """The values that `work` makes of these where it is wanted, else these."""
    before = e.b.block
    with e.b.if_then(wanted):
        made, inside = work(values), e.b.block
    found = [e.b.phi(value.type) for value in values]
    for phi, old, new in zip(found, values, made, strict=True):
        phi.add_incoming(old, before)
        phi.add_incoming(new, inside)
    return found


@instruction(10)
def band_tile(
    e: Emit,
    count: int,
    vectors: int,
    known: int,
    parts: int,
    alone: int,
    folded: int,
    more: int,
    whole: int,
    base: Value,
    rows: Value,
    weights: Value,
    taps: Value,
    full: Value,
    high: Value,
    pitch: Value,
    part: Value,
    due: Value,
    out: Value,
    outs: Value,
    keep: Value,
) -> None:
    """The sums of a tile, to `keep` numbers of the rows at outs[m] + out; `more`: added to what is there.

    Folded, the rows are vectors of one row, of which `keep` numbers are wanted in all.
    """
    width = e.lanes * e.item
    places = [(m, v) for m in range(count) for v in range(vectors)]

    targets = [e.b.add(e.word(outs, e.long(m)), out) for m in range(count)]
    sums = sums_of(e, (count, vectors, known, parts, alone), base, rows, weights, taps, full, high, pitch, part, due)
    for (m, v), total in zip(places, sums, strict=True):
        if whole:
            place = targets[m], v * width
            e.store(e.b.fadd(total, e.load(*place)) if more else total, *place)
            continue
        wanted = e.leading(e.b.sub(keep, e.long((m if folded else v) * e.lanes)))
        if more:
            total = e.b.fadd(total, e.masked_load(wanted, targets[m], v * width))
        e.masked_store(total, wanted, targets[m], v * width)


@cache
def band_body(item: int, lanes: int, tile: Tile, folded: int, more: int) -> Any:
    """As many columns of all of a tile's rows as are asked for (`end`)."""
    rows, vectors, known, parts, alone = tile.rows, tile.vectors, tile.high, tile.parts, tile.alone
    wide = (rows if folded else vectors) * lanes
    few_rows, few_vectors = (min(rows, 8), 1) if folded else (rows, min(vectors, 2))
    few = (few_rows if folded else few_vectors) * lanes

    @body
    def band(plan, job, first, end, thread):  # type: ignore[no-untyped-def]
        """Words of `plan` and `job` are named above."""
        taps, full, high, pitch = word(plan, TAPS), word(plan, FULL), word(plan, HIGH), word(plan, PITCH)
        part, due = word(plan, PART), word(plan, DUE)
        base, table, out = word(job, BASE), word(job, ROWS), word(job, OUT)
        outs, weights = word(job, OUTS), word(job, WEIGHTS)
        left = 0
        while end - left >= wide:
            x, y = base + left * item, out + left * item
            band_tile(
                item, lanes, rows, vectors, known, parts, alone, folded, more, 1,
                x, table, weights, taps, full, high, pitch, part, due, y, outs, wide,
            )  # fmt: skip
            left += wide
        while left < end:
            x, y, keep = base + left * item, out + left * item, end - left
            band_tile(
                item, lanes, few_rows, few_vectors, known, parts, alone, folded, more, 0,
                x, table, weights, taps, full, high, pitch, part, due, y, outs, keep,
            )  # fmt: skip
            left += few

    return band
