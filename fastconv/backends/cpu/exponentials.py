"""e^x, log x, and the activations made of them, a vector at a time and in the numbers' own width.

e^x = 2^k e^r with x = k log 2 + r and |r| <= log 2 / 2, where e^r = 1 + r + r²/2 + ... is a polynomial. Errors are at
most 2 units in the last place for float32 and 1 for float64; float64 takes it by carrying what each of the last few
roundings dropped. Infinities, NaN, numbers below the normal ones and the sign of 0 are as IEEE says.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from llvmlite import ir

from fastconv.backends.cpu.vectors import I32, I64, Emit, Value

NONE, RELU, TANH, SIGMOID = range(4)  # kinds of activation whose output alone tells the slope


class Precision(NamedTuple):
    """What the width of a number decides."""

    fraction: int  # bits of it
    degree: int  # of e^r's polynomial: the next term is below a tenth of the last place
    high: float  # log 2 but for its last bits, so that k times it is exact
    low: float  # the rest of log 2
    least: float  # e^x is 0 below
    most: float  # e^x is infinite above
    level: float  # tanh x is 1 from here on
    terms: int  # of log x's series


PRECISIONS = {
    4: Precision(23, 8, 0.693359375, -2.1219444005469057e-04, -104.0, 89.0, 10.0, 5),
    8: Precision(52, 14, float.fromhex("0x1.62e42fefa38p-1"), 5.497923018708371e-14, -746.0, 710.0, 22.0, 10),
}


def activated(e: Emit, kind: int, x: Value) -> Value:
    """y = f(x); relu of NaN is NaN."""
    if kind == RELU:
        return e.b.select(e.b.fcmp_ordered("<=", x, e.zero), e.zero, x)
    if kind == TANH:
        return tanh(e, x)
    return sigmoid(e, x) if kind == SIGMOID else x


def slope(e: Emit, kind: int, y: Value) -> Value:
    """dy/dx from the activation's output: where relu is NaN, 1."""
    one = e.constant(1)
    if kind == RELU:
        return e.b.select(e.b.fcmp_ordered("<=", y, e.zero), e.zero, one)
    if kind == TANH:
        return e.fma(e.b.fneg(y), y, one)
    return e.b.fmul(y, e.b.fsub(one, y)) if kind == SIGMOID else one


def sloped(e: Emit, kind: int, grad: Value, y: Value) -> Value:
    """grad dy/dx; where relu is 0 so is this, whatever grad is."""
    if kind == RELU:
        return e.b.select(e.b.fcmp_ordered("<=", y, e.zero), e.zero, grad)
    return e.b.fmul(grad, slope(e, kind, y)) if kind != NONE else grad


def exponential(e: Emit, x: Value) -> Value:
    """e^x."""
    p = PRECISIONS[e.item]
    k, r, rest = reduced(e, within(e, x, p.least, p.most))
    m, lost = one_more(e, r, rest)
    return scaled(e, k, m if lost is None else e.b.fadd(m, lost))


def tanh(e: Emit, x: Value) -> Value:
    """-q / (q + 2) with q = e^(-2|x|) - 1, which is near 0 where x is, and exact there to its last bits.

    For float32 once more: y = -q/2 (1 + y), where an error of y on the right counts for half at most.
    """
    b = e.b
    y = b.fmul(e.call(f"llvm.fabs.{e.name}", e.vector, x), e.constant(-2))
    k, r, rest = reduced(e, within(e, y, -2 * PRECISIONS[e.item].level, None))
    s = power(e, k)
    less, p = b.fsub(s, e.constant(1)), b.fadd(r, rest)
    q = e.fma(s, p, less)
    total = b.fadd(q, e.constant(2))
    if e.item == 4:
        half = b.fmul(q, e.constant(0.5))
        found = e.fma(half, b.fdiv(q, total), b.fneg(half))
    else:
        dropped = e.fma(s, p, b.fsub(less, q))
        dropped = e.fma(s, b.fadd(b.fsub(r, p), rest), dropped)
        dropped = b.fadd(dropped, b.fsub(s, b.fadd(less, e.constant(1))))  # of s - 1, where s is below 2^-53
        below = b.fadd(b.fadd(b.fsub(e.constant(2), total), q), dropped)
        found = quotient(e, q, dropped, total, below)
    return e.call(f"llvm.copysign.{e.name}", e.vector, found, x)


def sigmoid(e: Emit, x: Value) -> Value:
    """1 / (1 + q) where x > 0 and q / (1 + q) elsewhere, with q = e^-|x|.

    For float32 as 1 - q / (1 + q), or q times that: the errors of a quotient that is at most 1/2 count for less.
    """
    b, one = e.b, e.constant(1)
    y = b.fneg(e.call(f"llvm.fabs.{e.name}", e.vector, x))
    k, r, rest = reduced(e, within(e, y, PRECISIONS[e.item].least, None))
    m, lost = one_more(e, r, rest)
    q, positive = scaled(e, k, m), b.fcmp_ordered(">", x, e.zero)
    total, n = b.fadd(q, one), b.select(positive, one, q)
    if lost is None:
        return e.fma(b.fneg(n), b.fdiv(q, total), n)
    dropped = scaled(e, k, lost)
    below = b.fadd(b.fadd(b.fsub(one, total), q), dropped)
    return quotient(e, n, b.select(positive, e.zero, dropped), total, below)


def less_one(e: Emit, x: Value) -> Value:
    """e^x - 1 of x <= 0, which is near 0 where x is, and exact there to its last bits."""
    k, r, rest = reduced(e, within(e, x, -2 * PRECISIONS[e.item].level, None))
    s = power(e, k)
    return e.fma(s, e.b.fadd(r, rest), e.b.fsub(s, e.constant(1)))


def logarithm(e: Emit, x: Value) -> Value:
    """log x = k log 2 + log(1 + f) with x = 2^k (1 + f) and 1 + f from sqrt(1/2) to sqrt 2.

    With s = f / (2 + f), log(1 + f) = 2 (s + s³/3 + s⁵/5 + ...); f - f²/2 is taken out of the sum, for its last bits.
    """
    b, p = e.b, PRECISIONS[e.item]
    kind = ir.VectorType(I64 if e.item == 8 else I32, e.lanes)
    fraction, middle = ir.Constant(kind, [p.fraction] * e.lanes), b.bitcast(e.constant(math.sqrt(0.5)), kind)
    small = b.fcmp_ordered("<", x, e.constant(2.0 ** (-126 if e.item == 4 else -1022)))  # not a normal number
    bits = b.bitcast(b.select(small, b.fmul(x, e.constant(2.0 ** (p.fraction + 1))), x), kind)
    exponent = b.ashr(b.sub(bits, middle), fraction)
    f = b.fsub(b.bitcast(b.sub(bits, b.shl(exponent, fraction)), e.vector), e.constant(1))
    k = integral(e, b.bitcast(b.add(exponent, b.bitcast(e.constant(magic(e)), kind)), e.vector))
    k = b.select(small, b.fsub(k, e.constant(p.fraction + 1)), k)
    s = b.fdiv(f, b.fadd(f, e.constant(2)))
    square, half = b.fmul(s, s), b.fmul(b.fmul(f, f), e.constant(0.5))
    q = e.constant(2 / (2 * p.terms + 1))
    for n in range(p.terms - 1, 0, -1):
        q = e.fma(q, square, e.constant(2 / (2 * n + 1)))
    rest = e.fma(s, e.fma(square, q, half), b.fmul(k, e.constant(p.low)))
    y = e.fma(k, e.constant(p.high), b.fsub(f, b.fsub(half, rest)))
    usual = b.and_(b.fcmp_ordered(">", x, e.zero), b.fcmp_ordered("<", x, e.constant(math.inf)))
    end = b.select(b.fcmp_ordered("<", x, e.zero), e.constant(math.nan), x)  # infinity or NaN itself
    return b.select(usual, y, b.select(b.fcmp_ordered("==", x, e.zero), e.constant(-math.inf), end))


def logarithm_of_more(e: Emit, x: Value) -> Value:
    """log(1 + x) of finite x >= -1: log of the rounded sum, and to first order what its rounding dropped."""
    b, more = e.b, e.b.fadd(x, e.constant(1))
    dropped = b.fsub(x, b.fsub(more, e.constant(1)))
    divisor = b.select(b.fcmp_ordered("==", more, e.zero), e.constant(1), more)
    return b.fadd(logarithm(e, more), b.fdiv(dropped, divisor))


def softplus(e: Emit, x: Value) -> Value:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    b = e.b
    tail = logarithm_of_more(e, exponential(e, b.fneg(e.call(f"llvm.fabs.{e.name}", e.vector, x))))
    return b.fadd(b.select(b.fcmp_ordered(">", x, e.zero), x, e.zero), tail)


def quotient(e: Emit, n: Value, n_low: Value, d: Value, d_low: Value) -> Value:
    """(n + n_low) / (d + d_low), the low parts small."""
    inverse = e.b.fdiv(e.constant(1), d)
    found = e.b.fmul(n, inverse)
    missing = e.b.fadd(e.fma(e.b.fneg(found), d, n), e.fma(e.b.fneg(found), d_low, n_low))
    return e.fma(missing, inverse, found)


def reduced(e: Emit, x: Value) -> tuple[Value, Value, Value]:
    """k as `rounded` gives it, r, and what e^r is more than 1 + r: e^x = 2^k (1 + r + rest)."""
    p = PRECISIONS[e.item]
    k = rounded(e, e.constant(1 / math.log(2)), x)
    number = e.b.fneg(integral(e, k))
    first = e.fma(number, e.constant(p.high), x)
    r = e.fma(number, e.constant(p.low), first)
    q = e.constant(1 / math.factorial(p.degree))
    for n in range(p.degree - 1, 1, -1):
        q = e.fma(q, r, e.constant(1 / math.factorial(n)))
    square = e.b.fmul(r, r)
    if e.item == 4:
        return k, r, e.b.fmul(square, q)
    return k, r, e.fma(square, q, e.fma(number, e.constant(p.low), e.b.fsub(first, r)))


def one_more(e: Emit, r: Value, rest: Value) -> tuple[Value, Value | None]:
    """1 + r + rest, and for float64 what its rounding dropped."""
    one = e.constant(1)
    if e.item == 4:
        return e.b.fadd(one, e.b.fadd(r, rest)), None
    m = e.b.fadd(one, r)
    rest = e.b.fadd(e.b.fadd(e.b.fsub(one, m), r), rest)
    total = e.b.fadd(m, rest)
    return total, e.b.fadd(e.b.fsub(m, total), rest)


def magic(e: Emit) -> float:
    """1.5 2^fraction: its sum with a number has the number's integral part in the last bits."""
    return 1.5 * 2.0 ** PRECISIONS[e.item].fraction


def rounded(e: Emit, x: Value, y: Value) -> Value:
    """The integer nearest to x y, in the last bits of a number: added to `magic`."""
    return e.fma(x, y, e.constant(magic(e)))


def integral(e: Emit, k: Value) -> Value:
    """The integer itself."""
    return e.b.fsub(k, e.constant(magic(e)))


def power(e: Emit, k: Value) -> Value:
    """2^k, a normal number; k as `rounded` gives it."""
    kind = ir.VectorType(I64 if e.item == 8 else I32, e.lanes)
    exponent = e.b.shl(e.b.bitcast(k, kind), ir.Constant(kind, [PRECISIONS[e.item].fraction] * e.lanes))
    return e.b.bitcast(e.b.add(exponent, e.b.bitcast(e.constant(1), kind)), e.vector)


def scaled(e: Emit, k: Value, m: Value) -> Value:
    """2^k m, in two steps: 2^k alone need not be a normal number."""
    half = rounded(e, integral(e, k), e.constant(0.5))
    other = e.b.fadd(half, e.b.fsub(integral(e, k), e.b.fmul(e.constant(2), integral(e, half))))
    return e.b.fmul(e.b.fmul(m, power(e, half)), power(e, other))


def within(e: Emit, x: Value, least: float | None, most: float | None) -> Value:
    """x, or the limit that it lies beyond; NaN stays."""
    for test, limit in (("<", least), (">", most)):
        if limit is not None:
            x = e.b.select(e.b.fcmp_ordered(test, x, e.constant(limit)), e.constant(limit), x)
    return x
