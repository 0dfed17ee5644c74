"""The register tile with filters in its lanes, and what of its pixels it leaves out at an image's sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastconv.backends.cpu import machine
from fastconv.backends.cpu.coming_lines import fetch_line
from fastconv.backends.cpu.vectors import Emit, Value, instruction

TIMES = 4  # how many steps of a sum are written one behind the other, where a step is short
WIDE = 6  # pixels across of a tile whose step takes long enough for the next row's to come


@instruction(6)
def filters_tile(
    e: Emit,
    rows: int,
    columns: int,
    vectors: int,
    looks_ahead: int,
    x: Value,
    row_pitch: Value,
    table: Value,
    ranges: Value,
    kinds: Value,
    first: Value,
    end: Value,
    left: Value,
    right: Value,
    weights: Value,
    start: Value,
    start_row: Value,
    start_step: Value,
    out: Value,
    out_row: Value,
    out_step: Value,
    coming: Value,
    coming_last: Value,
    coming_step: Value,
) -> None:
    """out[i, j, :] = start[i, j, :] + sum over k of x[i * row_pitch + table[k, 0] + j] * weights[k].

    The taps are those from `first` to `end`; with many registers those that are in one of the ranges, of each of so
    many kinds. Of three kinds the first one's taps meet padding in the first pixel of a row, which is left out if the
    tile is `left`; the last one's in the last pixel, if it is `right`.

    `weights` has `vectors` vectors of filters for each k; so have the pixels of `out` and `start`, from one row and one
    pixel to the next so many bytes, 0 for a bias. Where it `looks_ahead` each tap fetches a line, from `coming` to
    `coming_last`.
    """
    width, shape = e.lanes * e.item, (rows, columns, vectors)
    bases = [e.at(x, (i, row_pitch)) for i in range(rows)]
    few = machine.vectors().few
    fetches = few and rows == 1 and columns < WIDE  # the next row's pixels; larger tiles outlast the wait

    def sum_over(low: Value, high: Value, sums: list[Value], pixels: range) -> list[Value]:
        places, own = e.at(table, (16, low)), e.at(weights, (vectors * width, low))

        def step(k: Value, carried: list[Value]) -> list[Value]:
            weights, line, *sums = carried
            offset = e.word(places, e.b.mul(k, e.long(2)))
            filters = [e.load(weights, v * width) for v in range(vectors)]
            if fetches:
                e.will_load(e.at(bases[-1], row_pitch), offset)
            if looks_ahead:
                line = fetch_line(e, line, coming_last, coming_step)
            for i, base in enumerate(bases):
                place = e.at(base, offset)
                for j in pixels:
                    pixel = e.splat(e.number(place, j * e.item))
                    for v in range(vectors):
                        n = (i * columns + j) * vectors + v
                        sums[n] = e.fma(pixel, filters[v], sums[n])
            return [e.at(weights, vectors * width), line, *sums]

        return e.loop(e.b.sub(high, low), [own, coming, *sums], step, TIMES if few else 1)[2:]

    begin = [e.load(*place) for place in tile_places(e, shape, start, start_row, start_step)]
    if few:
        sums = sum_over(first, end, begin, range(columns))
    else:
        sums = sum_kinds(e, (ranges, kinds), (first, end), (left, right), columns, begin, sum_over)
    for total, place in zip(sums, tile_places(e, shape, out, out_row, out_step), strict=True):
        e.store(total, *place)


def tile_places(
    e: Emit, shape: tuple[int, int, int], first: Value, row: Value, step: Value
) -> Iterator[tuple[Value, int]]:
    """Address and offset of each vector of a tile of rows, pixels and vectors."""
    rows, columns, vectors = shape
    for i in range(rows):
        pixel = e.at(first, (i, row))
        for _ in range(columns):
            yield from ((pixel, v * e.lanes * e.item) for v in range(vectors))
            pixel = e.at(pixel, step)


def sum_kinds(
    e: Emit,
    kinds: tuple[Value, Value],
    bounds: tuple[Value, Value],
    edges: tuple[Value, Value],
    columns: int,
    begin: list[Value],
    sum_over: Callable[[Value, Value, list[Value], range], list[Value]],
) -> list[Value]:
    """Carry sums through each kind's range of taps, as far as it is within bounds: through the pixels that they see."""
    (ranges, count), (first, end), (left, right) = kinds, bounds, edges

    def sum_kind(kind: Value, sums: list[Value]) -> list[Value]:
        low, high = (e.word(ranges, e.at(e.b.mul(kind, e.long(2)), bound)) for bound in (0, 1))
        low = e.b.select(e.b.icmp_signed(">", low, first), low, first)
        high = e.b.select(e.b.icmp_signed("<", high, end), high, end)
        at_left = e.b.and_(left, e.b.zext(e.b.icmp_signed("==", kind, e.long(0)), left.type))
        at_right = e.b.and_(right, e.b.zext(e.b.icmp_signed("==", kind, e.long(2)), right.type))

        def at_edge() -> list[Value]:
            return e.either(
                e.b.icmp_signed("!=", at_left, e.long(0)),
                lambda: sum_over(low, high, sums, range(1, columns)),
                lambda: sum_over(low, high, sums, range(columns - 1)),
            )

        inside = e.b.icmp_signed("==", e.b.or_(at_left, at_right), e.long(0))
        return e.either(inside, lambda: sum_over(low, high, sums, range(columns)), at_edge)

    return e.loop(count, begin, sum_kind)
