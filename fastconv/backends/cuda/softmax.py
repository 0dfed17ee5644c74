"""Softmax, its logarithm, and their gradients: a team of threads to each line.

A team reads its line three times (the greatest number; the sum; the results), and caches hold it meanwhile. Teams, and
the letters `q` line, `k` number of a line, `j` thread of a team: see `teams`.
"""

from functools import cache
from math import prod
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda.array import empty
from fastconv.backends.cuda.launching import MASK, Kernel, device_function, kernel, operation
from fastconv.backends.cuda.mathematics import exp, greater, log, plus
from fastconv.backends.cuda.teams import LAST, Team, fold, team
from fastconv.typing import Array


@operation()
def softmax(x: Array, dim: int) -> Array:
    """y = exp x / sum of exp x along `dim`; the largest x is subtracted first, so that nothing overflows."""
    y: Array = _along(_softmax, x, dim, (x,), False)
    return y


@operation()
def softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = y (grad_output - sum of grad_output y along `dim`)."""
    grad_x: Array = _along(_slope, y, dim, (grad_output, y), False)
    return grad_x


@operation()
def log_softmax(x: Array, dim: int) -> Array:
    """y = x - log(sum of exp x along `dim`); the largest x is subtracted first, so that nothing overflows."""
    y: Array = _along(_softmax, x, dim, (x,), True)
    return y


@operation()
def log_softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = grad_output - exp(y) sum of grad_output along `dim`."""
    grad_x: Array = _along(_slope, y, dim, (grad_output, y), True)
    return grad_x


def _along(make: Any, like: Array, dim: int, arrays: tuple[Array, ...], logarithm: bool) -> Any:
    """What a kernel finds for the lines along an axis."""
    count, inner = like.shape[dim], prod(like.shape[dim + 1 :])
    result = empty(like.shape, like.dtype)
    if result.size:
        lines = like.size // count
        people = team(lines, count, inner)
        make(like.dtype.type, logarithm, people)(people.blocks(lines), result, lines, count, inner, *arrays)
    return result


@cache
def statistics(t: Any, people: Team) -> Any:
    """A function (x, start, count, inner, j, shared, thread) -> a line's greatest number g and its sum of exp(x - g).

    `start` is the place of the line's first number; `count` is 0 for a team without a line.
    """
    size, pitch = people.size, people.pitch
    lowest, zero = t(-np.inf), t(0)
    greatest_of, sum_of = fold(greater, size), fold(plus, size)

    def found(x, start, count, inner, j, shared, thread):  # type: ignore[no-untyped-def]
        greatest, total = lowest, zero
        k = j
        while k < count:
            greatest = greater(greatest, x[(start + k * inner) & MASK])
            k += size
        greatest = greatest_of(shared, thread, j, pitch, greatest)
        k = j
        while k < count:
            total += exp(x[(start + k * inner) & MASK] - greatest)
            k += size
        return greatest, sum_of(shared, thread, j, pitch, total)

    return device_function(found)


@cache
def _softmax(t: Any, logarithm: bool, people: Team) -> Kernel:
    size, lanes, along = people
    threads, of_line = size * lanes, statistics(t, people)

    @kernel(threads)
    def run(y, lines, count, inner, x):  # type: ignore[no-untyped-def]
        """y = exp(x - g) / s, or x - g - log s, with g the greatest x of the line and s the sum of all exp(x - g)."""
        shared = cuda.shared.array(threads, t)
        thread = cuda.threadIdx.x & LAST
        j = thread % size if along else thread // lanes
        lane = thread // size if along else thread % lanes
        tile = cuda.blockIdx.x & MASK
        while tile * lanes < lines:
            q = (tile * lanes + lane) & MASK
            start = q // inner * count * inner + q % inner
            numbers = count if q < lines else 0
            greatest, total = of_line(x, start, numbers, inner, j, shared, thread)
            if logarithm:
                total = log(total)
            k = j
            while k < numbers:
                i = (start + k * inner) & MASK
                y[i] = x[i] - greatest - total if logarithm else exp(x[i] - greatest) / total
                k += size
            tile += cuda.gridDim.x

    return run


@cache
def _slope(t: Any, logarithm: bool, people: Team) -> Kernel:
    size, lanes, along = people
    threads, pitch, sum_of, zero = size * lanes, people.pitch, fold(plus, size), t(0)

    @kernel(threads)
    def run(grad_x, lines, count, inner, grad, y):  # type: ignore[no-untyped-def]
        """grad_x = y (grad - s), s the line's sum of grad y; or grad - exp(y) s, s its sum of grad."""
        shared = cuda.shared.array(threads, t)
        thread = cuda.threadIdx.x & LAST
        j = thread % size if along else thread // lanes
        lane = thread // size if along else thread % lanes
        tile = cuda.blockIdx.x & MASK
        while tile * lanes < lines:
            q = (tile * lanes + lane) & MASK
            start = q // inner * count * inner + q % inner
            numbers = count if q < lines else 0
            total = zero
            k = j
            while k < numbers:
                i = (start + k * inner) & MASK
                total += grad[i] if logarithm else grad[i] * y[i]
                k += size
            total = sum_of(shared, thread, j, pitch, total)
            k = j
            while k < numbers:
                i = (start + k * inner) & MASK
                grad_x[i] = grad[i] - exp(y[i]) * total if logarithm else y[i] * (grad[i] - total)
                k += size
            tile += cuda.gridDim.x

    return run
