"""Sums of a filter term by term: a tap of 0 has no term here.

In order and without fused multiply-adds they are what SciPy computes, to the last bit. Results that are cut off to
integers need that, since a rounding may decide on a whole; images that hold NaN or infinity need that zeros have no
part. Fused, they are the quicker way to filter with taps of which few are not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv.backends.cpu.bands import BASE, OUT, OUTS, ROWS, WEIGHTS, Totals, in_parts
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction
from fastconv.typing import Array

# What a job's weights are here: the number of terms, and how many of them are of single pixels, which come first; for
# each term a row and a number of bytes from its begin, and those of the pixel that is its pair; then the weights. All
# words have 8 bytes.
HEAD, TERM = 2, 4
Term = tuple[float, int, int, int, int]  # a weight, and the rows and columns of two pixels
# Kinds of terms: weight * x, weight * (x + its pair), weight * (x - its pair); weight * x, fused.
ALONE, PLUS, MINUS, FUSED = range(4)
TOGETHER = 40  # fused terms that are summed before they are added to the others
VECTORS = 8  # of a row together


@instruction(6)
def terms_tile(
    e: Emit,
    kind: int,
    vectors: int,
    more: int,
    source_item: int,
    base: Value,
    rows: Value,
    block: Value,
    out: Value,
    keep: Value,
) -> None:
    """out[j] = the sum over a block's terms k of weights[k] * (row[j] and, of some kinds, its pair) for j < `keep`.

    `more`: the sum goes on from what is there. Pixels have `source_item` bytes: float32, or what is computed with.
    """
    width = e.lanes * e.item
    read = ir.VectorType(ir.FloatType() if source_item == 4 else ir.DoubleType(), e.lanes)
    count, singles = e.word(block, e.long(0)), e.word(block, e.long(1))
    table = e.at(block, 8 * HEAD)
    weights = e.at(table, (8 * TERM, count))

    def pixels(entry: Value) -> list[Value]:
        """The vectors of a row that a term's table names."""
        row, offset = e.word(table, entry), e.word(table, e.at(entry, 1))
        source = e.at(base, e.word(rows, row), offset)
        places = [e.element(source, v * e.lanes * source_item, read) for v in range(vectors)]
        found = [e.b.load(place, align=source_item) for place in places]
        return found if source_item == e.item else [e.b.fpext(x, e.vector) for x in found]

    def added(k: Value, xs: list[Value], sums: list[Value]) -> list[Value]:
        factor = e.splat(e.number(weights, e.b.mul(k, e.long(8))))
        if kind == FUSED:
            return [e.fma(factor, x, total) for total, x in zip(sums, xs, strict=True)]
        return [e.b.fadd(total, e.b.fmul(factor, x)) for total, x in zip(sums, xs, strict=True)]

    def single(k: Value, sums: list[Value]) -> list[Value]:
        return added(k, pixels(e.b.mul(k, e.long(TERM))), sums)

    def pair(index: Value, sums: list[Value]) -> list[Value]:
        k = e.b.add(singles, index)
        entry, combine = e.b.mul(k, e.long(TERM)), e.b.fadd if kind == PLUS else e.b.fsub
        found = zip(pixels(entry), pixels(e.at(entry, 2)), strict=True)
        return added(k, [combine(x, other) for x, other in found], sums)

    masks = [e.first(e.clamped(e.b.sub(keep, e.long(v * e.lanes)))) for v in range(vectors)]
    start = [e.masked_load(mask, out, v * width) if more else e.zero for v, mask in enumerate(masks)]
    if kind == FUSED:
        totals, zeros = Totals(e, vectors), [e.zero] * vectors

        def some(first: Value, number: Value, sums: list[Value]) -> list[Value]:
            return e.loop(number, sums, lambda index, inner: single(e.b.add(first, index), inner))

        sums = totals.with_(in_parts(totals, count, e.long(TOGETHER), zeros, some))
        sums = [e.b.fadd(before, total) for before, total in zip(start, sums, strict=True)] if more else sums
    else:
        sums = e.loop(singles, start, single)
    if kind in (PLUS, MINUS):
        sums = e.loop(e.b.sub(count, singles), sums, pair)
    for v, total in enumerate(sums):
        e.masked_store(total, masks[v], out, v * width)


def packed(terms: Sequence[Term], singles: int, item: int) -> Array:
    """The words of a sum's terms: each is a weight, and the rows and the bytes of two pixels."""
    table = [number for _, *places in terms for number in places]
    weights = np.zeros(len(terms) * (8 // item), np.dtype(f"f{item}"))
    weights[:: 8 // item] = [weight for weight, *_ in terms]
    return np.concatenate([np.array([len(terms), singles, *table], np.int64), weights.view(np.int64)])


@cache
def terms_body(item: int, lanes: int, kind: int, more: int) -> Any:
    """As many columns of one row as are asked for (`end`); jobs are those of `bands`."""
    wide = VECTORS * lanes

    @body
    def terms(plan, job, first, end, thread):  # type: ignore[no-untyped-def]
        """A row."""
        base, rows, block, out = word(job, BASE), word(job, ROWS), word(job, WEIGHTS), word(job, OUT)
        out += word(word(job, OUTS), 0)
        left = 0
        while end - left >= wide:
            x, y = base + left * item, out + left * item
            terms_tile(item, lanes, kind, VECTORS, more, item, x, rows, block, y, wide)
            left += wide
        while left < end:
            x, y = base + left * item, out + left * item
            terms_tile(item, lanes, kind, 1, more, item, x, rows, block, y, end - left)
            left += lanes

    return terms
