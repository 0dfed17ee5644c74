"""Rows of pooling windows, a vector of windows together: the largest pixel of each, or the sum.

Index letters: `n` plane (an image's channel), `a p q` window, `i j k` pixel in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit

from fastconv.backends.cpu import native
from fastconv.backends.cpu import windows as w
from fastconv.backends.cpu.vectors import I8, I32, I64, Emit, Value, instruction


def for_rows(
    e: Emit,
    kind: int,
    taps: int,
    plan: Value,
    source: Value,
    table: Value,
    low: Value,
    high: Value,
    work: Callable[[w.Columns, Value, Value, Value, Value], None],
) -> None:
    """`work` for each vector of windows of the rows from `low` to before `high`.

    It gets the vector, its first window, the row's number and entry in the table, and the address of the first pixel.
    """
    windows = e.word(plan, I64(w.WINDOWS))

    def vector(v: Value, _: list[Value]) -> list[Value]:
        place = e.b.mul(v, I64(e.lanes))
        columns = w.Columns(e, kind, taps, plan, place)

        def row(i: Value, _: list[Value]) -> list[Value]:
            number = e.b.add(low, i)
            entry = e.at(table, e.b.mul(number, I64(8 * w.ROW)))
            pixels = e.b.add(e.word(entry, I64(w.CORNER)), columns.start)
            work(columns, place, number, entry, e.at(source, e.b.mul(pixels, I64(e.item))))
            return []

        e.loop(e.b.sub(high, low), [], row)
        return []

    e.loop(e.b.sdiv(e.b.add(windows, I64(e.lanes - 1)), I64(e.lanes)), [], vector)


def larger(e: Emit, value: Value, place: Value, best: Value, where: Value | None) -> list[Value]:
    """The larger of two vectors and its place, the second one of equals; NaN is the largest."""
    wins = e.b.and_(e.b.fcmp_unordered(">", value, best), e.b.fcmp_ordered("ord", best, best))
    found = [e.b.select(wins, value, best)]
    return found if where is None else [*found, e.b.select(wins, place, where)]


@instruction(6)
def highest_of_rows(
    e: Emit,
    what: int,
    deep: int,
    taps: int,
    kind: int,
    plan: Value,
    source: Value,
    table: Value,
    y: Value,
    places: Value,
    low: Value,
    high: Value,
) -> None:
    """y[q] = the largest of the pixels of window q, and `what` of its place, the first of equals; NaN is the largest.

    Padding is -inf, and a window starts with the place of its first tap inside x, so that its padding never wins.
    """
    whole = ir.VectorType(I32, e.lanes)
    lowest = e.constant(float("-inf"))

    def splat(number: Value) -> Value:
        return e.splat(e.b.trunc(number, I32))

    def work(columns: w.Columns, place: Value, number: Value, entry: Value, first: Value) -> None:
        def row(address: Value, at: Value, values: list[Value]) -> list[Value]:
            across = e.word(plan, I64(w.ACROSS_PLACE))

            def better(k: Value, value: Value, found: list[Value]) -> list[Value]:
                if what == w.NOTHING:
                    return larger(e, value, None, found[0], None)
                return larger(e, value, splat(e.b.add(at, e.b.mul(e.long(k), across))), *found)

            if taps:
                for k, value in enumerate(columns.split(columns.vectors(address, lowest))):
                    values = better(k, value, values)
                return values
            apart = columns.apart
            return e.loop(
                columns.count, values, lambda k, v: better(k, columns.tap(address, e.b.mul(k, apart), lowest), v)
            )

        start = [lowest]
        if what != w.NOTHING:
            begin = e.at(table, e.word(plan, I64(w.COLUMNS)), e.b.mul(place, I64(4)))
            start.append(e.b.load(e.element(begin, 0, whole), align=4))
        found = w.over_rows(e, deep, 0 if deep else taps, plan, first, entry, start, row)
        at = e.at(e.b.mul(number, e.word(plan, I64(w.WINDOWS))), place)
        e.masked_store(found[0], columns.valid, y, e.b.mul(at, I64(e.item)))
        if what != w.NOTHING:
            where = e.b.add(found[1], splat(e.word(entry, I64(w.START))))
            keep(e, what, columns, entry, where, places, at)

    for_rows(e, kind, taps, plan, source, table, low, high, work)


def keep(e: Emit, what: int, columns: w.Columns, entry: Value, where: Value, places: Value, at: Value) -> None:
    """Store the places: as they are in bytes, or as indices that count from the plane's first pixel."""
    if what == w.CODES:
        found = e.b.trunc(where, ir.VectorType(I8, e.lanes))
    else:
        kind = ir.VectorType(I64, e.lanes)
        begin = e.splat(e.b.add(e.word(entry, I64(w.CORNER)), columns.start))
        begin = e.b.add(begin, e.b.mul(e.numbered(), e.splat(columns.step)))
        none = e.b.icmp_signed("<", where, ir.Constant(where.type, [0] * e.lanes))
        found = e.b.select(none, ir.Constant(kind, [-1] * e.lanes), e.b.add(e.b.sext(where, kind), begin))
    e.masked_store(found, columns.valid, places, e.b.mul(at, I64(1 if what == w.CODES else 8)))


@instruction(5)
def sums_of_rows(
    e: Emit,
    deep: int,
    taps: int,
    kind: int,
    plan: Value,
    source: Value,
    table: Value,
    y: Value,
    low: Value,
    high: Value,
) -> None:
    """y[q] = the sum of the pixels of window q, over its divisor; the padding is 0.

    Windows of a few taps, which are unrolled, are summed as they are; others in float64, float32's then times
    reciprocals, which only a rounding of the double sees.
    """
    d = e if taps else Emit(e.b, 8, e.lanes)

    def work(columns: w.Columns, place: Value, number: Value, entry: Value, first: Value) -> None:
        def row(address: Value, _: Value, values: list[Value]) -> list[Value]:
            if taps:
                found = columns.vectors(address, e.zero)
                return [e.b.fadd(total, value) for total, value in zip(values, found, strict=True)]

            def step(k: Value, inner: list[Value]) -> list[Value]:
                value = columns.tap(address, e.b.mul(k, columns.apart), e.zero)
                return [e.b.fadd(inner[0], e.widened(value))]

            return e.loop(columns.count, values, step)

        count = len(columns.masks) if taps else 1  # sums of their own: an addition takes as long as four
        found = w.over_rows(e, deep, 0 if deep else taps, plan, first, entry, [d.zero] * count, row)
        total, *others = columns.split(found) if taps else found
        for value in others:
            total = e.b.fadd(total, value)
        shares = d.load(e.at(table, e.word(plan, I64(w.COLUMNS))), e.b.mul(place, I64(d.item)))
        part = Emit(e.b, 8, e.lanes).number(entry, 8 * w.DIVISOR)
        divisor = e.b.fmul(shares, e.splat(d.narrowed(part)))
        exact = taps or e.item == 8
        mean = e.b.fdiv(total, divisor) if exact else e.narrowed(e.b.fmul(total, divisor))
        at = e.at(e.b.mul(number, e.word(plan, I64(w.WINDOWS))), place)
        e.masked_store(mean, columns.valid, y, e.b.mul(at, I64(e.item)))

    for_rows(e, kind, taps, plan, source, table, low, high, work)


@njit
def part_of(rows, pieces, piece):  # type: ignore[no-untyped-def]
    """Where a piece of some rows begins and ends; a division takes as long as a little plane."""
    if pieces == 1:
        return 0, rows
    return piece * rows // pieces, (piece + 1) * rows // pieces


@njit
def after(task, piece, pieces):  # type: ignore[no-untyped-def]
    """The plane and the piece behind these."""
    return (task + 1, 0) if piece + 1 == pieces else (task, piece + 1)


@cache
def highest_body(item: int, lanes: int, what: int, deep: int, taps: int, kind: int) -> Any:
    """The body of max pooling: a task is some rows of a plane's windows."""

    @native.body
    def max_pooling(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[n, a, p, q] = max of x[n, i, j, k] over the window, and its place."""
        x, y = native.word(arrays, 0), native.word(arrays, 1)
        places, table = native.word(arrays, 2), native.word(arrays, 3)
        pieces, rows = native.word(plan, w.PIECES), native.word(plan, w.ROWS)
        n, piece = first // pieces, first % pieces
        for _ in range(first, end):
            source, pixels = x + n * native.word(plan, w.X_BYTES), n * native.word(plan, w.Y_PIXELS)
            low, high = part_of(rows, pieces, piece)
            kept = places + pixels * native.word(plan, w.PLACE_BYTES)
            target = y + pixels * item
            highest_of_rows(item, lanes, what, deep, taps, kind, plan, source, table, target, kept, low, high)
            n, piece = after(n, piece, pieces)

    return max_pooling


@cache
def sums_body(item: int, lanes: int, deep: int, taps: int, kind: int) -> Any:
    """The body of average pooling: a task is some rows of a plane's windows."""

    @native.body
    def avg_pooling(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[n, a, p, q] = sum of x[n, i, j, k] over the window, over its divisor."""
        x, y, table = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
        pieces, rows = native.word(plan, w.PIECES), native.word(plan, w.ROWS)
        n, piece = first // pieces, first % pieces
        for _ in range(first, end):
            source, target = x + n * native.word(plan, w.X_BYTES), y + n * native.word(plan, w.Y_PIXELS) * item
            low, high = part_of(rows, pieces, piece)
            sums_of_rows(item, lanes, deep, taps, kind, plan, source, table, target, low, high)
            n, piece = after(n, piece, pieces)

    return avg_pooling
