"""The register tile of a short filter along a row, for vectors of a whole cache line.

Any other load of such a vector than an aligned one takes two lines, and so keeps the load units busy for as long as a
shuffle that makes the vector of its neighbours keeps one of those that multiply: some are loaded, some are made.
Shifted by t numbers, a vector serves the taps t, t + lanes and so on.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import Any

from fastconv.backends.cpu.bands import BASE, FULL, OUT, OUTS, PITCH, WEIGHTS, when
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

MOST = 3  # vectors that a filter reaches over at most, with all pixels of a tile in registers
VECTORS = {1: 13, 2: 12, 3: 11}  # of a tile
LOADED = 4  # of so many vectors, all but one are loaded: 10 % faster than all of them, or none


@instruction(6)
def shifted_tile(
    e: Emit,
    count: int,
    high: int,
    more: int,
    whole: int,
    base: Value,
    weights: Value,
    full: Value,
    pitch: Value,
    out: Value,
    keep: Value,
) -> None:
    """out[j] = the sum over t and r of weights[t, r] * x[j + r * lanes + t] for j < `keep`, of `count` vectors at most.

    The last r of `high` has `full` taps, the others as many as a vector has lanes. `more`: added to what is there.
    """
    width = e.lanes * e.item
    xs = [e.load(base, q * width) for q in range(count + high)]
    sums = [e.zero] * count
    for t in range(e.lanes):
        lanes = range(t, t + e.lanes)
        seen = []
        for q, (x, after) in enumerate(pairwise(xs)):
            shifted = e.shuffle(x, after, lanes) if q % LOADED == 0 else e.load(base, q * width + t * e.item)
            seen.append(shifted if t else x)
        column = e.at(weights, (t, pitch))

        for r in range(high - 1):
            sums = add_row(e, column, seen, r, sums)
        last = partial(add_row, e, column, seen, high - 1)
        sums = when(e, e.b.icmp_signed(">", full, e.long(t)), sums, last)
    for m, total in enumerate(sums):
        if whole:
            e.store(e.b.fadd(total, e.load(out, m * width)) if more else total, out, m * width)
        else:
            wanted = e.leading(e.b.sub(keep, e.long(m * e.lanes)))
            if more:
                total = e.b.fadd(total, e.masked_load(wanted, out, m * width))
            e.masked_store(total, wanted, out, m * width)


def add_row(e: Emit, column: Value, seen: list[Value], r: int, sums: list[Value]) -> list[Value]:
    """The sums with weight r of a column times the vectors that it meets."""
    factor = e.splat(e.number(column, r * e.item))
    return [e.fma(factor, seen[m + r], total) for m, total in enumerate(sums)]


@cache
def shifted_body(item: int, lanes: int, high: int, more: int) -> Any:
    """As many columns of a row as are asked for (`end`); parameters and jobs are those of `bands`."""
    vectors = VECTORS[high]
    wide = vectors * lanes

    @body
    def shifted(plan, job, first, end, thread):  # type: ignore[no-untyped-def]
        """A row."""
        base, out, weights = word(job, BASE), word(job, OUT) + word(word(job, OUTS), 0), word(job, WEIGHTS)
        full, pitch = word(plan, FULL), word(plan, PITCH)
        left = 0
        while end - left >= wide:
            x, y = base + left * item, out + left * item
            shifted_tile(item, lanes, vectors, high, more, 1, x, weights, full, pitch, y, wide)
            left += wide
        while left < end:
            x, y, keep = base + left * item, out + left * item, min(end - left, 5 * lanes)
            shifted_tile(item, lanes, 5, high, more, 0, x, weights, full, pitch, y, keep)
            left += 5 * lanes

    return shifted
