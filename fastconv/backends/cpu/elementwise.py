"""Functions of each number by itself, a vector at a time: y[i] = f(a[i], b[i], ..., numbers).

A formula is a function that emits instructions. A task is a piece of an image's numbers; those of neighbouring tasks
lie one after another, so a range of them is one loop, and what a number gives does not depend on where it stands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import machine, native, outputs
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import Emit, Value, instruction
from fastconv.typing import Array

PIECE = 1 << 12  # numbers of a task
QUICK, SLOW = 65_536, 10_000  # numbers from which on threads pay, for a few instructions a vector and for many
PARTS = 4

Formula = Callable[..., Value]  # (e, a vector of each array, a vector of each number) gives y's vector


class Mapping:
    """An elementwise function of arrays of one shape and dtype.

    Parameters
    ----------
    formula : function
    numbers : int
        How many of its arguments, the last ones, are the same for all elements: an array of y's dtype behind the
        other arrays.
    small : int
        Numbers below which one thread is faster.
    name : str
    """

    def __init__(self, formula: Formula, numbers: int, small: int, name: str) -> None:
        self.formula, self.numbers, self.small, self.name = formula, numbers, small, name
        self.__doc__ = formula.__doc__
        self.arrays = formula.__code__.co_argcount - 1 - numbers
        self.program = functools.lru_cache(maxsize=1024)(self._program)

    def __call__(self, x: Array, *others: Array, numbers: Sequence[float] = ()) -> Array:
        """The result for contiguous arrays."""
        count, size = 1, x.size
        if size < self.small:
            y = np.empty_like(x)
        else:
            count, y = threads.get_num_threads(), outputs.empty(x.shape, x.dtype)
        program = self.program(x.itemsize, size)
        if numbers:
            others = (*others, np.array(numbers, x.dtype))
        if others:
            program.on(count, x, *others, y)
        else:
            program.on(count, x, y)  # to put arguments together takes a tenth of such a call
        return y

    def step(self, arrays: Sequence[Array], y: Array, images: int) -> Step:
        """The same into y, which may be one of the arrays; `images` of them lie one after another, or 0: all in one."""
        parameters, tasks = divided(y.size, images)
        parts = PARTS if y.size >= self.small else 0
        return Step(self.name, self.body(y.itemsize), parameters, [*arrays, y], tasks, parts, images, y.size)

    def body(self, item: int) -> Any:
        """The body for numbers of so many bytes."""
        return map_body(self.formula, self.arrays, self.numbers, item, machine.vectors().lanes(item))

    def _program(self, item: int, count: int) -> Program:
        parameters, tasks = divided(count, 0)
        return Program([(self.body(item), parameters, tasks, PARTS)], count)


def mapping(*, numbers: int = 0, small: int = SLOW) -> Callable[[Formula], Mapping]:
    """Make a formula an elementwise function."""
    return lambda formula: Mapping(formula, numbers, small, formula.__name__)


def divided(count: int, images: int) -> tuple[tuple[int, int], int]:
    """(Numbers of an image, pieces of an image), and the number of tasks."""
    rest = count // max(images, 1)
    pieces = max(1, -(-rest // PIECE))
    return (rest, pieces), max(images, 1) * pieces


@functools.cache
def map_body(formula: Formula, inputs: int, numbers: int, item: int, lanes: int) -> Any:
    """The body of a formula."""

    @instruction(2)
    def map_numbers(e: Emit, arrays: Value, begin: Value, count: Value) -> None:
        """y[i] = f(...) for `count` numbers from `begin`; `arrays` has the addresses of the inputs, numbers, and y."""
        places = [e.at(e.word(arrays, e.long(i)), (e.item, begin)) for i in range(inputs)]
        shared = e.word(arrays, e.long(inputs))
        constants = [e.splat(e.number(shared, i * e.item)) for i in range(numbers)]
        target = e.at(e.word(arrays, e.long(inputs + (numbers > 0))), (e.item, begin))

        def step(place: Value, mask: Value) -> None:
            numbers = [e.masked_load(mask, source, place) for source in places]
            e.masked_store(formula(e, *numbers, *constants), mask, target, place)

        e.each(count, step)

    @native.body
    def mapped(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """The tasks' numbers."""
        rest, pieces = native.word(plan, 0), native.word(plan, 1)
        begin = first // pieces * rest + min(first % pieces * PIECE, rest)
        stop = end // pieces * rest + min(end % pieces * PIECE, rest)
        map_numbers(item, lanes, arrays, begin, stop - begin)

    return mapped
