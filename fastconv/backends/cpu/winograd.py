"""Winograd's convolution: 3 x 3 filters, stride 1, float32; F(4 x 4, 3 x 3), or the more accurate F(2 x 2, 3 x 3).

The sum over channels costs 4 (or 2.25) times fewer products than a direct convolution. The input gradient is the same
with turned filters. Two orders of the work, whichever moves less memory:

- by tiles: filters are transformed first; a task transforms a block of tiles and multiplies it with all filters;
- by filters: tiles are transformed first; a task transforms a block of filters and multiplies it with all tiles.

Each number is one sum over the channels in their order, so the bits depend neither on the order nor on threads.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from fastconv.backends.cpu import machine, native, winograd_gradient, workspace
from fastconv.backends.cpu.winograd_blocks import FLOAT, TAPS, Layout, padded
from fastconv.backends.cpu.winograd_bodies import CHANNELS, blocks_body, filters_body, inputs_body, tiles_body
from fastconv.geometry import Convolution
from fastconv.typing import Array


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

    @property
    def macs(self) -> int:
        """Products of a direct convolution."""
        (p, q), pairs = self.output_size, self.channels * self.filters * self.groups
        return self.batch * p * q * pairs * TAPS


@functools.lru_cache(maxsize=1024)
def problem(geometry: Convolution, turned: bool) -> Problem:
    """The forward pass of a geometry, or its input gradient, which is one with turned filters."""
    groups, (top, left) = geometry.groups, (before for before, _ in geometry.padding)
    sizes = geometry.in_channels // groups, geometry.out_channels // groups
    height, width = geometry.input_size
    out = geometry.output_size[0], geometry.output_size[1]
    if turned:
        return Problem(geometry.batch, groups, *sizes[::-1], out, (height, width), (2 - top, 2 - left), True)
    return Problem(geometry.batch, groups, *sizes, (height, width), out, (top, left), False)


@dataclass(frozen=True)
class Plan:
    """How a pass is computed: its loops' layout, its program, and its workspace."""

    sizes: Layout
    program: native.Program
    shared: int  # bytes before the threads' own
    kept_filters: int  # bytes of transformed filters

    def workspace(self, threads: int) -> int:
        """Bytes for so many threads."""
        return self.sizes.private + threads * self.sizes.private_size


TILES = 64  # of a block, at most
RUN = 28  # tiles in a row of a block, at most: a strip of them stays in the first-level cache


def prefers_filters(tiles: int) -> bool:
    """Whether the order by filters is faster."""
    return tiles <= TILES


@functools.lru_cache(maxsize=1024)
def plan(task: Problem, threads: int, m: int, kept: bool) -> Plan:
    """The faster order for a problem, and its blocks."""
    lanes, registers = machine.vectors().lanes(FLOAT), machine.vectors().registers
    size, products = FLOAT * lanes, (m + 2) ** 2
    cache = machine.cache_bytes(2, 1 << 20)
    down, across = -(-task.output_size[0] // m), -(-task.output_size[1] // m)
    runs = -(-across // RUN)
    run = -(-across // runs)
    items = task.batch * down * runs
    channels = -(-task.channels // lanes) * lanes
    by_filters = prefers_filters(items * run)
    if by_filters:
        blocks = -(-items * run // TILES)
    else:
        most = max(8, min(TILES, int(0.7 * cache) // (products * FLOAT * (channels + 2 * lanes))))
        blocks = max(-(-items * run // most), min(items, 2 * threads))
        blocks = min(items, -(-blocks // threads) * threads)
    tiles = -(-items // blocks) * run
    slots = -(-tiles // 4) * 4
    deep = -(-task.channels // 4) * 4
    depth = min(channels, 128) if by_filters and not kept else channels
    v_step = padded(slots * channels * FLOAT)
    u_step = padded((depth if by_filters and not kept else deep) * 2 * size)
    m_step = padded(slots * 2 * size)
    pitch = padded((run * m + 2 + lanes) * size)
    filter_blocks = task.groups * -(-task.filters // (2 * lanes))
    kept_filters = filter_blocks * products * u_step
    shared = task.groups * blocks * products * v_step if by_filters else (0 if kept else kept_filters)
    first = products * (u_step if by_filters else v_step)
    strip = max((m + 2) * pitch, (TAPS + 1) * lanes * size)
    v_next = v_step if by_filters and products * v_step > cache // 2 else 0
    u_next = u_step if (kept or not by_filters) and kept_filters > cache // 2 else 0
    sizes = Layout(
        task.groups, task.channels, task.filters, *task.input_size, *task.output_size, *task.padding, task.turned,
        run, runs, down, items, blocks, v_step, u_step, m_step, v_next, u_next, slots, depth, pitch,
        shared, first + products * m_step + strip + size,
        first, first + products * m_step, first + products * m_step + strip,
    )  # fmt: skip
    vectors_of = [-(-count // lanes) for count in (task.filters, task.channels)]
    transform_all = (filters_body(lanes, m), sizes, task.groups * vectors_of[0] * -(-task.channels // CHANNELS), 4)
    if by_filters:
        steps = [
            (inputs_body(lanes, m), sizes, task.groups * blocks * vectors_of[1], 4),
            (blocks_body(lanes, registers, m, kept), sizes, blocks * filter_blocks, 8),
        ]
    else:
        steps = [] if kept else [transform_all]
        steps.append((tiles_body(lanes, registers, m), sizes, task.groups * blocks, 8))
    return Plan(sizes, native.Program(steps, task.macs), shared, kept_filters)


def run(task: Problem, arrays: tuple[int, int, int, int], threads: int, m: int) -> None:
    """A pass, from the addresses of x, weight, bias and y."""
    chosen = plan(task, threads, m, False)
    space = workspace.take(chosen.workspace(threads))
    try:
        start = native.address(space)
        chosen.program(threads, *arrays, start, start)
    finally:
        workspace.give(space)


def forward(
    x: Array, weight: Array, bias: Array | None, y: Array, geometry: Convolution, threads: int, m: int = 4
) -> None:
    """y[n, o, p] = bias[o] + sum over c, r of weight[o, c, r] x[n, c, p + r - padding]."""
    start = 0 if bias is None else native.address(bias)
    addresses = native.address(x), native.address(weight), start, native.address(y)
    run(problem(geometry, False), addresses, threads, m)


def input_grad(
    weight: Array, grad_output: Array, bias: Array | None, grad_x: Array, geometry: Convolution, threads: int, m: int = 4
) -> None:
    """grad_x[n, c, p + r - padding] = bias[c] + sum over o, r of weight[o, c, r] grad_output[n, o, p]."""
    start = 0 if bias is None else native.address(bias)
    addresses = native.address(grad_output), native.address(weight), start, native.address(grad_x)
    run(problem(geometry, True), addresses, threads, m)


def weight_grad(x: Array, grad_output: Array, grad_weight: Array, geometry: Convolution, threads: int) -> None:
    """grad_weight[o, c, r] = sum over n, p of grad_output[n, o, p] x[n, c, p + r - padding]."""
    chosen = winograd_gradient.plan(geometry)
    space = workspace.take(chosen.workspace(threads))
    try:
        chosen.program(threads, *(native.address(array) for array in (x, grad_output, grad_weight, space)))
    finally:
        workspace.give(space)
