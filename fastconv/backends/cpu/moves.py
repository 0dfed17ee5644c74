"""Moves of numbers: copied, cleared and taken together, in vector instructions.

Addresses and steps count bytes; nothing outside of what is named is read or written.
"""

from __future__ import annotations

from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.vectors import I8, I32, READ, Emit, Value, instruction


@instruction(2)
def will_store(e: Emit, y: Value, pitch: Value, count: Value) -> None:
    """Fetch the cache lines of y[i * pitch], i < count, which are stored to later."""

    def step(i: Value, _: list[Value]) -> list[Value]:
        e.will_store(y, e.b.mul(i, pitch))
        return []

    e.loop(count, [], step)


@instruction(2)
def will_pass(e: Emit, place: Value, count: Value) -> None:
    """Fetch so many lines, one behind the other, into the second cache, from where they are loaded some time later."""

    def step(i: Value, _: list[Value]) -> list[Value]:
        e.fetch(e.element(place, e.b.mul(i, e.long(LINE)), I8), READ, 2)
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


@instruction(3)
def fill_numbers(e: Emit, spills: int, number: Value, count: Value, target: Value) -> None:
    """target[j] = the number at an address, for j < count; where it `spills`, also for the rest of the last vector."""
    value, width = e.splat(e.number(number)), e.lanes * e.item

    def step(index: Value, _: list[Value]) -> list[Value]:
        e.store(value, target, e.b.mul(index, e.long(width)))
        return []

    if spills:
        e.loop(e.b.sdiv(e.at(count, e.lanes - 1), e.long(e.lanes)), [], step)
    else:
        e.each(count, lambda place, mask: e.masked_store(value, mask, target, place))


@instruction(3)
def copy_spread(e: Emit, spills: int, source: Value, number: Value, count: Value, target: Value) -> None:
    """target[2 j] = source[j], target[2 j + 1] = the number at an address, for so many numbers of the target.

    Where it `spills`, the last two vectors are read and stored whole.
    """
    width, twice = e.lanes * e.item, 2 * e.lanes
    between = e.splat(e.number(number))
    whole = e.b.sdiv(e.at(count, twice - 1) if spills else count, e.long(twice))

    def step(index: Value, _: list[Value]) -> list[Value]:
        numbers, place = e.load(source, e.b.mul(index, e.long(width))), e.b.mul(index, e.long(2 * width))
        for h, vector in enumerate(e.interleaved(numbers, between)):
            e.store(vector, target, e.at(place, h * width))
        return []

    e.loop(whole, [], step)
    if spills:
        return
    left, place = e.b.sub(count, e.b.mul(whole, e.long(twice))), e.b.mul(whole, e.long(2 * width))
    some = e.leading(e.b.ashr(e.at(left, 1), e.long(1)))
    numbers = e.masked_load(some, source, e.b.mul(whole, e.long(width)))
    for h, vector in enumerate(e.interleaved(numbers, between)):
        mask = e.leading(e.b.sub(left, e.long(h * e.lanes)))
        e.masked_store(vector, mask, target, e.at(place, h * width))


@instruction(2)
def copy_apart(e: Emit, source: Value, source_step: Value, count: Value, target: Value, target_step: Value) -> None:
    """target[j * target_step] = source[j * source_step] for j < count, both steps in bytes."""

    def step(j: Value, _: list[Value]) -> list[Value]:
        number = e.number(source, e.b.mul(j, source_step))
        e.save(number, target, e.b.mul(j, target_step))
        return []

    e.loop(count, [], step)


@instruction(4)
def copy_rows(
    e: Emit,
    step: int,
    spills: int,
    source: Value,
    source_pitch: Value,
    rows: Value,
    before: Value,
    count: Value,
    span: Value,
    target: Value,
    pitch: Value,
    planes: Value,
    source_plane: Value,
    target_plane: Value,
) -> None:
    """target[i * pitch + before + j] = source[i * source_pitch + j * step] for j < count; 0 for the others of the span.

    So for each of some planes. `step` is 1 or 2. Masks are the same for all rows: a row costs a few instructions for
    each vector. Where it `spills`, a row's last vector is stored whole, over what is stored later, or is nobody's.
    """
    width = e.lanes * e.item
    even = list(range(0, 2 * e.lanes, 2))
    last = e.b.sdiv(e.b.sub(span, e.long(1)), e.long(e.lanes))
    reach = e.b.sub(e.b.mul(count, e.long(step)), e.long(step - 1))  # numbers of the source that may be read

    def place_of(v: Value) -> Value:
        """Where the source has a vector's first number: it may be before its first."""
        return e.b.mul(e.b.sub(e.b.mul(v, e.long(e.lanes)), before), e.long(step))

    def masks(v: Value) -> list[Value]:
        return [e.within(e.at(place_of(v), part * e.lanes), reach) for part in range(step)]

    def vector(row: Value, v: Value, wanted: list[Value] | None) -> Value:
        at = e.b.mul(place_of(v), e.long(e.item))
        offsets = [e.at(at, part * width) for part in range(step)]
        if wanted is None:
            found = [e.load(row, offset) for offset in offsets]
        else:
            found = [e.masked_load(mask, row, offset) for mask, offset in zip(wanted, offsets, strict=True)]
        return found[0] if step == 1 else e.shuffle(found[0], found[1], even)

    at_first, at_last, rest = masks(e.long(0)), masks(last), e.b.sub(span, e.b.mul(last, e.long(e.lanes)))
    stored = e.leading(rest)

    def row(i: Value, places: list[Value]) -> list[Value]:
        from_, to = places

        def middle(index: Value, _: list[Value]) -> list[Value]:
            v = e.at(index, 1)
            at, place = place_of(v), e.b.mul(v, e.long(width))
            begun = e.b.icmp_signed(">=", at, e.long(0))
            inside = e.b.and_(begun, e.b.icmp_signed("<=", e.at(at, step * e.lanes), reach))
            with e.b.if_else(inside) as (all_of_it, some_of_it):
                with all_of_it:
                    e.store(vector(from_, v, None), to, place)
                with some_of_it:
                    e.store(vector(from_, v, masks(v)), to, place)
            return []

        with e.b.if_then(e.b.icmp_signed(">", last, e.long(0))):
            e.store(vector(from_, e.long(0), at_first), to)
        e.loop(e.b.sub(last, e.long(1)), [], middle)
        place = e.b.mul(last, e.long(width))
        if spills:
            e.store(vector(from_, last, at_last), to, place)
        else:
            e.masked_store(vector(from_, last, at_last), stored, to, place)
        return [e.at(from_, source_pitch), e.at(to, pitch)]

    def plane(i: Value, places: list[Value]) -> list[Value]:
        e.loop(rows, places, row)
        return [e.at(places[0], source_plane), e.at(places[1], target_plane)]

    e.loop(planes, [source, target], plane)


@instruction(2)
def copy_between(e: Emit, even: Value, odd: Value, count: Value, target: Value) -> None:
    """target[2 j] = even[j], target[2 j + 1] = odd[j] for j < count."""
    width, whole = e.lanes * e.item, e.b.sdiv(count, e.long(e.lanes))

    def step(index: Value, _: list[Value]) -> list[Value]:
        place, twice = e.b.mul(index, e.long(width)), e.b.mul(index, e.long(2 * width))
        for h, vector in enumerate(e.interleaved(e.load(even, place), e.load(odd, place))):
            e.store(vector, target, e.at(twice, h * width))
        return []

    e.loop(whole, [], step)
    left = e.b.sub(count, e.b.mul(whole, e.long(e.lanes)))
    mask, numbers = e.first(left), e.b.mul(left, e.long(2))
    place, twice = e.b.mul(whole, e.long(width)), e.b.mul(whole, e.long(2 * width))
    u, v = e.masked_load(mask, even, place), e.masked_load(mask, odd, place)
    for h, vector in enumerate(e.interleaved(u, v)):
        e.masked_store(vector, e.first(e.b.sub(numbers, e.long(h * e.lanes))), target, e.at(twice, h * width))


@instruction(4)
def deal_rows(
    e: Emit,
    size: int,
    parts: int,
    source: Value,
    source_step: Value,
    rows: Value,
    target: Value,
    part_step: Value,
) -> None:
    """target[part, i, j] = source[i, part * size + j] for i < rows, j < size, and so many parts."""
    count = max(1, e.lanes // size)  # parts of a vector
    width, piece = e.lanes * e.item, e.lanes // count * e.item
    vectors = parts * size // e.lanes

    def row(i: Value, places: list[Value]) -> list[Value]:
        from_, to = places
        numbers = [e.load(from_, v * width) for v in range(vectors)]
        for v, vector in enumerate(numbers):
            for half in range(count):
                first = v * width + half * piece  # in bytes, of the row's numbers
                part, within = divmod(first, size * e.item)
                lanes = range(half * (e.lanes // count), (half + 1) * (e.lanes // count))
                value = e.shuffle(vector, vector, lanes) if count > 1 else vector
                e.b.store(value, e.element(e.at(to, (part, part_step)), within, value.type), align=e.item)
        return [e.at(from_, source_step), e.at(to, size * e.item)]

    e.loop(rows, [source, target], row)


@instruction(2)
def gather(e: Emit, source: Value, lane_step: Value, lanes: Value, target: Value) -> None:
    """target[l] = source[l * lane_step] for l < lanes, 0 for the other lanes of the vector."""
    places = e.b.add(e.splat(source), e.b.mul(e.numbered(), e.splat(lane_step)))
    e.store(e.gather(places, e.first(lanes)), target)


@instruction(2)
def copy_column(e: Emit, source: Value, lane_step: Value, target: Value) -> None:
    """target[l] = source[l * lane_step] for all lanes, one by one: some processors gather more slowly."""
    found = e.zero
    for lane in range(e.lanes):
        found = e.b.insert_element(found, e.number(e.at(source, (lane, lane_step))), I32(lane))
    e.store(found, target)


@instruction(2)
def copy_lanes(e: Emit, source: Value, lanes: Value, target: Value) -> None:
    """target[l] = source[l] for l < lanes, 0 for the other lanes of the vector."""
    e.store(e.masked_load(e.first(lanes), source), target)


@instruction(3)
def sum_rows(e: Emit, vectors: int, source: Value, pitch: Value, rows: Value, count: Value, target: Value) -> None:
    """target[j] = sum over i < rows of source[i * pitch + j], in float64, for j < count: of so many vectors at most."""
    d, width = Emit(e.b, 8, e.lanes), e.lanes * e.item
    masks = [e.leading(e.b.sub(count, e.long(v * e.lanes))) for v in range(vectors)]

    def row(i: Value, carried: list[Value]) -> list[Value]:
        line, *totals = carried
        numbers = [e.masked_load(mask, line, v * width) for v, mask in enumerate(masks)]
        wide = [e.widened(number) for number in numbers]
        return [e.at(line, pitch), *[e.b.fadd(total, number) for total, number in zip(totals, wide, strict=True)]]

    _, *totals = e.loop(rows, [source, *[d.zero] * vectors], row)
    for v, (total, mask) in enumerate(zip(totals, masks, strict=True)):
        e.masked_store(e.narrowed(total), mask, target, v * width)


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
