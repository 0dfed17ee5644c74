"""The loops of Winograd's convolution over a block of tiles: transform images and filters, multiply, transform back.

Index letters: `c`/`o` channel in/out of a group, `h` input row, `p, q` output pixel, `t` tile, `k` vector of filters,
`i` one of the n * n numbers of a transformed tile, n = m + 2. Addresses and distances count bytes. A run is so many
tiles side by side; a block of tiles is some runs. In memory, with vectors of L lanes and filters in blocks of B = 2 L:

- V[i, c // L, t, c % L]: transformed tiles of the input
- U[o // B, i, c, o % B]: transformed filters
- M[i, t, o % B]: their products

A cache line after each i keeps the n * n streams of a transform off a single set of the cache.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import copy_lanes, will_pass
from fastconv.backends.cpu.vectors import READ, WRITE
from fastconv.backends.cpu.winograd_slots import lesser_items, loop, places, tiles_with, whole_tiles
from fastconv.backends.cpu.winograd_tiles import (
    FLOAT,
    TAPS,
    UNROLLED,
    clear,
    fetch_square,
    fields,
    multiply_add,
    transpose,
    turn_taps,
)
from fastconv.backends.cpu.winograd_transforms import (
    INPUT,
    THREE,
    WEIGHT,
    lesser_loop,
    lesser_output_loop,
    transform,
    transform_to_output,
)

STRIP = 20  # in squares of vectors, room for the taps of two vectors of filters
NEXT = 6  # how many channels before they are wanted filters are fetched that lie apart


class Layout(NamedTuple):
    """What the loops read: sizes, the order of tasks, and where things lie in the workspace."""

    groups: int
    channels: int  # of a group
    filters: int  # of a group
    height: int
    width: int
    out_height: int
    out_width: int
    top: int  # padding, which may be negative
    left: int
    turned: int  # 1: filters are turned by 180 degrees, and their channels and filters swapped in memory
    run: int  # tiles
    runs: int  # in a row of tiles
    down: int  # rows of tiles
    last_height: int  # pixels of the last row's and the last column's tiles
    last_width: int
    items: int  # runs in all images
    blocks: int  # of items
    v_step: int  # bytes of an i, of V, of U and of M
    u_step: int
    m_step: int
    v_next: int  # how far ahead V and U are fetched; 0 where they are in the cache already
    u_next: int
    slots: int  # tiles that there is room for in V and M
    depth: int  # channels whose filters are transformed at a time
    pitch: int  # of a strip
    private: int  # where the first thread's own workspace begins, and how large each is
    private_size: int
    m: int  # places in a thread's own workspace
    m_block: int  # bytes from a block of filters of M to the next; 0 where each takes the place of the last
    parts: int  # into which the n * n products fall; all filters are done with one before the next one's turn
    strip: int
    scratch: int  # from a strip on
    bias: int
    check: int


layout = fields(Layout)


@functools.cache
def strip_loop(lanes: int) -> Any:
    """A loop that copies rows of pixels of L channels, one vector for each pixel."""
    size = FLOAT * lanes

    @loop
    def fill_strip(strip, pitch, image, height, width, channels, row, rows, column, columns, ahead):  # type: ignore[no-untyped-def]
        """strip[r, j, c] = image[c, row + r, column + j], 0 outside of the image and past the channels.

        What lies `ahead` is wanted next.
        """
        plane = FLOAT * height * width
        for r in range(rows):
            h, j, target = row + r, 0, strip + r * pitch
            if 0 <= h < height:
                while j < columns and column + j < 0:
                    clear(FLOAT, lanes, target + j * size)
                    j += 1
                while j < columns and column + j < width:
                    source, left = image + FLOAT * (h * width + column + j), width - column - j
                    fetch_square(FLOAT, lanes, READ, source + ahead, plane)
                    transpose(FLOAT, lanes, source, plane, channels, left, target + j * size, size, lanes, lanes)
                    j += lanes
            while j < columns:
                clear(FLOAT, lanes, target + j * size)
                j += 1

    return fill_strip


@functools.cache
def idle_loop(lanes: int, m: int, layout: Any) -> Any:
    """A loop that clears what lies behind each product's tiles."""

    @loop
    def clear_idle(plan, items, lesser, target, size, step, count, further):  # type: ignore[no-untyped-def]
        """Up to three vectors: products are made of an even number of tiles, or are sums over a multiple of four.

        That is in each of `count` places, `further` bytes apart.
        """
        a = layout(plan)
        for i in range((m + 2) * (m + 2)):
            begin, stop = tiles_with(a, m, items, lesser, i)
            for t in range((begin - stop) % 4):
                for k in range(count):
                    clear(FLOAT, lanes, target + (stop + t) * size + i * step + k * further)

    return clear_idle


@functools.cache
def input_loop(lanes: int, m: int, layout: Any = layout) -> Any:
    """A loop that transforms the input; `layout` reads what a plan fixed."""
    fill_strip, transform_lesser = strip_loop(lanes), lesser_loop(lanes, m, INPUT)
    clear_idle, n, size = idle_loop(lanes, m, layout), m + 2, FLOAT * lanes

    @loop
    def transform_inputs(plan, x, group, first, end, start, stop, v, strip):  # type: ignore[no-untyped-def]
        """V = B^T d B of some items and channels."""
        a = layout(plan)
        columns, whole = a.run * m, whole_tiles(a, m)
        plane, further = FLOAT * a.height * a.width, FLOAT * (end - first) // a.runs * m * a.width
        lesser = lesser_items(a, m, first, end)
        for c in range(start, stop, lanes):
            ahead = lanes * plane if c + lanes < stop else further - (c - start) * plane
            target, before = v + c // lanes * a.slots * size, 0
            for item in range(first, end):
                image, down = item // (a.runs * a.down) * a.groups + group, item // a.runs % a.down
                source = x + (image * a.channels + c) * plane
                row, column = down * m - a.top, item % a.runs * columns - a.left
                pixels, place, side = places(a, m, down, end - first, lesser, item - first, before)
                before += pixels < m
                fill_strip(
                    strip, a.pitch, source, a.height, a.width, a.channels - c, row, pixels + 2, column, columns + 2,
                    ahead,
                )  # fmt: skip
                full = whole if pixels == m else 0
                for t in range(full):
                    transform(
                        FLOAT, lanes, m, THREE, INPUT, strip + t * m * size, a.pitch, size,
                        target + (place + t) * size, n * a.v_step, a.v_step,
                    )  # fmt: skip
                for t in range(full, a.run):
                    wide, slot = (m, place + t) if t < whole else (a.last_width, side)
                    transform_lesser(
                        pixels, wide, strip + t * m * size, a.pitch, target + slot * size, a.v_step, strip + a.scratch
                    )
        chunks = (stop - start + lanes - 1) // lanes
        clear_idle(
            plan, end - first, lesser, v + start // lanes * a.slots * size, size, a.v_step, chunks, a.slots * size
        )

    return transform_inputs


@functools.cache
def filter_loop(lanes: int, m: int) -> Any:
    """A loop that transforms filters."""
    n, size = m + 2, FLOAT * lanes

    @loop
    def transform_filters(plan, weight, group, o, vectors, start, stop, u, strip):  # type: ignore[no-untyped-def]
        """U = G g G^T of the filters of one or two vectors, for some channels.

        The vectors of a channel are made together: lines of the cache that are half written go and come again.
        """
        a = layout(plan)
        weight += FLOAT * TAPS * group * a.filters * a.channels
        by_filter, by_channel, together, corner, sign = FLOAT * TAPS * a.channels, FLOAT * TAPS, lanes, 0, 1
        if a.turned:
            by_filter, by_channel, together, corner, sign = FLOAT * TAPS, FLOAT * TAPS * a.filters, 1, 8 * size, -1
        width, each = vectors * size, STRIP // 2 * lanes * size
        for c in range(start, stop, together):
            channels = min(together, stop - c)
            if a.turned:  # a channel's filters are far from the next one's
                later = weight + o * by_filter + (c + NEXT) * by_channel
                will_pass(FLOAT, lanes, later, vectors * lanes * by_filter // LINE)
            for v in range(vectors):
                filters, taps = a.filters - o - v * lanes, strip + v * each
                source = weight + (o + v * lanes) * by_filter + c * by_channel
                if a.turned:
                    turn_taps(FLOAT, lanes, source, by_filter, filters, taps)
                else:
                    for k in range(0, channels * TAPS, lanes):
                        fetch_square(FLOAT, lanes, READ, source + FLOAT * (k + lanes * TAPS), by_filter)
                        transpose(
                            FLOAT, lanes, source + FLOAT * k, by_filter, filters, channels * TAPS - k,
                            taps + k * size, size, lanes, lanes,
                        )  # fmt: skip
            for i in range(channels):
                for v in range(vectors):
                    transform(
                        FLOAT, lanes, m, THREE, WEIGHT, strip + v * each + i * TAPS * size + corner,
                        sign * 3 * size, sign * size, u + v * size, n * a.u_step, a.u_step,
                    )  # fmt: skip
                u += width
        for _ in range((start - stop) % 4):  # sums over channels are unrolled by four
            for i in range(n * n):
                for v in range(vectors):
                    clear(FLOAT, lanes, u + v * size + i * a.u_step)
            u += width

    return transform_filters


@functools.cache
def product_loop(lanes: int, registers: int, m: int) -> Any:
    """A loop that multiplies transformed tiles with transformed filters."""
    size, most = FLOAT * lanes, registers // 2 - 2

    @loop
    def multiply(plan, first, end, vectors, v, u, channels, products_at, add, low, high, v_next):  # type: ignore[no-untyped-def]
        """M[i, t, o] (+)= sum over c of V[i, c, t] U[i, c, o], for filters of one or two vectors, low <= i < high."""
        a = layout(plan)
        depth, chunk, width = (channels + 3) // 4 * 4, a.slots * size, vectors * size
        items, lesser = end - first, lesser_items(a, m, first, end)
        # Tiles share the fetching of the next product's filters: one that asked for all would wait for them.
        full = max(1, UNROLLED * width // LINE) if a.u_next else 0
        for i in range(low, high):
            left, right, target = v + i * a.v_step, u + i * a.u_step, products_at + i * a.m_step
            t, stop = tiles_with(a, m, items, lesser, i)
            lines, turns, ahead, rest = full, (stop - t + most - 1) // most, a.u_next, full
            while lines > 1 and lines // 2 * turns >= full:
                lines //= 2
            while t < stop:
                parts = (stop - t + most - 1) // most
                rows = ((stop - t + parts - 1) // parts + 1) // 2 * 2
                if vectors == 2:
                    multiply_add(
                        FLOAT, lanes, most, 2, size, FLOAT, rows, left + t * size, chunk, right, depth,
                        target + t * width, add, v_next, ahead, lines if rest > 0 else 0,
                    )  # fmt: skip
                else:
                    multiply_add(
                        FLOAT, lanes, most, 1, size, FLOAT, rows, left + t * size, chunk, right, depth,
                        target + t * width, add, v_next, ahead, lines if rest > 0 else 0,
                    )  # fmt: skip
                t, ahead, rest = t + rows, ahead + lines * LINE * (depth // UNROLLED), rest - lines

    return multiply


@functools.cache
def output_loop(lanes: int, m: int) -> Any:
    """A loop that transforms products to the output."""
    transform_lesser, n, size = lesser_output_loop(lanes, m), m + 2, FLOAT * lanes

    @loop
    def transform_outputs(plan, products_at, bias, y, group, o, vectors, first, end, own):  # type: ignore[no-untyped-def]
        """y = A^T M A + bias, for filters of one or two vectors and some items."""
        a = layout(plan)
        strip, start, width, columns, plane, whole = (
            own + a.strip, own + a.bias, vectors * size, a.run * m, a.out_height * a.out_width, whole_tiles(a, m),
        )  # fmt: skip
        lesser = lesser_items(a, m, first, end)
        for k in range(vectors):
            source, filters = products_at + k * size, a.filters - o
            clear(FLOAT, lanes, start)
            if bias:
                copy_lanes(FLOAT, lanes, bias + FLOAT * (group * a.filters + o), filters, start)
            before = 0
            for item in range(first, end):
                image, down = item // (a.runs * a.down) * a.groups + group, item // a.runs % a.down
                row, column = down * m, item % a.runs * columns
                target = y + FLOAT * ((image * a.filters + o) * plane + row * a.out_width + column)
                wide = min(columns, a.out_width - column)
                for p in range(min(m, a.out_height - row)):
                    for q in range(0, wide, lanes):
                        fetch_square(FLOAT, lanes, WRITE, target + FLOAT * (p * a.out_width + q), FLOAT * plane)
                pixels, place, side = places(a, m, down, end - first, lesser, item - first, before)
                before += pixels < m
                full = whole if pixels == m else 0
                for t in range(full):
                    transform_to_output(
                        FLOAT, lanes, m, THREE, start, source + (place + t) * width, n * a.m_step, a.m_step,
                        strip + t * m * size, a.pitch, size, own + a.check,
                    )  # fmt: skip
                for t in range(full, a.run):
                    across, slot = (m, place + t) if t < whole else (a.last_width, side)
                    transform_lesser(
                        pixels, across, start, source + slot * width, a.m_step, strip + t * m * size, a.pitch,
                        own + a.check,
                    )  # fmt: skip
                for p in range(min(m, a.out_height - row)):
                    for q in range(0, wide, lanes):
                        transpose(
                            FLOAT, lanes, strip + p * a.pitch + q * size, size, lanes, lanes,
                            target + FLOAT * (p * a.out_width + q), FLOAT * plane, filters, wide - q,
                        )  # fmt: skip
            o += lanes

    return transform_outputs


def padded(size: int) -> int:
    """At least so many bytes, an odd number of cache lines: a power of two would put all rows in one set of a cache."""
    lines = -(-size // LINE)
    return LINE * (lines + 1 - lines % 2)
