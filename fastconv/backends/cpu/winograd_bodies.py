"""The bodies of Winograd's convolution: what a task is in each of its steps."""

from __future__ import annotations

import functools
from typing import Any

from fastconv.backends.cpu import native
from fastconv.backends.cpu.moves import flag_unless_finite
from fastconv.backends.cpu.winograd_blocks import (
    filter_loop,
    input_loop,
    layout,
    output_loop,
    product_loop,
)
from fastconv.backends.cpu.winograd_tiles import FLOAT, clear

CHANNELS = 64  # that a task transforms filters of
X, WEIGHT, BIAS, Y, WORKSPACE, FILTERS, FLAG = range(7)  # a call's addresses


@functools.cache
def filters_body(lanes: int, m: int) -> Any:
    """The body that transforms all filters."""
    transform_filters, size, products = filter_loop(lanes, m), FLOAT * lanes, (m + 2) ** 2

    @native.body
    def transformed_filters(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """U = G g G^T; a task is a block of filters and CHANNELS channels."""
        a = layout(plan)
        weight, u = native.word(arrays, WEIGHT), native.word(arrays, FILTERS)
        strip = native.word(arrays, WORKSPACE) + a.private + thread * a.private_size + a.strip
        parts, across = (a.channels + CHANNELS - 1) // CHANNELS, (a.filters + 2 * lanes - 1) // (2 * lanes)
        for task in range(first, end):
            part, block, group = task % parts, task // parts % across, task // (parts * across)
            start, stop, o = part * CHANNELS, min(a.channels, part * CHANNELS + CHANNELS), block * 2 * lanes
            wide = 2 if a.filters - o > lanes else 1
            target = u + (group * across + block) * products * a.u_step + start * wide * size
            transform_filters(plan, weight, group, o, wide, start, stop, target, strip)

    return transformed_filters


@functools.cache
def inputs_body(lanes: int, m: int) -> Any:
    """The body that transforms all tiles."""
    transform_inputs, products = input_loop(lanes, m), (m + 2) ** 2

    @native.body
    def transformed_inputs(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """V = B^T d B; a task is a vector of channels in a block of tiles."""
        a = layout(plan)
        x, workspace = native.word(arrays, X), native.word(arrays, WORKSPACE)
        strip = workspace + a.private + thread * a.private_size + a.strip
        across = (a.channels + lanes - 1) // lanes
        for task in range(first, end):
            c, block, group = task % across * lanes, task // across % a.blocks, task // (across * a.blocks)
            v = workspace + (group * a.blocks + block) * products * a.v_step
            start, stop = block * a.items // a.blocks, (block + 1) * a.items // a.blocks
            transform_inputs(plan, x, group, start, stop, c, min(a.channels, c + lanes), v, strip)

    return transformed_inputs


@functools.cache
def tiles_body(lanes: int, registers: int, m: int) -> Any:
    """The body of a convolution by tiles."""
    transform_inputs, transform_outputs = input_loop(lanes, m), output_loop(lanes, m)
    multiply, block, products = product_loop(lanes, registers, m), 2 * lanes, (m + 2) ** 2

    @native.body
    def by_tiles(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a block of tiles."""
        a = layout(plan)
        x, bias, y, weight = (
            native.word(arrays, X), native.word(arrays, BIAS), native.word(arrays, Y), native.word(arrays, FILTERS),
        )  # fmt: skip
        own = native.word(arrays, WORKSPACE) + a.private + thread * a.private_size
        clear(FLOAT, lanes, own + a.check)
        for task in range(first, end):
            group, part = task // a.blocks, task % a.blocks
            start, stop = part * a.items // a.blocks, (part + 1) * a.items // a.blocks
            transform_inputs(plan, x, group, start, stop, 0, a.channels, own, own + a.strip)
            across = (a.filters + block - 1) // block
            filters = weight + group * across * products * a.u_step
            # Threads begin with other filters, mostly those that they transformed: to wait for what another processor
            # holds takes a tenth of a call.
            shift = part * across // a.blocks
            for i in range(a.parts):
                low, high, ahead = i * products // a.parts, (i + 1) * products // a.parts, a.v_next
                for k in range(across):
                    o = (k + shift) % across * block
                    wide, u = 2 if a.filters - o > lanes else 1, filters + o // block * products * a.u_step
                    made = own + a.m + o // block * a.m_block
                    multiply(plan, start, stop, wide, own, u, a.channels, made, 0, low, high, ahead)
                    ahead = 0
                    if high == products:
                        transform_outputs(plan, made, bias, y, group, o, wide, start, stop, own)
        flag_unless_finite(FLOAT, lanes, 0, own + a.check, lanes, native.word(arrays, FLAG))

    return by_tiles


@functools.cache
def blocks_body(lanes: int, registers: int, m: int, kept: bool) -> Any:
    """The body of a convolution by filters; those that are kept are transformed already."""
    transform_filters, transform_outputs = filter_loop(lanes, m), output_loop(lanes, m)
    multiply, size, products = product_loop(lanes, registers, m), FLOAT * lanes, (m + 2) ** 2
    block = 2 * lanes

    @native.body
    def by_filters(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a block of filters with a block of tiles."""
        a = layout(plan)
        weight, bias, y, v = (
            native.word(arrays, WEIGHT), native.word(arrays, BIAS), native.word(arrays, Y),
            native.word(arrays, WORKSPACE),
        )  # fmt: skip
        own, across = v + a.private + thread * a.private_size, (a.filters + block - 1) // block
        clear(FLOAT, lanes, own + a.check)
        for task in range(first, end):
            group, o, part = task // a.blocks // across, task // a.blocks % across * block, task % a.blocks
            start, stop = part * a.items // a.blocks, (part + 1) * a.items // a.blocks
            tiles = v + (group * a.blocks + part) * products * a.v_step
            wide = 2 if a.filters - o > lanes else 1
            for c in range(0, a.channels, a.depth):
                end_c, left = min(a.channels, c + a.depth), tiles + c // lanes * a.slots * size
                if kept:
                    filters = native.word(arrays, FILTERS) + (task // a.blocks) * products * a.u_step + c * wide * size
                else:
                    filters = own
                    transform_filters(plan, weight, group, o, wide, c, end_c, filters, own + a.strip)
                multiply(
                    plan, start, stop, wide, left, filters, end_c - c, own + a.m, c, 0, products, a.v_next,
                )  # fmt: skip
            transform_outputs(plan, own + a.m, bias, y, group, o, wide, start, stop, own)
        flag_unless_finite(FLOAT, lanes, 0, own + a.check, lanes, native.word(arrays, FLAG))

    return by_filters
