"""What surrounds the tiles: numbers copied, cleared, turned and taken together, in vector instructions.

Addresses and steps count bytes; nothing outside of what is named is read or written.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.cpu.vectors import Emit, instruction

Value = Any


@instruction(3)
def store_turned(
    e: Emit, columns: int, tile: Value, pitch: Value, y: Value, filter_pitch: Value, filters: Value
) -> None:
    """y[f * filter_pitch + j] = tile[j * pitch + f] for f < filters <= lanes, j < columns."""
    for left in range(0, columns, e.lanes):
        count = min(e.lanes, columns - left)
        rows = [e.load(e.at(tile, (left + j, pitch))) for j in range(count)]
        turned = e.transposed(rows + [e.zero] * (e.lanes - count))
        for f, row in enumerate(turned):
            wanted = e.b.icmp_signed("<", e.long(f), filters)
            with e.b.if_then(wanted):
                place = e.at(y, (f, filter_pitch), left * e.item)
                if count == e.lanes:
                    e.store(row, place)
                else:
                    e.masked_store(row, e.first(count), place)


@instruction(2)
def will_store(e: Emit, y: Value, pitch: Value, count: Value) -> None:
    """Fetch the cache lines of y[i * pitch], i < count, which are stored to later."""

    def step(i: Value, _: list[Value]) -> list[Value]:
        e.will_store(y, e.b.mul(i, pitch))
        return []

    e.loop(count, [], step)


@instruction(2)
def copy_numbers(e: Emit, source: Value, count: Value, target: Value) -> None:
    """target[j] = source[j] for j < count."""
    width = e.lanes * e.item
    whole = e.b.sdiv(count, e.long(e.lanes))

    def step(index: Value, _: list[Value]) -> list[Value]:
        place = e.b.mul(index, e.long(width))
        e.store(e.load(source, place), target, place)
        return []

    e.loop(whole, [], step)
    mask = e.first(e.b.sub(count, e.b.mul(whole, e.long(e.lanes))))
    place = e.b.mul(whole, e.long(width))
    e.masked_store(e.masked_load(mask, source, place), mask, target, place)


@instruction(2)
def clear_numbers(e: Emit, count: Value, target: Value) -> None:
    """target[j] = 0 for j < count."""
    width = e.lanes * e.item
    whole = e.b.sdiv(count, e.long(e.lanes))

    def step(index: Value, _: list[Value]) -> list[Value]:
        e.store(e.zero, target, e.b.mul(index, e.long(width)))
        return []

    e.loop(whole, [], step)
    mask = e.first(e.b.sub(count, e.b.mul(whole, e.long(e.lanes))))
    e.masked_store(e.zero, mask, target, e.b.mul(whole, e.long(width)))


@instruction(2)
def clear_few(e: Emit, count: Value, target: Value) -> None:
    """target[j] = 0 for j < count, which is at most a vector's lanes."""
    e.masked_store(e.zero, e.first(count), target)


@instruction(2)
def copy_apart(e: Emit, source: Value, source_step: Value, count: Value, target: Value, target_step: Value) -> None:
    """target[j * target_step] = source[j * source_step] for j < count, both steps in bytes."""

    def step(j: Value, _: list[Value]) -> list[Value]:
        number = e.number(source, e.b.mul(j, source_step))
        e.save(number, target, e.b.mul(j, target_step))
        return []

    e.loop(count, [], step)


@instruction(2)
def copy_every_second(e: Emit, source: Value, count: Value, target: Value) -> None:
    """target[j] = source[2 * j] for j < count; reads nothing behind source[2 * count - 2]."""
    width = e.lanes * e.item
    whole = e.b.sdiv(e.b.sub(count, e.long(1)), e.long(e.lanes))
    even = list(range(0, 2 * e.lanes, 2))

    def step(index: Value, _: list[Value]) -> list[Value]:
        place = e.b.mul(index, e.long(2 * width))
        low, high = e.load(source, place), e.load(source, e.at(place, width))
        e.store(e.shuffle(low, high, even), target, e.b.mul(index, e.long(width)))
        return []

    e.loop(whole, [], step)
    left = e.b.sub(count, e.b.mul(whole, e.long(e.lanes)))
    numbers = e.b.sub(e.b.mul(left, e.long(2)), e.long(1))
    place = e.b.mul(whole, e.long(2 * width))
    low = e.masked_load(e.first(numbers), source, place)
    high = e.masked_load(e.first(e.b.sub(numbers, e.long(e.lanes))), source, e.at(place, width))
    e.masked_store(e.shuffle(low, high, even), e.first(left), target, e.b.mul(whole, e.long(width)))


@instruction(2)
def copy_between(e: Emit, even: Value, odd: Value, count: Value, target: Value) -> None:
    """target[2 j] = even[j], target[2 j + 1] = odd[j] for j < count."""
    width, half = e.lanes * e.item, e.lanes // 2
    low = [lane for j in range(half) for lane in (j, j + e.lanes)]
    high = [lane for j in range(half, e.lanes) for lane in (j, j + e.lanes)]
    whole = e.b.sdiv(count, e.long(e.lanes))

    def step(index: Value, _: list[Value]) -> list[Value]:
        place, twice = e.b.mul(index, e.long(width)), e.b.mul(index, e.long(2 * width))
        u, v = e.load(even, place), e.load(odd, place)
        e.store(e.shuffle(u, v, low), target, twice)
        e.store(e.shuffle(u, v, high), target, e.at(twice, width))
        return []

    e.loop(whole, [], step)
    left = e.b.sub(count, e.b.mul(whole, e.long(e.lanes)))
    mask, numbers = e.first(left), e.b.mul(left, e.long(2))
    place, twice = e.b.mul(whole, e.long(width)), e.b.mul(whole, e.long(2 * width))
    u, v = e.masked_load(mask, even, place), e.masked_load(mask, odd, place)
    e.masked_store(e.shuffle(u, v, low), e.first(numbers), target, twice)
    e.masked_store(e.shuffle(u, v, high), e.first(e.b.sub(numbers, e.long(e.lanes))), target, e.at(twice, width))


@instruction(2)
def gather(e: Emit, source: Value, lane_step: Value, lanes: Value, target: Value) -> None:
    """target[l] = source[l * lane_step] for l < lanes, 0 for the other lanes of the vector."""
    places = e.b.add(e.splat(source), e.b.mul(e.numbered(), e.splat(lane_step)))
    e.store(e.gather(places, e.first(lanes)), target)


@instruction(2)
def copy_lanes(e: Emit, source: Value, lanes: Value, target: Value) -> None:
    """target[l] = source[l] for l < lanes, 0 for the other lanes of the vector."""
    e.store(e.masked_load(e.first(lanes), source), target)


@instruction(2)
def turn_block(
    e: Emit, source: Value, row_step: Value, rows: Value, columns: Value, target: Value, step: Value, kept: Value
) -> None:
    """target[c * step + r] = source[r * row_step + c] for r < kept, c < columns; 0 where r is not less than rows.

    None is more than the lanes.
    """
    written = e.first(kept)
    for c, row in enumerate(e.transposed(some_rows(e, source, row_step, rows, columns))):
        with e.b.if_then(e.b.icmp_signed("<", e.long(c), columns)):
            e.masked_store(row, written, e.at(target, (c, step)))


@instruction(2)
def turn_apart(
    e: Emit, source: Value, row_step: Value, rows: Value, columns: Value, target: Value, places: Value
) -> None:
    """(target + places[c])[r] = source[r * row_step + c] for r < lanes, c < columns; 0 where r is not less than rows.

    None is more than the lanes.
    """
    for c, row in enumerate(e.transposed(some_rows(e, source, row_step, rows, columns))):
        with e.b.if_then(e.b.icmp_signed("<", e.long(c), columns)):
            e.store(row, e.at(target, e.word(places, e.long(c))))


def some_rows(e: Emit, source: Value, row_step: Value, rows: Value, columns: Value) -> list[Value]:
    """The first `columns` numbers of the first `rows` rows, zeros elsewhere."""
    read = e.first(columns)
    found = []
    for r in range(e.lanes):
        there = e.b.and_(read, e.splat(e.b.icmp_signed("<", e.long(r), rows)))
        found.append(e.masked_load(there, e.at(source, (r, row_step))))
    return found


@instruction(2)
def add_vectors(e: Emit, source: Value, vectors: Value, target: Value) -> None:
    """target[v, :] += source[v, :]."""
    width = e.lanes * e.item

    def step(v: Value, _: list[Value]) -> list[Value]:
        place = e.b.mul(v, e.long(width))
        e.store(e.b.fadd(e.load(target, place), e.load(source, place)), target, place)
        return []

    e.loop(vectors, [], step)


@instruction(2)
def total_of(e: Emit, source: Value, target: Value) -> None:
    """target = the sum of a vector's lanes."""
    e.save(e.total(e.load(source)), target)


@instruction(3)
def flag_unless_finite(e: Emit, exponent: int, source: Value, count: Value, flag: Value) -> None:
    """Store 1 at the int64 `flag` if any of so many numbers, times 2^exponent, is infinite or NaN."""
    width = e.lanes * e.item

    def scaled(vector: Value) -> Value:
        return e.b.fmul(vector, e.constant(2.0**exponent)) if exponent else vector

    whole = e.b.sdiv(count, e.long(e.lanes))

    def step(v: Value, sums: list[Value]) -> list[Value]:
        return [e.fma(scaled(e.load(source, e.b.mul(v, e.long(width)))), e.zero, sums[0])]

    (zeros,) = e.loop(whole, [e.zero], step)
    mask = e.first(e.b.sub(count, e.b.mul(whole, e.long(e.lanes))))
    rest = e.masked_load(mask, source, e.b.mul(whole, e.long(width)))
    zeros = e.total(e.fma(scaled(rest), e.zero, zeros))  # NaN if there was one, or 0 * infinity
    with e.b.if_then(e.b.fcmp_unordered("uno", zeros, zeros)):
        e.b.store(e.long(1), e.element(flag, 0, e.long(1).type))
