"""Winograd's transforms, on vectors whose lanes are channels, so that no lane idles whatever an image's size.

A tile of n x n numbers, n = m + r - 1, gives m x m outputs of an r x r filter as `A^T [(G g G^T) * (B^T d B)] A`: n * n
products instead of (m * r)^2. A polynomial of degree n - 1 is told by its values at n points. Tiles at an image's rim,
where fewer outputs are left, need fewer: theirs are the first ones of a whole tile, so that the filters are the same.

A transform of a tile is one of its lines in one direction, and then in the other.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastconv.backends.cpu.machine import vectors
from fastconv.backends.cpu.vectors import I8, WRITE, Emit, Value, instruction
from fastconv.backends.cpu.winograd_slots import loop
from fastconv.backends.cpu.winograd_tiles import FLOAT, by_number
from fastconv.typing import Array

OUTPUT, WEIGHT, INPUT = range(3)
THREE = 3  # taps along a filter, or along its gradient

# Where the polynomials are evaluated, by the side of a whole tile: 0, then pairs +-p. Infinity goes without saying, as
# the second. For n = 6 these err 3 to 6 times less than 0, +-1, +-2.
POINTS = {4: (0.0, 1.0, -1.0), 6: (0.0, 0.6875, -0.6875, 1.375, -1.375)}


@functools.cache
def matrices(side: int, m: int, r: int) -> tuple[Array, Array, Array]:
    """A^T, G and B^T of m outputs and r taps, after Cook and Toom, where whole tiles have this side.

    Only B^T depends on how many points there are, so that lesser tiles meet the filters of whole ones, and sums of both
    become a filter's gradient.
    """
    points = np.array(POINTS[side][: m + r - 2])
    others = [np.delete(points, i) for i in range(len(points))]
    rows = [[*np.poly(rest)[::-1] / np.prod(p - rest), 0.0] for p, rest in zip(points, others, strict=True)]
    return (
        np.insert(np.vander(points, m, increasing=True), 1, np.eye(m)[-1], 0).T,
        np.insert(np.vander(points, r, increasing=True), 1, np.eye(r)[-1], 0),
        np.insert(rows, 1, np.poly(points)[::-1], 0),
    )


def product(e: Emit, matrix: Array, xs: Sequence[Value]) -> list[Value]:
    """Matrix @ xs. A pair of points +-p shares the sum and the difference of its terms, or its even and odd part."""
    rows, columns = matrix.shape
    if rows < columns:  # A^T: columns j and j + 1 differ in the sign of the odd rows
        pairs, last = range(2, columns - 1, 2), columns % 2
        sums, differences = (
            [*xs[:2], *(combine(xs[j], xs[j + 1]) for j in pairs), *xs[columns - last :]]
            for combine in (e.b.fadd, e.b.fsub)
        )
        kept = [0, 1, *pairs, *range(columns - last, columns)]
        return [e.dot(list(matrix[i, kept]), differences if i % 2 else sums) for i in range(rows)]
    odd, found = np.arange(columns) % 2, [e.dot(list(row), xs) for row in matrix[:2]]
    for i in range(2, rows, 2):
        here, *there = matrix[i : i + 2]
        if not there or not (there[0] == here * (1 - 2 * odd)).all():
            found += [e.dot(list(row), xs) for row in (here, *there)]
            continue
        even, part = e.dot(list(here * (1 - odd)), xs), here * odd
        if not part.any():
            found += [even, even]
            continue
        factor = part[part != 0][-1]
        shared = e.dot(list(part / factor), xs)
        found += [e.fma(e.constant(sign * factor), shared, even) for sign in (1, -1)]
    return found


def both_sides(e: Emit, matrix: Array, source: Value, row: Value, column: Value) -> Iterator[list[Value]]:
    """Matrix @ grid @ matrix^T of the grid of vectors at an address, with the bytes between rows and columns.

    Each row is written when it is asked for: what all of them need does not fit the registers.
    """
    n, size = range(matrix.shape[0]), range(matrix.shape[1])
    half = [product(e, matrix, [e.load(e.at(source, (r, row), (c, column))) for r in size]) for c in size]
    return (product(e, matrix, [values[i] for values in half]) for i in n)


@instruction(5)
def transform(e, m, r, kind, source, row, column, target, to_row, to_column):  # type: ignore[no-untyped-def]
    """B^T d B or G g G^T, from a grid of vectors at `source` to one at `target`; the next one lies behind it."""
    near = kind == WEIGHT and vectors().few  # most often, and instructions count more, then
    for i, values in enumerate(both_sides(e, matrices(m + r - 1, m, r)[kind], source, row, column)):
        for j, value in enumerate(values):
            store(e, value, e.at(target, (i, to_row), (j, to_column)), not near)


@instruction(4)
def transform_to_output(e, m, r, bias, source, row, column, target, to_row, to_column, check):  # type: ignore[no-untyped-def]
    """A^T M A, with the vector at `bias` added; that at `check` becomes NaN where it is not finite."""
    start, zeros = e.load(bias), e.load(check)
    for i, values in enumerate(both_sides(e, matrices(m + r - 1, m, r)[OUTPUT], source, row, column)):
        for j, value in enumerate(values):
            total = e.b.fadd(value, start)
            zeros = e.fma(total, e.zero, zeros)
            e.store(total, e.at(target, (i, to_row), (j, to_column)))
    e.store(zeros, check)


def store(e: Emit, value: Value, place: Value, far: bool) -> None:
    """Store a vector; where it goes far, the place behind it is made ready for the next tile."""
    e.store(value, place)
    if far:
        e.fetch(e.pointer(e.at(place, e.item * e.lanes), I8), WRITE, 3)


@instruction(5)
def transform_lines(e, m, kind, far, size, count, source, step, further, target, to_step, to_further):  # type: ignore[no-untyped-def]
    """B^T d of so many lines of a tile with `size` outputs, G g of `size` numbers, or A^T d to `size` outputs.

    Vectors of a line lie `step` bytes apart, those of the next line `further` on.
    """

    def write(size: int) -> None:
        matrix = matrices(m + 2, *((THREE, size) if kind == WEIGHT else (size, THREE)))[kind]

        def line(index: Value, _: list[Value]) -> list[Value]:
            start, to = e.at(source, (further, index)), e.at(target, (to_further, index))
            values = [e.load(e.at(start, (k, step))) for k in range(matrix.shape[1])]
            for k, value in enumerate(product(e, matrix, values)):
                store(e, value, e.at(to, (k, to_step)), far)
            return []

        e.loop(count, [], line)

    by_number(e, range(1, m + 1), size, write)


@instruction(3)
def finish_lines(e, m, size, count, place, step, further, bias, check):  # type: ignore[no-untyped-def]
    """A^T d of so many lines in place, with the vector at `bias` added; that at `check` as in `transform_to_output`."""
    start, zeros = e.load(bias), e.load(check)

    def write(size: int) -> None:
        matrix = matrices(m + 2, size, THREE)[OUTPUT]

        def line(index: Value, state: list[Value]) -> list[Value]:
            first, told = e.at(place, (further, index)), state[0]
            values = [e.load(e.at(first, (k, step))) for k in range(matrix.shape[1])]
            for k, value in enumerate(product(e, matrix, values)):
                total = e.b.fadd(value, start)
                told = e.fma(total, e.zero, told)
                e.store(total, e.at(first, (k, step)))
            return [told]

        e.store(e.loop(count, [zeros], line)[0], check)

    by_number(e, range(1, m + 1), size, write)


@functools.cache
def lesser_loop(lanes: int, m: int, kind: int) -> Any:
    """A loop that transforms a tile of INPUT, or of grad_output (WEIGHT), at an image's rim."""
    size, n, more = FLOAT * lanes, m + 2, 2 if kind == INPUT else 0

    @loop
    def transform_lesser(height, width, source, pitch, target, step, scratch):  # type: ignore[no-untyped-def]
        """The products of a tile for `height` x `width` outputs, or of so many; rows at `source` are a pitch apart."""
        transform_lines(FLOAT, lanes, m, kind, 0, height, width + more, source, pitch, size, scratch, n * size, size)
        transform_lines(FLOAT, lanes, m, kind, 1, width, height + 2, scratch, size, n * size, target, step, n * step)

    return transform_lesser


@functools.cache
def lesser_output_loop(lanes: int, m: int) -> Any:
    """A loop that transforms a tile of the output at an image's rim."""
    size, n = FLOAT * lanes, m + 2

    @loop
    def transform_lesser(height, width, bias, source, step, target, pitch, check):  # type: ignore[no-untyped-def]
        """A tile of `height` x `width` pixels plus a bias; rows at `target` are a pitch apart, with room for n."""
        transform_lines(FLOAT, lanes, m, OUTPUT, 0, width, height + 2, source, step, n * step, target, size, pitch)
        finish_lines(FLOAT, lanes, m, height, width, target, pitch, size, bias, check)

    return transform_lesser
