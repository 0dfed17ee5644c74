"""Tiles that the weights' gradient may be summed with, and what they take: the model by which a plan chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod

from fastconv.backends.cpu.axes import Axis
from fastconv.backends.cpu.machine import LINE, Vectors, cache_bytes
from fastconv.backends.cpu.tile_choice import ALIGNED, LOAD, rate

PART = 16  # of the second-level cache, for a block of the gradient
TURN = 8.0  # cycles to turn a vector of gradients
CHECK = 1.0  # and to see whether it is finite
AGAIN = 0.5  # cycles of a line that comes from the second cache, of what several filters' tiles meet again
APART = 0.7  # and of a vector, where the taps are of several channels
SUM, SUM_FAR = 2.0, 40.0  # to go on with a vector of sums, in the second cache or from behind it
STREAMS = 9  # rows that are read side by side, of which many lie in the same sets of the first cache
# Where one multiply-add begins in a cycle, in cycles of two: to begin and end a tile, and each of its sums; a vector of
# gradients from the second cache; and the part of the first cache that a block's gradients stay in.
TILE, TILE_SUM, FAR, NEAR = 8.0, 3.0, 0.07, 0.6
# There with pixels in the lanes: to load a vector of gradients and of a tap's pixels; what a step takes besides, also
# for each channel and filter where its taps are of several channels; and at a row's end each vector of sums.
OF_GRAD, OF_TAP, OF_ONE, OF_PLANE, OF_FILTER, END_SUM = 0.81, 0.84, 0.15, 0.37, 0.27, 0.2


@dataclass(frozen=True)
class Form:
    """A tile of sums: `starts` times `columns` taps, vectors of filters; with pixels in the lanes, taps and filters."""

    kind: str  # what is in its lanes: "filters" or "pixels"
    starts: int
    columns: int
    vectors: int
    filters: int  # beside those in the lanes
    apart: int  # along how many axes taps are told apart by the padding that they meet
    cycles: float  # for an output pixel of a group


@dataclass(frozen=True)
class Kind:
    """Taps that are summed over the same output pixels: from where to where along each axis."""

    taps: tuple[int, ...]  # their numbers
    pixels: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """Pixels."""
        return prod(end - begin for begin, end in self.pixels)


def kinds(axes: Sequence[Axis], apart: int) -> list[Kind]:
    """The kinds of all taps, which so many axes tell apart: those that meet padding in the same pixels."""
    found: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for number, tap in enumerate(product(*(a.phases[0] for a in axes))):
        seen = [a.seen(shift) for a, (_, shift) in zip(axes, tap, strict=True)]
        pixels = *seen[:apart], *((0, a.count) for a in axes[apart:])
        found.setdefault(pixels, []).append(number)
    return [Kind(tuple(taps), pixels) for pixels, taps in found.items()]


def unit(form: Form, kinds_: Sequence[Kind]) -> int:
    """How many channels fill whole tiles; with pixels in the lanes, where there is one part, it does not matter."""
    if form.kind == "pixels":
        return 1
    return form.starts // gcd(form.starts, *(len(kind.taps) // form.columns for kind in kinds_))


def gradient_block(axes: Sequence[Axis], across: int, lanes: int) -> tuple[int, int]:
    """Rows and columns of a block of pixels of so many bytes each, which stays in cache."""
    limit = cache_bytes(2, 1 << 20) // PART // across
    columns = min(axes[2].count, max(lanes, limit))
    return min(axes[1].count, max(1, limit // columns)), columns


@dataclass(frozen=True)
class Forms:
    """All tiles for the gradient of so many channels and filters of a group."""

    axes: tuple[Axis, Axis, Axis]
    channels: int
    filters: int
    item: int
    registers: Vectors

    @property
    def lanes(self) -> int:
        """Numbers in a vector."""
        return self.registers.lanes(self.item)

    @property
    def taps(self) -> int:
        """Of a channel."""
        return prod(len(a.phases[0]) for a in self.axes)

    def best(self) -> list[Form]:
        """The quickest ones: with filters in the lanes, and with pixels."""
        found = self.with_filters(), self.with_pixels()
        return [min(forms, key=lambda form: form.cycles) for forms in found if forms]

    def across(self) -> int:
        """Taps across that are neighbours in a strip."""
        shifts = [shift for _, shift in self.axes[2].phases[0]]
        together = self.axes[2].step == 1 and shifts == list(range(shifts[0], shifts[0] + len(shifts)))
        return len(shifts) if together and len(shifts) <= 7 else 1

    def with_filters(self) -> list[Form]:
        """Tiles with filters in the lanes."""
        all_kinds = {tuple(kinds(self.axes, apart)): apart for apart in (3, 2, 0)}  # of equal ones the least
        sizes = {apart: Counter((len(kind.taps), kind.count) for kind in some) for some, apart in all_kinds.items()}
        found = []
        pixels = max(1, prod(a.count for a in self.axes))
        for columns, count, vectors in product({1, self.across()}, (1, 2, 3, 4, 6, 8), (1, 2, 3, 4)):
            sums = count * columns * vectors
            if sums + vectors + 1 > self.registers.registers or (
                vectors > 1 and vectors * self.lanes >= self.filters + self.lanes
            ):
                continue
            panels = -(-self.filters // (vectors * self.lanes))
            step, ends = self.taps_rate(count, columns, vectors)
            for apart, some in sizes.items():
                if columns > 1 and apart == len(self.axes):
                    continue
                cycles = self.registers.beside * (TURN + CHECK * (apart > 0)) * vectors
                for (taps, seen), times in some.items():
                    tiles = times * -(-self.channels * taps // columns // count)
                    cycles += tiles * (seen * step + ends) / pixels
                found.append(Form("filters", count, columns, vectors, 1, apart, panels * cycles))
        return found

    def taps_rate(self, starts: int, columns: int, vectors: int) -> tuple[float, float]:
        """Cycles of a step of a tile with filters in the lanes, and of what its sums take beside, in an image."""
        sums, pixel = starts * columns * vectors, vectors * self.lanes * self.item
        if self.registers.units > 1:
            return rate(sums, starts * columns + vectors, self.registers), 0.0
        rows, wide = gradient_block(self.axes, pixel, self.lanes)
        far = rows * wide * pixel > NEAR * cache_bytes(1, 1 << 15)
        blocks = self.axes[0].count * -(-self.axes[1].count // rows) * -(-self.axes[2].count // wide)
        step = max(sums / 2, 2.0, far * vectors) + FAR * far * vectors
        return step, blocks * (TILE + TILE_SUM * sums)

    def with_pixels(self) -> list[Form]:
        """Tiles with pixels in the lanes: a vector of them, which crosses lines of the cache, for some filters."""
        width = self.axes[2].count
        used = width / (-(-width // self.lanes) * self.lanes)
        found = []
        for filters, taps in product((1, 2, 3, 4), range(1, 11)):
            sums, planes = filters * taps, min(self.channels, -(-taps // self.taps))  # channels of the taps
            if sums + filters + (filters > 1) > self.registers.registers or filters > self.filters:
                continue
            if planes > 1 and filters + planes > STREAMS:
                continue
            tiles = -(-self.taps * self.channels // taps) * -(-self.filters // filters)
            step, row = self.dots_rate(filters, taps, planes)
            far = tiles * sums * self.lanes * self.item > cache_bytes(2, 1 << 20) // 2
            ends = sums * (SUM_FAR if far else SUM) / (cache_bytes(2, 1 << 20) // PART // self.item)
            cycles = tiles * (step / self.lanes / used + row / width + self.registers.beside * ends)
            found.append(Form("pixels", taps, 1, 1, filters, 0, cycles))
        return found

    def dots_rate(self, filters: int, taps: int, planes: int) -> tuple[float, float]:
        """Cycles of a step of a tile with pixels in the lanes, for taps of so many channels, and of a row's end."""
        sums, lines = filters * taps, self.lanes * self.item / LINE
        if self.registers.units == 1:
            step = max(sums / 2, OF_GRAD * filters + OF_TAP * taps)
            return step + (OF_PLANE * planes + OF_FILTER * filters if planes > 1 else OF_ONE), END_SUM * sums
        step = max(sums / 2 + LOAD * (filters + taps), 4.0, ALIGNED * filters + (0.5 + 0.5 * lines) * taps)
        return step + (filters + planes) * (APART if planes > 1 else AGAIN * lines if filters > 1 else 0.0), 20.0
