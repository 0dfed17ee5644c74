"""What surrounds the tiles: the padded strip of input that a task sums over, and the output's phases put together.

A plan's parameters are words at fixed places; every place has its name here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.machine import vectors
from fastconv.backends.cpu.moves import clear_numbers, copy_apart, copy_between, copy_numbers, copy_rows
from fastconv.backends.cpu.native import body, call, set_word, word

# Extents, for one group: source channels, filters; output pixels of a phase along each axis.
GROUPS, CHANNELS, FILTERS, DEPTHS, ROWS, COLUMNS = range(6)
# The output's blocks, and the panels of filters, of which a task has some.
ROW_BLOCKS, COLUMN_BLOCKS, SHARES, PANELS = range(6, 10)
# The source: pixels, bytes from a channel to the next, first quotients, steps, residues and their tables.
SOURCE, CHANNEL_BYTES, LEAST, STEPS, RESIDUES, RESIDUE_TABLES = 10, 13, 14, 17, 20, 23
# The strip: margins; bytes of a channel, a plane, a row and a residue's part of a row; whether it is the source itself.
MARGINS, STRIP_CHANNEL, STRIP_PLANE, STRIP_ROW, STRIP_PART, IN_PLACE, STRIP_ROW_SPAN = 26, 29, 30, 31, 32, 33, 34
# The output: pixels, bytes from a filter to the next, phases along each axis, and of them all; whether they come to
# lie in a buffer first.
TARGET, FILTER_BYTES, PHASES, ALL_PHASES, BUFFERED = 35, 38, 39, 42, 43
# The table of phases: for each one taps, the address of the taps' table, bytes of its part of a panel.
PHASE_TABLE, PANEL_BYTES, FILTER_STEP, GROUP_WEIGHTS, BIAS_STEP = 44, 45, 46, 47, 48
# Workspace: bytes before the threads' parts, of each thread's part, and in it the places of output phases and tiles.
SHARED, PER_THREAD, BUFFER, SCRATCH, BUFFER_ROW, BUFFER_FILTER, BUFFER_PHASE, PANEL_FILTERS, PANEL_CODE, FILL_CODE = (
    range(49, 59)
)
# Where each panel is wanted by one task alone: the body that packs it, its plan, and the panel's place.
PACK_CODE, PACK_PLAN, OWN_PANEL = range(59, 62)
# Rows and columns of a tile, of which a block has whole ones, but for the last block.
TILE_ROWS, TILE_COLUMNS = 62, 63
# Neighbouring groups of a task, or images, whose channels lie together.
RUN = 64
# Taps that a panel of filters sums at a time.
CUT = 65
# Kinds of taps: one; or three, of which the first meets padding in a row's first pixel, and the last in its last one.
# Bytes of a row's ranges of taps, 0 where all rows share them.
KINDS, RANGES = 66, 67
# Of a next strip's source, which is fetched ahead: lines of a row, 0 where nothing is, and bytes from row to row.
COMING_LINES, COMING_ROW = 68, 69
PLACES = 70
# A call's own addresses.
X, WEIGHT, BIAS, Y, WORKSPACE, FLAG = range(6)

# What a thread tells the bodies that work for it, as words of its workspace: the strip that is wanted, ...
FROM, OF_CHANNELS, DEPTH, ROW, HIGH, COLUMN, WIDE, STRIP = range(8)
# ... and the panel.
GROUP, NUMBER, PHASE, VALID, PIXELS, RESULT, FILTER_PITCH, ROW_PITCH = range(8, 16)
# Of the output, how many rows from RESULT on, ROW_PITCH apart, and neighbouring pixels are there.
LINES, ACROSS = range(16, 18)
# What is fetched next: the first plane's line and the next plane, of so many, so far apart; lines that are left, ...
COMING, COMING_PLANE, COMING_PLANES, COMING_APART, COMING_LEFT = range(18, 23)
# ... lines of a row, and bytes from the first one to the next row's.
COMING_WIDE, COMING_PITCH = range(23, 25)
JOB_ARRAYS = 200  # where the call's addresses stand again, with a workspace of the thread's own
JOB_BYTES = 256


@njit
def fill_strip(plan, job, source, channels, depth, row, rows, column, columns):  # type: ignore[no-untyped-def]
    """Fill the thread's strip; an own body does it, or every body would be compiled with it."""
    set_word(job, FROM, source)
    set_word(job, OF_CHANNELS, channels)
    set_word(job, DEPTH, depth)
    set_word(job, ROW, row)
    set_word(job, HIGH, rows)
    set_word(job, COLUMN, column)
    set_word(job, WIDE, columns)
    call(word(plan, FILL_CODE), plan, job, 0, 0, 0)


def fill_planes_for(item: int, lanes: int) -> Any:
    """`fill_planes` for numbers of `item` bytes in vectors of so many lanes."""
    spills = int(not vectors().masks)

    @njit
    def fill_planes(plan, source, step, rows, before, count, span, target, channels):  # type: ignore[no-untyped-def]
        """Some rows of one residue's part, of all channels: so many pixels, with zeros before and behind them."""
        pitch, to_pitch = word(plan, STEPS + 1) * word(plan, SOURCE + 2) * item, word(plan, STRIP_ROW)
        apart, to_apart = word(plan, CHANNEL_BYTES), word(plan, STRIP_CHANNEL)
        if step == 1:
            copy_rows(
                item, lanes, 1, spills, source, pitch, rows, before, count, span, target, to_pitch, channels, apart,
                to_apart,
            )  # fmt: skip
        elif step == 2:
            copy_rows(
                item, lanes, 2, spills, source, pitch, rows, before, count, span, target, to_pitch, channels, apart,
                to_apart,
            )  # fmt: skip
        else:
            for channel in range(channels):
                for j in range(rows):
                    place, from_ = target + channel * to_apart + j * to_pitch, source + channel * apart + j * pitch
                    clear_numbers(item, lanes, span, place)
                    copy_apart(item, lanes, from_, step * item, count, place + before * item, item)

    return fill_planes


@cache
def fill_body(item: int, lanes: int) -> Any:
    """The body that fills a strip, for numbers of `item` bytes in vectors of so many lanes."""
    fill_planes = fill_planes_for(item, lanes)

    @njit
    def fill_rows(plan, source, channels, depth, top, span, first, last, begin, across, strip):  # type: ignore[no-untyped-def]
        """One residue's part of all rows, which are `span` for each residue of rows, from `top` on."""
        planes, height, width = word(plan, SOURCE), word(plan, SOURCE + 1), word(plan, SOURCE + 2)
        step, down = word(plan, STEPS + 2), word(plan, STEPS + 1)
        deep, pitch = 1 + word(plan, MARGINS), word(plan, STRIP_ROW)
        from_ = (begin + first * step) * item
        for a in range(word(plan, RESIDUES)):
            for i in range(deep):
                plane = (depth + word(plan, LEAST) + i) * word(plan, STEPS) + word(word(plan, RESIDUE_TABLES), a)
                for b in range(word(plan, RESIDUES + 1)):
                    line = top * down + word(word(plan, RESIDUE_TABLES + 1), b)  # the first one's
                    target = strip + (a * deep + i) * word(plan, STRIP_PLANE) + b * word(plan, STRIP_ROW_SPAN) * pitch
                    begun = min(span, max(0, -(line // down)))
                    ended = max(begun, min(span, (height - line + down - 1) // down))
                    if not (first < last and 0 <= plane < planes):
                        begun = ended = span
                    image = source + (plane * height + line + begun * down) * width * item + from_
                    if begun < ended:
                        rows, to, count = ended - begun, target + begun * pitch, last - first
                        fill_planes(plan, image, step, rows, first, count, across, to, channels)
                    for channel in range(channels if begun > 0 or ended < span else 0):
                        place = target + channel * word(plan, STRIP_CHANNEL)
                        for j in range(begun):
                            clear_numbers(item, lanes, across, place + j * pitch)
                        for j in range(ended, span):
                            clear_numbers(item, lanes, across, place + j * pitch)

    @body
    def fill(plan, job, _, __, ___):  # type: ignore[no-untyped-def]
        """The strip for output pixels from (depth, row, column) on, of so many channels."""
        row, column, step = word(job, ROW), word(job, COLUMN), word(plan, STEPS + 2)
        span, across = word(job, HIGH) + word(plan, MARGINS + 1), word(job, WIDE) + word(plan, MARGINS + 2)
        for c in range(word(plan, RESIDUES + 2)):
            begin = (column + word(plan, LEAST + 2)) * step + word(word(plan, RESIDUE_TABLES + 2), c)
            first = min(across, max(0, -(begin // step)))
            last = max(first, min(across, (word(plan, SOURCE + 2) - begin + step - 1) // step))
            fill_rows(
                plan,
                word(job, FROM),
                word(job, OF_CHANNELS),
                word(job, DEPTH),
                row + word(plan, LEAST + 1),
                span,
                first,
                last,
                begin,
                across,
                word(job, STRIP) + c * word(plan, STRIP_PART),
            )

    return fill


@njit
def source_place(item, plan, depth, row, column):  # type: ignore[no-untyped-def]
    """Bytes from an image's first pixel to the one that an output pixel meets without padding."""
    line = depth * word(plan, STEPS) * word(plan, SOURCE + 1) + row * word(plan, STEPS + 1)
    return (line * word(plan, SOURCE + 2) + column * word(plan, STEPS + 2)) * item


@njit
def buffer_pitch(plan, phase):  # type: ignore[no-untyped-def]
    """Bytes from a row to the next of a phase in the buffer: none if it has no taps, so that all rows are alike."""
    return word(plan, BUFFER_ROW) if word(word(plan, PHASE_TABLE), 4 * phase) else 0


def join_for(item: int, lanes: int) -> Any:
    """`join` for numbers of `item` bytes in vectors of so many lanes."""

    @njit
    def join(plan, buffer, filters, y, depth, row, rows, column, columns):  # type: ignore[no-untyped-def]
        """Put the phases of a block of output together: y[i * phases + a] = buffer[a, i] along each axis."""
        height, width = word(plan, TARGET + 1), word(plan, TARGET + 2)
        down, across = word(plan, PHASES + 1), word(plan, PHASES + 2)
        each, pairs = word(plan, BUFFER_PHASE), min(columns, (width - column * across) // 2)
        for f in range(filters):
            plane_of, phases_of = y + f * word(plan, FILTER_BYTES), buffer + f * word(plan, BUFFER_FILTER)
            for a in range(word(plan, PHASES)):
                plane = depth * word(plan, PHASES) + a
                if plane >= word(plan, TARGET):
                    break
                for b in range(down):
                    first = (a * down + b) * across
                    phase = phases_of + first * each
                    even_pitch, odd_pitch = buffer_pitch(plan, first), buffer_pitch(plan, first + across - 1)
                    line = row * down + b
                    target = plane_of + ((plane * height + line) * width + column * across) * item
                    for i in range(min(rows, (height - line + down - 1) // down)):
                        if across == 2:
                            even, odd = phase + i * even_pitch, phase + each + i * odd_pitch
                            copy_between(item, lanes, even, odd, pairs, target)
                            if pairs < columns:
                                copy_numbers(item, lanes, even + pairs * item, 1, target + 2 * pairs * item)
                        else:
                            for c in range(across):
                                count = min(columns, (width - column * across - c + across - 1) // across)
                                from_ = phase + c * each + i * buffer_pitch(plan, first + c)
                                copy_apart(item, lanes, from_, item, count, target + c * item, across * item)
                        target += down * width * item

    return join
