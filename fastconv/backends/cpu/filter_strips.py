"""Filters of images, strip by strip: rows pass through a ring of buffers with their borders, and no kernel knows one.

A task is a strip of output rows of a plane, as wide as a panel of columns. A stage that looks down (a dense filter, or
the taps of a column) makes rows of the ring's rows; a stage that looks across makes a row of a row. Either may be
missing; with both, what is between them never leaves the cache. A filter that is a sum of several such pairs adds one
after the other. An axis before the last two is `deep`: its taps are rings beside each other, whose sums are added.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.bands import BASE, OUT, OUTS, ROWS, WEIGHTS
from fastconv.backends.cpu.bands import JOB as JOB_WORDS
from fastconv.backends.cpu.filter_rows import BEFORE, CONSTANT, EXTENT, SOURCE, TARGET, repeat_number
from fastconv.backends.cpu.moves import clear_numbers, flag_unless_finite
from fastconv.backends.cpu.native import body, call, set_word, word

# Words of a plan; the first four are those of `filter_rows`. Sizes and strides count numbers where not said otherwise.
Y_ITEM = 4  # bytes of a result
ROW_STRIDE, Y_STRIDE = 5, 6  # bytes
PLANES, Y_PLANES, ROW_PLACES = 7, 8, 9  # tables: planes that an output plane needs, output planes, rows with borders
DEEP, HIGH = 10, 11  # taps of the leading axes together, rows of taps
ROWS_OUT, COLUMNS_OUT = 12, 13  # of results
BLOCKS, PANELS, WIDE, TILE_ROWS = 14, 15, 16, 17
ACROSS, SPAN = 18, 19  # columns beside a panel that the second stage, and that both stages need
RING_ROWS, RING_PITCH, LINE_PITCH = 20, 21, 22  # pitches in bytes
PER_THREAD, JOB, TABLE, OUT_TABLE, RING, LINES, SPARE = 23, 24, 25, 26, 27, 28, 29  # places in a thread's workspace
FILL, GIVE = 30, 31  # code; GIVE is 0 where results are stored as they are computed
DOWN, DOWN_MORE, DOWN_PLAN, DOWN_WEIGHTS, DOWN_BYTES = 32, 33, 34, 35, 36  # code is 0 where there is no such stage
SIDE, SIDE_MORE, SIDE_PLAN, SIDE_WEIGHTS, SIDE_BYTES = 37, 38, 39, 40, 41
FOLDED = 42  # the second stage's table of rows and results
PAIRS, CONSTANT_BETWEEN, CHECKED = 43, 44, 45
UNWANTED = 46  # place of a row that nobody reads
# Sums that may be cut off wrongly are summed anew: their terms (0: there are none), how close to a whole number they
# are, and the place of what they are.
TERMS, LIMIT, AGAIN = 47, 48, 49
WORDS = 50
X, Y, WORKSPACE, FLAG = range(4)
OUTSIDE = -(1 << 62)  # in the place of the bytes to a plane: it is all constant


@njit
def fill_rows(plan, x, job, ring, lead, begin, end, left, wide, thread):  # type: ignore[no-untyped-def]
    """Rows, counted with their border, from `begin` to `end` of all rings."""
    for d in range(word(plan, DEEP)):
        plane = word(word(plan, PLANES), lead * word(plan, DEEP) + d)
        for r in range(begin, end):
            place = word(word(plan, ROW_PLACES), r)
            source = x + plane + place * word(plan, ROW_STRIDE) if plane != OUTSIDE and place >= 0 else 0
            slot = d * word(plan, RING_ROWS) + r % word(plan, RING_ROWS)
            set_word(job, SOURCE, source)
            set_word(job, TARGET, ring + slot * word(plan, RING_PITCH))
            call(word(plan, FILL), plan, job, left, left + wide, thread)


@njit
def point_down(plan, job, ring, outs, table, row):  # type: ignore[no-untyped-def]
    """A job for the first stage's rows from `row` on."""
    for q in range(word(plan, TILE_ROWS) + word(plan, HIGH) - 1):
        set_word(table, q, ring + (row + q) % word(plan, RING_ROWS) * word(plan, RING_PITCH))
    set_word(job, ROWS, table)
    set_word(job, OUTS, outs)


@njit
def look_down(plan, job, pair, count, thread):  # type: ignore[no-untyped-def]
    """So many columns of the first stage's rows."""
    set_word(job, OUT, 0)
    for d in range(word(plan, DEEP)):
        set_word(job, BASE, d * word(plan, RING_ROWS) * word(plan, RING_PITCH))
        index = pair * word(plan, DEEP) + d
        set_word(job, WEIGHTS, word(plan, DOWN_WEIGHTS) + index * word(plan, DOWN_BYTES))
        call(word(plan, DOWN_MORE) if d else word(plan, DOWN), word(plan, DOWN_PLAN), job, 0, count, thread)


@njit
def look_across(plan, down_job, pair, line, target, wide, thread):  # type: ignore[no-untyped-def]
    """The second stage's row from the one at `line`."""
    job = down_job + 8 * JOB_WORDS
    set_word(job, BASE, line)
    set_word(job, ROWS, word(plan, FOLDED))
    set_word(job, OUT, target)
    set_word(job, OUTS, word(plan, FOLDED))
    set_word(job, WEIGHTS, word(plan, SIDE_WEIGHTS) + pair * word(plan, SIDE_BYTES))
    call(word(plan, SIDE_MORE) if pair else word(plan, SIDE), word(plan, SIDE_PLAN), job, 0, wide, thread)


@cache
def clearing(item: int, lanes: int) -> Any:
    """What puts constants and zeros into buffers: `constant_between`, `clear_behind` and `clear_rows`."""

    @njit
    def constant_between(plan, line, left, wide):  # type: ignore[no-untyped-def]
        """The constant, where a row between the stages lies outside of the image."""
        begin = min(max(word(plan, BEFORE) - left, 0), wide)
        end = max(begin, min(word(plan, BEFORE) + word(plan, EXTENT) - left, wide))
        repeat_number(item, lanes, word(plan, CONSTANT), begin, line)
        repeat_number(item, lanes, word(plan, CONSTANT), wide - end, line + end * item)

    @njit
    def clear_behind(rows, pitch, count, buffer):  # type: ignore[no-untyped-def]
        """Zeros behind each row: tiles look there, and numbers that are too small to be normal would slow them down."""
        for r in range(rows):
            clear_numbers(item, lanes, pitch // item - count, buffer + r * pitch + count * item)

    @njit
    def clear_rows(plan, ring, begin, end):  # type: ignore[no-untyped-def]
        """Rows of all rings that a tile looks at for results that nobody wants."""
        for d in range(word(plan, DEEP)):
            for r in range(begin, end):
                slot = d * word(plan, RING_ROWS) + r % word(plan, RING_ROWS)
                pitch = word(plan, RING_PITCH)
                clear_numbers(item, lanes, pitch // item, ring + slot * pitch)

    return constant_between, clear_behind, clear_rows


@cache
def strips_body(item: int, lanes: int) -> Any:
    """All stages of a strip."""
    constant_between, clear_behind, clear_rows = clearing(item, lanes)

    @njit
    def finish_row(plan, arrays, job, line, target, wide, thread):  # type: ignore[no-untyped-def]
        """A row of sums at `line`, where it goes: checked, and converted where `target` is elsewhere."""
        if word(plan, CHECKED):
            flag_unless_finite(item, lanes, 0, line, wide, word(arrays, FLAG))
        if word(plan, TERMS):
            again = job + 8 * JOB_WORDS
            set_word(again, OUT, line)
            set_word(again, OUTS, target)
            set_word(again, WEIGHTS, job + word(plan, AGAIN) - word(plan, JOB))
            call(word(plan, GIVE), plan, again, 0, wide, thread)
        elif word(plan, GIVE):
            set_word(job, SOURCE, line)
            set_word(job, TARGET, target)
            call(word(plan, GIVE), plan, job, 0, wide, thread)

    @njit
    def both(plan, job, pair, lines, target, step, valid, left, wide, thread):  # type: ignore[no-untyped-def]
        """Both stages of some rows."""
        between = wide + word(plan, ACROSS)
        look_down(plan, job, pair, between, thread)
        for m in range(valid):
            line = lines + m * word(plan, LINE_PITCH)
            if word(plan, CONSTANT_BETWEEN):
                constant_between(plan, line, left, between)
            look_across(plan, job, pair, line, target + m * step, wide, thread)

    @njit
    def rows_of(plan, arrays, job, ring, lead, row, valid, left, wide, thread):  # type: ignore[no-untyped-def]
        """`valid` output rows of a panel, whose pixels are in the ring."""
        space = ring - word(plan, RING)
        y = word(arrays, Y) + word(word(plan, Y_PLANES), lead) + row * word(plan, Y_STRIDE)
        y += left * word(plan, Y_ITEM)
        lines, pitch, spare = space + word(plan, LINES), word(plan, LINE_PITCH), space + word(plan, SPARE)
        # Sums are stored where they belong, unless they are converted.
        sums, step = (spare, pitch) if word(plan, GIVE) else (y, word(plan, Y_STRIDE))
        if word(plan, DOWN):
            made, between = (lines, pitch) if word(plan, SIDE) else (sums, step)
            outs = space + word(plan, OUT_TABLE)
            for m in range(word(plan, TILE_ROWS)):
                set_word(outs, m, made + m * between if m < valid else space + word(plan, UNWANTED))
            point_down(plan, job, ring, outs, space + word(plan, TABLE), row)
        for pair in range(word(plan, PAIRS)):
            if word(plan, SIDE) == 0:
                look_down(plan, job, pair, wide, thread)
            elif word(plan, DOWN):
                both(plan, job, pair, lines, sums, step, valid, left, wide, thread)
            else:
                line = ring + row % word(plan, RING_ROWS) * word(plan, RING_PITCH)
                look_across(plan, job, pair, line, sums, wide, thread)
        for m in range(valid):
            if word(plan, TERMS):  # where a result's pixels are
                alone = word(plan, DOWN) == 0
                line = ring + row % word(plan, RING_ROWS) * word(plan, RING_PITCH)
                set_word(job + 8 * JOB_WORDS, BASE, line if alone else 0)
                set_word(job + 8 * JOB_WORDS, ROWS, word(plan, FOLDED) if alone else space + word(plan, TABLE) + 8 * m)
            finish_row(plan, arrays, job, sums + m * step, y + m * word(plan, Y_STRIDE), wide, thread)

    @body
    def strips(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (plane, block of rows, panel of columns)."""
        panels, blocks, high = word(plan, PANELS), word(plan, BLOCKS), word(plan, ROWS_OUT)
        tile, halo = word(plan, TILE_ROWS), word(plan, HIGH) - 1
        tiles = (high + tile - 1) // tile
        space = word(arrays, WORKSPACE) + thread * word(plan, PER_THREAD)
        job, ring = space + word(plan, JOB), space + word(plan, RING)
        for task in range(first, end):
            left, rest = task % panels * word(plan, WIDE), task // panels
            block, lead = rest % blocks, rest // blocks
            wide = min(word(plan, WIDE), word(plan, COLUMNS_OUT) - left)
            row, until = block * tiles // blocks * tile, min((block + 1) * tiles // blocks * tile, high)
            have, span, across = row, wide + word(plan, SPAN), wide + word(plan, ACROSS)
            clear_behind(word(plan, DEEP) * word(plan, RING_ROWS), word(plan, RING_PITCH), span, ring)
            clear_behind(tile, word(plan, LINE_PITCH), across, space + word(plan, LINES))
            while row < until:
                need = min(row + tile, until) + halo
                clear_rows(plan, ring, need, row + tile + halo)
                fill_rows(plan, word(arrays, X), job, ring, lead, have, need, left, span, thread)
                rows_of(plan, arrays, job, ring, lead, row, need - halo - row, left, wide, thread)
                have = need
                row += tile

    return strips
