"""Plans of convolution by filters of a single tap, where an image has many pixels; see pointwise.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import pointwise
from fastconv.backends.cpu import pointwise_moves as at
from fastconv.backends.cpu.blocks import SMALL
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.machine import LINE, PAGE, Vectors, cache_bytes, vectors
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.tile_choice import ARITHMETIC, ENDS, IDLE, LOADS, PACK, PACKED, Sum, described
from fastconv.geometry import Convolution
from fastconv.typing import Array

MANY, LONG, SHORT = 768, 24, 16  # pixels of an image, channels and filters from which on
SOME, ENOUGH = 16, 192  # with few registers, whose other tiles are slower; and where filters are packed, of all images
SCARCE = 48  # and of those that are scattered, whose other tiles are slower still where filters come from far
DEEP = 256  # channels of a sum from which on packing its filters pays for any pixels
WIDE = 16  # times as many filters as channels, at most: a sum's end is no shorter where the sum is
SPREADING, SPREADING_FEW = 48, 128  # channels from which on it pays to spread what tiles have left; of few registers
SCATTERING = 256  # channels up to which it pays to scatter pixels behind the product, with many registers
BLOCK = 256 << 10  # bytes of a block of pixels, and as many again that are fetched: both stay in the second cache
AGAIN = 0.5  # panels' time that packing a block's pixels takes
SOME_PLANES = 1 << 13  # pixels of those that a task samples or scatters
PARTS = 8  # of each thread's tasks, for balance
STEP, END, LEFT = 0.25, 4.0, 2.0  # cycles that a load of a step adds, that a vector's sum takes, and to leave pixels
LATENCY = 4.0  # cycles of a step at least

# The pixels of a product: all of the images', every so many of the input's, or of the input's gradient's, which are the
# others' biases between; or of each a square of the input's gradient.
EVERY, SAMPLED, SCATTERED, SPREAD = "", ", sampled before", ", scattered behind", ", spread to squares"


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
    by_images: bool  # whether all steps but the last need weights alone, and that one goes image by image
    finite_only: bool = False  # there is no padding that weights must not meet


def suits(sum_: Sum, registers: Vectors, way: str) -> bool:
    """Whether it is a sum over single pixels in place, with so many of them, and so long sums, that packing pays."""
    *others, pixels = sum_.axes
    single = prod(sum_.kernel) == 1 and pixels.phases == (((0, 0),),) and pixels.step == 1
    in_place = single and pixels.source == pixels.target and all(axis.source == axis.target == 1 for axis in others)
    long = sum_.channels >= LONG and SHORT <= sum_.filters <= WIDE * sum_.channels
    if not registers.few:
        return in_place and pixels.count >= MANY and long and not sum_.far
    enough = SCARCE if way == SCATTERED and sum_.far else ENOUGH
    pays = way == SPREAD or (way == EVERY and sum_.channels >= DEEP) or pixels.count * sum_.images >= enough
    many = pixels.count >= SOME and (pays or not packed(sum_, registers))
    return in_place and many and long and sum_.weights <= cache_bytes(3, 1 << 23) // 4


def packed(sum_: Sum, registers: Vectors) -> bool:
    """Whether filters are packed: with few registers, loads of single numbers may be as far apart as filters are."""
    return not registers.few or sum_.channel_step != sum_.item


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, backward: bool, item: int, threads: int) -> Plan | None:
    """The plan of a geometry's forward pass or input gradient, if it is such a sum."""
    sum_, registers = described(geometry, backward, item), vectors()
    way, single = EVERY, single_taps(geometry)
    if backward and spreads(geometry, registers.few):
        way, taps = SPREAD, described(single, backward, item)
        sum_ = replace(sum_, filters=at.TAPS * sum_.filters, filter_step=item, axes=taps.axes, kernel=taps.kernel)
        sum_ = replace(sum_, gaps=taps.gaps)
    elif sampled(geometry) and (registers.few or (backward and sum_.channels <= SCATTERING)):
        way, sum_ = SCATTERED if backward else SAMPLED, described(single, backward, item)
    return build(sum_, threads, registers, geometry, way) if suits(sum_, registers, way) else None


def spreads(geometry: Convolution, few: bool) -> bool:
    """Whether each pixel of the output's gradient meets 2 x 2 pixels of the input's, no other's, in long sums."""
    apart = geometry.kernel_size == geometry.stride == (2, 2) and geometry.dilation == (1, 1)
    long = geometry.out_channels >= geometry.groups * (SPREADING_FEW if few else SPREADING)
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


def build(sum_: Sum, threads: int, registers: Vectors, geometry: Convolution, way: str = EVERY) -> Plan:
    """Choose tiles and blocks, and write the program: of all of a geometry's pixels, or the other ways."""
    item, lanes, channels, pixels = sum_.item, registers.lanes(sum_.item), sum_.channels, sum_.axes[2].count
    images = sum_.images * sum_.groups
    shapes = tiling(pixels, lanes, registers, way)
    filters, wide = shapes.tile
    across, panel = wide * lanes, pointwise.panel_filters(shapes.tile, shapes.rest)
    in_place = not packed(sum_, registers)
    panels, packs = -(-sum_.filters // panel), -(-sum_.filters // filters)
    parts = cycles(sum_, shapes, lanes, in_place)
    work = sum(parts.values())
    used = threads if work > SMALL else 1
    blocks, shares = split(images, shapes.tiles, panels, max(1, BLOCK // (channels * across * item)), used)
    pack_bytes = up(channels * filters * item, LINE) + LINE
    shared = 0 if in_place else up(sum_.groups * packs * pack_bytes, PAGE)
    before = up(filters * across * item, LINE) + 2 * LINE if way == SPREAD else 0  # a tile's sums, and biases
    own = before + up((-(-shapes.tiles // blocks) * across + lanes) * channels * item, PAGE) + LINE
    values = sum_words(sum_) | {
        at.TILES: shapes.tiles,
        at.WHOLE: shapes.whole,
        at.BLOCKS: blocks,
        at.PANELS: panels,
        at.SHARES: shares,
        at.GROUP_BYTES: sum_.group_step if in_place else packs * pack_bytes,
        at.PACK_BYTES: sum_.filter_step if in_place else pack_bytes,
        at.PER_THREAD: own,
        at.SHARED: shared + before,
        at.PACKS: packs,
        at.WIDTH: geometry.output_size[-1] if way == SPREAD else 0,
        at.ACROSS: across,
    }
    share = panels // shares * panel  # filters
    tile, rest = ((*kind, fetched(kind, share, lanes * item)) for kind in (shapes.tile, shapes.rest))
    kernel = pointwise.points_body(item, lanes, tile, rest, 1 if in_place else filters, way == SPREAD)
    steps = [(kernel, images * blocks * shares, PARTS)]
    if not in_place:
        dealt = sum_.groups * -(-packs // at.dealt(item, lanes, filters))
        steps.insert(0, (at.pack_body(item, lanes, filters), dealt, 4 if shared > 1 << 16 else 0))
    workspace = shared + own * used
    if way in (SAMPLED, SCATTERED):
        place = up(workspace, PAGE)
        more, tasks, taken = sampling(geometry, item)
        values |= {**more, at.SAMPLES if way == SAMPLED else at.SUMS: place}
        workspace = place + taken
        moving = at.sample_body(item, lanes) if way == SAMPLED else at.scatter_body(item, lanes)
        steps.insert(0 if way == SAMPLED else len(steps), (moving, tasks, PARTS))
    words = at.words(values)
    return Plan(
        kernel=kernel,
        tile=f"{filters} filters x {across} pixels, pixels in the vectors' lanes",
        blocks=f"{blocks} of pixels{way} x {shares} of the filters, which are {packs} tiles",
        tasks=images * blocks * shares,
        workspace=workspace,
        threads=used,
        parts=parts,
        no_bias=np.zeros(sum_.groups * sum_.filters, f"f{item}"),
        program=Program([(code, words, count, each) for code, count, each in steps], int(work)),
        by_images=way in (EVERY, SPREAD),
    )


def sum_words(sum_: Sum) -> dict[int, int]:
    """Words on the sum: its extents, and where its weights lie."""
    return {
        at.GROUPS: sum_.groups,
        at.CHANNELS: sum_.channels,
        at.FILTERS: sum_.filters,
        at.PIXELS: sum_.axes[2].count,
        at.FILTER_STEP: sum_.filter_step,
        at.CHANNEL_STEP: sum_.channel_step,
        at.GROUP_STEP: sum_.group_step,
    }


@dataclass(frozen=True)
class Tiling:
    """The tiles of an image's pixels, as filters and vectors: whole ones, and the last with what is left."""

    tile: tuple[int, int]
    rest: tuple[int, int]
    tiles: int
    whole: int


def tiling(pixels: int, lanes: int, registers: Vectors, way: str = EVERY) -> Tiling:
    """How pixels fall into tiles; of few registers, the last one's sums fill as many as others', if any filters may."""
    filters, wide = (4, 3) if registers.few else (8, 3)
    even, rows = registers.few and way != SPREAD, -(-pixels // lanes)
    tiles = -(-rows // wide)
    if even and rows % wide == 1 and tiles > 1:  # one more vector for the tile before
        tiles -= 1
    last = rows - (tiles - 1) * wide
    rest = (filters * wide // last if even and last > 1 else filters, last)
    return Tiling((filters, wide), rest, tiles, tiles if pixels == tiles * wide * lanes else tiles - 1)


def fetched(tile: tuple[int, int], share: int, width: int) -> int:
    """Lines of each row ahead that a tile fetches, for those of a share of the filters to fetch all."""
    filters, vectors = tile
    return -(-up(vectors * width, LINE) // (share // filters * LINE))


def sampling(geometry: Convolution, item: int) -> tuple[dict[int, int], int, int]:
    """Words on the pixels of a geometry's input that single taps meet, tasks for their planes, and their bytes."""
    ones, planes = (1,) * (3 - len(geometry.stride)), geometry.batch * geometry.in_channels
    pixels = prod(geometry.output_size)
    each = max(1, SOME_PLANES // pixels)
    values = {at.PLANES: planes, at.TOGETHER: each}
    for word, sizes in (
        (at.EXTENTS, geometry.input_size),
        (at.TAKEN, geometry.output_size),
        (at.STEPS, geometry.stride),
    ):
        values |= {word + axis: size for axis, size in enumerate((*ones, *sizes))}
    return values, -(-planes // each), planes * pixels * item + LINE


def split(images: int, tiles: int, panels: int, most: int, threads: int) -> tuple[int, int]:
    """Blocks of an image's tiles, of so many at most, and shares of the panels: those with which no thread waits."""
    least = -(-tiles // most)
    if threads == 1:
        return least, 1

    def slowest(found: tuple[int, int]) -> float:
        blocks, shares = found
        rounds = -(-images * blocks * shares // threads)
        return rounds * -(-tiles // blocks) * (-(-panels // shares) + AGAIN)

    shares = [1 << k for k in range(max(4, threads).bit_length()) if 1 << k <= panels]
    return min(product(range(least, min(tiles, 4 * least + threads) + 1), shares), key=slowest)


def cycles(sum_: Sum, shapes: Tiling, lanes: int, in_place: bool) -> dict[str, float]:
    """What a thread alone would take, by what takes it."""
    images, channels, pixels = sum_.images * sum_.groups, sum_.channels, sum_.axes[2].count
    rows, last = -(-pixels // lanes), shapes.tiles - shapes.whole
    steps = loads = 0.0  # of a channel and an image
    for (filters, wide), count in ((shapes.tile, shapes.whole), (shapes.rest, last)):
        each = -(-sum_.filters // filters) * count
        steps += each * max(filters * wide / 2, LATENCY)
        loads += each * STEP * (filters + wide)
    useful = sum_.filters * pixels / (2 * lanes)
    return {
        ARITHMETIC: images * channels * useful,
        IDLE: images * channels * (steps - useful),
        LOADS: images * channels * loads,
        ENDS: images * sum_.filters * rows * END,
        PACKED: sum_.groups * channels * sum_.filters * PACK * (not in_place) + images * channels * rows * LEFT,
    }
