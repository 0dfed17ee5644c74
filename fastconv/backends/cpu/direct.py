"""The direct algorithm: bodies that sum over taps, for the forward pass and the input gradient alike.

A task is a block of output pixels of one image and group, and a share of its filters. It copies the strip of input that
it sums over into its thread's workspace, padded (or reads the input in place), and goes through its panels of filters.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import machine
from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.coming_lines import coming_lines, expect_strip
from fastconv.backends.cpu.filters_tile import filters_tile
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import copy_lanes, flag_unless_finite, gather, will_pass, will_store
from fastconv.backends.cpu.native import body, call, set_word, word
from fastconv.backends.cpu.strips import join_for
from fastconv.backends.cpu.tiles import pixels_tile
from fastconv.backends.cpu.turns import store_some_turned, store_turned, turning


@njit
def block_of(block, blocks, count, tile):  # type: ignore[no-untyped-def]
    """Where a block begins, and its size: whole tiles, and in the last one what is left."""
    tiles = max(1, count // tile)
    begin = block * tiles // blocks * tile
    end = count if block + 1 == blocks else (block + 1) * tiles // blocks * tile
    return begin, end - begin


@njit
def own_panel(plan, arrays, job, thread):  # type: ignore[no-untyped-def]
    """The call's addresses; where this task alone wants the panel, with one in the thread's cache, packed here."""
    if not word(plan, s.PACK_CODE):
        return arrays
    index = word(job, s.GROUP) * word(plan, s.PANELS) + word(job, s.NUMBER)
    space = word(job, s.STRIP) + word(plan, s.OWN_PANEL) - index * word(plan, s.PANEL_BYTES)
    seen = job + s.JOB_ARRAYS
    for place in range(s.WORKSPACE):
        set_word(seen, place, word(arrays, place))
    set_word(seen, s.WORKSPACE, space)
    set_word(seen, s.FLAG, word(arrays, s.FLAG))
    call(word(plan, s.PACK_CODE), word(plan, s.PACK_PLAN), seen, index, index + 1, thread)
    return seen


@njit
def phases_of(plan, arrays, job, buffer, thread):  # type: ignore[no-untyped-def]
    """A panel's phases, into the thread's buffer; of one without taps a row stands for all."""
    seen, rows = own_panel(plan, arrays, job, thread), word(job, s.HIGH)
    set_word(job, s.FILTER_PITCH, word(plan, s.BUFFER_FILTER))
    for phase in range(word(plan, s.ALL_PHASES)):
        pitch = s.buffer_pitch(plan, phase)
        set_word(job, s.PHASE, phase)
        set_word(job, s.ROW_PITCH, pitch)
        set_word(job, s.HIGH, rows if pitch else word(plan, s.TILE_ROWS))
        set_word(job, s.RESULT, buffer + phase * word(plan, s.BUFFER_PHASE))
        call(word(plan, s.PANEL_CODE), plan, seen, job, 0, 0)
    set_word(job, s.HIGH, rows)


@njit
def lines_of(item, plan, arrays, job, y, depth, row, rows, column, thread):  # type: ignore[no-untyped-def]
    """A panel's phases where they belong: the tile puts those side by side that share a row."""
    seen, height, width = own_panel(plan, arrays, job, thread), word(plan, s.TARGET + 1), word(plan, s.TARGET + 2)
    deep, down, across = word(plan, s.PHASES), word(plan, s.PHASES + 1), word(plan, s.PHASES + 2)
    set_word(job, s.ACROSS, width - column * across)
    for a in range(min(deep, word(plan, s.TARGET) - depth * deep)):
        for b in range(down):
            line = row * down + b
            place = ((depth * deep + a) * height + line) * width + column * across
            set_word(job, s.PHASE, (a * down + b) * across)
            set_word(job, s.LINES, min(rows, (height - line + down - 1) // down))
            set_word(job, s.RESULT, y + place * item)
            call(word(plan, s.PANEL_CODE), plan, seen, job, 0, 0)


@njit
def task_of(plan, task):  # type: ignore[no-untyped-def]
    """A task's share of the panels, block of rows and columns, depth, and first image and group."""
    share, rest = task % word(plan, s.SHARES), task // word(plan, s.SHARES)
    block, rest = rest % word(plan, s.ROW_BLOCKS), rest // word(plan, s.ROW_BLOCKS)
    row, rows = block_of(block, word(plan, s.ROW_BLOCKS), word(plan, s.ROWS), word(plan, s.TILE_ROWS))
    block, rest = rest % word(plan, s.COLUMN_BLOCKS), rest // word(plan, s.COLUMN_BLOCKS)
    column, columns = block_of(block, word(plan, s.COLUMN_BLOCKS), word(plan, s.COLUMNS), word(plan, s.TILE_COLUMNS))
    depth, image_group = rest % word(plan, s.DEPTHS), rest // word(plan, s.DEPTHS) * word(plan, s.RUN)
    return share, row, rows, column, columns, depth, image_group


@njit
def source_of(item, plan, arrays, image_group, depth, row, column):  # type: ignore[no-untyped-def]
    """Where the source of a block begins, without its padding."""
    place = s.source_place(item, plan, depth, row, column)
    return word(arrays, s.X) + image_group * word(plan, s.CHANNELS) * word(plan, s.CHANNEL_BYTES) + place


@cache
def direct_body(item: int, lanes: int) -> Any:
    """The loop over tasks around the plan's own panel body, which has the tile."""
    join = join_for(item, lanes)

    @body
    def direct(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, group, depth, block of columns, block of rows, share of panels)."""
        groups, filters, shares = word(plan, s.GROUPS), word(plan, s.FILTERS), word(plan, s.SHARES)
        panels, each = word(plan, s.PANELS), word(plan, s.PANEL_FILTERS)
        job = word(arrays, s.WORKSPACE) + word(plan, s.SHARED) + thread * word(plan, s.PER_THREAD)
        strip = job + s.JOB_BYTES
        buffer = strip + word(plan, s.BUFFER)
        set_word(job, s.STRIP, strip)
        set_word(job, s.FILTER_PITCH, word(plan, s.FILTER_BYTES))
        set_word(job, s.ROW_PITCH, word(plan, s.PHASES + 1) * word(plan, s.TARGET + 2) * item)
        channels = word(plan, s.RUN) * word(plan, s.CHANNELS)
        for task in range(first, end):
            share, row, rows, column, columns, depth, image_group = task_of(plan, task)
            if word(plan, s.IN_PLACE):
                source = source_of(item, plan, arrays, image_group, depth, row, column)
            else:
                source = strip
                if task == first or share == 0:
                    image = word(arrays, s.X) + image_group * word(plan, s.CHANNELS) * word(plan, s.CHANNEL_BYTES)
                    s.fill_strip(plan, job, image, channels, depth, row, rows, column, columns)
            if word(plan, s.COMING_LINES):
                follows = task + 1 < end and share + 1 == shares
                _, coming_row, coming_rows, coming_column, _, coming_depth, coming_image = task_of(plan, task + 1)
                coming = source_of(item, plan, arrays, coming_image, coming_depth, coming_row, coming_column)
                expect_strip(item, plan, job, coming if follows else 0, channels, coming_rows)
            set_word(job, s.HIGH, rows)
            set_word(job, s.WIDE, columns)
            for number in range(share * panels // shares, (share + 1) * panels // shares):
                valid = min(each, filters - number * each)
                set_word(job, s.NUMBER, number)
                set_word(job, s.VALID, valid)
                for index in range(word(plan, s.RUN)):
                    set_word(job, s.GROUP, (image_group + index) % groups)
                    set_word(job, s.PIXELS, source + index * word(plan, s.CHANNELS) * word(plan, s.STRIP_CHANNEL))
                    first_filter = (image_group + index) * filters + number * each
                    y = word(arrays, s.Y) + first_filter * word(plan, s.FILTER_BYTES)
                    if word(plan, s.BUFFERED):
                        phases_of(plan, arrays, job, buffer, thread)
                        join(plan, buffer, valid, y, depth, row, rows, column, columns)
                    else:
                        lines_of(item, plan, arrays, job, y, depth, row, rows, column, thread)

    return direct


def store_rows_for(item: int, lanes: int, vectors: int) -> Any:
    """`store_rows` for pixels of so many vectors of filters."""
    pixel = vectors * lanes * item

    @njit
    def store_rows(sums, pitch, lines, count, y, row_pitch, filter_pitch, valid):  # type: ignore[no-untyped-def]
        """The sums of so many rows and pixels of each, turned, to the first `valid` filters."""
        for r in range(lines):
            for v in range(vectors):
                source, target = sums + r * pitch + v * lanes * item, y + r * row_pitch + v * lanes * filter_pitch
                there = valid - v * lanes
                if count < lanes:
                    store_some_turned(item, lanes, source, pixel, target, filter_pitch, there, count)
                    continue
                for left in range(0, count, lanes):
                    j = min(left, count - lanes)
                    store_turned(item, lanes, source + j * pixel, pixel, target + j * item, filter_pitch, there)

    return store_rows


@cache
def filters_panel(item: int, lanes: int, rows: int, columns: int, vectors: int, looks_ahead: int = 0) -> Any:
    """A panel of filters over a block, filters in the lanes, from packed weights; of the phases that share a row.

    Taps are summed in cuts, whose weights stay in the first cache while all tiles of the block meet them. The sums of a
    row of tiles, of all phases, come to lie side by side, and are turned when the last ones are there.
    """
    pixel = vectors * lanes * item
    store_rows = store_rows_for(item, lanes, vectors)
    fetches = machine.vectors().few  # the next weights: such tiles do not outlast the wait for them

    @body
    def panel(plan, arrays, job, _, __):  # type: ignore[no-untyped-def]
        source, y = word(job, s.PIXELS), word(job, s.RESULT)
        high, wide, valid = word(job, s.HIGH), word(job, s.WIDE), word(job, s.VALID)
        phases, lines = word(plan, s.PHASES + 2), word(job, s.LINES)
        spread, count = phases * pixel, min(wide * phases, word(job, s.ACROSS))
        filter_pitch, row_pitch = word(job, s.FILTER_PITCH), word(job, s.ROW_PITCH)
        number = word(job, s.GROUP) * word(plan, s.PANELS) + word(job, s.NUMBER)
        pitch, cut, kinds = word(plan, s.STRIP_ROW), word(plan, s.CUT), word(plan, s.KINDS)
        before, behind = word(job, s.COLUMN), word(plan, s.COLUMNS) - word(job, s.COLUMN) - columns
        across = (wide + columns - 1) // columns
        sums_pitch = across * columns * spread
        some = cut * pixel // LINE // ((high + rows - 1) // rows * across) + 1 if fetches else 0  # lines for each tile
        for phase in range(phases):
            table = word(plan, s.PHASE_TABLE) + 32 * (word(job, s.PHASE) + phase)
            taps, places, part, ranges = word(table, 0), word(table, 1), word(table, 2), word(table, 3)
            weights = word(arrays, s.WORKSPACE) + number * word(plan, s.PANEL_BYTES) + part
            sums_bytes = rows * sums_pitch if phases > 1 or cut < taps else 0
            for begin in range(0, max(1, taps), cut):
                done = begin + cut >= taps
                last = done and phase + 1 == phases
                sums, ahead = word(job, s.STRIP) + word(plan, s.SCRATCH), weights + (1 + begin + cut) * pixel
                for top in range(0, high, rows):
                    i = min(top, high - rows)
                    own = ranges + word(plan, s.RANGES) * (word(job, s.ROW) + i)
                    slot, target, first, end = sums + phase * pixel, y + i * row_pitch, begin, begin + cut
                    if kinds == 1:
                        first, end = max(first, word(own, 0)), min(end, word(own, 1))
                    for left in range(0, wide, columns):
                        j = min(left, wide - columns)
                        x = source + i * pitch + j * item
                        start, start_row, start_step = (slot, sums_pitch, spread) if begin else (weights, 0, 0)
                        out = sums + phase * pixel + j * spread if done else slot  # the last tile's lie apart till then
                        will_pass(item, lanes, ahead, some)
                        ahead += some * LINE
                        coming = coming_lines(job, end - first) if looks_ahead else (0, 0, 0)
                        for r in range(rows if last else 0):
                            will_store(item, lanes, target + r * row_pitch + j * phases * item, filter_pitch, valid)
                        filters_tile(
                            item, lanes, rows, columns, vectors, looks_ahead, x, pitch, places, own, kinds, first, end,
                            kinds > 1 and before + j == 0, kinds > 1 and j == behind, weights + pixel,
                            start, start_row, start_step, out, sums_pitch, spread, coming[0], coming[1], coming[2],
                        )  # fmt: skip
                        slot += columns * spread
                    if last:
                        there = min(rows, lines - i)
                        store_rows(sums, sums_pitch, there, count, target, row_pitch, filter_pitch, valid)
                    sums += sums_bytes

    return panel


@cache
def pixels_panel(item: int, lanes: int, filters: int, rows: int, vectors: int, looks_ahead: int) -> Any:
    """A panel of filters over a block, pixels in the lanes, from the weights as they are."""
    across = vectors * lanes

    @body
    def panel(plan, arrays, job, _, __):  # type: ignore[no-untyped-def]
        table = word(plan, s.PHASE_TABLE) + 32 * word(job, s.PHASE)
        taps, places = word(table, 0), word(table, 1)
        source, y = word(job, s.PIXELS), word(job, s.RESULT)
        high, wide, valid = word(job, s.HIGH), word(job, s.WIDE), word(job, s.VALID)
        filter_pitch, row_pitch = word(job, s.FILTER_PITCH), word(job, s.ROW_PITCH)
        step, first = word(plan, s.FILTER_STEP), word(job, s.NUMBER) * filters
        weights = word(arrays, s.WEIGHT) + word(job, s.GROUP) * word(plan, s.GROUP_WEIGHTS) + first * step
        bias_step = word(plan, s.BIAS_STEP)
        bias = word(arrays, s.BIAS) + (word(job, s.GROUP) * word(plan, s.FILTERS) + first) * bias_step
        pitch = word(plan, s.STRIP_ROW)
        apart = word(plan, s.BUFFERED) and not word(plan, s.IN_PLACE)  # rows of both are whole vectors of our own
        for top in range(0, high, rows):
            i = min(top, high - rows)
            for left in range(0, wide, across):
                j = max(0, min(left, wide - across))
                last = lanes if apart else min(wide - j, across) - (vectors - 1) * lanes
                x, target = source + i * pitch + j * item, y + i * row_pitch + j * item
                pixels_tile(
                    item,
                    lanes,
                    filters,
                    rows,
                    vectors,
                    looks_ahead,
                    x,
                    pitch,
                    places,
                    taps,
                    weights,
                    step,
                    bias,
                    bias_step,
                    valid,
                    last,
                    target,
                    filter_pitch,
                    row_pitch,
                )

    return panel


@cache
def check_body(item: int, lanes: int) -> Any:
    """Flag weights that are not finite. Parameters: numbers, numbers of a task."""

    @body
    def check(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        for task in range(first, end):
            begin = task * word(plan, 1)
            count = min(word(plan, 1), word(plan, 0) - begin)
            flag_unless_finite(item, lanes, 0, word(arrays, s.WEIGHT) + begin * item, count, word(arrays, s.FLAG))

    return check


NEXT_ROWS = 4  # how many rows of weights are fetched before they are packed

# A packing plan's words: of the weights, and of the panels; for the taps of all rows of weights where in a panel they
# belong, 0 if that is the order in which they lie.
PACK_PANELS, PACK_FILTERS, PACK_GROUP, PACK_STEP, PACK_PANEL_BYTES, PACK_BIAS_STEP, PACK_PHASES = range(7)
PACK_TABLE, PACK_FLAG, PACK_NUMBERS, PACK_PLACES, PACK_ROWS, PACK_ROW_TAPS, PACK_ROW_STEP = range(7, 14)


@cache
def pack_body(item: int, lanes: int, vectors: int) -> Any:
    """Panels of filters: for each phase the bias, then for each tap the weights of `vectors` vectors of filters."""
    width = lanes * item
    turn_all, turn_all_apart = turning(item, lanes)

    @njit
    def pack_apart(plan, weights, filters, panel):  # type: ignore[no-untyped-def]
        """The weights of so many filters in the order in which they lie, each to its place in the panel."""
        taps, step, rows = word(plan, PACK_ROW_TAPS), word(plan, PACK_STEP), word(plan, PACK_ROWS)
        ahead = NEXT_ROWS * word(plan, PACK_ROW_STEP)  # they are far apart
        for row in range(rows):
            source, places = weights + row * word(plan, PACK_ROW_STEP), word(plan, PACK_PLACES) + 8 * row * taps
            for v in range(vectors):
                valid, from_ = max(0, min(lanes, filters - v * lanes)), source + v * lanes * step
                if step == item:  # filters are neighbours, and have one tap
                    will_pass(item, lanes, from_ + ahead, 1)
                    copy_lanes(item, lanes, from_, valid, panel + v * width + word(places, 0))
                    continue
                turn_all_apart(from_, step, valid, taps, panel + v * width, places, ahead)

    @body
    def pack(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        filters = word(plan, PACK_FILTERS)
        for task in range(first, end):
            group, number = task // word(plan, PACK_PANELS), task % word(plan, PACK_PANELS)
            panel = word(arrays, s.WORKSPACE) + task * word(plan, PACK_PANEL_BYTES)
            start, step = number * vectors * lanes, word(plan, PACK_STEP)
            weights = word(arrays, s.WEIGHT) + group * word(plan, PACK_GROUP) + start * step
            for v in range(vectors):
                begin = start + v * lanes
                count = max(0, min(lanes, filters - begin))
                bias = word(arrays, s.BIAS) + (group * filters + begin) * word(plan, PACK_BIAS_STEP)
                for phase in range(word(plan, PACK_PHASES)):
                    table = word(plan, PACK_TABLE)
                    target = panel + word(table, 4 * phase + 2) + v * width
                    gather(item, lanes, bias, word(plan, PACK_BIAS_STEP), count, target)
                    if not word(plan, PACK_PLACES):
                        taps, own = word(table, 4 * phase), weights + v * lanes * step
                        turn_all(own, step, count, taps, target + vectors * width, vectors * width)
            if word(plan, PACK_PLACES):
                pack_apart(plan, weights, min(vectors * lanes, filters - start), panel)
            if word(plan, PACK_FLAG):
                flag_unless_finite(item, lanes, 0, panel + LINE, word(plan, PACK_NUMBERS), word(arrays, s.FLAG))

    return pack
