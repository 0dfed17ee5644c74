"""What comes next, fetched into the second cache while tiles are summed: a next strip's source, or where results go.

The lines of a sampled source lie apart where the processor does not expect them, and copies waited for most of their
time; so did results that lie in as many rows as there are filters. Of prefetches that follow each other faster than
memory answers most are dropped, so each step of a sum has one: a tile fetches the same line of as many planes, channels
or filters, as it has steps.
"""

from __future__ import annotations

from numba import njit

from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.native import set_word, word
from fastconv.backends.cpu.vectors import I8, READ, Emit, Value


@njit
def expect_lines(job, place, planes, apart, rows, pitch, lines):  # type: ignore[no-untyped-def]
    """Fetch rows of so many lines, `pitch` bytes apart, of each of some planes; nothing if there is no place."""
    set_word(job, s.COMING, place)
    set_word(job, s.COMING_PLANE, 0)
    set_word(job, s.COMING_PLANES, planes)
    set_word(job, s.COMING_APART, apart)
    set_word(job, s.COMING_LEFT, rows * lines)
    set_word(job, s.COMING_WIDE, lines)
    set_word(job, s.COMING_PITCH, pitch)


@njit
def expect_strip(item, plan, job, source, channels, rows):  # type: ignore[no-untyped-def]
    """Fetch the source of a strip, for output rows whose first pixel meets `source` if there is no padding; 0: none."""
    row, pitch = word(plan, s.STEPS + 1) * word(plan, s.SOURCE + 2) * item, word(plan, s.COMING_ROW)
    before = word(plan, s.LEAST + 1) * row + word(plan, s.LEAST + 2) * word(plan, s.STEPS + 2) * item
    span = (rows + word(plan, s.MARGINS + 1)) * row // pitch
    place = source + before if source else 0
    expect_lines(job, place, channels, word(plan, s.CHANNEL_BYTES), span, pitch, word(plan, s.COMING_LINES))


@njit
def coming_lines(job, steps):  # type: ignore[no-untyped-def]
    """The first and the last line that a sum of so many steps fetches, and bytes from one to the next."""
    line, plane, apart = word(job, s.COMING), word(job, s.COMING_PLANE), word(job, s.COMING_APART)
    if not line:
        return job, job, 0  # a line that is near in any case
    planes = word(job, s.COMING_PLANES)
    some = max(0, min(steps, planes - plane))
    first = line + plane * apart
    plane += some
    if plane == planes:
        plane, left, wide = 0, word(job, s.COMING_LEFT) - 1, word(job, s.COMING_WIDE)
        line += LINE if left % wide else word(job, s.COMING_PITCH) - (wide - 1) * LINE
        set_word(job, s.COMING, line if left else 0)
        set_word(job, s.COMING_LEFT, left)
    set_word(job, s.COMING_PLANE, plane)
    return first, first + (some - 1) * apart, apart


def fetch_line(e: Emit, line: Value, last: Value, step: Value) -> Value:
    """Code that fetches a line; the next one is returned, which is the last line again and again."""
    e.fetch(e.element(line, 0, I8), READ, 2)
    return e.b.select(e.b.icmp_signed("<", line, last), e.b.add(line, step), line)
