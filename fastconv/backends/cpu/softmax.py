"""softmax and log_softmax along one axis with their gradients, in vectors along that axis or across it.

An array is (n, c, j): `n` place before `dim`, `c` place along it, `j` place after it. With one j, vectors lie along c
and their lanes are joined in the end; else a vector has as many j, and each lane its own. Sums are in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from fastconv import threads
from fastconv.backends.cpu import exponentials, machine, native, outputs
from fastconv.backends.cpu.elementwise import PARTS, SLOW
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.vectors import I32, Emit, Value, instruction
from fastconv.typing import Array

SOFTMAX, LOG_SOFTMAX, SOFTMAX_GRAD, LOG_SOFTMAX_GRAD = range(4)

Step = Callable[[Value, Value, list[Value]], Sequence[Value]]


def softmax(x: Array, dim: int) -> Array:
    """y = exp x / sum of exp x along `dim`; the largest x is subtracted first, so that nothing overflows."""
    return _along(SOFTMAX, dim, x)


def softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = y (grad_output - sum of grad_output y along `dim`)."""
    return _along(SOFTMAX_GRAD, dim, grad_output, y)


def log_softmax(x: Array, dim: int) -> Array:
    """y = x - log(sum of exp x along `dim`); the largest x is subtracted first, so that nothing overflows."""
    return _along(LOG_SOFTMAX, dim, x)


def log_softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = grad_output - exp(y) sum of grad_output along `dim`."""
    return _along(LOG_SOFTMAX_GRAD, dim, grad_output, y)


def _along(kind: int, dim: int, x: Array, y: Array | None = None) -> Array:
    shape, out = x.shape, outputs.empty(x.shape, x.dtype)
    folded = prod(shape[:dim]), prod(shape[dim : dim + 1]), prod(shape[dim + 1 :])
    program(kind, x.itemsize, *folded).on(threads.get_num_threads() if x.size >= SLOW else 1, x, y, out)
    return out


@functools.lru_cache(maxsize=1024)
def program(kind: int, item: int, before: int, along: int, after: int) -> Program:
    """The program for an array of (before, along, after) numbers."""
    lanes = machine.vectors().lanes(item)
    body = row_body(kind, int(after > 1), item, lanes)
    strips = -(-after // lanes)
    return Program([(body, (along, after, strips), before * strips, PARTS)], before * along * after)


@functools.cache
def row_body(kind: int, across: int, item: int, lanes: int) -> Any:
    """The body that does one n and the j of a vector in a task."""

    @native.body
    def rows(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[n, :, j] = f(x[n, :, j])."""
        along, after, strips = native.word(plan, 0), native.word(plan, 1), native.word(plan, 2)
        for task in range(first, end):
            begin = task % strips * lanes
            place = (task // strips * along * after + begin) * item
            x, y, out = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
            do_rows(item, lanes, kind, across, x + place, y + place, out + place, along, after, after - begin)

    return rows


class Row:
    """A row's vectors: along it, or (across) each from as many rows.

    Parameters
    ----------
    e : Emit
    across : int
    along, after, count : IR value
        Extents of c and j, and how many j there are from this vector's first one on.
    """

    def __init__(self, e: Emit, across: int, along: Value, after: Value, count: Value) -> None:
        self.e, self.d, self.across = e, Emit(e.b, 8, e.lanes), across
        self.along, self.after = along, after
        self.mask = e.first(count) if across else None

    def fold(self, start: Sequence[Value], step: Step) -> list[Value]:
        """Carry values through the vectors: `step(offset, mask, values)` gives the next ones."""
        e, along = self.e, self.along
        if self.across:
            pitch = e.b.mul(self.after, e.long(e.item))
            return e.loop(along, start, lambda c, values: step(e.b.mul(c, pitch), self.mask, values))
        return e.over(along, start, step)

    def highest(self, x: Value) -> Value:
        """The largest number of each row, in all its lanes; NaN is passed over."""
        e, least = self.e, self.e.constant(-math.inf)

        def step(offset: Value, mask: Value, values: list[Value]) -> list[Value]:
            value = e.b.select(mask, e.masked_load(mask, x, offset), least)
            return [larger(e, value, values[0])]

        (top,) = self.fold([least], step)
        lanes = 1 if self.across else e.lanes
        while lanes > 1:
            lanes //= 2
            top = larger(e, e.shuffle(top, top, [lane ^ lanes for lane in range(e.lanes)]), top)
        return top

    def sum(self, term: Callable[[Value, Value], Value]) -> Value:
        """The sum of `term(offset, mask)` over each row, in float64 and all its lanes."""
        e, d = self.e, self.d

        def step(offset: Value, mask: Value, values: list[Value]) -> list[Value]:
            return [e.b.fadd(values[0], e.b.select(mask, e.widened(term(offset, mask)), d.zero))]

        (total,) = self.fold([d.zero], step)
        return total if self.across else d.splat(d.total(total))

    def store(self, value: Callable[[Value, Value], Value], target: Value) -> None:
        """Store `value(offset, mask)` for all vectors."""

        def step(offset: Value, mask: Value, _: list[Value]) -> list[Value]:
            self.e.masked_store(value(offset, mask), mask, target, offset)
            return []

        self.fold([], step)

    def exponentials(self, x: Value, top: Value, target: Value) -> Value:
        """target[c] = exp(x[c] - top[c]); its sum."""
        e = self.e

        def term(offset: Value, mask: Value) -> Value:
            value = exponentials.exponential(e, e.b.fsub(e.masked_load(mask, x, offset), top))
            e.masked_store(value, mask, target, offset)
            return value

        return self.sum(term)


def larger(e: Emit, x: Value, y: Value) -> Value:
    """The larger one; y where x is NaN."""
    return e.b.select(e.b.fcmp_ordered(">", x, y), x, y)


def log_of_sum(row: Row, total: Value) -> Value:
    """log of float64 sums; a row's lanes are all alike, of which two are enough."""
    if row.across or row.e.lanes == 2:
        return exponentials.logarithm(row.d, total)
    pair = Emit(row.e.b, 8, 2)
    found = exponentials.logarithm(pair, pair.shuffle(total, total, (0, 1)))
    return row.d.splat(row.e.b.extract_element(found, I32(0)))


@instruction(4)
def do_rows(
    e: Emit,
    kind: int,
    across: int,
    x: Value,
    y: Value,
    target: Value,
    along: Value,
    after: Value,
    count: Value,
) -> None:
    """One row, or (across) as many as `count` or a vector says; `y` is the gradients' second array."""
    row = Row(e, across, along, after, count)

    def at(source: Value) -> Callable[[Value, Value], Value]:
        return lambda offset, mask: e.masked_load(mask, source, offset)

    if kind == SOFTMAX:
        total = e.narrowed(row.exponentials(x, row.highest(x), target))
        row.store(lambda *place: e.b.fdiv(at(target)(*place), total), target)
    elif kind == LOG_SOFTMAX:
        top = row.highest(x)
        sums = row.sum(lambda *place: exponentials.exponential(e, e.b.fsub(at(x)(*place), top)))
        total = e.narrowed(log_of_sum(row, sums))
        row.store(lambda *place: e.b.fsub(e.b.fsub(at(x)(*place), top), total), target)
    elif kind == SOFTMAX_GRAD:

        def product(offset: Value, mask: Value) -> Value:
            grad, own = (e.widened(at(source)(offset, mask)) for source in (x, y))
            return e.b.fmul(grad, own)

        total = e.narrowed(row.sum(product))
        row.store(lambda *place: e.b.fmul(at(y)(*place), e.b.fsub(at(x)(*place), total)), target)
    else:
        total = e.b.fneg(e.narrowed(row.sum(at(x))))
        row.store(lambda *place: e.fma(exponentials.exponential(e, at(y)(*place)), total, at(x)(*place)), target)
