"""Depthwise layers whose output has phases: the input gradient, and transposed convolution, of stride 2.

Pixels of the source are in the lanes, as in `depthwise_planes`. A row of them is loaded once for each column of taps
and meets the taps of all phases; the phases of two neighbouring columns are stored as one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import depthwise_planes as planes
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

MOST = 4  # rows and columns of the source that an output pixel's phases meet, at most


@dataclass
class Phases:
    """Writes what a vector of a row's pixels adds to, for phases that meet these rows (`high`) and columns (`wide`)."""

    e: Emit
    high: list[list[int]]
    wide: list[list[int]]

    @property
    def rows(self) -> list[int]:
        """Of the source, that any phase meets."""
        return sorted({k for some in self.high for k in some})

    @property
    def columns(self) -> list[int]:
        """Likewise."""
        return sorted({t for some in self.wide for t in some})

    def factors(self, weights: Value, places: Value) -> dict[tuple[int, int, int, int], Value]:
        """Weights by their indices, in whose order a table tells their places."""
        e, wide = self.e, list(enumerate(self.wide))
        order = [(b, c, k, t) for b, some in enumerate(self.high) for c, others in wide for k in some for t in others]
        return {index: e.splat(e.number(weights, e.word(places, e.long(n)))) for n, index in enumerate(order)}

    def masks(self, begin: Value, width: Value) -> dict[int, Value]:
        """Which lanes lie in a row, for each column of taps."""
        return {t: self.e.within(self.e.at(begin, t), width) for t in self.columns}

    def lines(
        self,
        sources: list[Value],
        masks: dict[int, Value],
        factors: dict[tuple[int, int, int, int], Value],
        start: Value,
    ) -> list[list[Value]]:
        """The vectors of each line of output, whose columns' phases lie between each other."""
        e = self.e
        sums = {(b, c): start for b in range(len(self.high)) for c in range(len(self.wide))}
        for k, source in zip(self.rows, sources, strict=True):
            for t, mask in masks.items():
                pixels = e.masked_load(mask, source, t * e.item)
                for b, c in sums:
                    if (b, c, k, t) in factors:
                        sums[b, c] = e.fma(factors[b, c, k, t], pixels, sums[b, c])
        across = [[sums[b, c] for c in range(len(self.wide))] for b in range(len(self.high))]
        return [e.interleaved(*found) if len(found) == 2 else found for found in across]

    def store(self, found: list[Value], rest: Value, target: Value, is_last: bool) -> None:
        """Store a line's vectors, if there are numbers left to store at all; of a row's last tile, that many."""
        e = self.e
        fits = e.b.icmp_signed(">=", rest, e.long(len(found) * e.lanes if is_last else 1))
        with e.b.if_else(fits, likely=True) as (then, otherwise):
            with then:
                for h, vector in enumerate(found):
                    e.store(vector, target, h * e.lanes * e.item)
            with otherwise:
                for h, vector in enumerate(found if is_last else ()):
                    kept = e.leading(e.at(rest, -h * e.lanes))
                    e.masked_store(vector, kept, target, h * e.lanes * e.item, rarely=True)


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
    lines_of_y: Value,
) -> None:
    """y[i * down + b, j * across + c] = bias + sum over k, t of w[b, c, k, t] x[top + i + k, left + j + t].

    For the first `lines_of_y` lines of y, in each of `count` planes. k are the bits of `rows0` or `rows1`, by b, and t
    those of `columns0` or `columns1`, by c. `places` has the weights' places in the order of their indices. Beyond the
    rows and columns of x there are zeros; at `zeros` there are as many as are loaded of a row. A row's last tile comes
    first: what it stores too much, others store after it, but for the last lines.
    """
    write = Phases(e, [bits(rows0), bits(rows1)][:down], [bits(columns0), bits(columns1)][:across])
    pitch, y_pitch = e.b.mul(width, e.long(e.item)), e.b.mul(y_width, e.long(e.item))
    tiles = e.b.sdiv(e.at(y_width, e.lanes * across - 1), e.long(e.lanes * across))
    final = e.b.mul(e.at(tiles, -1), e.long(e.lanes))
    every, ends = dict.fromkeys(write.columns, e.first(e.lanes)), write.masks(e.at(left, final), width)

    def plane(_: Value, given: list[Value]) -> list[Value]:
        image, numbers, first, out = given
        factors, start = write.factors(numbers, places), e.splat(e.number(first))

        def row(i: Value, _: list[Value]) -> list[Value]:
            above = [e.at(top, i, k) for k in write.rows]
            inside = [e.b.icmp_unsigned("<", line, height) for line in above]

            def tile(column: Value, masks: dict[int, Value], is_last: bool) -> None:
                shift = e.b.mul(e.at(column, left), e.long(e.item))
                lines = [e.at(image, (line, pitch), shift) for line in above]
                sources = [e.b.select(there, line, zeros) for there, line in zip(inside, lines, strict=True)]
                place = e.b.mul(column, e.long(across))
                for b, found in enumerate(write.lines(sources, masks, factors, start)):
                    line = e.at(e.b.mul(i, e.long(down)), b)
                    rest = e.b.sub(e.b.mul(e.b.sub(lines_of_y, line), y_width), place)  # numbers to the end of all
                    write.store(found, rest, e.at(out, (line, y_pitch), (place, e.long(e.item))), is_last)

            def inner(number: Value, _: list[Value]) -> list[Value]:
                column = e.b.mul(number, e.long(e.lanes))
                begin = e.at(column, left)
                begun = e.b.icmp_signed(">=", begin, e.long(0))
                ended = e.b.icmp_signed("<=", e.at(begin, write.columns[-1] + e.lanes), width)
                with e.b.if_else(e.b.and_(begun, ended), likely=True) as (then, otherwise):
                    with then:
                        tile(column, every, False)
                    with otherwise:
                        tile(column, write.masks(begin, width), False)
                return []

            tile(final, ends, True)
            e.loop(e.at(tiles, -1), [], inner)
            return []

        e.loop(e.b.sdiv(e.at(lines_of_y, down - 1), e.long(down)), [], row)
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
