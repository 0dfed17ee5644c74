"""The gradient of the weights: for each tap, a sum over the pixels of all images.

A task has some filters and taps of a group, and the blocks of pixels of one chunk. It goes through them one by one: it
copies the strip of input that its taps meet, and the output's gradient, into its thread's workspace, and adds each
tap's sum to its own part of the sums. Chunks are fixed by the geometry alone, and added in their order at the end, so
that no bit depends on the number of threads.

With filters in the lanes, taps that meet padding in other pixels than others may be a kind of their own, which is
summed over the pixels where it does not. Gradients that are not finite would make NaN of the padding's zeros: they are
flagged, and the result is not to be used.

Two forms: with filters in the lanes, the gradient's pixels are turned first; with pixels in the lanes, where a group
has few filters, a sum has a part in each lane.

Index letters: `c`/`o` channel in/out of a group, `k` filter tap, of all channels where `c` is not there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.coming_lines import coming_lines, expect_lines, expect_strip
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import add_vectors, clear_numbers, flag_unless_finite, total_of, will_store
from fastconv.backends.cpu.native import body, call, set_word, word
from fastconv.backends.cpu.tiles import dots_tile, taps_tile
from fastconv.backends.cpu.turns import turn_block, turning

# Words beside those of a strip: what a task has of channels, taps and filters, chunks of images, and places.
BLOCKS, CHUNKS, PARTS, KINDS, PANEL_SUMS, CHUNK_SUMS, TAPS, GRADS, ALL_CHANNELS = range(s.PLACES, s.PLACES + 9)
# The table of kinds of taps; with pixels in the lanes, that of the taps.
TABLE = s.PLACES + 9
# Where there is one chunk: the body that ends its sums, which each task does while they are in its cache; then they are
# in its thread's part of the workspace, at this place.
END_CODE, OWN_SUMS = s.PLACES + 10, s.PLACES + 11
# Where x's pixels are met in place, and were sampled before: where in the workspace they are.
SAMPLES = s.PLACES + 12
# The most starts that a kind of taps has of a channel, and whether gradients are flagged that are not finite.
STARTS, CHECKED = s.PLACES + 13, s.PLACES + 14
# Channels that a part has a multiple of, so that its tiles are whole; but the last one.
UNIT = s.PLACES + 15
PLACES = s.PLACES + 16
# A kind of taps: starts of a channel, their table, and from which depth, row and column to which one they are summed.
KIND_STARTS, KIND_TABLE, KIND_DEPTHS, KIND_ROWS, KIND_COLUMNS, KIND_WORDS = 0, 1, 2, 4, 6, 8
NEXT = 3  # blocks of weights that are fetched before they are stored to
# A call's own addresses.
X, GRAD, RESULT, SPACE, FLAG = 0, 1, 3, 4, 5


@njit
def even_part(part, parts, count):  # type: ignore[no-untyped-def]
    """Where a part of a range begins and ends; all are as even as can be."""
    return part * count // parts, (part + 1) * count // parts


@njit
def channels_of(plan, part):  # type: ignore[no-untyped-def]
    """From which channel of a group to which one a part has them."""
    unit, count = word(plan, UNIT), word(plan, ALL_CHANNELS)
    begin, end = even_part(part, word(plan, PARTS), (count + unit - 1) // unit)
    return begin * unit, min(count, end * unit)


@njit
def task_of(plan, task):  # type: ignore[no-untyped-def]
    """A task's part of the channels, share of the panels, group and chunk."""
    part, rest = task % word(plan, PARTS), task // word(plan, PARTS)
    share, rest = rest % word(plan, s.SHARES), rest // word(plan, s.SHARES)
    return part, share, rest % word(plan, s.GROUPS), rest // word(plan, s.GROUPS)


@njit
def sums_of(arrays):  # type: ignore[no-untyped-def]
    """Where the first chunk's sums begin: after what was found that is not finite."""
    return word(arrays, SPACE) + LINE


@njit
def source_of(plan, arrays, group, channel, image):  # type: ignore[no-untyped-def]
    """Where an image's channel of a group begins."""
    images = word(arrays, SPACE) + word(plan, SAMPLES) if word(plan, SAMPLES) else word(arrays, X)
    number = (image * word(plan, s.GROUPS) + group) * word(plan, ALL_CHANNELS) + channel
    return images + number * word(plan, s.CHANNEL_BYTES)


@njit
def block_of(plan, index):  # type: ignore[no-untyped-def]
    """Where a block of pixels begins and ends: rows and columns; its depth and image."""
    blocks, across, depths = word(plan, s.ROW_BLOCKS), word(plan, s.COLUMN_BLOCKS), word(plan, s.DEPTHS)
    row, row_end = even_part(index % blocks, blocks, word(plan, s.ROWS))
    index = index // blocks
    column, column_end = even_part(index % across, across, word(plan, s.COLUMNS))
    return row, row_end, column, column_end, index // across % depths, index // across // depths


@njit
def expect_block(item, plan, arrays, job, group, channel, channels, index, end):  # type: ignore[no-untyped-def]
    """Fetch the source of a block of pixels, if it is before the end."""
    row, row_end, column, _, depth, image = block_of(plan, index)
    source = source_of(plan, arrays, group, channel, image) + s.source_place(item, plan, depth, row, column)
    expect_strip(item, plan, job, source if index < end else 0, channels, row_end - row)


@njit
def expect_results(item, plan, arrays, job, place, channels, filters):  # type: ignore[no-untyped-def]
    """Fetch where weights go: those of some channels and filters, of which the first channel is at a place."""
    taps = word(plan, TAPS) * item
    lines, row = channels * taps // LINE + 1, word(plan, ALL_CHANNELS) * taps
    expect_lines(job, word(arrays, RESULT) + place * taps, filters, row, 1, 0, lines)


@njit
def strip_of(plan, arrays, job, group, channel, channels, index):  # type: ignore[no-untyped-def]
    """The strip of a block of pixels, filled or in place; its image, rows and columns, and its first pixel's place."""
    row, row_end, column, column_end, depth, image = block_of(plan, index)
    x, strip = source_of(plan, arrays, group, channel, image), word(job, s.STRIP)
    place = (depth * word(plan, s.ROWS) + row) * word(plan, s.COLUMNS) + column
    if word(plan, s.IN_PLACE):  # bytes of a pixel
        strip = x + place * word(plan, s.IN_PLACE)
        set_word(job, s.DEPTH, depth)
        set_word(job, s.ROW, row)
        set_word(job, s.COLUMN, column)
    else:
        s.fill_strip(plan, job, x, channels, depth, row, row_end - row, column, column_end - column)
    return strip, image, row_end - row, column_end - column, place


@njit
def end_own(plan, arrays, job, space, number, thread):  # type: ignore[no-untyped-def]
    """End sums that are the thread's own, by the body that finds them in this workspace."""
    seen = job + s.JOB_ARRAYS
    set_word(seen, RESULT, word(arrays, RESULT))
    set_word(seen, SPACE, space)
    call(word(plan, END_CODE), plan, seen, number, number + 1, thread)


@njit
def job_of(plan, arrays, thread):  # type: ignore[no-untyped-def]
    """The thread's own workspace, with the place of its strip."""
    job = word(arrays, SPACE) + word(plan, s.SHARED) + thread * word(plan, s.PER_THREAD)
    set_word(job, s.STRIP, job + s.JOB_BYTES)
    return job


@njit
def window(job, kind, rows, wide):  # type: ignore[no-untyped-def]
    """From which row and column of a block to which one a kind of taps is summed."""
    depth, row, column = word(job, s.DEPTH), word(job, s.ROW), word(job, s.COLUMN)
    top, bottom = max(0, word(kind, KIND_ROWS) - row), min(rows, word(kind, KIND_ROWS + 1) - row)
    left, right = max(0, word(kind, KIND_COLUMNS) - column), min(wide, word(kind, KIND_COLUMNS + 1) - column)
    deep = word(kind, KIND_DEPTHS) <= depth and depth < word(kind, KIND_DEPTHS + 1)
    return top, bottom if deep else top, left, max(left, right)


def add_block_for(item: int, lanes: int, starts: int, columns: int, vectors: int, looks_ahead: int) -> Any:
    """`add_block` for tiles of so many starts, columns and vectors."""
    width = vectors * lanes * item

    @njit
    def add_block(plan, job, strip, turned, target, channels, rows, wide, fresh):  # type: ignore[no-untyped-def]
        """Add a block of pixels to the sums of so many channels, or begin them."""
        pitch, table = word(plan, s.STRIP_ROW), word(plan, TABLE)
        for start in range(0, channels * word(plan, STARTS), starts):
            for kind in range(table, table + 8 * KIND_WORDS * word(plan, KINDS), 8 * KIND_WORDS):
                valid = min(starts, channels * word(kind, KIND_STARTS) - start)
                top, bottom, left, right = window(job, kind, rows, wide)
                if valid <= 0 or (bottom <= top and not fresh):
                    continue
                x, grads = strip + top * pitch + left * item, turned + (top * wide + left) * width
                coming = coming_lines(job, (bottom - top) * (right - left)) if looks_ahead else (0, 0, 0)
                taps_tile(
                    item, lanes, starts, columns, vectors, looks_ahead, x, word(kind, KIND_TABLE) + 16 * start, pitch,
                    grads, wide * width, bottom - top, right - left, valid, target, fresh, coming[0], coming[1],
                    coming[2],
                )  # fmt: skip

    return add_block


@cache
def filters_sums(item: int, lanes: int, starts: int, columns: int, vectors: int, looks_ahead: int = 0) -> Any:
    """Sums with filters in the lanes: sums[start, column, filter]; they may fetch the next block's source."""
    width, (turn_all, _) = vectors * lanes * item, turning(item, lanes)
    add_block = add_block_for(item, lanes, starts, columns, vectors, looks_ahead)

    @njit
    def turn(plan, grads, valid, rows, columns_, target):  # type: ignore[no-untyped-def]
        """The gradient of a block of pixels, filters in the lanes."""
        lines, each = (1, rows * columns_) if columns_ == word(plan, s.COLUMNS) else (rows, columns_)
        for i in range(lines):
            for v in range(vectors):
                source = grads + i * word(plan, s.COLUMNS) * item + v * lanes * word(plan, s.FILTER_BYTES)
                place, count = target + i * each * width + v * lanes * item, max(0, min(lanes, valid - v * lanes))
                turn_all(source, word(plan, s.FILTER_BYTES), count, each, place, width)

    @body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (chunk, group, share of the panels of filters, part of the channels)."""
        groups, filters, panels = word(plan, s.GROUPS), word(plan, s.FILTERS), word(plan, s.PANELS)
        job, each = job_of(plan, arrays, thread), vectors * lanes
        turned, apart = word(job, s.STRIP) + word(plan, GRADS), word(plan, s.FILTER_BYTES)
        for task in range(first, end):
            part, share, group, chunk = task_of(plan, task)
            c0, c1 = channels_of(plan, part)
            p0, p1 = even_part(share, word(plan, s.SHARES), panels)
            before = group * panels * word(plan, PANEL_SUMS) + c0 * word(plan, TAPS) * width
            target = sums_of(arrays) + chunk * word(plan, CHUNK_SUMS) + before
            if word(plan, END_CODE):
                target = job + s.JOB_BYTES + word(plan, OWN_SUMS) - p0 * word(plan, PANEL_SUMS)
            begin, last = even_part(chunk, word(plan, CHUNKS), word(plan, BLOCKS))
            for index in range(begin, last):
                strip, image, rows, wide, place = strip_of(plan, arrays, job, group, c0, c1 - c0, index)
                ends = index + 1 == last and word(plan, END_CODE)
                if looks_ahead:
                    expect_block(item, plan, arrays, job, group, c0, c1 - c0, index + 1, last)
                grads = word(arrays, GRAD) + place * item + (image * groups + group) * filters * apart
                for panel in range(p0, p1):
                    valid, own = min(filters - panel * each, each), panel * each * apart
                    result = (group * filters + panel * each) * word(plan, ALL_CHANNELS) + c0
                    if looks_ahead and ends:
                        expect_results(item, plan, arrays, job, result, c1 - c0, valid)
                    turn(plan, grads + own, valid, rows, wide, turned)
                    if word(plan, CHECKED) and part == 0:
                        flag_unless_finite(item, lanes, 0, turned, rows * wide * each, word(arrays, FLAG))
                    place = target + panel * word(plan, PANEL_SUMS)
                    add_block(plan, job, strip, turned, place, c1 - c0, rows, wide, index == begin)
                    if ends:
                        number = (group * panels + panel) * word(plan, PARTS) + part
                        end_own(plan, arrays, job, target - before - LINE, number, thread)

    return sums


@cache
def filters_end(item: int, lanes: int, vectors: int) -> Any:
    """grad_weight[o, k] = the sum over chunks of their sums[k, o]."""
    width = vectors * lanes * item

    @body
    def end_of_sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (group, panel of filters, part of the channels)."""
        filters, panels, taps = word(plan, s.FILTERS), word(plan, s.PANELS), word(plan, TAPS)
        for task in range(first, end):
            part, rest = task % word(plan, PARTS), task // word(plan, PARTS)
            panel, group = rest % panels, rest // panels
            c0, c1 = channels_of(plan, part)
            sums = sums_of(arrays) + rest * word(plan, PANEL_SUMS) + c0 * taps * width
            count = (c1 - c0) * taps
            for chunk in range(1, word(plan, CHUNKS)):
                add_vectors(item, lanes, sums + chunk * word(plan, CHUNK_SUMS), count * vectors, sums)
            whole = word(plan, ALL_CHANNELS) * taps
            for v in range(vectors):
                o = panel * vectors * lanes + v * lanes
                place, there = word(arrays, RESULT) + ((group * filters + o) * whole + c0 * taps) * item, filters - o
                k, rows = 0, min(count, lanes - place // item % lanes)  # first to where a line of the cache begins
                while there > 0 and k < count:
                    there, ahead = min(lanes, there), place + (k + NEXT * lanes) * item
                    will_store(item, lanes, ahead, whole * item, there)
                    source = sums + k * width + v * lanes * item
                    turn_block(item, lanes, source, width, rows, there, place + k * item, whole * item, rows)
                    k, rows = k + rows, min(lanes, count - k - rows)

    return end_of_sums


@cache
def pixels_sums(item: int, lanes: int, filters: int, taps: int) -> Any:
    """Sums with pixels in the lanes, a vector each: sums[filters' tile, taps' tile, filter, tap of all channels]."""
    width = lanes * item

    @njit
    def add_group(plan, strip, grads, target, rows, wide):  # type: ignore[no-untyped-def]
        """Add a block of pixels to a group's sums."""
        each, count = word(plan, ALL_CHANNELS) * word(plan, TAPS), (wide + lanes - 1) // lanes
        row_pitch, line, apart = word(plan, s.STRIP_ROW), word(plan, s.COLUMNS) * item, word(plan, s.FILTER_BYTES)
        last = wide - (count - 1) * lanes
        for o in range(0, word(plan, s.FILTERS), filters):
            grad, there = grads + o * apart, min(filters, word(plan, s.FILTERS) - o)
            for k in range(0, each, taps):
                table, valid = word(plan, TABLE) + 8 * k, min(taps, each - k)
                dots_tile(
                    item, lanes, filters, taps, strip, table, row_pitch, grad, line, apart, rows, count, last, there,
                    valid, target,
                )  # fmt: skip
                target += filters * taps * width

    @body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (chunk, run of neighbouring groups)."""
        groups, all_, run = word(plan, s.GROUPS), word(plan, s.FILTERS), word(plan, s.RUN)
        channels, job = word(plan, ALL_CHANNELS), job_of(plan, arrays, thread)
        for task in range(first, end):
            group, chunk = task % (groups // run) * run, task // (groups // run)
            target = sums_of(arrays) + chunk * word(plan, CHUNK_SUMS) + group * word(plan, PANEL_SUMS)
            clear_numbers(item, lanes, run * word(plan, PANEL_SUMS) // item, target)
            begin, last = even_part(chunk, word(plan, CHUNKS), word(plan, BLOCKS))
            for index in range(begin, last):
                begun, image, rows, wide, place = strip_of(plan, arrays, job, group, 0, run * channels, index)
                grads = word(arrays, GRAD) + (image * groups + group) * all_ * word(plan, s.FILTER_BYTES)
                for g in range(run):
                    strip = begun + g * channels * word(plan, s.STRIP_CHANNEL)
                    own = grads + g * all_ * word(plan, s.FILTER_BYTES) + place * item
                    add_group(plan, strip, own, target + g * word(plan, PANEL_SUMS), rows, wide)

    return sums


@cache
def pixels_end(item: int, lanes: int, filters: int, taps: int) -> Any:
    """grad_weight[o, k] = the sum over chunks and lanes of its sums; k are taps of all channels."""
    width = lanes * item

    @body
    def end_of_sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a group."""
        all_, each = word(plan, s.FILTERS), word(plan, ALL_CHANNELS) * word(plan, TAPS)
        tiles = (each + taps - 1) // taps
        for group in range(first, end):
            sums = sums_of(arrays) + group * word(plan, PANEL_SUMS)
            for chunk in range(1, word(plan, CHUNKS)):
                add_vectors(item, lanes, sums + chunk * word(plan, CHUNK_SUMS), word(plan, PANEL_SUMS) // width, sums)
            result = word(arrays, RESULT) + group * all_ * each * item
            for o in range(all_):
                own = sums + (o // filters * tiles * filters + o % filters) * taps * width
                for k in range(each):
                    source = own + (k // taps * filters * taps + k % taps) * width
                    total_of(item, lanes, source, result + (o * each + k) * item)

    return end_of_sums
