"""Lines of an array in a buffer, side by side, with their borders: on their way in, and out again.

An array is seen as (o, i, c): outer places, pixels along the filtered axis, inner places; its lines run along i. A task
has the lines of `deep` outer and `wide` inner places, of which a buffer holds some pixels: pixel k of line m at
k * span + m, with span = deep * wide. So every step goes along the buffer in vectors, whatever the axis.

What copies knows no dtype. A kernel calls it at an address, and so is compiled without it; addresses and pitches count
bytes. Index letters: `o i c` as above, `m` line of a task, `k` pixel in a buffer.
"""

from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from fastconv.backends.cpu.kernels import address
from fastconv.backends.cpu.native import body, call, code, native, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

# Words of a job: where from, where to; pixels, outer places, bytes of each; from a pixel and a place to the next one.
FROM, TO, PIXELS, PLACES, SIZE, FROM_PIXEL, FROM_PLACE, TO_PIXEL, TO_PLACE = range(9)
JOB = 9


@native(types.void)
def move_bytes(builder: Any, source: Value, target: Value, size: Value) -> Value:
    """So many bytes from one address to another; they may overlap."""
    pointer = ir.IntType(8).as_pointer()
    source, target = builder.inttoptr(source, pointer), builder.inttoptr(target, pointer)
    return cgutils.raw_memmove(builder, target, source, size, 1)


@njit
def repeat_bytes(source, size, target, end):  # type: ignore[no-untyped-def]
    """So many bytes from one address, again and again, to another until there are `end` of them."""
    move_bytes(source, target, min(size, end))
    have = size
    while have < end:
        move_bytes(target, target + have, min(have, end - have))
        have *= 2


@instruction(2)
def move_number(e: Emit, source: Value, target: Value) -> None:
    """A number of any dtype."""
    kind = ir.IntType(8 * e.item)
    e.b.store(e.b.load(e.element(source, 0, kind), align=e.item), e.element(target, 0, kind), align=e.item)


@instruction(2)
def turn_square(e: Emit, source: Value, pitch: Value, target: Value, target_pitch: Value) -> None:
    """target[j * target_pitch + i] = source[i * pitch + j] for i, j < lanes, numbers of any dtype."""
    kind = ir.VectorType(ir.IntType(8 * e.item), e.lanes)
    rows = [e.b.load(e.element(e.at(source, (i, pitch)), 0, kind), align=e.item) for i in range(e.lanes)]
    for j, row in enumerate(e.transposed(rows)):
        e.b.store(row, e.element(e.at(target, (j, target_pitch)), 0, kind), align=e.item)


@body
def move_box(plan, job, _, __, ___):  # type: ignore[no-untyped-def]
    """So many bytes of some pixels at some places."""
    size, pixels = word(job, SIZE), word(job, PIXELS)
    for o in range(word(job, PLACES)):
        source, target = word(job, FROM) + o * word(job, FROM_PLACE), word(job, TO) + o * word(job, TO_PLACE)
        if word(job, FROM_PIXEL) == size and word(job, TO_PIXEL) == size:
            move_bytes(source, target, pixels * size)
        else:
            for k in range(pixels):
                move_bytes(source + k * word(job, FROM_PIXEL), target + k * word(job, TO_PIXEL), size)


@cache
def turn_box(item: int) -> Any:
    """The body for one number of `item` bytes of each pixel, where one side has pixels as neighbours, one places."""
    lanes = 16 if item < 4 else 8

    @body
    def turn_box(plan, job, _, __, ___):  # type: ignore[no-untyped-def]
        """The same in squares."""
        source, target = word(job, FROM), word(job, TO)
        rows, pitch = word(job, PLACES), word(job, FROM_PLACE)
        columns, target_pitch = word(job, PIXELS), word(job, TO_PIXEL)
        if word(job, FROM_PIXEL) != item:  # neighbours are places
            rows, pitch, columns, target_pitch = columns, word(job, FROM_PIXEL), rows, word(job, TO_PLACE)
        high, across = rows // lanes * lanes, columns // lanes * lanes
        for i in range(0, high, lanes):
            for j in range(0, across, lanes):
                place = target + j * target_pitch + i * item
                turn_square(item, lanes, source + i * pitch + j * item, pitch, place, target_pitch)
        for i in range(rows):
            for j in range(across if i < high else 0, columns):
                move_number(item, lanes, source + i * pitch + j * item, target + j * target_pitch + i * item)

    return turn_box


@cache
def copying(item: int, turned: bool) -> int:
    """The address of the code that copies, for numbers of so many bytes; `turned`: lines without neighbours."""
    return code(turn_box(item) if turned else move_box)


@njit
def load(copies, job, x, n, pixel, pixels, lines):  # type: ignore[no-untyped-def]
    """So many pixels of all lines, from an address on, to one of the buffer; `pixel`: from one to the next."""
    job[FROM], job[TO], job[PIXELS], job[FROM_PIXEL], job[FROM_PLACE] = x, lines, pixels, pixel, n * pixel
    job[TO_PIXEL], job[TO_PLACE] = job[SIZE] * job[PLACES], job[SIZE]
    call(copies, 0, address(job), 0, 0, 0)


@njit
def save(copies, job, lines, n, pixel, pixels, y):  # type: ignore[no-untyped-def]
    """The reverse."""
    job[FROM], job[TO], job[PIXELS], job[TO_PIXEL], job[TO_PLACE] = lines, y, pixels, pixel, n * pixel
    job[FROM_PIXEL], job[FROM_PLACE] = job[SIZE] * job[PLACES], job[SIZE]
    call(copies, 0, address(job), 0, 0, 0)


@njit
def load_whole(copies, job, x, n, pixel, places, before, edge, item, lines):  # type: ignore[no-untyped-def]
    """All pixels of all lines with their borders: copies of what is in the buffer by then, or the constant."""
    span = job[SIZE] * job[PLACES]
    load(copies, job, x, n, pixel, n, lines + before * span)
    for k in range(places.size - n):
        row = k if k < before else k + n
        if places[row] < 0:
            repeat_bytes(edge, item, lines + row * span, span)
        else:
            move_bytes(lines + (before + places[row]) * span, lines + row * span, span)


@njit
def load_borders(copies, job, x, n, pixel, places, before, edge, item, borders):  # type: ignore[no-untyped-def]
    """The pixels of the borders of all lines, those before them first."""
    span = job[SIZE] * job[PLACES]
    for k in range(places.size - n):
        place, row = places[k if k < before else k + n], borders + k * span
        if place < 0:
            repeat_bytes(edge, item, row, span)
        else:
            load(copies, job, x + place * pixel, n, pixel, 1, row)


@njit
def load_padded(copies, job, x, n, pixel, borders, before, first, end, lines):  # type: ignore[no-untyped-def]
    """Pixels from `first` to `end` of all lines with their borders."""
    span, low = job[SIZE] * job[PLACES], min(max(before, first), end)
    high = max(low, min(before + n, end))
    move_bytes(borders + first * span, lines, max(0, low - first) * span)
    load(copies, job, x + (low - before) * pixel, n, pixel, high - low, lines + (low - first) * span)
    move_bytes(borders + (high - n) * span, lines + (high - first) * span, (end - high) * span)
