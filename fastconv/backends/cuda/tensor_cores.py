"""A tile's arithmetic on tensor cores: products of numbers rounded to TF32, which has 10 bits after the point.

PTX's `mma.sync.m16n8k8` multiplies 16 x 8 numbers of A by 8 x 8 of B, spread over the threads of a warp: thread t
holds those of rows t // 4 and t // 4 + 8, of columns 2 (t % 4) and 2 (t % 4) + 1. The simulator has no tensor cores:
there numbers are rounded alike, and multiplied one by one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device
from fastconv.backends.cuda.gathering import SHARED
from fastconv.backends.cuda.launching import inlined
from fastconv.backends.cuda.tiles import Tile

HALF, KEPT = 0x1000, 0xFFFFE000  # half of the last bit that TF32 keeps, and the bits it keeps
EXPONENT = 0x7F800000
MULTIPLY = (
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
    "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
)


def nearest(number: Any) -> Any:
    """The nearest number of TF32, the one further from zero of two (PTX's cvt.rna.tf32.f32)."""
    bits = int(np.float32(number).view(np.uint32))
    return number if bits & EXPONENT == EXPONENT else np.uint32((bits + HALF) & KEPT).view(np.float32)


def _intrinsics() -> tuple[Any, Any]:
    """`nearest`, and a warp's product of matrices, as instructions."""
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    word, number = ir.IntType(32), ir.FloatType()

    @intrinsic
    def rounded(typing_context, value):  # type: ignore[no-untyped-def]
        """The nearest number of TF32."""

        def code(context, builder, signature, args):  # type: ignore[no-untyped-def]
            convert = ir.InlineAsm(ir.FunctionType(word, [number]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            return builder.bitcast(builder.call(convert, args), number)

        return types.float32(types.float32), code

    @intrinsic
    def multiplied(typing_context, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
        """A thread's four numbers of C + A B, from its four of A, two of B and four of C."""

        def code(context, builder, signature, args):  # type: ignore[no-untyped-def]
            four = ir.LiteralStructType([number] * 4)
            kind = ir.FunctionType(four, [word] * 6 + [number] * 4)
            asm = ir.InlineAsm(kind, MULTIPLY, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", side_effect=True)
            operands = [builder.bitcast(arg, word) for arg in args[:6]]
            found = builder.call(asm, [*operands, *args[6:]])
            entries = [builder.extract_value(found, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, entries)

        return types.UniTuple(types.float32, 4)(*[types.float32] * 10), code

    return rounded, multiplied


rounded: Any
multiplied: Any
rounded, multiplied = _intrinsics() if device.NUMBA_CUDA else (nearest, None)


@cache
def arithmetic(tile: Tile, pitch_a: int, pitch_b: int) -> Any:
    """As `products.arithmetic`, on tensor cores: a warp has 8 `high` x 4 `wide` entries of C."""
    high, wide, depth = tile.high, tile.wide, tile.depth
    warp_rows, warp_columns = 8 * high, 4 * wide
    across = tile.columns // warp_columns

    @inlined
    def row_of(t, i):  # type: ignore[no-untyped-def]
        return t // 32 // across * warp_rows + i // 2 * 16 + i % 2 * 8 + t % 32 // 4

    @inlined
    def column_of(t, j):  # type: ignore[no-untyped-def]
        return t // 32 % across * warp_columns + j // 2 * 8 + t % 4 * 2 + j % 2

    @inlined
    def multiply(sums, slab_a, slab_b, half, t):  # type: ignore[no-untyped-def]
        """sums[m, n] += sum over k of the slabs' A[m, k] * B[k, n]."""
        b = cuda.local.array(wide, np.float32)
        for k in range(0, depth, 8):
            entry = half * depth + k + t % 4
            a_at = (entry * pitch_a + row_of(t, 0)) & SHARED
            b_at = (entry * pitch_b + t // 32 % across * warp_columns + t % 32 // 4) & SHARED
            for j in range(0, wide, 2):
                b[j], b[j + 1] = slab_b[b_at + j * 4], slab_b[b_at + j * 4 + 4 * pitch_b]
            for i in range(0, high, 2):
                a0, a1 = slab_a[a_at + i * 8], slab_a[a_at + i * 8 + 8]
                a2, a3 = slab_a[a_at + i * 8 + 4 * pitch_a], slab_a[a_at + i * 8 + 8 + 4 * pitch_a]
                for j in range(0, wide, 2):
                    c = i * wide + j
                    sums[c], sums[c + 1], sums[c + wide], sums[c + wide + 1] = multiplied(
                        a0, a1, a2, a3, b[j], b[j + 1], sums[c], sums[c + 1], sums[c + wide], sums[c + wide + 1]
                    )

    return row_of, column_of, multiply
