"""Register tiles of a convolution with 2x2 maximum pooling, and of its two gradients, in vector instructions.

Channels are last. The four pixels of a pooling window, a quad, are summed at once, and only their maximum is stored.
Its place, the code, is 2 dy + dx. Of the gradients one pixel in four is not 0: the winner's, found by its code.

Index letters: `n` image, `k` filter, `c` channel, `i j` pooled pixel, `r s` filter tap. All distances are in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from llvmlite import ir

from fastconv.backends.cpu.exponentials import activated
from fastconv.backends.cpu.vectors import I8, I32, I64, Emit, Value, instruction


def in_all_lanes(e: Emit, address: Value, offset: int) -> Value:
    """A vector of the number at an address."""
    return e.splat(e.number(address, offset))


def even(whole: int, most: int) -> int:
    """The size of equal parts of a range, each at most so large."""
    return -(-whole // -(-whole // max(1, min(most, whole))))


def largest(e: Emit, quad: Sequence[Value], codes: Sequence[Value] | None = None) -> tuple[Value, Value]:
    """The maximum of four vectors, and in each lane the code of the first place where it is. NaN is the largest number.

    Codes are the vectors given, or bytes.
    """

    def of_two(one: tuple[Value, Value], other: tuple[Value, Value]) -> tuple[Value, Value]:
        (u, i), (v, j) = one, other
        later = e.b.and_(e.b.fcmp_unordered(">", v, u), e.b.fcmp_ordered("ord", u, u))
        return e.b.select(later, v, u), e.b.select(later, j, i)

    bytes_ = ir.VectorType(I8, e.lanes)
    places = codes or [ir.Constant(bytes_, [place] * e.lanes) for place in range(4)]
    a, b, c, d = zip(quad, places, strict=True)
    return of_two(of_two(a, b), of_two(c, d))


def store_codes(e: Emit, codes: Value, address: Value, offset: int) -> None:
    """Store a byte for each lane."""
    e.b.store(codes, e.element(address, offset, codes.type), align=1)


class Taps(NamedTuple):
    """The numbers of x that a tile meets: `rows` of taps, in each of them `columns`, a pixel from each other."""

    x: Value
    x_row: Value
    pixel: int
    rows: Value
    columns: int
    channels: Value
    group: int  # columns whose weights are in registers together


def over_taps(
    e: Emit, taps: Taps, width: int, filters: Value, sums: Sequence[Value], work: Callable[..., Sequence[Value]]
) -> list[Value]:
    """Sums carried through the taps: `work(s, weights, lines, sums)` for each row, channel and group of columns from s.

    `filters` has a row of biases, with which sums begin, then a row of `width` bytes for each (r, c, s). `lines` are
    the addresses of the quads' two rows of x.
    """

    def channel(at: Value, carried: list[Value]) -> list[Value]:
        place, *totals = carried
        lines = at, e.at(at, taps.x_row)
        for s in range(0, taps.columns, taps.group):
            rows = range(s, min(s + taps.group, taps.columns))
            weights = [[e.load(place, row * width + v) for v in range(0, width, e.lanes * e.item)] for row in rows]
            totals = list(work(s, weights, lines, totals))
        return [e.at(place, taps.columns * width), *totals]

    def row(r: Value, carried: list[Value]) -> list[Value]:
        line = e.at(taps.x, e.b.mul(r, taps.x_row))
        return e.loop(taps.channels, carried, lambda c, inner: channel(e.at(line, (e.item, c)), inner))

    return e.loop(taps.rows, [e.at(filters, width), *sums], row)[1:]


def quads(e: Emit, vectors: int, columns: int, taps: Taps, filters: Value) -> Iterator[list[Value]]:
    """The sums of a quad's four pixels, for each pooled pixel and vector of filters.

    A number of x is loaded once for all taps of a group, that is for as many pixels of its row.
    """
    pixels = 2 * columns

    def work(s: int, weights: list[list[Value]], lines: tuple[Value, Value], sums: list[Value]) -> list[Value]:
        for place in range(pixels + len(weights) - 1):
            for dy, line in enumerate(lines):
                number = in_all_lanes(e, line, (s + place) * taps.pixel)
                for tap, row in enumerate(weights):
                    if 0 <= place - tap < pixels:
                        begin = (dy * pixels + place - tap) * vectors
                        for v, weight in enumerate(row):
                            sums[begin + v] = e.fma(number, weight, sums[begin + v])
        return sums

    width = vectors * e.lanes * e.item
    start = [e.load(filters, v) for v in range(0, width, e.lanes * e.item)] * (2 * pixels)
    sums = over_taps(e, taps, width, filters, start, work)
    for j in range(columns):
        for v in range(vectors):
            yield [sums[(pixels * dy + 2 * j + dx) * vectors + v] for dy in range(2) for dx in range(2)]


def paired_quads(e: Emit, columns: int, taps: Taps, filters: Value) -> Iterator[list[Value]]:
    """The sums of two quads' pixels, for filters that fill no more than half a vector.

    They are summed in vectors that have both pixels of a quad's row. A number of x that both meet is tap s of the left
    one and s - 1 of the right one. Only the left one's first tap and the right one's last are two numbers, which share
    the row of weights s = 0. So 0 times a number that a pixel does not meet, which may be infinite, is in no sum.
    """
    left = e.first(e.lanes // 2)

    def work(s: int, weights: list[list[Value]], lines: tuple[Value, Value], sums: list[Value]) -> list[Value]:
        for place in range(2 * columns + taps.columns - 1):
            for dy, line in enumerate(lines):
                for tap, (weight,) in enumerate(weights, s):
                    j, odd = divmod(place - tap, 2)
                    if odd or not 0 <= j < columns:
                        continue
                    number = in_all_lanes(e, line, place * taps.pixel)
                    if tap == 0:
                        number = e.b.select(left, number, in_all_lanes(e, line, (place + taps.columns) * taps.pixel))
                    sums[dy * columns + j] = e.fma(number, weight, sums[dy * columns + j])
        return sums

    sums = over_taps(e, taps, e.lanes * e.item, filters, [e.load(filters)] * (2 * columns), work)
    halves = list(range(e.lanes // 2)), list(range(e.lanes // 2, e.lanes))
    for j in range(0, columns, 2):
        pairs = [(sums[dy * columns + j], sums[dy * columns + min(j + 1, columns - 1)]) for dy in range(2)]
        yield [e.shuffle(*pair, [*half, *[lane + e.lanes for lane in half]]) for pair in pairs for half in halves]


@instruction(9)
def pooled_tile(
    e: Emit,
    paired: int,
    vectors: int,
    columns: int,
    group: int,
    width: int,
    pixel: int,
    kind: int,
    x: Value,
    x_row: Value,
    rows: Value,
    channels: Value,
    filters: Value,
    y: Value,
    y_pixel: Value,
    valid: Value,
    codes: Value,
    codes_pixel: Value,
) -> None:
    """y[j, k] = f(max over quads of bias[k] + sum over r, c, s of w[k, c, r, s] x[dy + r, 2 j + dx + s, c]).

    Filters, of `width` columns, are in the lanes, and `valid` of them are stored.
    """
    taps = Taps(x, x_row, pixel, rows, width, channels, group)
    if not paired:
        masks = [e.leading(e.b.sub(valid, e.long(v * e.lanes))) for v in range(vectors)]
        for place, quad in enumerate(quads(e, vectors, columns, taps, filters)):
            j, v = divmod(place, vectors)
            value, code = largest(e, quad)
            store_codes(e, code, e.at(codes, (j, codes_pixel)), v * e.lanes)
            e.masked_store(activated(e, kind, value), masks[v], e.at(y, (j, y_pixel)), v * e.lanes * e.item)
        return
    h = Emit(e.b, e.item, e.lanes // 2)
    mask = h.leading(valid)
    for pair, quad in enumerate(paired_quads(e, columns, taps, filters)):
        value, code = largest(e, quad)
        value = activated(e, kind, value)
        for j in range(2 * pair, min(2 * pair + 2, columns)):
            lanes = range(j % 2 * h.lanes, (j % 2 + 1) * h.lanes)
            store_codes(e, e.shuffle(code, code, lanes), e.at(codes, (j, codes_pixel)), 0)
            h.masked_store(e.shuffle(value, value, lanes), mask, e.at(y, (j, y_pixel)))


def place_of(e: Emit, places: Value, index: Value) -> Value:
    """An int32 of a table, as int64."""
    return e.b.sext(e.b.load(e.element(places, e.b.mul(index, e.long(4)), I32)), I64)


@instruction(2)
def gather_numbers(e: Emit, source: Value, places: Value, count: Value, target: Value) -> None:
    """target[i] = source[places[i]] for i < count; places are int32 and count bytes."""

    def step(i: Value, _: list[Value]) -> list[Value]:
        e.save(e.number(source, place_of(e, places, i)), target, e.b.mul(i, e.long(e.item)))
        return []

    e.loop(count, [], step)


@instruction(2)
def scatter_numbers(e: Emit, source: Value, places: Value, count: Value, target: Value) -> None:
    """target[places[i]] = source[i] for i < count; places are int32 and count bytes."""

    def step(i: Value, _: list[Value]) -> list[Value]:
        e.save(e.number(source, e.b.mul(i, e.long(e.item))), target, place_of(e, places, i))
        return []

    e.loop(count, [], step)
