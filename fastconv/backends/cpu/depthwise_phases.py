"""Depthwise layers whose output has phases: the input gradient, and transposed convolution, of stride 2.

Pixels of the source are in the lanes, as in `depthwise_planes`. A row of them is loaded once for each column of taps
and meets the taps of all phases; the phases of two neighbouring columns are stored as one run.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import depthwise_planes as planes
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

MOST = 4  # rows and columns of the source that an output pixel's phases meet, at most


def bits(mask: int) -> list[int]:
    """Which bits are set."""
    return [bit for bit in range(MOST) if mask >> bit & 1]


@instruction(8)
def phase_rows(
    e: Emit,
    down: int,
    across: int,
    rows0: int,
    rows1: int,
    columns0: int,
    columns1: int,
    count: Value,
    x: Value,
    x_plane: Value,
    height: Value,
    width: Value,
    top: Value,
    left: Value,
    weights: Value,
    weights_step: Value,
    places: Value,
    bias: Value,
    zeros: Value,
    y: Value,
    y_plane: Value,
    y_width: Value,
    lines: Value,
) -> None:
    """y[i * down + b, j * across + c] = bias + sum over k, t of w[b, c, k, t] x[top + i + k, left + j + t].

    For the first `lines` lines of y in each of so many planes. k are the bits of `rows0` or `rows1`, by b, and t those
    of `columns0` or `columns1`, by c. `places` has the weights' places in the order of their indices. Beyond the rows
    and columns of x there are zeros; at `zeros` there are as many as a vector has. A row's last tile comes first: what
    it stores too much, others store after it, but for the last lines.
    """
    pitch, y_pitch = e.b.mul(width, e.long(e.item)), e.b.mul(y_width, e.long(e.item))
    high, wide = [bits(rows0), bits(rows1)][:down], [bits(columns0), bits(columns1)][:across]
    columns = sorted({t for some in wide for t in some})
    tiles = e.b.sdiv(e.at(y_width, e.lanes * across - 1), e.long(e.lanes * across))
    final = e.b.mul(e.at(tiles, -1), e.long(e.lanes))
    halves = [
        [lane for j in range(h * e.lanes // 2, (h + 1) * e.lanes // 2) for lane in (j, j + e.lanes)] for h in (0, 1)
    ]

    def masks(column: Value) -> dict[int, Value]:
        """Which lanes lie in a row of x, for each column of taps."""
        starts = {t: e.at(column, left, t) for t in columns}
        return {t: e.b.xor(e.leading(e.b.neg(at)), e.leading(e.b.sub(width, at))) for t, at in starts.items()}

    every = dict.fromkeys(columns, e.first(e.lanes))
    ends = masks(final)

    def plane(_: Value, given: list[Value]) -> list[Value]:
        image, numbers, first, out = given
        order = [(b, c, k, t) for b in range(down) for c in range(across) for k in high[b] for t in wide[c]]
        factors = {
            index: e.splat(e.number(numbers, e.word(places, e.long(place)))) for place, index in enumerate(order)
        }
        start = e.splat(e.number(first))

        def row(i: Value, _: list[Value]) -> list[Value]:
            sources = {}
            for k in sorted({k for some in high for k in some}):
                above = e.at(top, i, k)
                there = e.b.icmp_unsigned("<", above, height)
                sources[k] = there, e.at(image, (above, pitch))

            def tile(column: Value, wanted: dict[int, Value], is_last: bool) -> None:
                shift = e.at(e.b.mul(e.at(column, left), e.long(e.item)))
                sums = {(b, c): start for b in range(down) for c in range(across)}
                for k, (there, line) in sources.items():
                    source = e.b.select(there, e.at(line, shift), zeros)
                    for t in columns:
                        pixels = e.masked_load(wanted[t], source, t * e.item)
                        for b, c in sums:
                            if (b, c, k, t) in factors:
                                sums[b, c] = e.fma(factors[b, c, k, t], pixels, sums[b, c])
                for b in range(down):
                    found = [sums[b, c] for c in range(across)]
                    if across == 2:
                        found = [e.shuffle(found[0], found[1], lanes) for lanes in halves]
                    store(found, e.at(e.b.mul(i, e.long(down)), b), e.b.mul(column, e.long(across)), is_last)

            def store(found: list[Value], line: Value, place: Value, is_last: bool) -> None:
                rest = e.b.sub(e.b.mul(e.b.sub(lines, line), y_width), place)  # numbers to the end of all
                target = e.at(out, (line, y_pitch), (place, e.long(e.item)))
                fits = e.b.icmp_signed(">=", rest, e.long(across * e.lanes if is_last else 1))
                with e.b.if_else(fits, likely=True) as (then, otherwise):
                    with then:
                        for h, vector in enumerate(found):
                            e.store(vector, target, h * e.lanes * e.item)
                    with otherwise:
                        for h, vector in enumerate(found if is_last else ()):
                            kept = e.leading(e.at(rest, -h * e.lanes))
                            e.masked_store(vector, kept, target, h * e.lanes * e.item, rarely=True)

            def inner(number: Value, _: list[Value]) -> list[Value]:
                column = e.b.mul(number, e.long(e.lanes))
                begin = e.at(column, left)
                after = e.at(begin, columns[-1] + e.lanes)
                begun, ended = e.b.icmp_signed(">=", begin, e.long(0)), e.b.icmp_signed("<=", after, width)
                with e.b.if_else(e.b.and_(begun, ended), likely=True) as (inside, across_end):
                    with inside:
                        tile(column, every, False)
                    with across_end:
                        tile(column, masks(column), False)
                return []

            tile(final, ends, True)
            e.loop(e.at(tiles, -1), [], inner)
            return []

        e.loop(e.b.sdiv(e.at(lines, down - 1), e.long(down)), [], row)
        following = (image, x_plane), (numbers, weights_step), (first, e.item), (out, y_plane)
        return [e.at(place, step) for place, step in following]

    e.loop(count, [x, weights, bias, y], plane)


@cache
def phases_body(
    item: int, lanes: int, down: int, across: int, rows0: int, rows1: int, columns0: int, columns1: int
) -> Any:
    """The input gradient, by tiles of a row of the source's pixels, whose phases meet these rows and columns."""

    @njit
    def filtered(plan, count, x, x_plane, row, weights, bias, zeros, y, y_plane, lines):  # type: ignore[no-untyped-def]
        phase_rows(
            item, lanes, down, across, rows0, rows1, columns0, columns1, count, x, x_plane, word(plan, planes.HEIGHT),
            word(plan, planes.WIDTH), row + word(plan, planes.TOP), word(plan, planes.LEFT), weights,
            word(plan, planes.FILTER), word(plan, planes.TABLE), bias, zeros, y, y_plane, word(plan, planes.OUT_WIDTH),
            lines,
        )  # fmt: skip

    return planes.over_planes(item, lanes, filtered)
