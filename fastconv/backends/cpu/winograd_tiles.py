"""The instructions of Winograd's convolution: transforms of tiles, transposes, and the product of what they make.

An n x n tile of the input, n = m + r - 1, gives m x m outputs of an r x r filter as `A^T [(G g G^T) * (B^T d B)] A`:
n * n products instead of (m * r)^2. A transform works on a grid of vectors whose lanes are channels, so that no lane
idles whatever the image's size; the sum over channels makes of each of the n * n products a product of matrices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastconv.backends.cpu.machine import LINE, vectors
from fastconv.backends.cpu.vectors import I8, I64, READ, WRITE, Emit, Value, instruction
from fastconv.typing import Array

FLOAT = 4  # bytes; float64 needs more accuracy than these transforms have
OUTPUT, WEIGHT, INPUT = range(3)

# Where the polynomials are evaluated: 0, then pairs +-p, and infinity, which goes without saying. For n = 6 these err 3
# to 6 times less than 0, +-1, +-2.
POINTS = {4: (0.0, 1.0, -1.0), 6: (0.0, 0.625, -0.625, 1.5, -1.5)}
TAPS = 9
FETCHED = 8  # lines of b that a step of a product fetches at most
UNROLLED = 4  # steps of a product's sum; its depth is a multiple


@functools.cache
def matrices(m: int, r: int) -> tuple[Array, Array, Array]:
    """A^T, G and B^T of m outputs and r taps, after Cook and Toom."""
    points = np.array(POINTS[m + r - 1])
    others = [np.delete(points, i) for i in range(len(points))]
    scale = [np.prod(p - rest) for p, rest in zip(points, others, strict=True)]
    output = np.vander(points, m, increasing=True).T
    weight = np.vander(points, r, increasing=True) / np.array(scale)[:, None]
    rows = [[*np.poly(rest)[::-1], 0.0] for rest in others] + [np.poly(points)[::-1]]
    return np.c_[output, np.eye(m)[-1]], np.r_[weight, np.eye(r)[-1:]], np.array(rows)


def product(e: Emit, matrix: Array, xs: Sequence[Value]) -> list[Value]:
    """Matrix @ xs. A pair of points +-p shares the sum and the difference of its terms, or its even and odd part."""
    rows, columns = matrix.shape
    if rows < columns:  # A^T: columns j and j + 1 differ in the sign of the odd rows
        pairs = range(1, columns - 1, 2)
        sums, differences = (
            [xs[0], *(combine(xs[j], xs[j + 1]) for j in pairs), xs[-1]] for combine in (e.b.fadd, e.b.fsub)
        )
        kept = [0, *pairs, columns - 1]
        return [e.dot(list(matrix[i, kept]), differences if i % 2 else sums) for i in range(rows)]
    found, odd = [e.dot(list(matrix[0]), xs)], np.arange(columns) % 2
    for row in matrix[1:-1:2]:
        u, v = e.dot(list(row * (1 - odd)), xs), e.dot(list(row * odd), xs)
        found += [e.b.fadd(u, v), e.b.fsub(u, v)]
    return [*found, e.dot(list(matrix[-1]), xs)]


def both_sides(e: Emit, matrix: Array, source: Value, row: Value, column: Value) -> Iterator[list[Value]]:
    """Matrix @ grid @ matrix^T of the grid of vectors at an address, with the bytes between rows and columns.

    Each row is written when it is asked for: what all of them need does not fit the registers.
    """
    n, size = range(matrix.shape[0]), range(matrix.shape[1])
    half = [product(e, matrix, [e.load(e.at(source, (r, row), (c, column))) for r in size]) for c in size]
    return (product(e, matrix, [values[i] for values in half]) for i in n)


@instruction(5)
def transform(e, m, r, kind, source, row, column, target, to_row, to_column, ahead):  # type: ignore[no-untyped-def]
    """One tile, from a grid of vectors at `source` to one at `target`; lines `ahead` are made ready for the next."""
    near = kind == WEIGHT and vectors().few  # most often, and instructions count more, then
    for i, values in enumerate(both_sides(e, matrices(m, r)[kind], source, row, column)):
        for j, value in enumerate(values):
            place = e.at(target, (i, to_row), (j, to_column))
            e.store(value, place)
            if not near:
                e.fetch(e.pointer(e.at(place, ahead), I8), WRITE, 3)


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


@instruction(4)
def transform_to_output(e, m, r, bias, source, row, column, target, to_row, to_column, check):  # type: ignore[no-untyped-def]
    """One tile of the output, with the vector at `bias` added; that at `check` becomes NaN where it is not finite."""
    start, zeros = e.load(bias), e.load(check)
    for i, values in enumerate(both_sides(e, matrices(m, r)[OUTPUT], source, row, column)):
        for j, value in enumerate(values):
            total = e.b.fadd(value, start)
            zeros = e.fma(total, e.zero, zeros)
            e.store(total, e.at(target, (i, to_row), (j, to_column)))
    e.store(zeros, check)


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


@instruction(6)
def multiply_add(e, most, vectors, step, along, rows, a, chunk, b, depth, c, add, a_next, b_next, lines):  # type: ignore[no-untyped-def]
    """c[i, :] (+)= sum over k of a[k // lanes * chunk + k % lanes * along + i * step] * b[k, :], i < rows.

    `rows` is an even number up to `most`, `depth` a multiple of UNROLLED; addresses and distances count bytes; c's rows
    are as wide as b's, `vectors` vectors. Unless `add`, the sums start at 0. For the next product are fetched, where
    a's rows are side by side, what lies `a_next` after a, unless that is 0, and what lies `b_next` after b: `lines` of
    it, a power of two up to FETCHED or none, with each step of UNROLLED.
    """
    done = e.b.append_basic_block("done")
    choice = e.b.switch(rows, done)
    for count in range(2, most + 1, 2):
        block = e.b.append_basic_block(f"rows{count}")
        choice.add_case(I64(count), block)
        e.b.position_at_end(block)
        register_tile(e, (count, vectors), (step, along), (a, chunk, b, depth, c, add), (a_next, b_next, lines))
        e.b.branch(done)
    e.b.position_at_end(done)


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
