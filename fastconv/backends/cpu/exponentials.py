"""tanh and the logistic function of float32, a vector at a time.

They are computed in float64: e^y = 2^k (1 + p) with y = k log 2 + r and |r| <= log 2 / 2, p a polynomial of r. So only
the rounding to float32 counts, and that is the nearest number's but for a few arguments in a million.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv import threads
from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.vectors import I64, Emit, instruction
from fastconv.typing import Array

TANH, SIGMOID = range(2)
SINGLE = 4
DEGREE = 10  # of the polynomial: the next term is below 1e-12 of the sum
MAGIC = 1.5 * 2.0**52  # added to a number, it leaves its integral part in the last bits
LIMITS = {TANH: 40.0, SIGMOID: 110.0}  # of y: beyond them the result is 0 or 1 in float32
PIECE = 1 << 12  # numbers of a task
SMALL = 10_000  # numbers below which one thread is faster

Value = Any


def exponential(d: Emit, y: Value) -> tuple[Value, Value]:
    """2^k and p of e^y = 2^k (1 + p), of float64."""
    shifted = d.fma(y, d.constant(1 / math.log(2)), d.constant(MAGIC))
    k = d.b.fsub(shifted, d.constant(MAGIC))
    r = d.fma(k, d.constant(-math.log(2)), y)
    p = d.constant(1 / math.factorial(DEGREE))
    for n in range(DEGREE - 1, 0, -1):
        p = d.fma(p, r, d.constant(1 / math.factorial(n)))
    bits = ir.VectorType(I64, d.lanes)
    exponent = d.b.shl(d.b.bitcast(shifted, bits), ir.Constant(bits, [52] * d.lanes))
    power = d.b.bitcast(d.b.add(exponent, d.b.bitcast(d.constant(1.0), bits)), d.vector)
    return power, d.b.fmul(p, r)


def within(d: Emit, y: Value, limit: float) -> Value:
    """y, or the limit or its negative where it lies beyond; NaN stays."""
    for sign, test in ((1, ">"), (-1, "<")):
        edge = d.constant(sign * limit)
        y = d.b.select(d.b.fcmp_ordered(test, y, edge), edge, y)
    return y


@instruction(3)
def map_numbers(e: Emit, kind: int, source: Value, count: Value, target: Value) -> None:
    """target[j] = f(source[j]) for j < count, f by its kind."""
    d, width = Emit(e.b, 8, e.lanes), e.lanes * e.item
    one = d.constant(1.0)

    def applied(x: Value) -> Value:
        wide = e.b.fpext(x, d.vector)
        power, p = exponential(d, within(d, e.b.fmul(wide, d.constant(2.0 if kind == TANH else -1.0)), LIMITS[kind]))
        if kind == SIGMOID:
            return e.b.fptrunc(e.b.fdiv(one, e.b.fadd(one, d.fma(power, p, power))), e.vector)
        less = d.fma(power, p, e.b.fsub(power, one))  # e^2x - 1, exact to the last bits where x is small
        y = e.b.fptrunc(e.b.fdiv(less, e.b.fadd(less, d.constant(2.0))), e.vector)
        return e.call(f"llvm.copysign.{e.name}", e.vector, y, x)  # of -0 too

    def step(v: Value, _: list[Value]) -> list[Value]:
        place = e.b.mul(v, e.long(width))
        e.store(applied(e.load(source, place)), target, place)
        return []

    whole = e.b.sdiv(count, e.long(e.lanes))
    e.loop(whole, [], step)
    mask, place = e.first(e.b.sub(count, e.b.mul(whole, e.long(e.lanes)))), e.b.mul(whole, e.long(width))
    e.masked_store(applied(e.masked_load(mask, source, place)), mask, target, place)


@functools.cache
def map_body(kind: int, lanes: int) -> Any:
    """The body that applies a function to PIECE numbers a task."""

    @native.body
    def mapped(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[i] = f(x[i])."""
        x, y, count = native.word(arrays, 0), native.word(arrays, 1), native.word(plan, 0)
        for task in range(first, end):
            begin = task * PIECE
            map_numbers(SINGLE, lanes, kind, x + begin * SINGLE, min(PIECE, count - begin), y + begin * SINGLE)

    return mapped


@functools.lru_cache(maxsize=1024)
def program(kind: int, count: int) -> native.Program:
    """The program for so many numbers."""
    body = map_body(kind, machine.vectors().lanes(SINGLE))
    return native.Program([(body, (count,), -(-count // PIECE), 4)], count)


def mapped(kind: int, x: Array) -> Array:
    """f(x) of a contiguous array of float32."""
    y = np.empty_like(x)
    program(kind, x.size).on(threads.get_num_threads() if x.size >= SMALL else 1, x, y)
    return y
