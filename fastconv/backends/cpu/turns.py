"""Vectors turned: rows for columns, of numbers that lie apart, in the instructions of `vectors`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.machine import vectors
from fastconv.backends.cpu.masks import branches
from fastconv.backends.cpu.moves import clear_numbers, copy_column
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

NEXT = 256  # bytes of a row that are fetched before they are turned: a processor does not follow so many rows


def turned_square(e: Emit, source: Value, row_step: Value) -> list[Value]:
    """The columns of as many rows as there are lanes, and as many numbers of each."""
    return e.transposed([e.load(e.at(source, (r, row_step))) for r in range(e.lanes)])


def each_turned(
    e: Emit,
    tile: Value,
    pitch: Value,
    y: Value,
    filter_pitch: Value,
    filters: Value,
    store: Callable[[Value, Value], None],
) -> None:
    """Store tile[j * pitch + f], j < lanes, to y + f * filter_pitch for f < filters, none more than the lanes."""
    for f, row in enumerate(turned_square(e, tile, pitch)):
        with e.b.if_then(e.b.icmp_signed("<", e.long(f), filters)):
            store(row, e.at(y, (f, filter_pitch)))


@instruction(2)
def store_turned(e: Emit, tile: Value, pitch: Value, y: Value, filter_pitch: Value, filters: Value) -> None:
    """y[f * filter_pitch + j] = tile[j * pitch + f] for f < filters, none more than the lanes, and j < lanes."""
    each_turned(e, tile, pitch, y, filter_pitch, filters, e.store)


@instruction(2)
def store_some_turned(
    e: Emit, tile: Value, pitch: Value, y: Value, filter_pitch: Value, filters: Value, columns: Value
) -> None:
    """`store_turned` for j < columns alone; all lanes' are read."""
    mask = e.leading(columns)
    each_turned(e, tile, pitch, y, filter_pitch, filters, lambda row, place: e.masked_store(row, mask, place))


@instruction(2)
def turn_block(
    e: Emit, source: Value, row_step: Value, rows: Value, columns: Value, target: Value, step: Value, kept: Value
) -> None:
    """target[c * step + r] = source[r * row_step + c] for r < kept, c < columns; 0 where r is not less than rows.

    None is more than the lanes.
    """
    if vectors().masks:
        turn_part(e, source, row_step, rows, columns, target, step, kept)
        return
    whole = [e.b.icmp_signed("==", count, e.long(e.lanes)) for count in (rows, columns, kept)]
    with e.b.if_else(e.b.and_(whole[0], e.b.and_(*whole[1:])), likely=True) as (then, otherwise):
        with then:
            for c, row in enumerate(turned_square(e, source, row_step)):
                e.store(row, e.at(target, (c, step)))
        with otherwise:
            turn_part(e, source, row_step, rows, columns, target, step, kept)


def turn_part(
    e: Emit, source: Value, row_step: Value, rows: Value, columns: Value, target: Value, step: Value, kept: Value
) -> None:
    """`turn_block` by masks."""
    found = some_rows(e, source, row_step, rows, columns)
    written = e.first(kept)
    for c, row in enumerate(e.transposed(found)):
        with e.b.if_then(e.b.icmp_signed("<", e.long(c), columns)):
            e.masked_store(row, written, e.at(target, (c, step)))


def fetch_next(e: Emit, source: Value, row_step: Value, ahead: Value = NEXT) -> None:
    """Fetch what lies so many bytes behind each of as many rows as there are lanes."""
    for r in range(e.lanes):
        e.will_load(e.at(source, (r, row_step)), ahead)


@instruction(2)
def turn_whole(e: Emit, source: Value, row_step: Value, target: Value, step: Value) -> None:
    """`turn_block` of a whole square."""
    fetch_next(e, source, row_step)
    for c, row in enumerate(turned_square(e, source, row_step)):
        e.store(row, e.at(target, (c, step)))


@instruction(2)
def turn_some(e: Emit, source: Value, row_step: Value, rows: Value, columns: Value, target: Value, step: Value) -> None:
    """`turn_block` of a part of the rows or columns, of which all lanes are kept."""
    turn_part(e, source, row_step, rows, columns, target, step, e.long(e.lanes))


@instruction(2)
def turn_whole_apart(e: Emit, source: Value, row_step: Value, target: Value, places: Value, ahead: Value) -> None:
    """`turn_apart` of a whole square."""
    fetch_next(e, source, row_step, ahead)
    for c, row in enumerate(turned_square(e, source, row_step)):
        e.store(row, e.at(target, e.word(places, e.long(c))))


@instruction(2)
def turn_apart(
    e: Emit, source: Value, row_step: Value, rows: Value, columns: Value, target: Value, places: Value, ahead: Value
) -> None:
    """(target + places[c])[r] = source[r * row_step + c] for r < lanes, c < columns; 0 where r is not less than rows.

    None is more than the lanes. What lies `ahead` bytes behind each row is fetched.
    """
    fetch_next(e, source, row_step, ahead)
    found = list(enumerate(e.transposed(some_rows(e, source, row_step, rows, columns))))
    with e.b.if_else(e.b.icmp_signed("==", columns, e.long(e.lanes)), likely=True) as (all_of_them, some_of_them):
        with all_of_them:
            for c, row in found:
                e.store(row, e.at(target, e.word(places, e.long(c))))
        with some_of_them:
            for c, row in found:
                with e.b.if_then(e.b.icmp_signed("<", e.long(c), columns)):
                    e.store(row, e.at(target, e.word(places, e.long(c))))


@cache
def turning(item: int, lanes: int) -> Any:
    """`turn_all` and `turn_all_apart`, which are `turn_block` and `turn_apart` for any number of columns."""
    masks = vectors().masks

    @njit
    def turn_all(source, row_step, rows, columns, target, step):  # type: ignore[no-untyped-def]
        """target[c * step + r] = source[r * row_step + c] for r < lanes, c < columns; 0 beyond the rows."""
        if rows == 0:
            for c in range(columns):
                clear_numbers(item, lanes, lanes, target + c * step)
            return
        squares = columns // lanes * lanes if rows == lanes else 0
        for c in range(0, squares, lanes):
            turn_whole(item, lanes, source + c * item, row_step, target + c * step, step)
        if rows == lanes and not masks:  # to make them takes longer than to turn what is left
            for c in range(squares, columns):
                copy_column(item, lanes, source + c * item, row_step, target + c * step)
            return
        for c in range(squares, columns, lanes):
            count = min(lanes, columns - c)
            turn_some(item, lanes, source + c * item, row_step, rows, count, target + c * step, step)

    @njit
    def turn_all_apart(source, row_step, rows, columns, target, places, ahead):  # type: ignore[no-untyped-def]
        """(target + places[c])[r] = source[r * row_step + c] for r < lanes, c < columns; 0 beyond the rows.

        What lies `ahead` bytes behind the rows is fetched while others are turned.
        """
        if rows == 0:
            for c in range(columns):
                clear_numbers(item, lanes, lanes, target + word(places, c))
            return
        squares = columns // lanes * lanes if rows == lanes else 0
        for c in range(0, squares, lanes):
            turn_whole_apart(item, lanes, source + c * item, row_step, target, places + 8 * c, ahead)
        if rows == lanes and not masks:
            for c in range(squares, columns):
                copy_column(item, lanes, source + c * item, row_step, target + word(places, c))
            return
        for c in range(squares, columns, lanes):
            count = min(lanes, columns - c)
            turn_apart(item, lanes, source + c * item, row_step, rows, count, target, places + 8 * c, ahead)

    return turn_all, turn_all_apart


def some_rows(e: Emit, source: Value, row_step: Value, rows: Value, columns: Value) -> list[Value]:
    """The first `columns` numbers of the first `rows` rows, zeros elsewhere; none is more than the lanes."""
    places = e.present(source, row_step, rows)
    there = [e.b.icmp_signed("<", e.long(r), rows) for r in range(e.lanes)]
    read = e.first(columns)
    if branches(read):
        counts = [e.b.select(present, columns, e.long(0)) for present in there]
        return [e.masked_load(e.leading(count), place) for count, place in zip(counts, places, strict=True)]
    present = [e.b.and_(read, e.splat(row)) for row in there]
    return [e.masked_load(mask, place) for mask, place in zip(present, places, strict=True)]
