"""Moving extremes and means along one axis after the other, at a cost that hardly depends on the window's size.

An array is seen as (o, i, c): outer places, pixels along the filtered axis, inner places. A task has some neighbouring
lines along i, and a buffer some pixels of them with their borders, side by side (see `line_buffers`): it goes down the
lines, and has read what it writes over, so y may be x itself.

Index letters: `o i c` as above, `m` line of a task, `k` place in a buffer.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numba import njit

from fastconv.backends.cpu.conversion import FLOAT64, INT64, exact, numbers, one, stored
from fastconv.backends.cpu.kernels import address, kernel
from fastconv.backends.cpu.line_buffers import (
    JOB,
    PLACES,
    SIZE,
    copying,
    load_borders,
    load_padded,
    load_whole,
    move_bytes,
    save,
)
from fastconv.backends.cpu.running_sums import LANES, slide
from fastconv.borders import Border
from fastconv.typing import Array, Shape

Passes = Sequence[tuple[int, int, Border]]  # of each the axis, the window's size, and the axis's border

# Dtypes with kernels of their own, where x and y both have it; all others are converted to float64, a slab at a time.
OWN = frozenset(map(np.dtype, ("u1", "u2", "i4", "i8", "f4", "f8")))
SLAB = 1 << 20  # numbers of a slab

# A task has neighbours of so many bytes; or so many lines that are turned, or are short, together; and TASKS there are
# at least, where that leaves FEWEST lines for each.
ROW, TURNED, SHORT = 512, 64, 256
TASKS, FEWEST = 16, 8
BUFFER, HEIGHT = 1 << 15, 64  # bytes of a buffer, about, and of each line so many pixels at least

UNWATCHED = np.zeros(0, np.uint8)


def extreme_lines(x: Array, passes: Passes, y: Array, cval: float, minimum: bool) -> None:
    """y[o, i, c] = min or max over r < size of padded_x[o, i + r, c], in each pass of what the last one gave.

    Numbers are compared as float64: int64 that it does not hold are converted first, and NaN has a kernel of its own.
    """
    x, y, strange = numbers(x), numbers(y), False
    for axis, size, border in passes:
        edge = beyond(border, cval, x, y)
        whole, floating = edge.dtype == INT64, edge.dtype.kind == "f"
        strange = strange or bool(edge[0] != edge[0])
        if not strange or not (whole or (floating and size > 1)):
            found = moved(x, y, axis, size, border, edge, minimum, x is not y and (whole or floating))
            strange = strange or found
        if strange and whole:
            moved(x, y, axis, size, border, edge_of(float(edge[0]), FLOAT64), minimum, False)
        elif strange and floating and size > 1:
            for lines, out in parts(x, y, axis, edge.dtype):
                count = lines.shape[0] * lines.shape[2]
                follow_extremes(count, lines, border.places, size, int(minimum), edge, out)
        x = y


def moved(x: Array, y: Array, axis: int, size: int, border: Border, edge: Array, minimum: bool, watched: bool) -> bool:
    """Whether `move_extremes`, where that is `watched`, found what it can't compare."""
    strange = False
    for lines, out in parts(x, y, axis, edge.dtype):
        tasks, form = blocks(lines.shape, lines.itemsize, size, border, False, minimum)
        found = np.zeros(tasks, np.uint8) if watched else UNWATCHED
        move_extremes(tasks, lines, border.places, form, edge, out, found)
        strange = strange or (watched and bool(found.any()))
    return strange


def uniform_lines(x: Array, passes: Passes, y: Array, cval: float) -> None:
    """y[o, i, c] = sum over r < size of padded_x[o, i + r, c] / size, in each pass of what the last one gave.

    A sum runs along each line in float64: to it is added what enters less what leaves, so rounding errors stay.
    """
    x, y = numbers(x), numbers(y)
    for axis, size, border in passes:
        edge = beyond(border, cval, x, y)
        for lines, out in parts(x, y, axis, edge.dtype):
            tasks, form = blocks(lines.shape, lines.itemsize, size, border, True, False)
            move_means(tasks, lines, border.places, form, edge, out)
        x = y


def beyond(border: Border, cval: float, x: Array, y: Array) -> Array:
    """The constant beyond the edges, in the dtype that is computed in: x's and y's own where that changes nothing."""
    number = cval if border.constant else 0.0
    own = x.dtype == y.dtype and x.dtype in OWN and exact(number, x.dtype)
    return edge_of(number, x.dtype if own else FLOAT64)


@lru_cache(maxsize=256)
def edge_of(number: float, dtype: np.dtype[Any]) -> Array:
    """A constant as a number of `dtype`, and up to which number float64 holds all of them."""
    limit = np.inf if dtype.kind == "f" else min(np.iinfo(dtype).max, 2**53)
    return np.array([one(number, dtype)[0], limit], dtype)


@lru_cache(maxsize=256)
def blocks(shape: Shape, item: int, size: int, border: Border, turn: bool, minimum: bool) -> tuple[int, Array]:
    """The number of tasks, and what the kernels read with `words`: a task's places, and pixels at a time of its lines.

    Where lines have no neighbours, they are turned, if that is wanted.
    """
    outer, n, inner = shape
    deep, wide = 1, min(inner, share(outer * inner, ROW // item))
    if n * inner < SHORT:
        deep = share(outer, max(TURNED, BUFFER // ((n + size) * inner * item)))
    elif turn and inner == 1 and outer > 3:  # of fewer lines, each is a task
        deep = share(outer, TURNED)
    height = min(n, max(HEIGHT, 2 * size, BUFFER // (deep * wide * item)))
    copies = copying(item, deep > 1 and inner == 1)
    return -(-outer // deep) * -(-inner // wide), np.array([border.before, size, deep, wide, height, copies, minimum])


def share(lines: int, most: int) -> int:
    """How many lines of so many a task has, at most."""
    return min(lines, most, max(FEWEST, -(-lines // TASKS)))


def parts(x: Array, y: Array, axis: int, dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array]]:
    """x and y as contiguous (o, i, c): themselves, or slabs of them in another dtype or memory, then written to y."""
    if x.dtype == y.dtype == dtype and x.flags.c_contiguous and y.flags.c_contiguous:
        form = volume(x.shape, axis)
        yield x.reshape(form), y.reshape(form)
        return
    for place in slabs(x.shape, axis):
        lines = np.array(x[place], dtype, order="C")
        out, form = np.empty(lines.shape, dtype), volume(lines.shape, axis)
        yield lines.reshape(form), out.reshape(form)
        y[place] = stored(out, y.dtype)


def volume(shape: Shape, axis: int) -> Shape:
    """A shape as (o, i, c)."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def slabs(shape: Shape, axis: int) -> Iterator[tuple[slice, ...]]:
    """Parts of an array with whole lines."""
    others = [other for other in range(len(shape)) if other != axis]
    if not others:
        yield (slice(None),)
        return
    cut = max(others, key=shape.__getitem__)
    step = max(1, SLAB * shape[cut] // prod(shape))
    for start in range(0, shape[cut], step):
        yield (slice(None),) * cut + (slice(start, start + step),)


@njit
def lesser(u, v, least):  # type: ignore[no-untyped-def]
    """least[k] = the lesser of u[k] and v[k], the latter if they are equal."""
    for k in range(least.size):
        least[k] = u[k] if u[k] < v[k] else v[k]


@njit
def greater(u, v, most):  # type: ignore[no-untyped-def]
    """most[k] = the greater of u[k] and v[k], the latter if they are equal."""
    for k in range(most.size):
        most[k] = u[k] if u[k] > v[k] else v[k]


@njit
def words(form):  # type: ignore[no-untyped-def]
    """What `blocks` found."""
    return form[0], form[1], form[2], form[3], form[4], form[5], form[6]


@kernel
def move_extremes(x, places, form, edge, y, found, first, end):  # type: ignore[no-untyped-def]
    """y[o, i, c] = min or max of x[o, i + r, c], r < size, by doubling: of 2 pixels, of 4, ... of the rest.

    found[task] tells of NaN, and of int64 beyond edge[1]; what y gets then has no meaning.
    """
    before, size, deep, wide, height, copies, minimum = words(form)
    outer, n, inner = x.shape
    item, blocks = x.itemsize, (inner + wide - 1) // wide
    room = (height + size - 1) * deep * wide
    lines = np.empty(3 * room, x.dtype)  # and two rooms for what becomes of them
    borders, job = np.empty((places.size - n) * deep * wide, x.dtype), np.empty(JOB, np.int64)
    for task in range(first, end):
        o, c = task // blocks * deep, task % blocks * wide
        job[PLACES], job[SIZE] = min(deep, outer - o), min(wide, inner - c) * item
        begin, span, pixel = (o * n * inner + c) * item, job[PLACES] * job[SIZE] // item, inner * item
        source, around = address(x) + begin, address(borders)
        if height < n:
            load_borders(copies, job, source, n, pixel, places, before, address(edge), item, around)
        strange = False
        for top in range(0, n, height):
            rows, kept = min(height, n - top), 0 if top == 0 else size - 1
            last, fresh = top + rows + size - 1, address(lines) + kept * span * item
            move_bytes(address(lines) + height * span * item, address(lines), kept * span * item)
            if height < n:
                load_padded(copies, job, source, n, pixel, around, before, top + kept, last, fresh)
            else:
                load_whole(copies, job, source, n, pixel, places, before, address(edge), item, fresh)
            if found.size:
                for k in range(kept * span, (rows + size - 1) * span):
                    strange |= not -edge[1] <= lines[k] <= edge[1]
            best, into, other, reach = 0, room, 2 * room, 1
            while reach < size:
                shift = best + min(reach, size - reach) * span
                reach = min(2 * reach, size)
                count = (rows + size - reach) * span
                u, v, w = lines[best : best + count], lines[shift : shift + count], lines[into : into + count]
                if minimum:
                    lesser(u, v, w)
                else:
                    greater(u, v, w)
                best, into, other = into, other, into
            save(copies, job, address(lines) + best * item, n, pixel, rows, address(y) + begin + top * pixel)
        if found.size:
            found[task] = strange


@kernel
def follow_extremes(x, places, size, minimum, edge, y, first, end):  # type: ignore[no-untyped-def]
    """The same where lines hold NaN, which is neither less nor greater: as in SciPy, the order of comparisons decides.

    The pixels that may still become the extreme wait in a queue, each with the place where it leaves the window. One
    that enters removes those before it that it is not less than; NaN removes none, and is removed by none behind it.
    The size is at least 2.
    """
    inner = x.shape[2]
    line, waiting, leaving = np.empty(places.size, x.dtype), np.empty(size, x.dtype), np.empty(size, np.int64)
    for task in range(first, end):
        o, c = task // inner, task % inner
        for i in range(places.size):
            value = edge[0] if places[i] < 0 else x[o, places[i], c]
            line[i] = -value if minimum else value
        front = last = 0
        waiting[0], leaving[0] = line[0], size
        for i in range(1, places.size):
            if leaving[front] == i:
                front = (front + 1) % size
            if line[i] >= waiting[front]:
                last = front
            else:
                while waiting[last] <= line[i]:
                    last = (last + size - 1) % size
                last = (last + 1) % size
            waiting[last], leaving[last] = line[i], i + size
            if i >= size - 1:
                y[o, i - size + 1, c] = -waiting[front] if minimum else waiting[front]


@njit
def slide_along(entering, leaving, total, size, means):  # type: ignore[no-untyped-def]
    """total += entering[k] - leaving[k]; means[k] = total / size: the pixels of one line; the sum is returned."""
    for k in range(means.size):
        total += np.float64(entering[k]) - np.float64(leaving[k])
        means[k] = total / size
    return total


@kernel
def move_means(x, places, form, edge, y, first, end):  # type: ignore[no-untyped-def]
    """y[o, i, c] = the sum of x[o, i + r, c], r < size, in float64, / size.

    Before a line stands a 0, which the first window leaves behind.
    """
    before, size, deep, wide, height, copies, _ = words(form)
    outer, n, inner = x.shape
    item, blocks = x.itemsize, (inner + wide - 1) // wide
    lines, sums = np.empty((height + size) * deep * wide + LANES, x.dtype), np.empty(deep * wide + LANES)
    means = np.empty(height * deep * wide + LANES, y.dtype)
    borders, job = np.empty((places.size - n) * deep * wide, x.dtype), np.empty(JOB, np.int64)
    for task in range(first, end):
        o, c = task // blocks * deep, task % blocks * wide
        job[PLACES], job[SIZE] = min(deep, outer - o), min(wide, inner - c) * item
        begin, span, pixel = (o * n * inner + c) * item, job[PLACES] * job[SIZE] // item, inner * item
        source, around = address(x) + begin, address(borders)
        if height < n:
            load_borders(copies, job, source, n, pixel, places, before, address(edge), item, around)
        for top in range(0, n, height):
            rows, kept = min(height, n - top), 1 if top == 0 else size
            last, fresh = top + rows + size - 1, address(lines) + kept * span * item
            move_bytes(address(lines) + height * span * item, address(lines), size * span * item)
            if height < n:
                load_padded(copies, job, source, n, pixel, around, before, top + kept - 1, last, fresh)
            else:
                load_whole(copies, job, source, n, pixel, places, before, address(edge), item, fresh)
            if top == 0:
                for m in range(span):
                    lines[m] = sums[m] = 0
                for k in range(1, size):
                    for m in range(span):
                        sums[m] += lines[k * span + m]
            if span == 1:
                sums[0] = slide_along(lines[size : size + rows], lines[:rows], sums[0], size, means[:rows])
            else:
                for m in range((span - 1) // LANES * LANES, -1, -LANES):  # the last one writes over others' means
                    slide(lines, m, span, rows, sums, size, means)
            save(copies, job, address(means), n, pixel, rows, address(y) + begin + top * pixel)
