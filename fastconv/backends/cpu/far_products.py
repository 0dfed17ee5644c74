"""Matrix products with a matrix that stays in no near cache: it, or the result, is met along its rows, and once.

y[i, j] = bias[j] + sum over k of a[i, k] b[k, j], with j in the lanes, as `outers` of products.py. Rows of `b` that are
kilobytes apart fall into the same few places of a cache, and onto as many pages: columns of them, one behind the other,
would be fetched anew for each tile of y.

- `rows_body`: y has few rows, which stay near while some rows of `b` at a time are added to them;
- `packed_body`: a strip of `b` is copied, panel behind panel, and met by all rows of y, whose own numbers are copied
  too; y is written along its rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fastconv.backends.cpu import products as p
from fastconv.backends.cpu.moves import copy_apart
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.tiles import add_product
from fastconv.backends.cpu.vectors import Emit, Value, instruction

TAKEN = 8  # rows that are added at a time: as many streams as a processor follows
TOGETHER = 2  # vectors of each: a line, or two


@instruction(4)
def add_rows(
    e: Emit,
    rows: int,
    taken: int,
    a: Value,
    a_row: Value,
    a_step: Value,
    b: Value,
    b_row: Value,
    y: Value,
    y_row: Value,
    columns: Value,
    before: Value,
    start: Value,
    start_row: Value,
) -> None:
    """y[i, :] = s[i, :] + sum over k < taken of a[i * a_row + k * a_step] * b[k * b_row, :], for so many columns.

    s is what lies at `start`, if something came `before`, else 0.
    """
    width = e.lanes * e.item
    add = e.splat(e.b.icmp_signed("!=", before, e.long(0)))
    numbers = [[e.splat(e.number(e.at(a, (i, a_row), (k, a_step)))) for k in range(taken)] for i in range(rows)]
    lines = [e.at(b, (k, b_row)) for k in range(taken)]

    def some(offset: Value, vectors: int, mask: Value) -> None:
        places = [e.at(offset, v * width) for v in range(vectors)]
        some_of, starts = e.b.and_(mask, add), [e.at(start, (i, start_row)) for i in range(rows)]
        sums = [[e.masked_load(some_of, line, place) for place in places] for line in starts]
        for k, line in enumerate(lines):
            met = [e.masked_load(mask, line, place) for place in places]
            for i, factors in enumerate(numbers):
                sums[i] = [e.fma(factors[k], vector, total) for vector, total in zip(met, sums[i], strict=True)]
        for i, totals in enumerate(sums):
            for total, place in zip(totals, places, strict=True):
                e.masked_store(total, mask, e.at(y, (i, y_row)), place)

    def step(index: Value, _: list[Value]) -> list[Value]:
        some(e.b.mul(index, e.long(TOGETHER * width)), TOGETHER, e.first(e.lanes))
        return []

    together = e.b.sdiv(columns, e.long(TOGETHER * e.lanes))
    e.loop(together, [], step)
    done = e.b.mul(together, e.long(TOGETHER * e.lanes))
    shift = e.b.mul(done, e.long(e.item))
    e.each(e.b.sub(columns, done), lambda offset, mask: some(e.at(shift, offset), 1, mask))


@instruction(4)
def pack_panels(
    e: Emit, rows: int, vectors: int, source: Value, pitch: Value, columns: Value, target: Value, panel: Value
) -> None:
    """target[p, i, :] = source[i, p * across :] in panels of so many vectors and bytes; zeros behind the last column.

    There is place for a panel more than there are whole ones.
    """
    width, across = e.lanes * e.item, vectors * e.lanes
    whole = e.b.sdiv(columns, e.long(across))
    rest = e.b.sub(columns, e.b.mul(whole, e.long(across)))
    masks = [e.leading(e.b.sub(rest, e.long(v * e.lanes))) for v in range(vectors)]

    def copy(_: Value, places: list[Value], masks: list[Value]) -> list[Value]:
        from_, to = places
        for i in range(rows):
            for v, mask in enumerate(masks):
                found = e.masked_load(mask, e.at(from_, (i, pitch)), v * width)
                e.store(found, to, (i * vectors + v) * width)
        return [e.at(from_, vectors * width), e.at(to, panel)]

    every = [e.first(e.lanes)] * vectors
    ends = e.loop(whole, [source, target], lambda k, places: copy(k, places, every))
    copy(whole, ends, masks)


@cache
def rows_body(item: int, lanes: int, rows: int) -> Any:
    """Some rows of `b` at a time, added to all of y's rows, which are so many; the rest one by one."""

    @body
    def add(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        wide, depth = word(plan, p.COLUMNS), word(plan, p.DEPTH)
        a_row, a_step, b_row = word(plan, p.A_ROW), word(plan, p.A_STEP), word(plan, p.B_ROW)
        biased, pitch = word(plan, p.BIASED), wide * item
        whole = depth - depth % TAKEN
        for task in range(first, end):
            _, _, begin, stop = p.rectangle(plan, task, rows)
            y, count = word(arrays, word(plan, p.RESULT)) + begin * item, stop - begin
            start, start_row = (word(arrays, p.BIAS) + begin * item, 0) if biased else (y, pitch)
            a, b = word(arrays, word(plan, p.LEFT)), word(arrays, word(plan, p.RIGHT)) + begin * item
            for k in range(0, whole, TAKEN):
                add_rows(
                    item, lanes, rows, TAKEN, a + k * a_step, a_row, a_step, b + k * b_row, b_row, y, pitch, count,
                    k + biased, start, start_row,
                )  # fmt: skip
                start, start_row = y, pitch
            for k in range(whole, depth):
                add_rows(
                    item, lanes, rows, 1, a + k * a_step, a_row, a_step, b + k * b_row, b_row, y, pitch, count,
                    k + biased, start, start_row,
                )  # fmt: skip
                start, start_row = y, pitch

    return add


@cache
def packed_body(item: int, lanes: int, rows: int, vectors: int, update: int = 0) -> Any:
    """Tiles of a strip of y from packs, row of tiles by row of tiles.

    With an `update` y is a gradient, and its parameter moves a tile at a time, while the tile is near.
    """
    across = vectors * lanes
    move = p.moves(update)

    @body
    def packed(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        wide, depth, most = word(plan, p.COLUMNS), word(plan, p.DEPTH), word(plan, p.BLOCK)
        a_row, a_step, b_row = word(plan, p.A_ROW), word(plan, p.A_STEP), word(plan, p.B_ROW)
        biased, pitch = word(plan, p.BIASED), wide * item
        own = word(arrays, p.WORKSPACE) + word(plan, p.SHARED) + thread * word(plan, p.PER_THREAD)
        numbers = own + word(plan, p.PACK_BYTES)
        for task in range(first, end):
            low, high, begin, stop = p.rectangle(plan, task, rows)
            for k in range(0, depth, most):
                count = min(most, depth - k)
                b = word(arrays, word(plan, p.RIGHT)) + k * b_row + begin * item
                panel, taken = count * across * item, count - count % TAKEN
                for row in range(0, taken, TAKEN):
                    to = own + row * across * item
                    pack_panels(item, lanes, TAKEN, vectors, b + row * b_row, b_row, stop - begin, to, panel)
                for row in range(taken, count):
                    to = own + row * across * item
                    pack_panels(item, lanes, 1, vectors, b + row * b_row, b_row, stop - begin, to, panel)
                for i in range(low, high, rows):
                    valid = min(rows, high - i)
                    a = word(arrays, word(plan, p.LEFT)) + i * a_row + k * a_step
                    for row in range(valid):
                        copy_apart(item, lanes, a + row * a_row, a_step, count, numbers + row * item, rows * item)
                    for j in range(begin, stop, across):
                        y, last = word(arrays, word(plan, p.RESULT)) + (i * wide + j) * item, stop - j
                        start, start_row = (word(arrays, p.BIAS) + j * item, 0) if biased and k == 0 else (y, pitch)
                        place = own + (j - begin) * count * item
                        if last >= across:
                            add_product(
                                item, lanes, rows, vectors, 1, 0, numbers, item, rows * item, place, across * item,
                                count, y, pitch, valid, across, k + biased, start, start_row,
                            )  # fmt: skip
                        else:
                            add_product(
                                item, lanes, rows, vectors, 0, 0, numbers, item, rows * item, place, across * item,
                                count, y, pitch, valid, last, k + biased, start, start_row,
                            )  # fmt: skip
                        if update != 0 and k + count == depth:
                            for row in range(i, i + valid):
                                move(
                                    item, lanes, arrays + 8 * p.NUMBERS, arrays + 8 * p.OWN, row * wide + j,
                                    min(across, last),
                                )  # fmt: skip

    return packed
