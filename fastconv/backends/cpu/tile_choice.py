"""Which register tile the direct algorithm takes for a sum: a model of a thread's cycles, measured on real layers.

A cycle has two multiply-adds. Where the processor has one unit for them, that is two cycles of its clock: then all else
takes half as many, and loads pass beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from fastconv.backends.cpu import axes
from fastconv.backends.cpu.axes import Axis
from fastconv.backends.cpu.machine import LINE, Vectors, cache_bytes
from fastconv.geometry import Convolution

STORE, STORE_FEW = 6.0, 5.0  # cycles to turn and store a vector of a tile that has filters in its lanes
LOAD, WEIGHT = 0.18, 0.3  # cycles that loading a number or a vector of weights adds, and a weight of its own address
ISSUED, OTHERS = 3.0, 2.5  # instructions of a thread a cycle; of a step those that neither load nor add
ALONE = 0.75  # cycles of a load that is no part of a multiply-add
ALIGNED, CROSSING, OFTEN = 0.45, 0.65, 0.4  # and a vector of pixels, also where it crosses lines, or comes from far
WEIGHT_FEW, CROSSING_FEW = 0.35, 0.75  # with few registers
MASKED_FEW = 4.0  # and where of a row of pixels not all lanes are there
SINGLE_FAR, SINGLE_FARTHER = 2.0, 20.0  # and some weights of which each line of the cache has no more
JOIN = 2.0  # cycles to put a number of a phase, which comes in vectors of pixels, between those of others
AGAIN = 2.0  # cycles to store and load a sum that goes on in the next cut
BRANCH, BRANCH_SINGLE = 30.0, 3.0  # cycles of a tile or a cut that are lost at its ends, also of a single unit
FAR, FARTHER = 2.0, 8.0  # cycles to fetch a vector of weights from the second cache, and from behind it
PACK, PACK_TOGETHER = 1.2, 0.3  # cycles to pack a weight, also where filters are neighbours in memory
PACK_ROW = 24.0  # cycles until the first of the neighbours comes, of each row in memory
PACK_FAR = 1.0  # and more of a panel that the second cache does not hold until it is wanted
ROW, ROW_OF_PIXELS = 0.6, 0.3  # cycles of a tap for each further row of a tile, beside a single unit
LEAST_PAIR = 3.8  # cycles of a step there at least, with two vectors of filters
STREAMED = 0.06  # cycles that a multiply-add waits there if the source comes from behind the second cache
LEAST, LEAST_VECTORS = 2.7, 4.4  # cycles of a step there at least, with one vector of pixels and with several
BESIDE = 0.15  # what remains of the cycles of loads of vectors there
LONE = 0.15  # cycles of a tap that comes from lines of one row's alone, with few registers
CUT, CUT_WITH_PIXELS = 0.4, 0.5  # of the first cache, for the weights of a cut, and for their pixels too

# What needs cycles.
ARITHMETIC, IDLE, LOADS = "multiply-adds", "lanes and tiles that are not filled", "loads"
FETCHED, ENDS, PACKED = "weights from far caches", "ends of sums", "packing of weights"


@dataclass(frozen=True)
class Sum:
    """A convolution's sum over taps, forward or backward, with its weights' layout in bytes."""

    groups: int
    channels: int  # of the source, in a group
    filters: int  # channels of the output, in a group
    images: int
    axes: tuple[Axis, Axis, Axis]
    item: int
    filter_step: int
    channel_step: int
    group_step: int
    kernel: tuple[int, int, int]
    gaps: bool  # whether zeros stand for pixels that are not there, which weights must not meet

    @property
    def weights(self) -> int:
        """Bytes of a group's weights."""
        return self.filters * self.channels * prod(self.kernel) * self.item

    @property
    def far(self) -> bool:
        """Whether the weights come from behind the second cache."""
        return self.weights > cache_bytes(2, 1 << 20) // 2

    @property
    def taps(self) -> float:
        """Of an output pixel, the mean over phases."""
        return self.channels * prod(self.kernel) / prod(len(a.phases) for a in self.axes)


@dataclass(frozen=True)
class Tile:
    """A register tile: `lead` filters or none, rows of pixels, and pixels or vectors across."""

    kind: str  # what is in its lanes: "filters" or "pixels"
    filters: int  # of a panel
    rows: int
    columns: int
    vectors: int
    parts: Mapping[str, float]  # cycles for an image and group, by what needs them

    @property
    def cycles(self) -> float:
        """All together, without the copies of strips."""
        return sum(self.parts.values())


def described(geometry: Convolution, backward: bool, item: int) -> Sum:
    """The geometry as a sum over taps."""
    groups = geometry.groups
    inner, outer = geometry.in_channels // groups, geometry.out_channels // groups
    taps = prod(geometry.kernel_size)
    found = axes.backward(geometry) if backward else axes.forward(geometry)
    kernel = (1, 1, 1, *geometry.kernel_size)[-3:] if taps > 1 else (1, 1, 1)
    near, far = taps * item, inner * taps * item
    channels, filters = (outer, inner) if backward else (inner, outer)
    steps = (near, far) if backward else (far, near)
    return Sum(groups, channels, filters, geometry.batch, tuple(found), item, *steps, outer * far, kernel, backward)  # type: ignore[arg-type]


def best_tile(sum_: Sum, lanes: int, registers: Vectors) -> Tile:
    """The tile that takes the fewest cycles."""
    return min([*pixel_tiles(sum_, lanes, registers), *filter_tiles(sum_, lanes, registers)], key=lambda t: t.cycles)


def rate(sums: int, loads: float, registers: Vectors) -> float:
    """Cycles of a step: two multiply-adds a cycle, which loads disturb, and four cycles until a sum can go on.

    With few registers, a single number is loaded by an instruction of its own, two a cycle at best, and a core that
    works for two threads has no more instructions to give than a step needs.
    """
    if not registers.few:
        return max(sums / 2 + LOAD * loads, 4.0)
    return max(sums / 2, 4.0, ALONE * loads, (sums + loads + OTHERS) / ISSUED)


def filters_rate(rows: int, columns: int, vectors: int, taps: int, registers: Vectors) -> float:
    """Cycles of a step with filters in the lanes."""
    sums = rows * columns * vectors
    if registers.units == 1:
        return max(sums / 2, LEAST_PAIR if vectors == 2 else 2.0) + ROW * (rows - 1)
    lone = LONE * (registers.few and rows == 1 and taps > 1)
    return rate(sums, rows * columns + vectors, registers) + lone


def pixels_rate(filters: int, rows: int, across: int, loads: float, far: bool, registers: Vectors) -> float:
    """Cycles of a step with pixels in the lanes, `loads` of them for loads; of a source that may come from `far`."""
    sums = filters * rows * across
    if registers.units > 1:
        return max(sums / 2 + loads, 4.0)
    least = LEAST if rows * across == 1 else LEAST_VECTORS
    return max(sums / 2, loads, least) + BESIDE * loads + ROW_OF_PIXELS * (rows - 1) + STREAMED * sums * far


def shared_parts(sum_: Sum, lanes: int, taps: float, sums: float) -> dict[str, float]:
    """The multiply-adds of so many vectors of sums, at two a cycle: those that count, and those in idle lanes."""
    _, height, width = sum_.axes
    useful = sum_.filters * height.count * width.count * taps / (2 * lanes)
    return {ARITHMETIC: useful, IDLE: taps * sums / 2 - useful}


def pixel_tiles(sum_: Sum, lanes: int, registers: Vectors) -> list[Tile]:
    """Tiles with pixels in the lanes."""
    _, height, width = sum_.axes
    wanted, few, other = -(-width.count // lanes), registers.few, registers.beside
    far = sum_.channels * prod(a.source for a in sum_.axes) * sum_.item > cache_bytes(2, 1 << 20)
    turned = 0.0
    if sum_.filter_step == sum_.item:  # a weight's neighbours belong to other tiles
        turned = SINGLE_FAR * (sum_.weights > cache_bytes(1, 1 << 15)) + SINGLE_FARTHER * sum_.far
    found = []
    for filters, rows, across in product((1, 2, 3, 4, 6, 8), (1, 2, 3, 4, 6), (1, 2, 3, 4, 5, 6, 7, 8, 10)):
        vectors = rows * across
        if filters * vectors + vectors + 1 > registers.registers - 1 or across > wanted or rows > height.count:
            continue
        if filters > sum_.filters and filters > 1:
            continue
        tiles = -(-sum_.filters // filters) * -(-height.count // rows) * -(-wanted // across)
        load = (CROSSING_FEW if few else CROSSING) if len(width.shifts) > 1 else ALIGNED
        load += OFTEN * (sum_.channels * vectors * lanes * sum_.item > cache_bytes(1, 1 << 15) * 5 // 8)
        weight = WEIGHT_FEW if few else WEIGHT
        masked = MASKED_FEW * rows * (few and len(width.phases) == 1 and width.count < across * lanes)
        step = pixels_rate(filters, rows, across, weight * filters + load * vectors, far, registers) + turned + masked
        parts = shared_parts(sum_, lanes, sum_.taps, tiles * filters * vectors)
        parts[LOADS] = tiles * sum_.taps * (step - filters * vectors / 2)
        if few:
            together = -(-height.count // rows) * -(-wanted // across)
            again = FAR * (filters * sum_.taps * sum_.item > cache_bytes(1, 1 << 15) // 2)
            parts[FETCHED] = tiles * sum_.taps * filters / lanes * (FARTHER * sum_.far / together + again)
        joined = JOIN * sum_.filters * height.count * width.count * any(len(a.phases) > 1 for a in sum_.axes)
        parts[ENDS] = other * (tiles * (1.5 * filters * vectors + BRANCH) + joined)
        found.append(Tile("pixels", filters, rows, across * lanes, across, parts))
    return found


def filter_tiles(sum_: Sum, lanes: int, registers: Vectors) -> list[Tile]:
    """Tiles with filters in the lanes."""
    _, height, width = sum_.axes
    pixels = sum_.images * prod(a.count * len(a.phases) for a in sum_.axes)
    found, other = [], registers.beside
    branch = BRANCH if registers.units > 1 else BRANCH_SINGLE
    strip, near = sum_.channels * prod(a.whole for a in sum_.axes) * sum_.item, cache_bytes(2, 1 << 20)
    again = (strip > near * 3 // 4) * (FAR if strip <= near else FARTHER) * (strip < sum_.weights)  # by each panel
    narrowest = min(2 if registers.few else 3, width.count)
    seen = {rows: sum_.taps * (1 - height.unseen(rows)) for rows in (1, 2, 3, 4)}  # taps that tiles do not leave out
    for vectors, rows, columns in product((1, 2, 3, 4), seen, range(narrowest, 15)):  # the first of equals
        sums, taps = rows * columns * vectors, seen[rows]
        if sums + vectors + 1 > registers.registers or columns > width.count or rows > height.count:
            continue
        panels = -(-sum_.filters // (lanes * vectors))
        tiles = panels * -(-height.count // rows) * -(-width.count // columns)
        stores = (STORE_FEW if registers.few else STORE) * lanes * rows * vectors * -(-columns // lanes)
        pack = PACK_TOGETHER if sum_.filter_step == sum_.item else PACK
        pack += PACK_FAR * (sum_.weights * lanes * vectors // sum_.filters > cache_bytes(2, 1 << 20) * 2 // 3)
        packing = panels * vectors * lanes * sum_.taps * len(sum_.axes[2].phases) ** 2 / max(1, pixels) * pack
        together = -(-height.count // rows) * -(-width.count // columns)  # tiles that meet the same weights, at most
        far = (FARTHER if sum_.far else FAR) * vectors / together
        cuts = -(-sum_.taps // cut_of(vectors * lanes * sum_.item, sum_.item, sum_.axes[2])) if together > 1 else 1
        parts = shared_parts(sum_, lanes, taps, tiles * sums)
        step = filters_rate(rows, columns, vectors, prod(sum_.kernel), registers)
        parts[LOADS] = tiles * taps * (step - sums / 2) + other * panels * again * strip / LINE
        parts[FETCHED] = other * tiles * taps * far
        parts[ENDS] = tiles * (stores + cuts * branch + (cuts - 1) * AGAIN * sums)
        visits = panels * sum_.taps * (sum_.filter_step == sum_.item) / max(1, sum_.images)
        parts[PACKED] = other * (packing * prod(a.count for a in sum_.axes) + PACK_ROW * visits)
        found.append(Tile("filters", lanes * vectors, rows, columns, vectors, parts))
    return found


def cut_of(width: int, item: int, across: Axis) -> int:
    """Taps of a panel whose weights, `width` bytes for each, leave enough of the first cache to a row of tiles' pixels.

    All taps of a row meet the same lines of the cache; of single taps, the next tiles' are others.
    """
    first, taps = cache_bytes(1, 1 << 15), len(across.shifts)
    lines = 0.5 if taps == 1 else -(-across.count * item // LINE) * len(across.residues) / taps
    return max(1, min(int(first * CUT) // width, int(first * CUT_WITH_PIXELS / (width + LINE * lines))))
