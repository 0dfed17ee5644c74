"""Results that are cut off to integers, from sums in whatever order: exact where a rounding can't decide on a whole.

Where a sum is so close to a whole number that it may, it and its neighbours are summed anew, in SciPy's own order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from fastconv.backends.cpu import filter_strips as s
from fastconv.backends.cpu.bands import BASE, OUT, OUTS, ROWS, WEIGHTS
from fastconv.backends.cpu.filter_rows import give_numbers
from fastconv.backends.cpu.filter_terms import terms_tile
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

VECTORS = 4  # of float64 that are summed anew together
SPACE = 512 + 64  # bytes of these, of the widest vectors, and of a flag


@instruction(2)
def flag_unsure(e: Emit, source: Value, count: Value, limits: Value, flag: Value) -> None:
    """Store 1 at the int64 `flag` if any of so many numbers is NaN or closer to a whole one than the limit, else 0.

    There are two limits, the second one for numbers that are 0.
    """
    bits, least, least_of_zeros = ir.IntType(e.lanes), *[e.splat(e.number(limits, k * e.item)) for k in range(2)]

    def close(value: Value) -> Value:
        nearest = e.call(f"llvm.rint.{e.name}", e.vector, value)
        distance = e.call(f"llvm.fabs.{e.name}", e.vector, e.b.fsub(value, nearest))
        limit = e.b.select(e.b.fcmp_ordered("==", value, e.zero), least_of_zeros, least)
        return e.b.fcmp_unordered("<", distance, limit)

    whole = e.b.sdiv(count, e.long(e.lanes))

    def step(v: Value, found: list[Value]) -> list[Value]:
        mask = close(e.load(source, e.b.mul(v, e.long(e.lanes * e.item))))
        return [e.b.or_(found[0], e.b.bitcast(mask, bits))]

    (found,) = e.loop(whole, [bits(0)], step)
    wanted = e.first(e.b.sub(count, e.b.mul(whole, e.long(e.lanes))))
    rest = e.masked_load(wanted, source, e.b.mul(whole, e.long(e.lanes * e.item)))
    found = e.b.or_(found, e.b.bitcast(e.b.and_(close(rest), wanted), bits))
    unsure = e.b.icmp_unsigned("!=", found, bits(0))
    e.b.store(e.b.zext(unsure, e.long(0).type), e.element(flag, 0, e.long(0).type))


@cache
def giving_surely(item: int, lanes: int, exact_lanes: int, kind: int, terms: int) -> Any:
    """Stores a row of results as integers of a kind; `terms` is the kind of those that are summed anew."""
    size, together = kind % 100, VECTORS * exact_lanes

    @body
    def give(plan, job, start, end, thread):  # type: ignore[no-untyped-def]
        """The numbers from `start` to `end` of the line at OUT, to OUTS; rows of pixels are at ROWS and BASE."""
        line, target, space = word(job, OUT), word(job, OUTS), word(job, WEIGHTS)
        flag, block = space + 8 * together, word(plan, s.TERMS)
        for left in range(start, end, together):
            count, place = min(together, end - left), target + left * size
            flag_unsure(item, lanes, line + left * item, count, word(plan, s.LIMIT), flag)
            if word(flag, 0):
                x = word(job, BASE) + left * item
                terms_tile(8, exact_lanes, terms, VECTORS, 0, item, x, word(job, ROWS), block, space, count)
                give_numbers(8, exact_lanes, kind, space, count, place)
            else:
                give_numbers(item, lanes, kind, line + left * item, count, place)

    return give
