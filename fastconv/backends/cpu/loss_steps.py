"""Losses with their gradients in one pass, as steps; each block's sum in float64, then the blocks' sums in order.

All steps of a loss have the same arrays, of which those without use are None:
x, target, scale, factor, divisor, partial, loss, grad. The loss is the sum of `partial` over `divisor[0]`, and the
gradient that of the loss's elements times `factor[0]`, which is `scale[0]` over the same divisor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv.backends.cpu import exponentials, machine, native
from fastconv.backends.cpu.elementwise import PARTS, PIECE, QUICK, SLOW
from fastconv.backends.cpu.softmax import Row, log_of_sum
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import I1, I32, I64, Emit, Value, instruction
from fastconv.typing import Array

X, TARGET, SCALE, FACTOR, DIVISOR, PARTIAL, LOSS, GRAD = range(8)
ROWS = 8  # of a task of the cross-entropy
IGNORED = -100  # `functional.cross_entropy`'s default

Plan = tuple[Any, Sequence[int], int, int]  # body, parameters, tasks, parts


def cross_entropy(x: Array, target: Array, loss: Array, grad: Array) -> list[Step]:
    """The mean of -log softmax(x[n])[target[n]] over the rows n whose target is not -100, else a class."""
    plans = entropy_plans(x.itemsize, x.shape[0], x.shape[1], IGNORED, 1)
    arrays = [x, target, np.ones(1), np.empty(1, x.dtype), np.empty(1), np.empty(-(-len(x) // ROWS)), loss, grad]
    return _steps("cross entropy", plans, arrays)


def mse(x: Array, target: Array, loss: Array, grad: Array) -> list[Step]:
    """The mean of (x - target)²."""
    return _pair_steps("mse", SQUARES, x, target, loss, grad)


def l1(x: Array, target: Array, loss: Array, grad: Array) -> list[Step]:
    """The mean of |x - target|."""
    return _pair_steps("l1", DISTANCES, x, target, loss, grad)


def binary_cross_entropy(x: Array, target: Array, loss: Array, grad: Array) -> list[Step]:
    """The mean of -(target log x + (1 - target) log(1 - x)); x and target are checked before."""
    return _pair_steps("binary cross entropy", ENTROPIES, x, target, loss, grad)


def binary_cross_entropy_with_logits(x: Array, target: Array, loss: Array, grad: Array) -> list[Step]:
    """The mean of (1 - target) x + log(1 + exp(-x))."""
    return _pair_steps("binary cross entropy", LOGIT_ENTROPIES, x, target, loss, grad)


def check_labels(labels: Array, classes: int, flag: Array) -> Step:
    """flag[0] = whether a label is neither a class nor -100."""
    return Step("labels", label_body(), (labels.size, classes, IGNORED), [labels, flag], 1, 0)


def check_probabilities(array: Array, flag: Array) -> Step:
    """flag[0] = 1 if a number is below 0 or above 1; else it stays, so that other arrays may be checked, too."""
    body = probability_body(array.itemsize, machine.vectors().lanes(array.itemsize))
    return Step("probabilities", body, (array.size,), [array, flag], 1, 0)


def _pair_steps(name: str, loss_of: Pair, x: Array, target: Array, loss: Array, grad: Array) -> list[Step]:
    divisor, partial = np.full(1, float(x.size)), np.empty(-(-x.size // PIECE))
    factor = np.array([1 / divisor[0] if x.size else 0], x.dtype)
    arrays = [x, target, None, factor, divisor, partial, loss, grad]
    return _steps(name, pair_plans(loss_of, x.itemsize, x.size, 1), arrays)


def _steps(name: str, plans: Sequence[Plan], arrays: Sequence[Array | None]) -> list[Step]:
    return [Step(name, body, parameters, arrays, tasks, parts) for body, parameters, tasks, parts in plans]


def pair_plans(loss_of: Pair, item: int, count: int, gradient: int) -> list[Plan]:
    """The loss of so many numbers, with its gradient or without."""
    lanes, blocks = machine.vectors().lanes(item), -(-count // PIECE)
    parts = PARTS if count >= small(loss_of) else 0
    return [
        (pair_body(*loss_of, item, lanes, gradient), (count,), blocks, parts),
        (sum_body(item, lanes), (blocks,), 1, 0),
    ]


def small(loss_of: Pair) -> int:
    """Numbers below which one thread is faster."""
    return QUICK if loss_of in (SQUARES, DISTANCES) else SLOW


def entropy_plans(item: int, rows: int, classes: int, ignored: int, gradient: int) -> list[Plan]:
    """The cross-entropy of so many rows, with its gradient or without."""
    lanes, blocks = machine.vectors().lanes(item), -(-rows // ROWS)
    parts = PARTS if rows * max(classes, 16) >= SLOW else 0
    return [
        (count_body(item, lanes), (rows, ignored), 1, 0),
        (entropy_body(item, lanes, gradient), (rows, classes, ignored), blocks, parts),
        (sum_body(item, lanes), (blocks,), 1, 0),
    ]


def squares(e: Emit, x: Value, target: Value) -> Value:
    """(x - target)²."""
    distance = e.b.fsub(x, target)
    return e.b.fmul(distance, distance)


def square_grads(e: Emit, x: Value, target: Value, grad: Value) -> Value:
    """2 grad (x - target)."""
    return e.b.fmul(e.b.fmul(e.constant(2), grad), e.b.fsub(x, target))


def distances(e: Emit, x: Value, target: Value) -> Value:
    """|x - target|."""
    return e.call(f"llvm.fabs.{e.name}", e.vector, e.b.fsub(x, target))


def distance_grads(e: Emit, x: Value, target: Value, grad: Value) -> Value:
    """Grad sign(x - target), and 0 or NaN where that is the distance."""
    distance, b = e.b.fsub(x, target), e.b
    below = b.select(b.fcmp_ordered("<", distance, e.zero), b.fneg(grad), b.fmul(grad, distance))
    return b.select(b.fcmp_ordered(">", distance, e.zero), grad, below)


def entropies(e: Emit, x: Value, target: Value) -> Value:
    """-(target max(log x, -100) + (1 - target) max(log(1 - x), -100))."""
    least = e.constant(-100)
    logs = exponentials.logarithm(e, x), exponentials.logarithm_of_more(e, e.b.fneg(x))
    yes, no = (e.b.select(e.b.fcmp_ordered("<", log, least), least, log) for log in logs)
    return e.b.fsub(e.b.fmul(e.b.fsub(target, e.constant(1)), no), e.b.fmul(target, yes))


def entropy_grads(e: Emit, x: Value, target: Value, grad: Value) -> Value:
    """Grad (x - target) / max(x (1 - x), 1e-12)."""
    spread, least = e.b.fmul(x, e.b.fsub(e.constant(1), x)), e.constant(1e-12)
    spread = e.b.select(e.b.fcmp_ordered("<", spread, least), least, spread)
    return e.b.fdiv(e.b.fmul(grad, e.b.fsub(x, target)), spread)


def logit_entropies(e: Emit, x: Value, target: Value) -> Value:
    """(1 - target) x + log(1 + exp(-x))."""
    return e.fma(e.b.fsub(e.constant(1), target), x, exponentials.softplus(e, e.b.fneg(x)))


def logit_entropy_grads(e: Emit, x: Value, target: Value, grad: Value) -> Value:
    """Grad (1 / (1 + exp(-x)) - target)."""
    return e.b.fmul(grad, e.b.fsub(exponentials.sigmoid(e, x), target))


def weighted_entropies(e: Emit, x: Value, target: Value, positive: Value) -> Value:
    """(1 - target) x + (1 + (positive - 1) target) log(1 + exp(-x))."""
    one = e.constant(1)
    weight = e.fma(e.b.fsub(positive, one), target, one)
    smooth = e.b.fmul(weight, exponentials.softplus(e, e.b.fneg(x)))
    return e.fma(e.b.fsub(one, target), x, smooth)


def weighted_entropy_grads(e: Emit, x: Value, target: Value, grad: Value, positive: Value) -> Value:
    """Grad ((1 + (positive - 1) target) / (1 + exp(-x)) - positive target)."""
    yes = e.b.fmul(positive, target)
    weight = e.b.fadd(yes, e.b.fsub(e.constant(1), target))
    return e.b.fmul(grad, e.b.fsub(e.b.fmul(weight, exponentials.sigmoid(e, x)), yes))


Pair = tuple[Callable[..., Value], Callable[..., Value]]  # a loss of x and target, and its gradient
SQUARES, DISTANCES = (squares, square_grads), (distances, distance_grads)
ENTROPIES, LOGIT_ENTROPIES = (entropies, entropy_grads), (logit_entropies, logit_entropy_grads)
WEIGHTED_ENTROPIES = weighted_entropies, weighted_entropy_grads


@functools.cache
def pair_body(
    loss_of: Callable[..., Value], grad_of: Callable[..., Value], item: int, lanes: int, gradient: int
) -> Any:
    """The body that sums the loss of a piece of numbers in a task, and (gradient) stores theirs."""

    @instruction(2)
    def sum_piece(e: Emit, arrays: Value, begin: Value, count: Value, task: Value) -> None:
        """partial[task] = sum of the losses of `count` numbers from `begin`."""
        d = Emit(e.b, 8, e.lanes)
        x, target = (e.at(e.word(arrays, I64(place)), (e.item, begin)) for place in (X, TARGET))
        factor = e.splat(e.number(e.word(arrays, I64(FACTOR)))) if gradient else None
        grad = e.at(e.word(arrays, I64(GRAD)), (e.item, begin)) if gradient else None

        def step(offset: Value, mask: Value, totals: list[Value]) -> list[Value]:
            pair = [e.masked_load(mask, source, offset) for source in (x, target)]
            if gradient:
                e.masked_store(grad_of(e, *pair, factor), mask, grad, offset)
            losses = e.b.select(mask, e.widened(loss_of(e, *pair)), d.zero)
            return [e.b.fadd(totals[0], losses)]

        (total,) = e.over(count, [d.zero], step)
        d.save(d.total(total), e.word(arrays, I64(PARTIAL)), e.b.mul(task, I64(8)))

    @native.body
    def summed(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Pieces from first to end."""
        count = native.word(plan, 0)
        for task in range(first, end):
            sum_piece(item, lanes, arrays, task * PIECE, min(PIECE, count - task * PIECE), task)

    return summed


@functools.cache
def sum_body(item: int, lanes: int) -> Any:
    """The body that makes the loss of the blocks' sums."""

    @native.body
    def loss(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """loss[0] = sum of partial / divisor[0]."""
        sum_partial(item, lanes, arrays, native.word(plan, 0))

    return loss


@instruction(2)
def sum_partial(e: Emit, arrays: Value, count: Value) -> None:
    """loss[0] = sum of partial[:count] / divisor[0]."""
    d = Emit(e.b, 8, e.lanes)
    partial, divisor, loss = (e.word(arrays, I64(place)) for place in (PARTIAL, DIVISOR, LOSS))

    def add(place: Value, mask: Value, values: list[Value]) -> list[Value]:
        return [e.b.fadd(values[0], d.masked_load(mask, partial, place))]

    mean = e.b.fdiv(d.total(d.over(count, [d.zero], add)[0]), d.number(divisor))
    e.save(e.narrowed(mean), loss)


@functools.cache
def count_body(item: int, lanes: int) -> Any:
    """The body that counts the labels."""

    @native.body
    def counted(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """divisor[0] = how many targets are not ignored, factor[0] = scale[0] over that."""
        targets, count = native.word(arrays, TARGET), 0
        for n in range(native.word(plan, 0)):
            count += native.word(targets, n) != native.word(plan, 1)
        set_divisor(item, lanes, arrays, count)

    return counted


@instruction(2)
def set_divisor(e: Emit, arrays: Value, count: Value) -> None:
    """divisor[0] = count; factor[0] = scale[0] / count."""
    d = Emit(e.b, 8, e.lanes)
    number = e.b.sitofp(count, d.scalar)
    d.save(number, e.word(arrays, I64(DIVISOR)))
    factor = e.b.fdiv(d.number(e.word(arrays, I64(SCALE))), number)
    e.save(e.narrowed(factor), e.word(arrays, I64(FACTOR)))


@functools.cache
def entropy_body(item: int, lanes: int, gradient: int) -> Any:
    """The body that does ROWS rows in a task."""

    @native.body
    def entropies_of_rows(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Blocks of rows from first to end."""
        rows, classes, ignored = native.word(plan, 0), native.word(plan, 1), native.word(plan, 2)
        for task in range(first, end):
            count = min(ROWS, rows - task * ROWS)
            sum_rows(item, lanes, gradient, arrays, task * ROWS, count, task, classes, ignored)

    return entropies_of_rows


@instruction(3)
def sum_rows(
    e: Emit,
    gradient: int,
    arrays: Value,
    begin: Value,
    count: Value,
    task: Value,
    classes: Value,
    ignored: Value,
) -> None:
    """partial[task] = sum of log(sum of exp x[n]) - x[n, target[n]] over `count` rows n from `begin`.

    grad[n] = factor[0] (softmax(x[n]), less 1 at the target); both are 0 where the target is ignored.
    """
    b, d, row = e.b, Emit(e.b, 8, e.lanes), Row(e, 0, classes, I64(1), I64(1))
    x, targets, partial, grads = (e.word(arrays, I64(place)) for place in (X, TARGET, PARTIAL, GRAD))
    factor = e.number(e.word(arrays, I64(FACTOR)))

    def step(v: Value, values: list[Value]) -> list[Value]:
        n = b.add(begin, v)
        source, grad = (e.at(array, b.mul(b.mul(n, classes), I64(e.item))) for array in (x, grads))
        label = e.word(targets, n)
        counted = b.icmp_signed("!=", label, ignored)
        place = b.mul(b.select(b.icmp_unsigned("<", label, classes), label, I64(0)), I64(e.item))
        top = row.highest(source)
        if gradient:
            total = row.exponentials(source, top, grad)
        else:
            total = row.sum(lambda *at: exponentials.exponential(e, b.fsub(e.masked_load(at[1], source, at[0]), top)))
        log, total, top = (b.extract_element(v, I32(0)) for v in (log_of_sum(row, total), total, top))
        loss = b.fsub(log, b.fsub(e.widened(e.number(source, place)), e.widened(top)))
        if gradient:
            share = b.select(counted, factor, ir.Constant(e.scalar, 0.0))
            weight = e.splat(e.narrowed(b.fdiv(e.widened(share), total)))
            row.store(lambda offset, mask: b.fmul(e.masked_load(mask, grad, offset), weight), grad)
            e.save(b.fsub(e.number(grad, place), share), grad, place)
        return [b.fadd(values[0], b.select(counted, loss, ir.Constant(d.scalar, 0.0)))]

    (loss,) = e.loop(count, [ir.Constant(d.scalar, 0.0)], step)
    d.save(loss, partial, b.mul(task, I64(8)))


@functools.cache
def label_body() -> Any:
    """The body that checks labels."""

    @native.body
    def labels_within(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """flag[0] = whether a label is neither from 0 to classes - 1 nor ignored."""
        labels, classes, ignored, wrong = native.word(arrays, 0), native.word(plan, 1), native.word(plan, 2), 0
        for n in range(native.word(plan, 0)):
            label = native.word(labels, n)
            if (label < 0 or label >= classes) and label != ignored:
                wrong = 1
        native.set_word(native.word(arrays, 1), 0, wrong)

    return labels_within


@functools.cache
def probability_body(item: int, lanes: int) -> Any:
    """The body that checks probabilities."""

    @native.body
    def probabilities(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """flag[0] = 1 if a number is below 0 or above 1."""
        mark_outside(item, lanes, native.word(arrays, 0), native.word(plan, 0), native.word(arrays, 1))

    return probabilities


@instruction(2)
def mark_outside(e: Emit, source: Value, count: Value, flag: Value) -> None:
    """flag[0] = 1 if one of `count` numbers is below 0 or above 1; NaN is neither."""
    b, none = e.b, ir.Constant(ir.VectorType(I1, e.lanes), [0] * e.lanes)

    def look(offset: Value, mask: Value, values: list[Value]) -> list[Value]:
        value = e.masked_load(mask, source, offset)
        outside = b.or_(b.fcmp_ordered("<", value, e.zero), b.fcmp_ordered(">", value, e.constant(1)))
        return [b.or_(values[0], outside)]

    some = e.call(f"llvm.vector.reduce.or.v{e.lanes}i1", I1, e.over(count, [none], look)[0])
    place = e.pointer(flag, I64)
    b.store(b.or_(b.load(place), b.zext(some, I64)), place)
