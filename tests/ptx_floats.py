"""Floating-point PTX operations on arrays of lanes, in IEEE's rounding.

A `Pure` operation is a function of arrays; where it is a NumPy ufunc, it may write into its result directly. NaNs keep
whatever bits NumPy gives them. The `.approx` operations are correctly rounded, where a GPU's are a few ulp off.
"""

from typing import NamedTuple

import numpy as np
from numba import types, vectorize
from numba.extending import intrinsic
from ptx_values import UnknownInstructionError, bits_of, numpy_type

OPERATIONS = {}  # opcode's first part: function of (all parts, number of operands) -> Pure


class Pure(NamedTuple):
    """An operation: its function, the types of its results (one, or several) and of its sources."""

    function: object
    results: tuple
    sources: tuple


def covers(*names):
    """Registers a function from an opcode's parts to its operation."""

    def register(function):
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def modifiers(parts, *known):
    """The modifiers between an opcode and its types: those that are not known raise."""
    for part in parts[1:-1]:
        if part not in known:
            raise UnknownInstructionError(f"opcode {'.'.join(parts)}: .{part} is not covered")
    return set(parts[1:-1])


def as_bits(x):
    """The bits of numbers."""
    return x.view(f"u{x.dtype.itemsize}")


@intrinsic
def _fused(context, a, b, c):
    def build(_, builder, __, values):
        return builder.fma(*values)

    return a(a, a, a), build


@vectorize([types.float32(*[types.float32] * 3), types.float64(*[types.float64] * 3)], cache=True)
def _compiled(a, b, c):
    return _fused(a, b, c)


fused = _compiled.ufunc  # a·b + c, rounded once


def two_sum(a, b):
    """(a + b, what its rounding has lost), exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def rounded(nearest, error, mode):
    """A result in a directed rounding, from the nearest and the sign of what is missing to the exact one."""
    infinity = nearest.dtype.type(np.inf)
    result = nearest.copy()
    if mode in ("rm", "rz"):
        down = (error < 0) & ((mode == "rm") | (nearest > 0))
        result[down] = np.nextafter(nearest, -infinity)[down]
    if mode in ("rp", "rz"):
        up = (error > 0) & ((mode == "rp") | (nearest < 0))
        result[up] = np.nextafter(nearest, infinity)[up]
    return result


def _error_of_sum(a, b, c, nearest):
    """The sign of (a·b + c) - nearest, for float32 and for float64 where c is zero or b is one."""
    if nearest.dtype == np.float32:
        total, lost = two_sum(a.astype(np.float64) * b, c.astype(np.float64))
        return np.where(total != nearest, total - nearest, lost)
    return np.where(b == 1, two_sum(a, c)[1], fused(a, b, -nearest))


def _error_of_quotient(a, b, nearest):
    if nearest.dtype == np.float32:
        return a.astype(np.float64) / b - nearest
    return -fused(nearest, b, -a) * np.sign(b)


def _error_of_root(a, nearest):
    return np.sqrt(a.astype(np.float64)) - nearest if nearest.dtype == np.float32 else -fused(nearest, nearest, -a)


def _one(a):
    return np.ones_like(a)


# name: (result to nearest, sign of what it lacks)
EXACT = {
    "add": (np.add, lambda a, b, r: _error_of_sum(a, _one(a), b, r)),
    "sub": (np.subtract, lambda a, b, r: _error_of_sum(a, _one(a), -b, r)),
    "mul": (np.multiply, lambda a, b, r: _error_of_sum(a, b, np.zeros_like(a), r)),
    "fma": (fused, _error_of_sum),
    "div": (np.divide, _error_of_quotient),
    "rcp": (np.reciprocal, lambda a, r: _error_of_quotient(_one(a), a, r)),
    "sqrt": (np.sqrt, _error_of_root),
}
SOURCES = {"fma": 3, "rcp": 1, "sqrt": 1}


def half_fused(a, b, c):
    """Of float16: the sum in float64 is inexact only far from a midpoint of two float16."""
    return (a.astype(np.float64) * b + c).astype(np.float16)


def flush(x):
    """Subnormal numbers to zeros of their sign."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def saturate(x):
    """Into [0, 1]; NaN to zero."""
    return np.fmin(np.fmax(x, x.dtype.type(0)), x.dtype.type(1)) + x.dtype.type(0)


def float_operation(name, parts):
    """`add.rz.ftz.f32` and the like, of all operations in EXACT."""
    words, ptx_type = modifiers(parts, "rn", "rz", "rm", "rp", "ftz", "sat", "approx", "full"), parts[-1]
    function, error = EXACT[name]
    if ptx_type == "f16" and name == "fma":
        function = half_fused
    mode = next(iter(words & {"rz", "rm", "rp"}), None)
    if mode and (ptx_type == "f16" or (ptx_type == "f64" and name == "fma")):
        raise UnknownInstructionError(f"opcode {'.'.join(parts)}: its rounding is not covered")
    if ptx_type == "f64" and "approx" in words:  # the upper half of the nearest: the seed of a division
        return Pure(modified(_upper_half(function), words), (ptx_type,), (ptx_type,))
    if mode:
        nearest = function

        def function(*sources):
            result = nearest(*sources)
            return rounded(result, error(*sources, result), mode)

    return Pure(modified(function, words), (ptx_type,), (ptx_type,) * SOURCES.get(name, 2))


def _upper_half(function):
    return lambda x: (as_bits(function(x)) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)


def modified(function, words):
    """A function with flushed sources and results, or a saturated one."""
    if "ftz" in words:
        inner = function

        def function(*sources):
            return flush(inner(*(flush(source) for source in sources)))

    if "sat" in words:
        whole = function

        def function(*sources):
            return saturate(whole(*sources))

    return function


@covers("fma", "rcp", "sqrt")
def _(parts, _):
    return float_operation(parts[0], parts)


def _approximation(function):
    return lambda x: function(x.astype(np.float64)).astype(np.float32)


APPROXIMATE = {
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}


@covers(*APPROXIMATE)
def _(parts, _):
    words, ptx_type = modifiers(parts, "approx", "ftz"), parts[-1]
    function = APPROXIMATE[parts[0]]
    if ptx_type == "f64" and parts[0] == "rsqrt":
        return Pure(modified(_upper_half(function), words), (ptx_type,), (ptx_type,))
    if ptx_type != "f32":
        raise UnknownInstructionError(f"opcode {'.'.join(parts)}")
    return Pure(modified(_approximation(function), words), (ptx_type,), (ptx_type,))


def extreme(name, parts):
    """`min` and `max`: a NaN loses against a number unless `.NaN`, and +0 is greater than -0."""
    words, ptx_type = modifiers(parts, "ftz", "NaN"), parts[-1]
    pick = {"min": (np.fmin, np.minimum), "max": (np.fmax, np.maximum)}[name]["NaN" in words]
    join = np.bitwise_or if name == "min" else np.bitwise_and

    def function(a, b):
        return np.where(a == b, join(as_bits(a), as_bits(b)).view(a.dtype), pick(a, b))

    return Pure(modified(function, words), (ptx_type,), (ptx_type, ptx_type))


@covers("testp")
def _(parts, _):
    tiny = np.finfo(numpy_type(parts[-1])).tiny
    tests = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda x: ~np.isnan(x),
        "notanumber": np.isnan,
        "normal": lambda x: np.isfinite(x) & (np.abs(x) >= tiny),
        "subnormal": lambda x: (np.abs(x) < tiny) & (x != 0),
    }
    return Pure(tests[parts[1]], ("pred",), (parts[-1],))


@covers("copysign")
def _(parts, _):
    modifiers(parts)
    return Pure(lambda a, b: np.copysign(b, a), (parts[-1],), (parts[-1],) * 2)


ROUND = {"rn": np.rint, "rz": np.trunc, "rm": np.floor, "rp": np.ceil}


def to_integer(x, ptx_type, mode):
    """Floats to integers: rounded, then clamped; NaN to zero, or to the top bit where a side has 64 bits."""
    limits, wide = np.iinfo(numpy_type(ptx_type)), x.dtype == np.float64 or bits_of(ptx_type) == 64
    value = ROUND[mode](x.astype(np.float64))
    above, below = value >= float(limits.max) + (bits_of(ptx_type) < 64), value < float(limits.min)
    result = np.where(above | below | np.isnan(value), 0, value).astype(numpy_type(ptx_type))
    result[above], result[below] = limits.max, limits.min
    result[np.isnan(value)] = np.uint64(1 << (bits_of(ptx_type) - 1)).astype(result.dtype) if wide else 0
    return result


def to_narrower(x, ptx_type, mode):
    """Floats or integers to a float type, in a rounding."""
    nearest = x.astype(numpy_type(ptx_type))
    if mode == "rn":
        return nearest
    wide = x.astype(np.longdouble)  # holds every integer of 64 bits
    return rounded(nearest, (wide - nearest).astype(np.float64), mode)


def to_tf32(x, mode):
    """float32 with 10 bits behind the point: ties away from zero (`rna`) or to even (`rn`)."""
    bits = as_bits(x)
    half = np.uint32(0x1000) if mode == "rna" else np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))
    return np.where(np.isfinite(x), (bits + half) & np.uint32(0xFFFFE000), bits)


@covers("cvt")
def _(parts, _):
    target, source = parts[-2:]
    words = set(parts[1:-2])
    unknown = words - {"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "rna", "ftz", "sat"}
    if unknown:
        raise UnknownInstructionError(f"opcode {'.'.join(parts)}: .{unknown.pop()} is not covered")
    integral = next((word[:2] for word in words if word in ("rni", "rzi", "rmi", "rpi")), None)
    mode = next((word for word in words if word in ("rn", "rz", "rm", "rp", "rna")), "rn")
    if target == "tf32":
        return Pure(lambda x: to_tf32(x, mode), ("b32",), (source,))
    if source[0] == "f" and target[0] == "f":

        def function(x):
            return to_narrower(ROUND[integral](x) if integral else x, target, mode)

    elif source[0] == "f":
        return Pure(_flushed(lambda x: to_integer(x, target, integral or mode), words), (target,), (source,))
    elif target[0] == "f":
        return Pure(lambda x: to_narrower(x, target, mode), (target,), (source,))
    else:
        return Pure(_between_integers(target, source, "sat" in words), (target,), (source,))
    return Pure(
        modified(function, words & {"sat"} | ({"ftz"} & words if "f64" not in parts else set())), (target,), (source,)
    )


def _flushed(function, words):
    return (lambda x: function(flush(x))) if "ftz" in words else function


def _between_integers(target, source, saturates):
    into = numpy_type(target)
    if not saturates:
        return lambda x: x.astype(into)
    ours, theirs = np.iinfo(numpy_type(source)), np.iinfo(into)
    low, high = max(ours.min, theirs.min), min(ours.max, theirs.max)
    return lambda x: np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(into)
