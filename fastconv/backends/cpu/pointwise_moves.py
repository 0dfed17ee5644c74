"""What surrounds a product of single taps and pixels: filters packed, pixels sampled, sums spread and scattered.

A plan's parameters are words at fixed places; every place has its name here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.machine import vectors
from fastconv.backends.cpu.moves import (
    clear_numbers,
    copy_apart,
    copy_between,
    copy_numbers,
    copy_rows,
    copy_spread,
    deal_rows,
    fill_numbers,
)
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.turns import turn_block

# Groups; channels, filters and pixels of a group; tiles of pixels, those that are whole, and blocks of them; panels of
# filters and their shares;
GROUPS, CHANNELS, FILTERS, PIXELS, TILES, WHOLE, BLOCKS, PANELS, SHARES = range(9)
# of the weights where tiles read them, bytes from one group to the next, and from a pack's filters to the next pack's;
GROUP_BYTES, PACK_BYTES = 10, 11
# bytes of a thread's part of the workspace and before it;
PER_THREAD, SHARED = 12, 13
# packs of a group's filters; and in the weights bytes from a filter, a channel and a group to the next.
PACKS, FILTER_STEP, CHANNEL_STEP, GROUP_STEP = 14, 15, 16, 17
# Where each filter has 2 x 2 taps, each for an output pixel of its own: pixels of a row; and of a whole tile.
WIDTH, ACROSS = 18, 19
# Where every so many pixels of x are taken: where in the workspace they are left, 0 where all are; planes of a task,
# and all; x's and their extents, and the steps.
SAMPLES, TOGETHER, PLANES, EXTENTS, TAKEN, STEPS = 20, 21, 22, 23, 26, 29
# Where the sums are every so many pixels of y: where in the workspace they are left, 0 where they are all of it.
SUMS = 32
PLACES = 33
TAPS = 4  # of a filter whose stride is its size
DEALT = 4  # vectors of a row of neighbouring filters that are packed at a time


def words(values: dict[int, int]) -> list[int]:
    """A plan's words in their places, 0 where none is given."""
    return [values.get(place, 0) for place in range(PLACES)]


def spread_for(item: int, lanes: int) -> Any:
    """`spread` for numbers of `item` bytes in vectors of so many lanes."""

    @njit
    def spread(tile, across, filters, first, count, width, y, plane):  # type: ignore[no-untyped-def]
        """y[f, 2 i + a, 2 j + b] = tile[f, a, b, p] for the pixels p of (i, j), `count` of them from the first on."""
        for number in range(2 * filters):
            even, target = tile + 2 * number * across * item, y + number // 2 * TAPS * plane
            begin = first
            while begin < first + count:
                line = begin // width
                some = min(first + count, (line + 1) * width) - begin
                place = target + 2 * (begin + (line + number % 2) * width) * item
                shift = (begin - first) * item
                copy_between(item, lanes, even + shift, even + across * item + shift, some, place)
                begin += some

    return spread


@cache
def sample_body(item: int, lanes: int) -> Any:
    """Every so many pixels of x, one behind the other. A task is some planes."""
    spills = int(not vectors().masks)

    @njit
    def by_two(source, pitch, rows, columns, target, last):  # type: ignore[no-untyped-def]
        """Every second pixel of some rows; behind all but the last ones of a task there is what comes later."""
        some = rows - 1 if last else rows
        line = columns * item
        copy_rows(item, lanes, 2, spills, source, pitch, some, 0, columns, columns, target, line, 1, 0, 0)
        copy_rows(
            item, lanes, 2, 0, source + some * pitch, pitch, rows - some, 0, columns, columns, target + some * line,
            line, 1, 0, 0,
        )  # fmt: skip

    @body
    def sample(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        deep, high, wide = word(plan, EXTENTS), word(plan, EXTENTS + 1), word(plan, EXTENTS + 2)
        planes, rows, columns = word(plan, TAKEN), word(plan, TAKEN + 1), word(plan, TAKEN + 2)
        pitch, step = word(plan, STEPS + 1) * wide * item, word(plan, STEPS + 2)
        for task in range(first, end):
            begin = task * word(plan, TOGETHER)
            stop = min(begin + word(plan, TOGETHER), word(plan, PLANES))
            for number in range(begin, stop):
                for i in range(planes):
                    source = word(arrays, s.X) + (number * deep + i * word(plan, STEPS)) * high * wide * item
                    target = (number * planes + i) * rows * columns * item
                    target += word(arrays, s.WORKSPACE) + word(plan, SAMPLES)
                    if step == 1:
                        for j in range(rows):
                            copy_numbers(item, lanes, source + j * pitch, columns, target + j * columns * item)
                    elif step == 2:
                        by_two(source, pitch, rows, columns, target, number + 1 == stop and i + 1 == planes)
                    else:
                        for j in range(rows):
                            to = target + j * columns * item
                            copy_apart(item, lanes, source + j * pitch, step * item, columns, to, item)

    return sample


@cache
def scatter_body(item: int, lanes: int) -> Any:
    """Sums as every so many pixels of y, of which the others are their channels' biases. A task is some planes."""
    spills = int(not vectors().masks)

    @njit
    def fill(bias, wide, line, end):  # type: ignore[no-untyped-def]
        """A line of biases; they may spill into what is stored later."""
        if spills and line + (wide + lanes) * item <= end:
            fill_numbers(item, lanes, spills, bias, wide, line)
        else:
            fill_numbers(item, lanes, 0, bias, wide, line)

    @njit
    def plane(plan, source, bias, target, end):  # type: ignore[no-untyped-def]
        """A channel's sums among the others; a task's numbers end at `end`."""
        rows, columns = word(plan, TAKEN + 1), word(plan, TAKEN + 2)
        wide, step = word(plan, EXTENTS + 2), word(plan, STEPS + 2)
        for i in range(word(plan, EXTENTS)):
            for j in range(word(plan, EXTENTS + 1)):
                line = target + (i * word(plan, EXTENTS + 1) + j) * wide * item
                if i % word(plan, STEPS) or j % word(plan, STEPS + 1):
                    fill(bias, wide, line, end)
                    continue
                sums = source + (i // word(plan, STEPS) * rows + j // word(plan, STEPS + 1)) * columns * item
                if step == 1:
                    copy_numbers(item, lanes, sums, columns, line)
                elif step == 2 and spills and line + (wide + 2 * lanes) * item <= end:
                    copy_spread(item, lanes, spills, sums, bias, wide, line)
                elif step == 2:
                    copy_spread(item, lanes, 0, sums, bias, wide, line)
                else:
                    fill(bias, wide, line, end)
                    copy_apart(item, lanes, sums, item, columns, line, step * item)

    @body
    def scatter(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        pixels = word(plan, TAKEN) * word(plan, TAKEN + 1) * word(plan, TAKEN + 2)
        extent = word(plan, EXTENTS) * word(plan, EXTENTS + 1) * word(plan, EXTENTS + 2)
        channels = word(plan, GROUPS) * word(plan, FILTERS)
        for task in range(first, end):
            begin = task * word(plan, TOGETHER)
            stop = min(begin + word(plan, TOGETHER), word(plan, PLANES))
            for number in range(begin, stop):
                source = word(arrays, s.WORKSPACE) + word(plan, SUMS) + number * pixels * item
                bias = word(arrays, s.BIAS) + number % channels * item
                y = word(arrays, s.Y)
                plane(plan, source, bias, y + number * extent * item, y + stop * extent * item)

    return scatter


def dealt(item: int, lanes: int, filters: int) -> int:
    """Packs of so many filters that are packed together where filters are neighbours in memory."""
    return max(1, DEALT * lanes // filters)


@cache
def pack_body(item: int, lanes: int, filters: int) -> Any:
    """Packs of filters: (channels, filters), zeros for those that are not there. A task is `dealt` packs."""
    together = dealt(item, lanes, filters)

    @body
    def pack(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        channels, packs, all_filters = word(plan, CHANNELS), word(plan, PACKS), word(plan, FILTERS)
        filter_step, channel_step = word(plan, FILTER_STEP), word(plan, CHANNEL_STEP)
        tasks = (packs + together - 1) // together
        for task in range(first, end):
            group, begin = task // tasks, task % tasks * together
            source = word(arrays, s.WEIGHT) + group * word(plan, GROUP_STEP) + begin * filters * filter_step
            target = word(arrays, s.WORKSPACE) + (group * packs + begin) * word(plan, PACK_BYTES)
            if channel_step != item and (begin + together) * filters <= all_filters:
                deal_rows(
                    item, lanes, filters, together, source, channel_step, channels, target, word(plan, PACK_BYTES)
                )
            else:
                for number in range(min(together, packs - begin)):
                    valid = min(filters, all_filters - (begin + number) * filters)
                    from_ = source + number * filters * filter_step
                    to = target + number * word(plan, PACK_BYTES)
                    if channel_step == item:
                        for k in range(0, channels, lanes):
                            for f in range(0, filters, lanes):
                                turn_block(
                                    item, lanes, from_ + k * item + f * filter_step, filter_step, max(0, valid - f),
                                    min(lanes, channels - k), to + (k * filters + f) * item, filters * item,
                                    min(lanes, filters - f),
                                )  # fmt: skip
                    else:
                        if valid < filters:
                            clear_numbers(item, lanes, channels * filters, to)
                        for k in range(channels):
                            copy_numbers(item, lanes, from_ + k * channel_step, valid, to + k * filters * item)

    return pack
