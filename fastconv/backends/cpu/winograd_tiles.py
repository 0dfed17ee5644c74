"""The instructions of Winograd's convolution around its transforms: transposes, and the product of what they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from numba import types
from numba.extending import intrinsic

from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.vectors import I8, I64, READ, Emit, Value, instruction

FLOAT = 4  # bytes; float64 needs more accuracy than these transforms have
TAPS = 9
FETCHED = 8  # lines of b that a step of a product fetches at most
UNROLLED = 4  # steps of a product's sum; its depth is a multiple


def fetch_lines(e: Emit, address: Value, distance: Value, size: int) -> None:
    """Bring `size` bytes that lie at a distance into the second level of the cache; none if it is 0."""
    with e.b.if_then(e.b.icmp_signed("!=", distance, I64(0))):
        for line in range(0, size, LINE):
            e.fetch(e.pointer(e.at(address, distance, line), I8), READ, 2)


def fetch_few(e: Emit, address: Value, count: Value) -> None:
    """Bring so many lines, a power of two up to FETCHED or none, into the second level of the cache."""
    line, least = 0, 1
    while line < FETCHED:
        with e.b.if_then(e.b.icmp_signed(">=", count, I64(least))):
            for _ in range(max(1, line)):
                e.fetch(e.pointer(e.at(address, line * LINE), I8), READ, 2)
                line += 1
        least *= 2


@instruction(3)
def fetch_square(e, purpose, address, pitch):  # type: ignore[no-untyped-def]
    """Bring the lines where rows of a square begin close to the processor, to READ or to WRITE."""
    for i in range(e.lanes):
        e.fetch(e.pointer(e.at(address, (i, pitch)), I8), purpose, 2)


@instruction(2)
def clear(e, target):  # type: ignore[no-untyped-def]
    """A vector of zeros."""
    e.store(e.zero, target)


@instruction(2)
def transpose(e, source, pitch, rows, columns, target, to_pitch, to_rows, to_columns):  # type: ignore[no-untyped-def]
    """Turn a square of numbers: `rows` x `columns` are read, the rest are 0; `to_rows` x `to_columns` are written.

    Nothing else is touched in memory.
    """
    values = e.transposed(load_square(e, source, pitch, rows, columns))
    whole, there = [e.at(target, (i, to_pitch)) for i in range(e.lanes)], e.present(target, to_pitch, to_rows)

    def store(masks: Sequence[Value] | None) -> list[Value]:
        for i, (value, place) in enumerate(zip(values, there if masks else whole, strict=True)):
            if masks is None:
                e.store(value, place)
            else:
                e.masked_store(value, masks[i], place)
        return []

    by_mask(e, to_rows, to_columns, store)


@instruction(2)
def add_transposed(e, source, pitch, target, to_pitch, to_rows, to_columns):  # type: ignore[no-untyped-def]
    """Turn a whole square of numbers, and add it to `to_rows` x `to_columns` of them."""
    values = e.transposed([e.load(e.at(source, (i, pitch))) for i in range(e.lanes)])
    whole, there = [e.at(target, (i, to_pitch)) for i in range(e.lanes)], e.present(target, to_pitch, to_rows)

    def add(masks: Sequence[Value] | None) -> list[Value]:
        for i, (value, place) in enumerate(zip(values, there if masks else whole, strict=True)):
            if masks is None:
                e.store(e.b.fadd(e.load(place), value), place)
            else:
                e.masked_store(e.b.fadd(e.masked_load(masks[i], place), value), masks[i], place)
        return []

    by_mask(e, to_rows, to_columns, add)


def load_square(e: Emit, source: Value, pitch: Value, rows: Value, columns: Value) -> list[Value]:
    """Rows of numbers, 0 past the first `rows` and `columns`."""
    places, there = [e.at(source, (i, pitch)) for i in range(e.lanes)], e.present(source, pitch, rows)

    def load(masks: Sequence[Value] | None) -> list[Value]:
        if masks is None:
            return [e.load(place) for place in places]
        return [e.masked_load(mask, place) for mask, place in zip(masks, there, strict=True)]

    return by_mask(e, rows, columns, load)


def by_mask(
    e: Emit, rows: Value, columns: Value, write: Callable[[Sequence[Value] | None], list[Value]]
) -> list[Value]:
    """The code of `write` thrice: without masks for a whole square, with one for whole rows, and with one for each."""
    after = e.b.append_basic_block("after")
    found, blocks = [], []

    def add(masks: Sequence[Value] | None) -> None:
        found.append(write(masks))
        blocks.append(e.b.block)
        e.b.branch(after)

    high, wide = (e.b.icmp_signed(">=", count, I64(e.lanes)) for count in (rows, columns))
    whole, part, row_by_row, some = (e.b.append_basic_block(n) for n in ("whole", "part", "rows", "some"))
    e.b.cbranch(e.b.and_(high, wide), whole, part)
    e.b.position_at_end(whole)
    add(None)
    e.b.position_at_end(part)
    mask = e.first(columns)
    e.b.cbranch(high, some, row_by_row)
    e.b.position_at_end(some)
    add([mask] * e.lanes)
    e.b.position_at_end(row_by_row)
    none = e.first(0)
    add([e.b.select(e.b.icmp_signed("<", I64(i), rows), mask, none) for i in range(e.lanes)])
    e.b.position_at_end(after)
    merged = [e.b.phi(value.type) for value in found[0]]
    for values, block in zip(found, blocks, strict=True):
        for phi, value in zip(merged, values, strict=True):
            phi.add_incoming(value, block)
    return merged


@instruction(2)
def turn_taps(e, source, pitch, rows, target):  # type: ignore[no-untyped-def]
    """The taps of `rows` filters, one vector for each tap."""
    for first in range(0, TAPS, e.lanes):
        count = min(e.lanes, TAPS - first)
        values = load_square(e, e.at(source, FLOAT * first), pitch, rows, I64(count))
        bit = e.lanes // 2
        while bit:  # the largest blocks first: what the last vectors would need is left out then
            values = e.swapped(values, bit)
            bit //= 2
        for i in range(count):
            e.store(values[i], target, (first + i) * FLOAT * e.lanes)


@instruction(2)
def sum_parts(e, source, distance, parts, count, target):  # type: ignore[no-untyped-def]
    """A vector of `count` numbers: the sum of so many, in their order."""
    mask = e.first(count)
    total = e.loop(
        e.b.sub(parts, I64(1)),
        [e.masked_load(mask, source)],
        lambda i, sums: [e.b.fadd(sums[0], e.masked_load(mask, e.at(source, e.b.mul(e.b.add(i, I64(1)), distance))))],
    )
    e.masked_store(total[0], mask, target)


def by_number(e: Emit, numbers: Iterable[int], number: Value, write: Callable[[int], None]) -> None:
    """The code of `write` for each of these numbers, of which one is given; none if it is another."""
    done = e.b.append_basic_block("done")
    choice = e.b.switch(number, done)
    for case in numbers:
        block = e.b.append_basic_block(f"case{case}")
        choice.add_case(I64(case), block)
        e.b.position_at_end(block)
        write(case)
        e.b.branch(done)
    e.b.position_at_end(done)


@instruction(6)
def multiply_add(e, most, vectors, step, along, rows, a, chunk, b, depth, c, add, a_next, b_next, lines):  # type: ignore[no-untyped-def]
    """c[i, :] (+)= sum over k of a[k // lanes * chunk + k % lanes * along + i * step] * b[k, :], i < rows.

    `rows` is an even number up to `most`, `depth` a multiple of UNROLLED; addresses and distances count bytes; c's rows
    are as wide as b's, `vectors` vectors. Unless `add`, the sums start at 0. For the next product are fetched, where
    a's rows are side by side, what lies `a_next` after a, unless that is 0, and what lies `b_next` after b: `lines` of
    it, a power of two up to FETCHED or none, with each step of UNROLLED.
    """

    def write(count: int) -> None:
        register_tile(e, (count, vectors), (step, along), (a, chunk, b, depth, c, add), (a_next, b_next, lines))

    by_number(e, range(2, most + 1, 2), rows, write)


def register_tile(
    e: Emit, shape: tuple[int, int], strides: tuple[int, int], operands: Sequence[Value], following: Sequence[Value]
) -> None:
    """The product of `multiply_add` for a number of rows: their sums are all in registers."""
    (rows, vectors), (step, along), size = shape, strides, FLOAT * e.lanes
    a, chunk, b, depth, c, add = operands
    grid = [(i, j) for i in range(rows) for j in range(vectors)]
    before = e.b.block
    with e.b.if_then(e.b.icmp_signed("!=", add, I64(0))):
        old = [e.load(c, (i * vectors + j) * size) for i, j in grid]
        loaded = e.b.block
    start = [e.b.phi(e.vector) for _ in grid]
    for phi, value in zip(start, old, strict=True):
        phi.add_incoming(e.zero, before)
        phi.add_incoming(value, loaded)

    def unrolled(index: Value, sums: list[Value]) -> list[Value]:
        k = e.b.mul(index, I64(UNROLLED))
        place = e.b.lshr(k, I64(e.lanes.bit_length() - 1)), e.b.and_(k, I64(e.lanes - 1))
        part = e.at(a, e.b.mul(place[0], chunk))
        left, right = e.at(part, (along, place[1])), e.at(b, (vectors * size, k))
        if step == size:
            share = e.at(part, (rows * FLOAT, place[1]))
            fetch_lines(e, share, following[0], UNROLLED * rows * FLOAT)
            fetch_few(e, e.at(b, following[1], (LINE, e.b.mul(index, following[2]))), following[2])
        for s in range(UNROLLED):
            row = [e.load(right, (s * vectors + j) * size) for j in range(vectors)]
            for i in range(rows):  # in this order, which the compiler keeps: all loads first would spill registers
                number = e.splat(e.number(left, s * along + i * step))
                for j in range(vectors):
                    sums[i * vectors + j] = e.fma(number, row[j], sums[i * vectors + j])
        return sums

    sums = e.loop(e.b.lshr(depth, I64(UNROLLED.bit_length() - 1)), start, unrolled)
    for (i, j), value in zip(grid, sums, strict=True):
        e.store(value, c, (i * vectors + j) * size)


def fields(layout: Any) -> Any:
    """An instruction that reads a named tuple of int64, which a plan fixed, from an address."""
    kind = types.NamedUniTuple(types.int64, len(layout._fields), layout)

    @intrinsic
    def read(typingctx, plan):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            base = builder.inttoptr(values[0], I64.as_pointer())
            words = [builder.load(builder.gep(base, [I64(i)])) for i in range(len(kind))]
            return context.make_tuple(builder, kind, words)

        return kind(types.int64), codegen

    return read
