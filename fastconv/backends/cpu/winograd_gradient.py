"""Winograd's weight gradient, F(3 x 3, 4 x 4): tiles of grad_output are the filters, and the sum is over tiles.

grad_weight = A^T [sum over tiles of (G g G^T) * (B^T d B)] A. A task owns a block of filters and channels, and one of a
few parts of the tiles, whose number depends on shapes alone; the parts' results are added in their order.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.moves import flag_unless_finite
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.winograd_blocks import idle_loop, input_loop, padded, strip_loop
from fastconv.backends.cpu.winograd_slots import (
    Cover,
    cover,
    lesser_items,
    loop,
    places,
    slot_count,
    tiles_with,
    whole_tiles,
)
from fastconv.backends.cpu.winograd_tiles import (
    FLOAT,
    TAPS,
    UNROLLED,
    add_transposed,
    clear,
    fields,
    multiply_add,
    sum_parts,
    transpose,
)
from fastconv.backends.cpu.winograd_transforms import THREE, WEIGHT, lesser_loop, transform, transform_to_output
from fastconv.geometry import Convolution

TILE, SIDE = 4, 6  # pixels of a tile of grad_output and of x
PRODUCTS = SIDE * SIDE
X, GRAD_OUTPUT, GRAD_WEIGHT, WORKSPACE, FLAG = range(5)
PIECE = 4096  # numbers that a task of the second step adds
BLOCK = 64  # channels, and filters, of a task at most
TILES = 32  # that are multiplied at a time, at most
PARTS = 16  # at most
SECTION = 512  # tiles of a sum, at most


class Layout(NamedTuple):
    """What the loops read; the names are those of a convolution's layout."""

    groups: int
    channels: int
    filters: int
    height: int
    width: int
    out_height: int
    out_width: int
    top: int
    left: int
    run: int
    runs: int
    down: int
    last_height: int
    last_width: int
    items: int
    parts: int  # of the items
    chunk: int  # items that are multiplied at a time
    section: int  # items whose products are summed: rounding errors of longer sums would grow
    c_block: int  # channels and filters of a task
    o_block: int
    c_blocks: int
    o_blocks: int
    v_step: int
    g_step: int  # of G[i, t, o % B], the transformed tiles of grad_output
    d_step: int  # of D[o // B, i, c, o % B], their sum of products
    slots: int
    pitch: int
    part_size: int  # bytes of a part's result
    private: int
    private_size: int
    g: int
    d: int
    strip: int
    scratch: int  # from a strip on
    check: int  # two vectors: what tells whether results are finite, and zeros


layout = fields(Layout)


@functools.cache
def grad_loop(lanes: int) -> Any:
    """A loop that transforms grad_output."""
    fill_strip, transform_lesser = strip_loop(lanes), lesser_loop(lanes, TILE, WEIGHT)
    clear_idle, size = idle_loop(lanes, TILE, layout), FLOAT * lanes

    @loop
    def transform_grads(plan, grad, group, o, vectors, first, end, g, strip):  # type: ignore[no-untyped-def]
        """G[i, t, o] of some items, for one or two vectors of filters."""
        a = layout(plan)
        columns, width, whole = a.run * TILE, vectors * size, whole_tiles(a, TILE)
        plane, lesser = FLOAT * a.out_height * a.out_width, lesser_items(a, TILE, first, end)
        for k in range(vectors):
            target, filters, ahead, before = g + k * size, a.filters - o - k * lanes, lanes * plane, 0
            for item in range(first, end):
                image, down = item // (a.runs * a.down) * a.groups + group, item // a.runs % a.down
                source = grad + (image * a.filters + o + k * lanes) * plane
                row, column = down * TILE, item % a.runs * columns
                pixels, place, side = places(a, TILE, down, end - first, lesser, item - first, before)
                before += pixels < TILE
                fill_strip(
                    strip, a.pitch, source, a.out_height, a.out_width, filters, row, pixels, column, columns, ahead
                )
                full = whole if pixels == TILE else 0
                for t in range(full):
                    transform(
                        FLOAT, lanes, THREE, TILE, WEIGHT, strip + t * TILE * size, a.pitch, size,
                        target + (place + t) * width, SIDE * a.g_step, a.g_step,
                    )  # fmt: skip
                for t in range(full, a.run):
                    wide, slot = (TILE, place + t) if t < whole else (a.last_width, side)
                    transform_lesser(
                        pixels, wide, strip + t * TILE * size, a.pitch, target + slot * width, a.g_step,
                        strip + a.scratch,
                    )  # fmt: skip
        clear_idle(plan, end - first, lesser, g, width, a.g_step, vectors, size)

    return transform_grads


def rows_of(lanes: int, registers: int) -> int:
    """Channels of a tile of products."""
    return 8 if registers > 16 and lanes > 4 else 4


@functools.cache
def sum_loop(lanes: int, registers: int) -> Any:
    """A loop that adds products of tiles."""
    size, rows = FLOAT * lanes, rows_of(lanes, registers)

    @loop
    def add_products(plan, first, end, channels, vectors, v, g, d, add):  # type: ignore[no-untyped-def]
        """D[i, c, o] (+)= sum over t of V[i, c, t] G[i, t, o]."""
        a = layout(plan)
        chunk, width = lanes * size, vectors * size
        items, lesser = end - first, lesser_items(a, TILE, first, end)
        for i in range(PRODUCTS):
            t, stop = tiles_with(a, TILE, items, lesser, i)
            depth = (stop - t + 3) // 4 * 4
            for c in range(0, channels, rows):
                left = v + i * a.v_step + (c // lanes * a.slots + t) * size + c % lanes * FLOAT
                right, target = g + i * a.g_step + t * width, d + i * a.d_step + c * width
                if vectors == 2:
                    multiply_add(
                        FLOAT, lanes, rows, 2, FLOAT, size, rows, left, chunk, right, depth, target, add, 0, 0, 0
                    )
                else:
                    multiply_add(
                        FLOAT, lanes, rows, 1, FLOAT, size, rows, left, chunk, right, depth, target, add, 0, 0, 0
                    )

    return add_products


@functools.cache
def result_loop(lanes: int) -> Any:
    """A loop that transforms sums of products to gradients of filters."""
    size = FLOAT * lanes

    @loop
    def transform_sums(plan, d, vectors, grad_weight, o, c, end, strip, add, check):  # type: ignore[no-untyped-def]
        """grad_weight[o, c, r] (+)= A^T D A, for one or two vectors of filters and the channels from c."""
        a = layout(plan)
        pitch = FLOAT * TAPS * a.channels
        for k in range(vectors):
            filters = a.filters - o - k * lanes
            for first in range(c, end, lanes):
                target = grad_weight + (o + k * lanes) * pitch + FLOAT * TAPS * first
                source, channels = d + (first - c) * vectors * size + k * size, min(lanes, end - first)
                for i in range(channels):
                    transform_to_output(
                        FLOAT, lanes, THREE, TILE, check + size, source + i * vectors * size, SIDE * a.d_step, a.d_step,
                        strip + i * TAPS * size, 3 * size, size, check,
                    )  # fmt: skip
                for q in range(0, TAPS * channels, lanes):
                    place, numbers, left = strip + q * size, target + FLOAT * q, TAPS * channels - q
                    if add:
                        add_transposed(FLOAT, lanes, place, size, numbers, pitch, filters, left)
                    else:
                        transpose(FLOAT, lanes, place, size, lanes, lanes, numbers, pitch, filters, left)

    return transform_sums


@functools.cache
def blocks_body(lanes: int, registers: int) -> Any:
    """The body of the gradient."""
    transform_inputs, transform_grads = input_loop(lanes, TILE, layout), grad_loop(lanes)
    add_products, transform_sums = sum_loop(lanes, registers), result_loop(lanes)
    size, block = FLOAT * lanes, 2 * lanes

    @native.body
    def weight_gradient(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a part of the tiles, for a block of filters and channels."""
        a = layout(plan)
        x, grad, result, workspace = (
            native.word(arrays, X), native.word(arrays, GRAD_OUTPUT), native.word(arrays, GRAD_WEIGHT),
            native.word(arrays, WORKSPACE),
        )  # fmt: skip
        v = workspace + a.private + thread * a.private_size
        g, d, strip, check = v + a.g, v + a.d, v + a.strip, v + a.check
        clear(FLOAT, lanes, check)
        clear(FLOAT, lanes, check + size)
        for task in range(first, end):
            part, o_first = task % a.parts, task // a.parts % a.o_blocks * a.o_block
            c = task // (a.parts * a.o_blocks) % a.c_blocks * a.c_block
            group = task // (a.parts * a.o_blocks * a.c_blocks)
            c_end, o_end = min(a.channels, c + a.c_block), min(a.filters, o_first + a.o_block)
            start, stop = part * a.items // a.parts, (part + 1) * a.items // a.parts
            target = result if a.parts == 1 else workspace + part * a.part_size
            target += group * a.filters * a.channels * TAPS * FLOAT
            for section in range(start, stop, a.section):
                until = min(stop, section + a.section)
                for item in range(section, until, a.chunk):
                    last = min(until, item + a.chunk)
                    transform_inputs(plan, x, group, item, last, c, c_end, v - c // lanes * a.slots * size, strip)
                    for o in range(o_first, o_end, block):
                        wide, sums = 2 if a.filters - o > lanes else 1, d + (o - o_first) // block * PRODUCTS * a.d_step
                        transform_grads(plan, grad, group, o, wide, item, last, g, strip)
                        add_products(plan, item, last, c_end - c, wide, v, g, sums, item - section)
                for o in range(o_first, o_end, block):
                    wide, sums = 2 if a.filters - o > lanes else 1, d + (o - o_first) // block * PRODUCTS * a.d_step
                    transform_sums(plan, sums, wide, target, o, c, c_end, strip, section - start, check)

        flag_unless_finite(FLOAT, lanes, 0, check, lanes, native.word(arrays, FLAG))

    return weight_gradient


@functools.cache
def parts_body(lanes: int) -> Any:
    """The body that adds the parts."""
    size = FLOAT * lanes

    @native.body
    def summed_parts(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """grad_weight is the sum of the parts; a task is a piece of it."""
        a = layout(plan)
        workspace, result = native.word(arrays, WORKSPACE), native.word(arrays, GRAD_WEIGHT)
        count = FLOAT * TAPS * a.groups * a.filters * a.channels
        for place in range(first * PIECE * FLOAT, min(count, end * PIECE * FLOAT), size):
            sum_parts(FLOAT, lanes, workspace + place, a.part_size, a.parts, (count - place) // FLOAT, result + place)

    return summed_parts


@dataclass(frozen=True)
class Plan:
    """How a weight gradient is computed: its loops' layout and its program."""

    sizes: Layout
    program: Program

    def workspace(self, threads: int) -> int:
        """Bytes for so many threads."""
        return self.sizes.private + threads * self.sizes.private_size


class Blocks(NamedTuple):
    """How a weight gradient's tiles, channels and filters are shared out."""

    tiling: Cover
    parts: int
    c_block: int
    o_block: int
    c_blocks: int
    o_blocks: int


def even(count: int, most: int, multiple: int) -> int:
    """The size of blocks that share `count`: at most `most`, a multiple."""
    blocks = -(-count // most)
    return -(-count // (blocks * multiple)) * multiple


def parts_and_blocks(geometry: Convolution) -> Blocks:
    """How the work falls apart, from shapes alone: the bits of the result depend on it."""
    lanes, groups = machine.vectors().lanes(FLOAT), geometry.groups
    c_block = even(geometry.in_channels // groups, BLOCK, lanes)
    o_block = even(geometry.out_channels // groups, BLOCK, 2 * lanes)
    c_blocks, o_blocks = -(-geometry.in_channels // groups // c_block), -(-geometry.out_channels // groups // o_block)
    height, width = geometry.output_size
    tiling = cover(geometry.batch, (height, width), TILE)
    if tiling.tiles <= UNROLLED:  # sums are over so many at least: lesser tiles are not worth their transforms
        tiling = cover(geometry.batch, (up(height, TILE), up(width, TILE)), TILE)
    parts = max(1, min(tiling.items, -(-PARTS // (groups * c_blocks * o_blocks)), tiling.tiles // 48))
    return Blocks(tiling, parts, c_block, o_block, c_blocks, o_blocks)


@functools.lru_cache(maxsize=1024)
def plan(geometry: Convolution) -> Plan:
    """The plan of a weight gradient."""
    lanes, registers = machine.vectors().lanes(FLOAT), machine.vectors().registers
    size, groups, b = FLOAT * lanes, geometry.groups, parts_and_blocks(geometry)
    channels, filters = geometry.in_channels // groups, geometry.out_channels // groups
    (height, width), (out_height, out_width) = geometry.input_size, geometry.output_size
    (top, _), (left, _) = geometry.padding
    run, most = b.tiling.run, -(-b.tiling.items // b.parts)
    chunk = -(-most // -(-most // max(1, TILES // run)))
    section = chunk * max(1, SECTION // (chunk * run))
    slots = slot_count(chunk * run)
    v_step, g_step = padded(slots * b.c_block * FLOAT), padded(slots * 2 * size)
    d_step, pitch = padded(b.c_block * 2 * size), padded((run * TILE + 2 + lanes) * size)
    numbers = TAPS * groups * filters * channels
    part_size = padded(FLOAT * numbers)
    g = PRODUCTS * v_step
    d = g + PRODUCTS * g_step
    strip = d + PRODUCTS * d_step * -(-b.o_block // (2 * lanes))
    scratch = max(SIDE * pitch, (TAPS + 1) * lanes * size)
    check = strip + scratch + PRODUCTS * size
    sizes = Layout(
        groups, channels, filters, height, width, out_height, out_width, top, left,
        *b.tiling, b.parts, chunk, section, b.c_block, b.o_block, b.c_blocks, b.o_blocks,
        v_step, g_step, d_step, slots, pitch, part_size, b.parts * part_size if b.parts > 1 else 0,
        check + 2 * size, g, d, strip, scratch, check,
    )  # fmt: skip
    steps = [(blocks_body(lanes, registers), sizes, groups * b.c_blocks * b.o_blocks * b.parts, 8)]
    if b.parts > 1:
        steps.append((parts_body(lanes), sizes, -(-numbers // PIECE), 2))
    return Plan(sizes, Program(steps, b.tiling.products(TILE) * groups * channels * filters))
