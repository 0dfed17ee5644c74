"""Plans of convolution by filters of a single tap, where an image has many pixels; see pointwise.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import pointwise
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.machine import LINE, PAGE, Vectors, cache_bytes, vectors
from fastconv.backends.cpu.native import Program
from fastconv.backends.cpu.plans import SMALL
from fastconv.backends.cpu.tile_choice import ARITHMETIC, ENDS, IDLE, LOADS, PACK, PACKED, Sum, described
from fastconv.geometry import Convolution
from fastconv.typing import Array

MANY, LONG, SHORT = 768, 24, 16  # pixels of an image, channels and filters from which on
ENOUGH, SOME = 192, 40  # pixels of all images, and of one, with few registers, whose other tiles are the slower
WIDE = 16  # times as many filters as channels, at most: a sum's end is no shorter where the sum is
SPREAD = 48  # channels from which on it pays to spread what tiles have left
BLOCK = 256 << 10  # bytes of a block of pixels, and as many again that are fetched: both stay in the second cache
AGAIN = 0.5  # panels' time that packing a block's pixels takes
SAMPLED = 1 << 13  # pixels that a task samples
PARTS = 8  # of each thread's tasks, for balance
STEP, END, LEFT = 0.25, 4.0, 2.0  # cycles that a load of a step adds, that a vector's sum takes, and to leave pixels


@dataclass(frozen=True, eq=False)
class Plan:
    """A program with what it needs and what it is."""

    kernel: Any  # the body with the tile
    tile: str
    blocks: str
    tasks: int
    workspace: int
    threads: int
    parts: dict[str, float]  # cycles, by what needs them
    no_bias: Array
    program: Program
    finite_weights: bool = False  # there is no padding that weights must not meet


def suits(sum_: Sum, registers: Vectors) -> bool:
    """Whether it is a sum over single pixels in place, with so many of them, and so long sums, that packing pays."""
    *others, pixels = sum_.axes
    single = prod(sum_.kernel) == 1 and pixels.phases == (((0, 0),),) and pixels.step == 1
    in_place = single and pixels.source == pixels.target and all(axis.source == axis.target == 1 for axis in others)
    long = sum_.channels >= LONG and SHORT <= sum_.filters <= WIDE * sum_.channels
    if not registers.few:
        return in_place and pixels.count >= MANY and long and not sum_.far
    many = pixels.count >= SOME and pixels.count * sum_.images >= ENOUGH
    return in_place and many and long and sum_.weights <= cache_bytes(3, 1 << 23) // 4


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, backward: bool, item: int, threads: int) -> Plan | None:
    """The plan of a geometry's forward pass or input gradient, if it is such a sum."""
    sum_, registers = described(geometry, backward, item), vectors()
    samples = spread = None
    if backward and spreads(geometry):
        single = described(single_taps(geometry), backward, item)
        taps = pointwise.TAPS * sum_.filters
        sum_ = replace(sum_, filters=taps, filter_step=item, axes=single.axes, kernel=single.kernel, gaps=single.gaps)
        spread = geometry
    elif not backward and registers.few and sampled(geometry):
        sum_, samples = described(single_taps(geometry), backward, item), geometry
    return build(sum_, threads, registers, samples, spread) if suits(sum_, registers) else None


def spreads(geometry: Convolution) -> bool:
    """Whether each pixel of the output's gradient meets 2 x 2 pixels of the input's, no other's, in long sums."""
    apart = geometry.kernel_size == geometry.stride == (2, 2) and geometry.dilation == (1, 1)
    long = geometry.out_channels >= SPREAD * geometry.groups
    sizes = tuple([2 * size for size in geometry.output_size])
    return apart and long and geometry.input_size == sizes and geometry.padding == ((0, 0), (0, 0))


def sampled(geometry: Convolution) -> bool:
    """Whether single taps meet every so many pixels of the input."""
    inside = not any(before or after for before, after in geometry.padding)
    return max(geometry.stride) > 1 and prod(geometry.kernel_size) == 1 and inside


def single_taps(geometry: Convolution) -> Convolution:
    """A geometry of single taps with as many pixels as the output."""
    ones, no_padding = tuple(1 for _ in geometry.stride), tuple((0, 0) for _ in geometry.stride)
    size = geometry.output_size
    return replace(geometry, input_size=size, kernel_size=ones, stride=ones, padding=no_padding)


def build(
    sum_: Sum,
    threads: int,
    registers: Vectors,
    samples: Convolution | None = None,
    spread: Convolution | None = None,
) -> Plan:
    """Choose tiles and blocks, and write the program.

    The pixels may be samples of a geometry's input, or be spread to it.
    """
    item, lanes, channels, pixels = sum_.item, registers.lanes(sum_.item), sum_.channels, sum_.axes[2].count
    filters, wide = (4, 3) if registers.few else (8, 3)
    across = wide * lanes
    tiles, panels = -(-pixels // across), -(-sum_.filters // filters)
    rest = -(-(pixels % across) // lanes)
    images = sum_.images * sum_.groups
    parts = cycles(sum_, filters, wide, lanes)
    work = sum(parts.values())
    used = threads if work > SMALL else 1
    blocks, shares = split(images, tiles, panels, max(1, BLOCK // (channels * across * item)), used)
    panel_bytes = up(channels * filters * item, LINE) + LINE
    shared = up(sum_.groups * panels * panel_bytes, PAGE)
    before = up(filters * across * item, LINE) + 2 * LINE if spread else 0  # a tile's sums, and biases
    own = before + up(-(-tiles // blocks) * channels * across * item, PAGE) + LINE
    values = {
        pointwise.GROUPS: sum_.groups,
        pointwise.CHANNELS: channels,
        pointwise.FILTERS: sum_.filters,
        pointwise.PIXELS: pixels,
        pointwise.TILES: tiles,
        pointwise.BLOCKS: blocks,
        pointwise.PANELS: panels,
        pointwise.SHARES: shares,
        pointwise.FETCHED: -(-channels // (panels // shares * filters)),
        pointwise.PANEL_BYTES: panel_bytes,
        pointwise.PER_THREAD: own,
        pointwise.SHARED: shared + before,
        pointwise.WIDTH: spread.output_size[-1] if spread else 0,
        pointwise.FILTER_STEP: sum_.filter_step,
        pointwise.CHANNEL_STEP: sum_.channel_step,
        pointwise.GROUP_STEP: sum_.group_step,
    }
    workspace = shared + own * used
    steps: list[Any] = []
    if samples:
        values |= sample_words(samples, up(workspace, PAGE))
        workspace = values[pointwise.SAMPLES] + sum_.images * sum_.groups * channels * pixels * item + LINE
    words = [values.get(place, 0) for place in range(pointwise.PLACES)]
    if samples:
        planes, each = values[pointwise.PLANES], values[pointwise.TOGETHER]
        steps.append((pointwise.sample_body(item, lanes), words, -(-planes // each), PARTS))
    kernel = pointwise.points_body(item, lanes, filters, wide, rest or wide, bool(spread))
    tasks = images * blocks * shares
    packing = pointwise.pack_body(item, lanes, filters), words, sum_.groups * panels, 4 if shared > 1 << 16 else 0
    return Plan(
        kernel=kernel,
        tile=f"{filters} filters x {across} pixels, pixels in the vectors' lanes",
        blocks=f"{blocks} of pixels x {shares} of the filters, which are {panels} tiles",
        tasks=tasks,
        workspace=workspace,
        threads=used,
        parts=parts,
        no_bias=np.zeros(sum_.groups * sum_.filters, f"f{item}"),
        program=Program([*steps, packing, (kernel, words, tasks, PARTS)], int(work)),
    )


def sample_words(geometry: Convolution, place: int) -> dict[int, int]:
    """A plan's words on the pixels of a geometry's input that single taps meet, which are left at this place."""
    ones = (1,) * (3 - len(geometry.stride))
    values = {pointwise.SAMPLES: place, pointwise.PLANES: geometry.batch * geometry.in_channels}
    values[pointwise.TOGETHER] = max(1, SAMPLED // prod(geometry.output_size))
    for word, sizes in (
        (pointwise.EXTENTS, geometry.input_size),
        (pointwise.TAKEN, geometry.output_size),
        (pointwise.STEPS, geometry.stride),
    ):
        values |= {word + axis: size for axis, size in enumerate((*ones, *sizes))}
    return values


def split(images: int, tiles: int, panels: int, most: int, threads: int) -> tuple[int, int]:
    """Blocks of an image's tiles, of so many at most, and shares of the panels: those with which no thread waits."""
    least = -(-tiles // most)
    if threads == 1:
        return least, 1

    def slowest(found: tuple[int, int]) -> float:
        blocks, shares = found
        rounds = -(-images * blocks * shares // threads)
        return rounds * -(-tiles // blocks) * (-(-panels // shares) + AGAIN)

    shares = [count for count in (1, 2, 4) if count <= panels]
    return min(product(range(least, min(tiles, 4 * least + threads) + 1), shares), key=slowest)


def cycles(sum_: Sum, filters: int, wide: int, lanes: int) -> dict[str, float]:
    """What a thread alone would take, by what takes it."""
    images, channels, pixels = sum_.images * sum_.groups, sum_.channels, sum_.axes[2].count
    panels, rows = -(-sum_.filters // filters), -(-pixels // lanes)
    sums = images * panels * filters * rows
    useful = images * sum_.filters * pixels * channels / (2 * lanes)
    return {
        ARITHMETIC: useful,
        IDLE: sums * channels / 2 - useful,
        LOADS: sums * channels * STEP * (filters + wide) / (filters * wide),
        ENDS: sums * END,
        PACKED: sum_.groups * channels * sum_.filters * PACK + images * channels * rows * LEFT,
    }
