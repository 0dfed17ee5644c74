"""The source of a task's next strip: fetched into the second cache while the tiles of this one are summed.

The lines of a sampled source lie apart where the processor does not expect them, and copies waited for most of their
time. Of prefetches that follow each other faster than memory answers most are dropped, so each step of a sum has one:
a tile fetches the same line of as many channels as it has steps.
"""

from __future__ import annotations

from numba import njit

from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.native import set_word, word
from fastconv.backends.cpu.vectors import I8, READ, Emit, Value


@njit
def expect(item, plan, job, source, channels, rows):  # type: ignore[no-untyped-def]
    """Fetch the source of a strip, for output rows whose first pixel meets `source` if there is no padding; 0: none."""
    row = word(plan, s.STEPS + 1) * word(plan, s.SOURCE + 2) * item
    before = word(plan, s.LEAST + 1) * row + word(plan, s.LEAST + 2) * word(plan, s.STEPS + 2) * item
    span = (rows + word(plan, s.MARGINS + 1)) * row
    set_word(job, s.COMING, source + before if source else 0)
    set_word(job, s.COMING_LEFT, span // word(plan, s.COMING_ROW) * word(plan, s.COMING_LINES))
    set_word(job, s.COMING_CHANNEL, 0)
    set_word(job, s.COMING_CHANNELS, channels)


@njit
def coming_lines(plan, job, steps):  # type: ignore[no-untyped-def]
    """The first and the last line that a sum of so many steps fetches, and bytes from one to the next."""
    line, channel, apart = word(job, s.COMING), word(job, s.COMING_CHANNEL), word(plan, s.CHANNEL_BYTES)
    if not line:
        return job, job, 0  # a line that is near in any case
    channels = word(job, s.COMING_CHANNELS)
    some = max(0, min(steps, channels - channel))
    first = line + channel * apart
    channel += some
    if channel == channels:
        channel, left, lines = 0, word(job, s.COMING_LEFT) - 1, word(plan, s.COMING_LINES)
        line += LINE if left % lines else word(plan, s.COMING_ROW) - (lines - 1) * LINE
        set_word(job, s.COMING, line if left else 0)
        set_word(job, s.COMING_LEFT, left)
    set_word(job, s.COMING_CHANNEL, channel)
    return first, first + (some - 1) * apart, apart


def fetch_line(e: Emit, line: Value, last: Value, step: Value) -> Value:
    """Code that fetches a line; the next one is returned, which is the last line again and again."""
    e.fetch(e.element(line, 0, I8), READ, 2)
    return e.b.select(e.b.icmp_signed("<", line, last), e.b.add(line, step), line)
