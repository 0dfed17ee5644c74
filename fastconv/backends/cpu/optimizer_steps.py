"""Optimizers' updates of all parameters in one step: pieces of fixed size, numbered through all arrays.

What a step depends on besides the arrays is read when it runs: `numbers`, of the parameters' dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.elementwise import PARTS, PIECE
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import I64, Emit, Value, instruction
from fastconv.typing import Array

SGD_SMALL, ADAM_SMALL = 100_000, 20_000  # numbers below which one thread is faster
SGD_NUMBERS, ADAM_NUMBERS = 6, 8


def sgd_numbers(
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool, first: bool
) -> list[float]:
    """What `numbers` must hold for a step of `sgd`; `first`: its velocity is the gradient itself."""
    return [lr, momentum, 1 - dampening, weight_decay, nesterov, first]


def adam_numbers(
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool
) -> list[float]:
    """What `numbers` must hold for a step of `adam`, which counts from 1."""
    kept, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    rate, scale = lr / (1 - beta1**step), 1 / sqrt(1 - beta2**step)
    return [kept, decay, 1 - beta1, beta2, 1 - beta2, rate, scale, eps]


def sgd(
    parameters: Sequence[Array], grads: Sequence[Array], velocities: Sequence[Array | None], numbers: Array
) -> list[Step]:
    """velocity = momentum velocity + (1 - dampening) grad; parameter -= lr velocity; see `sgd_numbers`.

    Without momentum a velocity is neither read nor written, and may be None: the parameter stands for it, as loads are
    slow from where there is nothing, masked as they are.
    """
    velocities = [own if velocity is None else velocity for own, velocity in zip(parameters, velocities, strict=True)]
    return _steps("sgd", sgd_body, SGD_SMALL, [parameters, grads, velocities], numbers)


def adam(
    parameters: Sequence[Array],
    grads: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    numbers: Array,
) -> list[Step]:
    """parameter -= lr mean / (sqrt(square) + eps), both moments corrected; see `adam_numbers`."""
    return _steps("adam", adam_body, ADAM_SMALL, [parameters, grads, means, squares], numbers)


def _steps(
    name: str, body: Callable[[int, int], Any], small: int, kinds: Sequence[Sequence[Array | None]], numbers: Array
) -> list[Step]:
    item, sets = numbers.itemsize, list(zip(*kinds, strict=True))
    table = pieces([arrays[0].size for arrays in sets], len(kinds))
    total = sum(table[2::3])
    arrays = [numbers, *[array for together in sets for array in together]]
    made = body(item, machine.vectors().lanes(item))
    parts = PARTS if total >= small else 0
    return [Step(name, made, table, arrays, len(table) // 3, parts, 0, total)] if total else []


def pieces(sizes: Sequence[int], kinds: int) -> list[int]:
    """Three words a piece: the place of its first array among the call's, its first number, and how many there are."""
    table: list[int] = []
    for index, size in enumerate(sizes):
        for begin in range(0, size, PIECE):
            table += [1 + kinds * index, begin, min(PIECE, size - begin)]
    return table


@functools.lru_cache(maxsize=1024)
def program(body: Callable[[int, int], Any], item: int, kinds: int, count: int) -> Program:
    """The program for one parameter of so many numbers: numbers, the parameter, and its other arrays."""
    table = pieces([count], kinds)
    made = body(item, machine.vectors().lanes(item))
    return Program([(made, table, len(table) // 3, PARTS)], count)


@functools.cache
def sgd_body(item: int, lanes: int) -> Any:
    """The body of `sgd`."""

    @native.body
    def sgd_pieces(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Pieces from first to end."""
        for place in range(plan + 24 * first, plan + 24 * end, 24):
            descend(
                item, lanes, arrays, arrays + 8 * native.word(place, 0), native.word(place, 1), native.word(place, 2)
            )

    return sgd_pieces


@functools.cache
def adam_body(item: int, lanes: int) -> Any:
    """The body of `adam`."""

    @native.body
    def adam_pieces(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Pieces from first to end."""
        for place in range(plan + 24 * first, plan + 24 * end, 24):
            adapt(item, lanes, arrays, arrays + 8 * native.word(place, 0), native.word(place, 1), native.word(place, 2))

    return adam_pieces


@instruction(2)
def descend(e: Emit, arrays: Value, own: Value, begin: Value, count: Value) -> None:
    """parameter[i] -= lr direction[i]; the direction is grad + decay parameter, through velocity if there is momentum.

    A decay of 0 is left out, or an infinite parameter would become NaN. `own` has the addresses of the arrays.
    """
    lr, momentum, fresh, decay, nesterov, starting = _numbers(e, arrays, SGD_NUMBERS)
    decays, moves, ahead, starts = (
        e.b.fcmp_unordered("!=", number, e.zero) for number in (decay, momentum, nesterov, starting)
    )
    parameter, grad, velocity = _addresses(e, own, begin, 3)

    def step(offset: Value, mask: Value) -> None:
        p, g = e.masked_load(mask, parameter, offset), e.masked_load(mask, grad, offset)
        moving = e.b.and_(mask, moves)
        v = e.masked_load(moving, velocity, offset)
        direction = e.b.select(decays, e.fma(decay, p, g), g)
        v = e.b.select(starts, direction, e.fma(momentum, v, e.b.fmul(fresh, direction)))
        e.masked_store(v, moving, velocity, offset)
        moved = e.b.select(ahead, e.fma(momentum, v, direction), v)
        direction = e.b.select(moves, moved, direction)
        e.masked_store(e.fma(e.b.fneg(lr), direction, p), mask, parameter, offset)

    e.each(count, step)


@instruction(2)
def adapt(e: Emit, arrays: Value, own: Value, begin: Value, count: Value) -> None:
    """parameter[i] = kept parameter[i] - rate mean[i] / (sqrt(square[i]) scale + eps), after both moments' update.

    A decay of 0 is left out, or an infinite parameter would make its gradient NaN.
    """
    kept, decay, fresh, beta2, fresh2, rate, scale, eps = _numbers(e, arrays, ADAM_NUMBERS)
    decays = e.b.fcmp_unordered("!=", decay, e.zero)
    places = _addresses(e, own, begin, 4)

    def step(offset: Value, mask: Value) -> None:
        p, g, mean, square = (e.masked_load(mask, place, offset) for place in places)
        g = e.b.select(decays, e.fma(decay, p, g), g)
        mean = e.fma(fresh, e.b.fsub(g, mean), mean)
        square = e.fma(beta2, square, e.b.fmul(e.b.fmul(fresh2, g), g))
        root = e.call(f"llvm.sqrt.{e.name}", e.vector, square)
        distance = e.b.fdiv(e.b.fmul(rate, mean), e.fma(root, scale, eps))
        p = e.fma(kept, p, e.b.fneg(distance))
        for value, place in zip((p, mean, square), (places[0], *places[2:]), strict=True):
            e.masked_store(value, mask, place, offset)

    e.each(count, step)


def _numbers(e: Emit, arrays: Value, count: int) -> list[Value]:
    """The numbers of the call's first array, each as a vector."""
    address = e.word(arrays, I64(0))
    return [e.splat(e.number(address, i * e.item)) for i in range(count)]


def _addresses(e: Emit, own: Value, begin: Value, count: int) -> list[Value]:
    return [e.at(e.word(own, I64(i)), (e.item, begin)) for i in range(count)]
