"""Moving extremes and means along one axis after the other, at a cost that (almost) does not depend on the window.

An array is seen as (o, i, c): outer places, pixels along the filtered axis, inner places; its lines run along i. A task
takes some neighbouring lines and copies them with their borders into a buffer, where they lie side by side: pixel i of
line l at i * span + l. So every step goes along the buffer in vectors, whatever the axis, and y may be x itself.

Index letters: `o i c` as above, `l` line of a task, `k` place in a buffer.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numba import njit

from fastconv.backends.cpu.conversion import FLOAT64, exact, numbers, one, stored
from fastconv.backends.cpu.kernels import kernel
from fastconv.backends.cpu.line_buffers import JOB, PLACES, SIZE, copying, load_borders, load_padded, move_bytes, save
from fastconv.backends.cpu.pooling import address
from fastconv.borders import Border
from fastconv.typing import Array, Shape

Passes = Sequence[tuple[int, int, Border]]  # of each the axis, the window's size, and the axis's border

# Dtypes with kernels of their own, where x and y both have it; all others are converted to float64, a slab at a time.
EXTREMES = frozenset(map(np.dtype, ("u1", "u2", "i2", "i4", "f4", "f8")))
MEANS = frozenset(map(np.dtype, ("u1", "u2", "i2", "f4", "f8")))
SLAB = 1 << 19  # numbers of a slab
BUFFER = 1 << 15  # bytes that a buffer has at most, ...
ROW = 512
SHORT = 256
TURNED = 64  # lines that are turned to lie side by side, where fewer are neighbours in memory
UNWATCHED = np.zeros(0, np.uint8)
TILE = 64  # pixels of each that are turned at a time: whole lines of the cache


def extreme_lines(x: Array, passes: Passes, y: Array, cval: float, minimum: bool) -> None:
    """y[o, i, c] = min or max over r < size of padded_x[o, i + r, c], in each pass of what the last one gave."""
    x, y, unordered = numbers(x), numbers(y), False
    for axis, size, border in passes:
        edge = beyond(border, cval, x, y, EXTREMES)
        unordered = unordered or bool(edge[0] != edge[0])
        for lines, out in parts(x, y, axis, edge.dtype):
            tasks, form = blocks(lines.shape, lines.itemsize, size, border, lines.shape[1] < SHORT, minimum)
            watched = edge.dtype.kind == "f" and size > 1
            found = np.zeros(tasks, np.uint8) if watched and x is not y else UNWATCHED
            if not (watched and unordered):
                move_extremes(tasks, lines, border.places, form, edge, out, found)
                unordered = unordered or (found is not UNWATCHED and bool(found.any()))
            if watched and unordered:
                single = lines.shape[0] * lines.shape[2]
                follow_extremes(single, lines, border.places, border.before, size, int(minimum), edge, out)
        x = y


def uniform_lines(x: Array, passes: Passes, y: Array, cval: float) -> None:
    """y[o, i, c] = sum over r < size of padded_x[o, i + r, c] / size, in each pass of what the last one gave.

    A sum runs along each line in float64: to it is added what enters less what leaves, so rounding errors stay.
    """
    x, y = numbers(x), numbers(y)
    for axis, size, border in passes:
        edge = beyond(border, cval, x, y, MEANS)
        for lines, out in parts(x, y, axis, edge.dtype):
            tasks, form = blocks(lines.shape, lines.itemsize, size, border, True, False)
            move_means(tasks, lines, border.places, form, edge, out)
        x = y


def beyond(border: Border, cval: float, x: Array, y: Array, dtypes: frozenset[np.dtype[Any]]) -> Array:
    """The constant beyond the edges, in the dtype that is computed in: x's and y's own where that changes nothing."""
    number = cval if border.mode.endswith("constant") else 0.0
    own = x.dtype == y.dtype and x.dtype in dtypes and exact(number, x.dtype)
    return one(number, x.dtype if own else FLOAT64)


@lru_cache(maxsize=256)
def blocks(shape: Shape, item: int, size: int, border: Border, turn: bool, minimum: bool) -> tuple[int, Array]:
    """The number of tasks, and what the kernels read with `words`: places and pixels of a task at a time."""
    outer, n, inner = shape
    deep = TURNED // inner if turn and inner < TURNED and outer * inner > 3 else 1
    wide = min(inner, ROW // item)
    height = min(n, max(TILE, 2 * size, BUFFER // (deep * wide * item)))
    copies = copying(item, deep > 1 and inner == 1)
    return -(-outer // deep) * -(-inner // wide), np.array([border.before, size, deep, wide, height, copies, minimum])


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

    found[task] tells of NaN; there what y gets has no meaning.
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
        load_borders(copies, job, source, n, pixel, places, before, address(edge), item, around)
        strange = False
        for top in range(0, n, height):
            rows, kept = min(height, n - top), 0 if top == 0 else size - 1
            last, fresh = top + rows + size - 1, address(lines) + kept * span * item
            move_bytes(address(lines) + height * span * item, address(lines), kept * span * item)
            load_padded(copies, job, source, n, pixel, around, before, top + kept, last, fresh)
            if found.size:
                for k in range(kept * span, (rows + size - 1) * span):
                    strange |= lines[k] != lines[k]
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
def follow_extremes(x, places, before, size, minimum, edge, y, first, end):  # type: ignore[no-untyped-def]
    """The same where lines hold NaN, which is neither less nor greater: the order of comparisons decides.

    The pixels that may still become the extreme wait in a queue, each with the place where it leaves the window. One
    that enters removes those before it that it is not less than; NaN removes none, and is removed by none behind it.
    """
    n, inner = x.shape[1], x.shape[2]
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
def slide(entering, leaving, sums, size, means):  # type: ignore[no-untyped-def]
    """sums[l] += entering[l] - leaving[l]; means[l] = sums[l] / size."""
    for l in range(means.size):
        sums[l] += np.float64(entering[l]) - np.float64(leaving[l])
        means[l] = sums[l] / size


@njit
def slide_along(entering, leaving, total, size, means):  # type: ignore[no-untyped-def]
    """The same for the pixels of one line, whose sum stays in a register; it is returned."""
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
    lines, sums = np.empty((height + size) * deep * wide, x.dtype), np.empty(deep * wide)
    means = np.empty(height * deep * wide, y.dtype)
    borders, job = np.empty((places.size - n) * deep * wide, x.dtype), np.empty(JOB, np.int64)
    for task in range(first, end):
        o, c = task // blocks * deep, task % blocks * wide
        job[PLACES], job[SIZE] = min(deep, outer - o), min(wide, inner - c) * item
        begin, span, pixel = (o * n * inner + c) * item, job[PLACES] * job[SIZE] // item, inner * item
        source, around = address(x) + begin, address(borders)
        load_borders(copies, job, source, n, pixel, places, before, address(edge), item, around)
        for top in range(0, n, height):
            rows, kept = min(height, n - top), 1 if top == 0 else size
            last, fresh = top + rows + size - 1, address(lines) + kept * span * item
            move_bytes(address(lines) + height * span * item, address(lines), size * span * item)
            load_padded(copies, job, source, n, pixel, around, before, top + kept - 1, last, fresh)
            if top == 0:
                for l in range(span):
                    lines[l] = sums[l] = 0
                for k in range(1, size):
                    for l in range(span):
                        sums[l] += lines[k * span + l]
            if span == 1:
                sums[0] = slide_along(lines[size : size + rows], lines[:rows], sums[0], size, means[:rows])
            else:
                for k in range(0, rows * span, span):
                    after = k + size * span
                    slide(lines[after : after + span], lines[k : k + span], sums, size, means[k : k + span])
            save(copies, job, address(means), n, pixel, rows, address(y) + begin + top * pixel)
