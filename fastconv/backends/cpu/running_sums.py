"""Running sums of lines that lie side by side in a buffer, some lines together, and their means."""

import platform
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np import arrayobj

from fastconv.backends.cpu.vectors import Emit, Value

LANES = 8  # lines whose sums are a vector
SUMS = ir.VectorType(ir.DoubleType(), LANES)


@intrinsic
def slide(typingctx, lines, first, span, rows, sums, size, means):  # type: ignore[no-untyped-def]
    """sums[m] += lines[i + size, m] - lines[i, m]; means[i, m] = sums[m] / size: LANES lines from `first` on, i < rows.

    From a row to the next one are `span` numbers. What lies behind a row's last line is read, and written over.
    """
    if not all(isinstance(array, types.Array) for array in (lines, sums, means)) or lines.dtype != means.dtype:
        raise TypingError("arrays of one dtype are accepted")

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, begin, pitch, count, totals, taps, y = values
        source, target, found = (
            arrayobj.make_array(kind)(context, builder, value).data
            for kind, value in ((lines, x), (means, y), (sums, totals))
        )
        kind = ir.VectorType(source.type.pointee, LANES)

        def pointer(data: Value, place: Value, vector: Any) -> Value:
            return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

        def numbers(place: Value) -> Value:
            return as_double(builder, lines.dtype, builder.load(pointer(source, place, kind), align=1))

        e = Emit(builder, 8, LANES)
        width, place = e.splat(builder.sitofp(taps, e.scalar)), pointer(found, begin, e.vector)
        once = builder.fdiv(e.constant(1), width)
        total = cgutils.alloca_once_value(builder, builder.load(place, align=8))
        with cgutils.for_range(builder, count) as loop:
            at = builder.add(builder.mul(loop.index, pitch), begin)
            change = builder.fsub(numbers(builder.add(at, builder.mul(taps, pitch))), numbers(at))
            now = builder.fadd(builder.load(total), change)
            builder.store(now, total)
            mean = as_number(builder, means.dtype, quotient(e, now, width, once), kind)
            builder.store(mean, pointer(target, at, kind), align=1)
        builder.store(builder.load(total), place, align=8)
        return context.get_dummy_value()

    return types.void(lines, types.int64, types.int64, types.int64, sums, types.int64, means), codegen


def as_double(builder: Any, dtype: Any, vector: Value) -> Value:
    """Numbers of a dtype as float64."""
    if isinstance(dtype, types.Float):
        return vector if dtype.bitwidth == 64 else builder.fpext(vector, SUMS)
    wide = ir.VectorType(ir.IntType(max(32, dtype.bitwidth)), LANES)
    return builder.sitofp(builder.sext(vector, wide) if dtype.signed else builder.zext(vector, wide), SUMS)


def as_number(builder: Any, dtype: Any, vector: Value, kind: Any) -> Value:
    """float64 as numbers of a dtype, in whose range they are."""
    if isinstance(dtype, types.Float):
        return vector if dtype.bitwidth == 64 else builder.fptrunc(vector, kind)
    wide = ir.VectorType(ir.IntType(max(32, dtype.bitwidth)), LANES)
    return builder.trunc(builder.fptosi(vector, wide), kind)


def quotient(e: Emit, u: Value, v: Value, once: Value) -> Value:
    """u / v, rounded once as a division is; v is an int of at most 40 bits, once = 1 / v.

    A product and its correction take a fifth of the time of a division. What they leave of u is exact, so only the
    correction itself is rounded, and no quotient lies so near to the middle between two numbers that the error of
    `once` would matter; but subnormal quotients may be the next number.
    """
    if not has_fma():
        return e.b.fdiv(u, v)
    near = e.b.fmul(u, once)
    rest = e.fma(e.b.fneg(near), v, u)
    exact = e.fma(rest, once, near)
    return e.b.select(e.b.fcmp_ordered("ord", rest, rest), exact, near)  # infinity leaves NaN


def has_fma() -> bool:
    """Whether the processor multiplies and adds in one step."""
    return platform.machine().lower() in ("arm64", "aarch64") or bool(
        llvmlite.binding.get_host_cpu_features().get("fma")
    )
