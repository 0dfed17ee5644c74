"""Whether an array's numbers are all finite: algorithms that add and subtract inputs would spread what is not.

A float32 of 2^49 or more counts as infinite here: it could become so in their sums, where the result is not.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.moves import flag_unless_finite
from fastconv.backends.cpu.programs import Program
from fastconv.typing import Array

SINGLE, SCALE = 4, 79  # a float32 times 2^79 is infinite from 2^49 on: sums of products of lesser ones are not
PIECE = 1 << 15  # numbers that a task looks at
ARRAY, FLAG = range(2)  # a call's addresses


@functools.cache
def finite_body(item: int, lanes: int) -> Any:
    """The body that looks for numbers that are not finite."""
    scale = SCALE if item == SINGLE else 0

    @native.body
    def flag_if_any(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is PIECE numbers; whoever finds one writes the same flag."""
        array, flag, count = native.word(arrays, ARRAY), native.word(arrays, FLAG), native.word(plan, 0)
        for task in range(first, end):
            start = task * PIECE
            flag_unless_finite(item, lanes, scale, array + start * item, min(PIECE, count - start), flag)

    return flag_if_any


@functools.lru_cache(maxsize=1024)
def program(count: int, item: int) -> Program:
    """The program for so many numbers."""
    body = finite_body(item, machine.vectors().lanes(item))
    return Program([(body, (count,), -(-count // PIECE), 8)], count)


def all_finite(array: Array, threads: int) -> bool:
    """Whether no number of a contiguous array is infinite, NaN, or as good as infinite."""
    flag = np.zeros(1, np.int64)
    program(array.size, array.itemsize)(threads, native.address(array), native.address(flag))
    return not flag[0]
