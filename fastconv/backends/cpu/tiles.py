"""Register tiles: the sums that all of convolution is made of, in vector instructions.

Accumulators stay in registers over the whole sum over taps. A tap `k` is an entry of a table, the distance in bytes of
its pixel from the window's first one, so that the tiles know neither rank nor stride nor dilation.

- `filters_tile`, in a file of its own, has filters in the lanes: a weight is loaded as part of a vector, a pixel as a
  single number.
- `pixels_tile` has pixels in the lanes: a pixel is loaded as part of a vector, a weight as a single number.
- `taps_tile` has filters in the lanes too, and sums over pixels: the gradient of the weights.
- `dots_tile` does so with pixels in the lanes, where filters are few.
- `store_dots` and `add_product` are products of matrices, which have no taps.

What a tile is written for: fused multiply-adds at the rate of both units, with fewer loads than the two load units
take. Each number is loaded beside its multiply-adds; LLVM keeps that order, and would spill accumulators otherwise.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.cpu.coming_lines import fetch_line
from fastconv.backends.cpu.vectors import Emit, Value, instruction

AHEAD = 8  # rows of a product that are fetched before they are loaded


@instruction(6)
def pixels_tile(
    e: Emit,
    filters: int,
    rows: int,
    vectors: int,
    looks_ahead: int,
    x: Value,
    row_pitch: Value,
    tables: Value,
    taps: Value,
    weights: Value,
    filter_step: Value,
    bias: Value,
    bias_step: Value,
    valid: Value,
    last: Value,
    y: Value,
    filter_pitch: Value,
    y_row_pitch: Value,
) -> None:
    """y[f, i, j] = bias[f] + sum over k of weights[f * filter_step + t[k, 1]] * x[i * row_pitch + t[k, 0] + j].

    `t` are the tables. Only `last` lanes of each row's last vector are pixels: no others are read or written. Of the
    filters only `valid` are there; the others repeat the last one. Where it `looks_ahead` each tap fetches what the
    next tile meets.
    """
    width, mask = e.lanes * e.item, e.first(last)
    limit = e.b.sub(valid, e.long(1))
    chosen = [e.least(f, limit) for f in range(filters)]
    sources = [e.at(weights, (f, filter_step)) for f in chosen]
    bases = [e.at(x, (i, row_pitch)) for i in range(rows)]

    def step(k: Value, sums: list[Value]) -> list[Value]:
        place = e.at(tables, (16, k))
        offset, tap = e.word(place, e.long(0)), e.word(place, e.long(1))
        pixels = []
        for base in bases:
            at = e.at(base, offset)
            pixels += [e.load(at, v * width) for v in range(vectors - 1)]
            pixels.append(e.masked_load(mask, at, (vectors - 1) * width))
            for v in range(vectors if looks_ahead else 0):
                e.will_load(at, (vectors + v) * width)
        following: list[Value] = []
        for source in sources:
            weight = e.splat(e.number(source, tap))
            following += [e.fma(weight, pixel, sums[len(following) + v]) for v, pixel in enumerate(pixels)]
        return following

    targets = [e.at(y, (f, filter_pitch), (i, y_row_pitch)) for f in chosen for i in range(rows)]
    for place in targets:
        for v in range(vectors):
            e.will_store(place, v * width)
    start = []
    for f in chosen:
        start += [e.splat(e.number(e.at(bias, (f, bias_step))))] * (rows * vectors)
    sums = iter(e.loop(taps, start, step))
    for place in targets:
        for v in range(vectors - 1):
            e.store(next(sums), place, v * width)
        e.masked_store(next(sums), mask, place, (vectors - 1) * width)


@instruction(6)
def taps_tile(
    e: Emit,
    starts: int,
    columns: int,
    vectors: int,
    looks_ahead: int,
    x: Value,
    table: Value,
    row_pitch: Value,
    grads: Value,
    grad_pitch: Value,
    rows: Value,
    pixels: Value,
    valid: Value,
    sums: Value,
    fresh: Value,
    coming: Value,
    coming_last: Value,
    coming_step: Value,
) -> None:
    """sums[t[a, 1]][b, :] += sum over i, q of x[t[a, 0] + i * row_pitch + q + b] * grads[i, q, :].

    `t` is the table. Rows of `grads` are (pixels, vectors, lanes), `grad_pitch` bytes apart; a start's sums are
    (columns, vectors, lanes). Of the starts only `valid` are there. Sums that are `fresh` begin at 0. Where it
    `looks_ahead` each pixel fetches a line, from `coming` to `coming_last`.
    """
    width = e.lanes * e.item
    limit = e.b.sub(valid, e.long(1))
    entries = [e.at(table, (16, e.least(a, limit))) for a in range(starts)]
    bases = [e.at(x, e.word(entry, e.long(0))) for entry in entries]
    count = columns * vectors

    def row(i: Value, carried: list[Value]) -> list[Value]:
        shift, grad = e.b.mul(i, row_pitch), e.at(grads, (i, grad_pitch))
        lines = [e.at(base, shift) for base in bases]

        def pixel(q: Value, inner: list[Value]) -> list[Value]:
            grad, line, *totals = inner
            if looks_ahead:
                line = fetch_line(e, line, coming_last, coming_step)
            found = [e.load(grad, v * width) for v in range(vectors)]
            place = e.b.mul(q, e.long(e.item))
            following: list[Value] = []
            for pixels_ in lines:
                for b in range(columns):
                    number = e.splat(e.number_at(pixels_, place, b * e.item))
                    for v in range(vectors):
                        following.append(e.fma(number, found[v], totals[len(following)]))
            return [e.at(grad, vectors * width), line, *following]

        return e.loop(pixels, [grad, *carried], pixel)[1:]

    _, *totals = e.loop(rows, [coming, *[e.zero] * (starts * count)], row)
    begins = e.b.icmp_signed("!=", fresh, e.long(0))
    for a, entry in enumerate(entries):
        with e.b.if_then(e.b.icmp_signed("<", e.long(a), valid)):
            target = e.at(sums, e.word(entry, e.long(1)))
            for place, total in enumerate(totals[a * count : (a + 1) * count]):
                before = e.b.select(begins, e.zero, e.load(target, place * width))
                e.store(e.b.fadd(before, total), target, place * width)


@instruction(4)
def dots_tile(
    e: Emit,
    filters: int,
    taps: int,
    x: Value,
    table: Value,
    row_pitch: Value,
    grads: Value,
    grad_pitch: Value,
    filter_pitch: Value,
    rows: Value,
    vectors: Value,
    last: Value,
    valid_filters: Value,
    valid: Value,
    sums: Value,
) -> None:
    """sums[f, k, :] += grads[f, i, q] * x[table[k] + i * row_pitch + q], lane by lane: over i and every lanes-th q.

    Rows have `vectors` vectors, and of the last one `last` lanes. Of the filters and taps only so many are valid; the
    others repeat the last one.
    """
    width = e.lanes * e.item
    mask = e.first(last)
    limit, most = e.b.sub(valid, e.long(1)), e.b.sub(valid_filters, e.long(1))
    bases = [e.at(x, e.word(table, e.least(k, limit))) for k in range(taps)]
    tops = [e.at(grads, (e.least(f, most), filter_pitch)) for f in range(filters)]
    whole = e.b.mul(e.b.sub(vectors, e.long(1)), e.long(width))

    def added(load: Any, lines: list[Value], grads: list[Value], totals: list[Value]) -> list[Value]:
        following = list(totals)
        found = [load(line) for line in grads]
        for k, line in enumerate(lines):
            pixels = load(line)
            for f, grad in enumerate(found):
                following[f * taps + k] = e.fma(grad, pixels, totals[f * taps + k])
        return following

    def row(i: Value, totals: list[Value]) -> list[Value]:
        shift, down = e.b.mul(i, row_pitch), e.b.mul(i, grad_pitch)
        lines, grads = [e.at(base, shift) for base in bases], [e.at(top, down) for top in tops]

        def step(v: Value, inner: list[Value]) -> list[Value]:
            place = e.b.mul(v, e.long(width))
            return added(lambda line: e.load(line, place), lines, grads, inner)

        totals = e.loop(e.b.sub(vectors, e.long(1)), totals, step)
        return added(lambda line: e.masked_load(mask, line, whole), lines, grads, totals)

    start = [e.load(sums, k * width) for k in range(filters * taps)]
    for k, total in enumerate(e.loop(rows, start, row)):
        e.store(total, sums, k * width)


@instruction(4)
def store_dots(
    e: Emit,
    rows: int,
    columns: int,
    a: Value,
    b: Value,
    depth: Value,
    bias: Value,
    y: Value,
    y_row: Value,
    valid_rows: Value,
    valid_columns: Value,
) -> None:
    """y[i, j] = bias[j] + sum over k < depth of a[i, k] * b[j, k], rows of both lying together.

    Of rows and columns only so many are there; the others repeat the last one.
    """
    width = e.lanes * e.item
    pitch = e.b.mul(depth, e.long(e.item))
    limits = [e.b.sub(valid, e.long(1)) for valid in (valid_rows, valid_columns)]
    lefts = [e.at(a, (e.least(i, limits[0]), pitch)) for i in range(rows)]
    rights = [e.at(b, (e.least(j, limits[1]), pitch)) for j in range(columns)]
    whole = e.b.sdiv(depth, e.long(e.lanes))

    def added(sums: list[Value], load: Any) -> list[Value]:
        xs = [load(left) for left in lefts]
        following: list[Value] = []
        for right in rights:
            weight = load(right)
            following += [e.fma(x, weight, sums[len(following) + i]) for i, x in enumerate(xs)]
        return following

    def step(k: Value, sums: list[Value]) -> list[Value]:
        place = e.b.mul(k, e.long(width))
        return added(sums, lambda row: e.load(row, place))

    sums = e.loop(whole, [e.zero] * (rows * columns), step)
    mask, place = e.leading(e.b.sub(depth, e.b.mul(whole, e.long(e.lanes)))), e.b.mul(whole, e.long(width))
    sums = added(sums, lambda row: e.masked_load(mask, row, place))
    for first in range(0, columns, e.lanes):
        some = range(first, min(columns, first + e.lanes))
        there = e.leading(e.b.sub(e.least(some.stop, valid_columns), e.long(first)))
        start = e.masked_load(there, bias, first * e.item)
        for i in range(rows):
            total = e.b.fadd(e.totals([sums[j * rows + i] for j in some]), start)
            e.masked_store(total, there, e.at(y, (e.least(i, limits[0]), y_row)), first * e.item)


@instruction(6)
def add_product(
    e: Emit,
    rows: int,
    vectors: int,
    whole: int,
    far: int,
    a: Value,
    a_row: Value,
    a_step: Value,
    b: Value,
    b_row: Value,
    depth: Value,
    y: Value,
    y_row: Value,
    valid: Value,
    columns: Value,
    before: Value,
    start: Value,
    start_row: Value,
) -> None:
    """y[i, :] = s[i, :] + sum over k < depth of a[i * a_row + k * a_step] * b[k * b_row, :], `columns` of a row.

    s is what lies at `start`, if something came `before`, else 0. Of the rows only `valid` are there; the others repeat
    the last one. If columns are `whole`, all vectors' are there. Rows of b are `far` from each other, or they lie one
    behind the other, as whole vectors.
    """
    width = e.lanes * e.item
    every = [e.first(e.lanes)] * vectors
    masks = every if whole else [e.first(e.b.sub(columns, e.long(v * e.lanes))) for v in range(vectors)]
    add = e.splat(e.b.icmp_signed("!=", before, e.long(0)))
    limit = e.b.sub(valid, e.long(1))
    chosen = [e.least(i, limit) for i in range(rows)]
    sources = [e.at(a, (i, a_row)) for i in chosen]
    targets = [e.at(y, (i, y_row)) for i in chosen]

    def step(k: Value, carried: list[Value]) -> list[Value]:
        line, shift, *sums = carried
        row = [e.masked_load(mask, line, v * width) for v, mask in enumerate(masks if far else every)]
        for v in range(vectors if far else 0):
            e.will_load(e.at(line, (AHEAD, b_row)), v * width)
        following: list[Value] = []
        for source in sources:
            number = e.splat(e.number(source, shift))
            following += [e.fma(number, vector, sums[len(following) + v]) for v, vector in enumerate(row)]
        return [e.at(line, b_row), e.at(shift, a_step), *following]

    first = []
    for i in chosen:
        line = e.at(start, (i, start_row))
        first += [e.masked_load(e.b.and_(mask, add), line, v * width) for v, mask in enumerate(masks)]
    _, _, *sums = e.loop(depth, [b, e.long(0), *first], step)
    totals = iter(sums)
    for target in targets:
        for v, mask in enumerate(masks):
            e.masked_store(next(totals), mask, target, v * width)
