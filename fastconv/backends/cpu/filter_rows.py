"""Rows of an image on their way into a filter's buffers, and out of them: converted, with their borders.

Conversions are C's: numbers of a filter are cut off towards zero; of an unsigned integer's range they wrap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit

from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

# Words of a filter's plan that filling a row needs: an axis's pixels before the image's first one, pixels of the image,
# the table of its border, the address of the constant.
BEFORE, EXTENT, PLACES, CONSTANT = range(4)
SOURCE, TARGET = range(2)  # words of a job
SIGNED, UNSIGNED, BOOLEAN, FLOATING = 0, 100, 200, 300  # kinds of numbers, with the bytes of one
KINDS = {"i": SIGNED, "u": UNSIGNED, "b": BOOLEAN, "f": FLOATING}


def kind_of(dtype: np.dtype[Any]) -> int:
    """A dtype as a literal int."""
    return KINDS[dtype.kind] + dtype.itemsize


def numbers_of(kind: int, lanes: int) -> Any:
    """The type of so many numbers of a kind."""
    size = kind % 100
    one = (ir.FloatType() if size == 4 else ir.DoubleType()) if kind >= FLOATING else ir.IntType(8 * size)
    return ir.VectorType(one, lanes) if lanes > 1 else one


def as_float(e: Emit, kind: int, value: Value, lanes: int) -> Value:
    """Numbers of a kind in the dtype that is computed in."""
    result = e.vector if lanes > 1 else e.scalar
    if kind >= FLOATING:
        if kind % 100 == e.item:
            return value
        return e.b.fpext(value, result) if e.item == 8 else e.b.fptrunc(value, result)
    return e.b.sitofp(value, result) if kind < UNSIGNED else e.b.uitofp(value, result)


def as_kind(e: Emit, kind: int, value: Value, lanes: int) -> Value:
    """Numbers that were computed as those of a kind."""
    result, size = numbers_of(kind, lanes), kind % 100
    if kind >= FLOATING:
        if size == e.item:
            return value
        return e.b.fpext(value, result) if size == 8 else e.b.fptrunc(value, result)
    wide = ir.IntType(64 if size == 8 or (size == 4 and kind >= UNSIGNED) else 32)
    target = ir.VectorType(wide, lanes) if lanes > 1 else wide
    if size == 8 and kind >= UNSIGNED:
        return as_longest(e, value, target, lanes)
    whole = e.b.fptosi(value, target)
    found = whole if whole.type == result else e.b.trunc(whole, result)
    if kind < BOOLEAN:
        return found
    zero = ir.Constant(result, [0] * lanes if lanes > 1 else 0)
    return e.b.zext(e.b.icmp_unsigned("!=", found, zero), result)


def as_longest(e: Emit, value: Value, target: Any, lanes: int) -> Value:
    """Numbers as unsigned ones of 64 bits: the half that int64 lacks by its difference, and negative ones wrapped."""

    def all_lanes(number: Any, kind: Any) -> Value:
        return ir.Constant(kind, [number] * lanes if lanes > 1 else number)

    half = all_lanes(2.0**63, value.type)
    size = e.b.select(e.b.fcmp_ordered("<", value, all_lanes(0.0, value.type)), e.b.fneg(value), value)
    upper = e.b.fcmp_ordered(">=", size, half)
    whole = e.b.fptosi(e.b.select(upper, e.b.fsub(size, half), size), target)
    whole = e.b.xor(whole, e.b.shl(e.b.zext(upper, target), all_lanes(63, target)))
    positive = e.b.fcmp_ordered(">", value, all_lanes(-1.0, value.type))
    return e.b.select(positive, whole, e.b.sub(all_lanes(0, target), whole))


def converted(e: Emit, kind: int, into: bool, source: Value, count: Value, target: Value) -> None:
    """target[j] = source[j] for j < count: a kind's numbers into those that are computed with, or these out of them."""
    size = kind % 100
    sizes = (size, e.item) if into else (e.item, size)

    def convert(place: Value, lanes: int) -> None:
        own, ours = numbers_of(kind, lanes), e.vector if lanes > 1 else e.scalar
        kinds = (own, ours) if into else (ours, own)
        addresses = [e.at(base, (step, place)) for base, step in zip((source, target), sizes, strict=True)]
        pointers = [e.pointer(address, found) for address, found in zip(addresses, kinds, strict=True)]
        value = e.b.load(pointers[0], align=sizes[0])
        result = as_float(e, kind, value, lanes) if into else as_kind(e, kind, value, lanes)
        e.b.store(result, pointers[1], align=sizes[1])

    whole = e.b.sdiv(count, e.long(e.lanes))

    def vectors(first: Value, together: int) -> Callable[[Value, list[Value]], list[Value]]:
        def convert_some(index: Value, _: list[Value]) -> list[Value]:
            for v in range(together):
                convert(e.b.mul(e.at(first, v, (index, together)), e.long(e.lanes)), e.lanes)
            return []

        return convert_some

    fours = e.b.sdiv(whole, e.long(4))
    e.loop(fours, [], vectors(e.long(0), 4))
    begun = e.b.mul(fours, e.long(4))
    e.loop(e.b.sub(whole, begun), [], vectors(begun, 1))
    done = e.b.mul(whole, e.long(e.lanes))

    def single(index: Value, _: list[Value]) -> list[Value]:
        convert(e.b.add(done, index), 1)
        return []

    e.loop(e.b.sub(count, done), [], single)


@instruction(3)
def take_numbers(e: Emit, kind: int, source: Value, count: Value, target: Value) -> None:
    """target[j] = source[j], converted from a kind, for j < count."""
    converted(e, kind, True, source, count, target)


@instruction(3)
def give_numbers(e: Emit, kind: int, source: Value, count: Value, target: Value) -> None:
    """target[j] = source[j], converted to a kind, for j < count."""
    converted(e, kind, False, source, count, target)


@instruction(2)
def repeat_number(e: Emit, number: Value, count: Value, target: Value) -> None:
    """target[j] = the number at an address, for j < count."""
    value = e.number(number)

    def step(j: Value, _: list[Value]) -> list[Value]:
        e.save(value, target, e.b.mul(j, e.long(e.item)))
        return []

    e.loop(count, [], step)


@cache
def filling(item: int, lanes: int, kind: int) -> Any:
    """Copies a row of an image."""
    size = kind % 100

    @njit
    def edge(plan, source, start, end, target):  # type: ignore[no-untyped-def]
        """Pixels of the border, one by one."""
        for p in range(start, end):
            place = word(word(plan, PLACES), p)
            if place < 0:
                repeat_number(item, lanes, word(plan, CONSTANT), 1, target)
            else:
                take_numbers(item, lanes, kind, source + place * size, 1, target)
            target += item

    @body
    def fill(plan, job, start, end, thread):  # type: ignore[no-untyped-def]
        """The pixels from `start` to `end` of a row with its border; a row at address 0 is all constant."""
        source, target = word(job, SOURCE), word(job, TARGET)
        if source == 0:
            repeat_number(item, lanes, word(plan, CONSTANT), end - start, target)
            return
        begin = min(max(word(plan, BEFORE), start), end)
        until = max(begin, min(word(plan, BEFORE) + word(plan, EXTENT), end))
        edge(plan, source, start, begin, target)
        own = source + (begin - word(plan, BEFORE)) * size
        take_numbers(item, lanes, kind, own, until - begin, target + (begin - start) * item)
        edge(plan, source, until, end, target + (until - start) * item)

    return fill


@cache
def giving(item: int, lanes: int, kind: int) -> Any:
    """Stores a row of results."""

    @body
    def give(plan, job, start, end, thread):  # type: ignore[no-untyped-def]
        """The numbers from `start` to `end`."""
        give_numbers(item, lanes, kind, word(job, SOURCE), end - start, word(job, TARGET))

    return give
