"""Plans of Winograd's convolution: in which order, in which blocks, with how much workspace, and what it costs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from fastconv.backends.cpu import machine, winograd_gradient
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.winograd_blocks import STRIP, Layout, padded
from fastconv.backends.cpu.winograd_bodies import CHANNELS, blocks_body, filters_body, inputs_body, tiles_body
from fastconv.backends.cpu.winograd_slots import Cover, cover, slot_count
from fastconv.backends.cpu.winograd_tiles import FLOAT
from fastconv.geometry import Convolution

M = 4  # pixels along the side of a tile, as calls have it; 2 are more accurate
TILES = 64  # in all images, at most, where the order is by filters
FEW, MANY = 28, 112  # tiles of a block, about, in the order by tiles: where its products need no parts, and else
RESIDENT = 0.6  # of the second cache, for a part's tiles and filters and what becomes of them
ROOM = 16 << 20  # bytes that a block's transformed tiles and products may take in memory
DEPTH = 64  # channels whose filters are transformed at a time: they stay in the second-level cache


@dataclass(frozen=True)
class Problem:
    """A forward pass or an input gradient: its sizes, for each group."""

    batch: int
    groups: int
    channels: int
    filters: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    padding: tuple[int, int]  # before
    turned: bool

    def cover(self, m: int) -> Cover:
        """Its tiles."""
        return cover(self.batch, self.output_size, m)


@functools.lru_cache(maxsize=1024)
def problem(geometry: Convolution, turned: bool) -> Problem:
    """The forward pass of a geometry, or its input gradient, which is one with turned filters."""
    groups, (top, left) = geometry.groups, (before for before, _ in geometry.padding)
    channels, filters = geometry.in_channels // groups, geometry.out_channels // groups
    height, width = geometry.input_size
    size, out = (height, width), (geometry.output_size[0], geometry.output_size[1])
    if turned:
        return Problem(geometry.batch, groups, filters, channels, out, size, (2 - top, 2 - left), True)
    return Problem(geometry.batch, groups, channels, filters, size, out, (top, left), False)


@dataclass(frozen=True, eq=False)
class Plan:
    """How a pass is computed: its loops' layout, its program, and its workspace for the plan's threads."""

    sizes: Layout
    program: Program
    workspace: int  # bytes
    by_filters: bool


def filter_sizes(task: Problem, m: int, depth: int) -> tuple[int, int]:
    """Bytes from one of U's products to the next, and of all of U."""
    size = FLOAT * machine.vectors().lanes(FLOAT)
    step = padded(-(-depth // 4) * 4 * 2 * size)
    blocks = task.groups * -(-task.filters // (2 * machine.vectors().lanes(FLOAT)))
    return step, blocks * (m + 2) ** 2 * step


def part_count(task: Problem, m: int, tiles: int) -> int:
    """Into how many parts the products of a block of tiles fall, so that one's tiles stay in the second cache.

    Between two uses of them, a block of filters and what becomes of it pass through that cache.
    """
    width = 2 * machine.vectors().lanes(FLOAT)
    if task.filters <= width:
        return 1
    each = FLOAT * (tiles * (task.channels + width) + task.channels * width)  # bytes of a product
    return min((m + 2) ** 2, -(-((m + 2) ** 2) * each // int(RESIDENT * machine.cache_bytes(2, 1 << 20))))


def block_count(task: Problem, threads: int, m: int) -> int:
    """How many blocks the tiles fall into, in the order by tiles; each thread gets as many.

    In parts, larger blocks need the filters less often, but all that is made of a block's tiles lies in memory.
    """
    tiling, most = task.cover(m), FEW
    if part_count(task, m, FEW) > 1:
        most = max(FEW, min(MANY, ROOM // (FLOAT * (m + 2) ** 2 * (task.channels + task.filters))))
    blocks = -(-tiling.tiles // most)
    return min(tiling.items, -(-blocks // threads) * threads)


@functools.lru_cache(maxsize=1024)
def plan(task: Problem, threads: int, m: int, kept: bool) -> Plan:
    """The plan of a pass; `kept` filters are transformed already."""
    tiling = task.cover(m)
    by_filters = tiling.tiles <= TILES
    blocks = -(-tiling.tiles // TILES) if by_filters else block_count(task, threads, m)
    sizes, workspace = laid_out(task, m, tiling, blocks, by_filters, kept, threads)
    return Plan(sizes, Program(steps(task, sizes, m, by_filters, kept), work(task, m)), workspace, by_filters)


def laid_out(
    task: Problem, m: int, tiling: Cover, blocks: int, by_filters: bool, kept: bool, threads: int
) -> tuple[Layout, int]:
    """The loops' layout and the bytes of its workspace."""
    lanes, products, cache = machine.vectors().lanes(FLOAT), (m + 2) ** 2, machine.cache_bytes(2, 1 << 20)
    size, slots = FLOAT * lanes, slot_count(-(-tiling.items // blocks) * tiling.run)
    v_step = padded(slots * -(-task.channels // lanes) * size)
    depth = min(task.channels, DEPTH) if by_filters and not kept else task.channels
    u_step, all_filters = filter_sizes(task, m, depth)
    m_step, pitch = padded(slots * 2 * size), padded((tiling.run * m + 2 + lanes) * size)
    shared, own = task.groups * blocks * products * v_step, 0 if kept else products * u_step
    if not by_filters:
        shared, own = 0 if kept else all_filters, products * v_step
    filter_blocks = -(-task.filters // (2 * lanes))
    parts = 1 if by_filters else part_count(task, m, slots)
    m_block = products * m_step if parts > 1 else 0  # one after the other, or all in the same place
    strip = own + (filter_blocks * m_block or products * m_step)
    scratch = max((m + 2) * pitch, STRIP * lanes * size)
    bias = strip + scratch + products * size
    check = bias + size
    end = up(check + size, LINE)  # each thread begins on a cache line
    sizes = Layout(
        task.groups, task.channels, task.filters, *task.input_size, *task.output_size, *task.padding, task.turned,
        *tiling, blocks, v_step, u_step, m_step,
        v_step if parts > 1 or (by_filters and (threads > 1 or products * v_step > cache // 4)) else 0,
        u_step if (kept or not by_filters) and (threads > 1 or all_filters > cache // 2) else 0,
        slots, depth, pitch, shared, end, own, m_block, parts, strip, scratch, bias, check,
    )  # fmt: skip
    return sizes, shared + threads * end


def steps(task: Problem, sizes: Layout, m: int, by_filters: bool, kept: bool) -> list[Any]:
    """The steps of a plan's program."""
    lanes, registers = machine.vectors().lanes(FLOAT), machine.vectors().registers
    if by_filters:
        filter_blocks = task.groups * -(-task.filters // (2 * lanes))
        return [
            (inputs_body(lanes, m), sizes, task.groups * sizes.blocks * -(-task.channels // lanes), 4),
            (blocks_body(lanes, registers, m, kept), sizes, sizes.blocks * filter_blocks, 8),
        ]
    multiply = (tiles_body(lanes, registers, m), sizes, task.groups * sizes.blocks, 8)
    return [multiply] if kept else [filter_step(task, sizes, m), multiply]


def filter_step(task: Problem, sizes: Layout, m: int) -> Any:
    """The step that transforms all filters."""
    lanes = machine.vectors().lanes(FLOAT)
    blocks, parts = -(-task.filters // (2 * lanes)), -(-task.channels // CHANNELS)
    return filters_body(lanes, m), sizes, task.groups * blocks * parts, 4


@functools.lru_cache(maxsize=1024)
def filters_plan(task: Problem, m: int, threads: int) -> tuple[Plan, int]:
    """The plan that only transforms the filters, and how many bytes they become."""
    sizes, workspace = laid_out(task, m, cover(1, (m, m), m), 1, False, True, threads)
    pairs = task.groups * task.filters * task.channels
    program = Program([filter_step(task, sizes, m)], pairs * (m + 2) ** 2)
    return Plan(sizes, program, workspace, False), filter_sizes(task, m, task.channels)[1]


def work(task: Problem, m: int) -> int:
    """Products of transformed tiles and filters."""
    return task.cover(m).products(m) * task.groups * task.channels * task.filters


# Cycles that one thread takes to transform a vector's tile of the input, of grad_output, of the output, and a vector's
# filter either way, with its share of copies and of what comes from memory.
INPUT, GRAD, OUTPUT, FILTER = 400.0, 260.0, 300.0, 200.0
FLUSH = 0.3  # of a product's arithmetic, what it takes besides
FAR = 3.0  # cycles for a line of transformed filters that don't stay in the second cache, for each block of tiles


def cost(geometry: Convolution, which: str, m: int = M, kept: bool = False) -> float:
    """Cycles that one thread takes: for "forward", "input_grad" or "weight_grad"; `kept` filters cost nothing."""
    vectors = machine.vectors()
    lanes, other = vectors.lanes(FLOAT), vectors.beside
    task = problem(geometry, which == "input_grad")
    tiling = task.cover(m)
    tiles = tiling.tiles * task.groups
    inner, outer = -(-task.channels // lanes), -(-task.filters // lanes)
    scale = (m + 2) ** 2 / 36
    product = (1 + other * FLUSH) * tiling.products(m) * task.groups * outer / 2  # for each channel
    if which == "weight_grad":
        rows = winograd_gradient.rows_of(lanes, vectors.registers)
        sizes = winograd_gradient.parts_and_blocks(geometry)
        inputs = tiles * (INPUT * inner * sizes.o_blocks + GRAD * outer * sizes.c_blocks)
        outputs = FILTER * outer * task.channels * task.groups * sizes.parts
        return other * (inputs + outputs) + product * up(task.channels, rows)
    transforms = tiles * scale * (INPUT * inner + OUTPUT * outer)
    filters = filter_sizes(task, m, task.channels)[1]
    if filters > machine.cache_bytes(2, 1 << 20) // 2 and tiles > TILES:
        transforms += FAR * filters / LINE * -(-tiles // MANY)
    if not kept:
        transforms += FILTER * scale * outer * task.channels * task.groups
    return other * transforms + product * task.channels


DEEPEST = 2048  # channels whose sum by F(4 x 4) errs less than 1e-5 of the largest output: 7e-6; 1.3e-5 at 8192


def accurate(geometry: Convolution, which: str, m: int = M) -> bool:
    """Whether errors stay below 1e-5 of the largest output for standard-normal data; `which` as for `cost`."""
    return which == "weight_grad" or m == 2 or problem(geometry, which == "input_grad").channels <= DEEPEST
