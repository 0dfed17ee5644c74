"""Rows of pooling windows that are alike, a vector of windows together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from fastconv.backends.cpu.vectors import I64, Emit, instruction

Value = Any


def for_vectors(e: Emit, count: Value, work: Callable[[Value, Value | None], None]) -> None:
    """`work` for the place of each vector of so many windows, with the number of those in the last one."""
    whole = e.b.sdiv(count, e.long(e.lanes))

    def step(v: Value, _: list[Value]) -> list[Value]:
        work(e.b.mul(v, e.long(e.lanes)), None)
        return []

    e.loop(whole, [], step)
    place = e.b.mul(whole, e.long(e.lanes))
    work(place, e.b.sub(count, place))


def apart(e: Emit, kind: int, step: Value, source: Value, place: Value, rest: Value | None) -> Value:
    """Numbers `step` from each other, the first that of window `place`; `kind` is the step if that is 1 or 2."""
    first = e.at(source, e.b.mul(e.b.mul(place, step), e.long(e.item)))
    everything = e.first(e.lanes) if rest is None else e.first(rest)
    if kind == 1:
        return e.load(first) if rest is None else e.masked_load(everything, first)
    if kind == 2:
        reach = e.b.sub(e.b.mul(e.long(e.lanes) if rest is None else rest, e.long(2)), e.long(1))
        low = e.masked_load(e.first(reach), first)
        high = e.masked_load(e.first(e.b.sub(reach, e.long(e.lanes))), first, e.lanes * e.item)
        return e.shuffle(low, high, range(0, 2 * e.lanes, 2))
    places = e.b.mul(e.numbered(), e.splat(e.b.mul(step, e.long(e.item))))
    return e.gather(e.b.add(e.splat(first), places), everything)


def over_taps(
    e: Emit,
    window: Sequence[Value],
    source: Value,
    carried: Sequence[Value],
    work: Callable[[Value, Value, list[Value]], Sequence[Value]],
) -> list[Value]:
    """Carry values through the taps of a window: `window` has a count and a distance for each axis, in numbers.

    `work` gets a tap's address and its distance from the first one, in numbers.
    """
    deep, down, across = (tuple(window[axis : axis + 2]) for axis in (0, 2, 4))

    def tap(places: Sequence[Value], values: list[Value]) -> Sequence[Value]:
        steps = zip(places, (deep, down, across), strict=True)
        distance = e.at(e.long(0), *[e.b.mul(place, step) for place, (_, step) in steps])
        return work(e.at(source, e.b.mul(distance, e.long(e.item))), distance, values)

    def plane(i: Value, values: list[Value]) -> list[Value]:
        return e.loop(down[0], values, lambda j, inner: row(i, j, inner))

    def row(i: Value, j: Value, values: list[Value]) -> list[Value]:
        return e.loop(across[0], values, lambda k, inner: tap((i, j, k), inner))

    return e.loop(deep[0], carried, plane)


@instruction(3)
def highest_of_row(
    e: Emit,
    kind: int,
    source: Value,
    step: Value,
    count: Value,
    begin: Value,
    best: Value,
    where: Value,
    deep: Value,
    deep_step: Value,
    down: Value,
    down_step: Value,
    across: Value,
    across_step: Value,
) -> None:
    """best[q] = the largest of the pixels of window q < count, where[q] its place; window q begins at q * step.

    NaN is the largest, and of equals the first one counts. The place of source[0] is `begin`.
    """
    index, window = ir.VectorType(I64, e.lanes), (deep, deep_step, down, down_step, across, across_step)

    def work(place: Value, rest: Value | None) -> None:
        def tap(at: Value, distance: Value, values: list[Value]) -> list[Value]:
            best, where = values
            value = apart(e, kind, step, at, place, rest)
            wins = e.b.and_(e.b.fcmp_unordered(">", value, best), e.b.fcmp_ordered("ord", best, best))
            return [e.b.select(wins, value, best), e.b.select(wins, e.splat(distance), where)]

        start = [apart(e, kind, step, source, place, rest), ir.Constant(index, [0] * e.lanes)]
        value, distance = over_taps(e, window, source, start, tap)
        first = e.b.add(e.splat(e.at(begin, e.b.mul(place, step))), e.b.mul(e.numbered(), e.splat(step)))
        mask = e.first(e.lanes) if rest is None else e.first(rest)
        e.masked_store(value, mask, e.at(best, (e.item, place)))
        pointer = e.element(e.at(where, (8, place)), 0, index)
        found = e.b.add(first, distance)
        e.call(f"llvm.masked.store.v{e.lanes}i64.p0", ir.VoidType(), found, pointer, ir.IntType(32)(8), mask)

    for_vectors(e, count, work)


@instruction(3)
def sums_of_row(
    e: Emit,
    kind: int,
    source: Value,
    step: Value,
    count: Value,
    total: Value,
    deep: Value,
    deep_step: Value,
    down: Value,
    down_step: Value,
    across: Value,
    across_step: Value,
) -> None:
    """total[q] = the sum of the pixels of window q < count, in float64; window q begins at q * step."""
    d, window = Emit(e.b, 8, e.lanes), (deep, deep_step, down, down_step, across, across_step)

    def work(place: Value, rest: Value | None) -> None:
        def tap(at: Value, _: Value, values: list[Value]) -> list[Value]:
            value = apart(e, kind, step, at, place, rest)
            return [e.b.fadd(values[0], value if e.item == 8 else e.b.fpext(value, d.vector))]

        (found,) = over_taps(e, window, source, [d.zero], tap)
        d.masked_store(found, e.first(e.lanes) if rest is None else e.first(rest), e.at(total, (8, place)))

    for_vectors(e, count, work)
