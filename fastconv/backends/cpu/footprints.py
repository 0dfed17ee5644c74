"""Filters whose taps may lie anywhere in a box: extremes under a footprint, and correlation of int64 modulo 2^64.

Of an image of any rank only rows are known here: those of x, in which pixels lie side by side, and those of the padded
image, for each of which a table says which row of x it is, or none: the constant. A task has some neighbouring rows of
y and some of their columns. It copies the rows that they need, with their borders, into a strip, one behind the other:
so a tap is a distance in the strip, and all of a task's pixels go through the taps together.

Index letters: `g` plane of y, `p q` row and column in it; `h j w` plane, row and column of a strip, `k` place in it.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import prod

import numpy as np
from numba import njit

from fastconv.backends.cpu.conversion import FLOAT64, numbers, one, stored
from fastconv.backends.cpu.kernels import address, kernel
from fastconv.backends.cpu.line_buffers import move_bytes, repeat_bytes
from fastconv.borders import CONSTANT, Border
from fastconv.typing import Array, Shape

# Dtypes with a kernel of their own, where x and y both have it; all others are converted to float64, a slab at a time.
OWN = frozenset(map(np.dtype, ("u1", "u2", "f4", "f8")))
SLAB = 1 << 20  # numbers of a slab
STRIP, ROW = 1 << 17, 1 << 12  # bytes of a strip, and of its rows, about
BLOCK = 1 << 12  # bytes of pixels that go through all taps before others do
TASKS = 16  # that there are at least, where there are rows enough
TOGETHER = 4  # taps

# Words of a layout: the box of the taps; columns before those of x; rows and columns of a task, rows of a plane of y;
# pixels of a block; whether the minimum is wanted; numbers of a strip, and of its results.
DEPTH, DOWN, ACROSS, BEFORE, MOST, COLUMNS, HIGH, TURN, MINIMUM, PLACES, RESULTS = range(11)

Layout = tuple[int, Array, Array, Array, Array]  # of tasks their number; tables of rows, planes and columns; extents


def extreme(x: Array, footprint: Array, y: Array, borders: tuple[Border, ...], cval: float, minimum: bool) -> None:
    """y[p] = min or max of padded_x[p + r] over the taps r of the footprint.

    NaN at the first tap stays, at other taps it counts for nothing. The constant is what it is in x's dtype.
    """
    x, y = numbers(x), numbers(y)
    number = float(one(cval, x.dtype)[0]) if any(border.constant for border in borders) else 0.0
    edge = one(number, x.dtype if x.dtype == y.dtype and x.dtype in OWN else FLOAT64)
    taps = np.flatnonzero(footprint)
    taps = np.concatenate([taps, np.repeat(taps[:1], -taps.size % TOGETHER)])  # a tap again changes nothing
    for part, out, around in parts(x, y, borders, footprint.shape, edge):
        tasks, rows, planes, places, form = layout(around, footprint.shape, edge.itemsize, minimum)
        find_extremes(tasks, part, rows, planes, places, taps, form, edge, out)


def correlate_modular(x: Array, weights: Array, y: Array, borders: tuple[Border, ...]) -> None:
    """y[p] = sum over r of weights[r] * padded_x[p + r], of int64, modulo 2^64; beyond the edges is 0."""
    taps = np.flatnonzero(weights)
    spare = -taps.size % TOGETHER
    values = np.concatenate([weights.reshape(-1)[taps], np.zeros(spare, np.int64)])
    taps = np.concatenate([taps, np.zeros(spare, np.int64)])
    for part, out, around in parts(x, y, borders, weights.shape, np.zeros(1, np.int64)):
        tasks, rows, planes, places, form = layout(around, weights.shape, 8, False)
        sum_products(tasks, part, rows, planes, places, taps, form, values, out)


def parts(
    x: Array, y: Array, borders: tuple[Border, ...], box: Shape, edge: Array
) -> Iterator[tuple[Array, Array, tuple[Border, ...]]]:
    """x and y as contiguous rows, with x's borders: themselves, or slabs in another dtype or memory, written to y."""
    if x.dtype == y.dtype == edge.dtype and x.flags.c_contiguous and y.flags.c_contiguous:
        yield x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]), borders
        return
    step = max(box[0], SLAB // prod(x.shape[1:]))
    for start in range(0, len(y), step):
        place = y[start : start + step]
        table = borders[0].places[start : start + len(place) + box[0] - 1]
        part: Array = x[table].astype(edge.dtype, order="C")
        out: Array = np.empty(place.shape, edge.dtype)
        part[table == CONSTANT] = edge[0]
        around = Border(len(table), 0, 0), *borders[1:]
        yield part.reshape(-1, part.shape[-1]), out.reshape(-1, out.shape[-1]), around
        place[...] = stored(out, y.dtype, mirrored=True)


@lru_cache(maxsize=16)
def layout(borders: tuple[Border, ...], box: Shape, item: int, minimum: bool) -> Layout:
    """The tables that tell rows of the padded image apart, and the extents of tasks.

    `planes`: which padded row is the first one of each plane of the box, then of each plane of y.
    """
    missing = (Border(1, 0, 0),) * (2 - len(borders))
    *outer, across = missing + borders
    box = (1,) * len(missing) + box
    rows = np.zeros((), np.int64)
    for border in outer:
        before = rows[..., None]
        rows = np.where((before < 0) | (border.places < 0), CONSTANT, before * border.extent + border.places)
    *deep, high, wide = [border.padded - taps + 1 for border, taps in zip((*outer, across), box, strict=True)]
    planes = np.concatenate([first_rows(extents, rows.shape) for extents in (box[:-2], tuple(deep))])

    columns = min(wide, max(box[-1], ROW // item))
    blocks = prod(deep) * -(-wide // columns)
    fitting = STRIP // (prod(box[:-2]) * (columns + box[-1] - 1) * item) - box[-2] + 1
    most = min(max(fitting, box[-2]), -(-high * blocks // TASKS))
    pitch = columns + box[-1] - 1
    rooms = prod(box[:-2]) * (most + box[-2] - 1) * pitch, most * pitch  # of a strip, and of results
    form = np.array([prod(box[:-2]), *box[-2:], across.before, most, columns, high, BLOCK // item, minimum, *rooms])
    return blocks * -(-high // most), rows.reshape(-1), planes, across.places, form


def first_rows(extents: Shape, shape: Shape) -> Array:
    """Which rows of an image, whose rows are so many, are the first ones of so many planes."""
    found = np.zeros((), np.int64)
    for axis, extent in enumerate(extents):
        found = found[..., None] + np.arange(extent) * prod(shape[axis + 1 :])
    return found.reshape(-1)


@njit
def prepare(task, tables, taps, image, y_wide, strip, apart):  # type: ignore[no-untyped-def]
    """Fill a task's strip, which is at an address, and tell how far in it each tap is from the box's first one.

    `image`: the addresses of x and the constant, the numbers of a row of x, and their bytes. Returns the task's first
    row among all rows of y, its first column, how many it has, and the strip's pitch.
    """
    form, rows, planes, places = tables
    item, down, across, most, columns = image[3], form[DOWN], form[ACROSS], form[MOST], form[COLUMNS]
    blocks, shares = (y_wide + columns - 1) // columns, (form[HIGH] + most - 1) // most
    g, p, q = task // blocks // shares, task // blocks % shares * most, task % blocks * columns
    high, wide = min(most, form[HIGH] - p), min(columns, y_wide - q)
    height, pitch = high + down - 1, wide + across - 1
    beneath = places[q : q + pitch]
    for h in range(form[DEPTH]):
        first, to = planes[h] + planes[form[DEPTH] + g] + p, strip + h * height * pitch * item
        for j in range(height):
            fill(image, rows[first + j], beneath, form[BEFORE] - q, to + j * pitch * item)
    for t in range(taps.size):
        h, r, s = taps[t] // (down * across), taps[t] // across % down, taps[t] % across
        apart[t] = (h * height + r) * pitch + s
    return g * form[HIGH] + p, high, q, wide, pitch


@njit
def fill(image, row, places, before, strip):  # type: ignore[no-untyped-def]
    """strip[w] = x[row, places[w]], or the constant; x's first column is at w = before, if that is in the strip."""
    x, edge, n, item = image
    if row < 0:
        repeat_bytes(edge, item, strip, places.size * item)
        return
    source = x + row * n * item
    low = min(max(before, 0), places.size)
    high = min(max(before + n, low), places.size)
    move_bytes(source + (low - before) * item, strip + low * item, (high - low) * item)
    for beyond in range(places.size - (high - low)):
        w = beyond if beyond < low else beyond + high - low
        move_bytes(edge if places[w] < 0 else source + places[w] * item, strip + w * item, item)


@njit
def save(found, item, pitch, high, wide, y, y_wide):  # type: ignore[no-untyped-def]
    """y[i, j] = found[i, j] for i < high, j < wide; both are addresses of numbers of `item` bytes."""
    for i in range(high):
        move_bytes(found + i * pitch * item, y + i * y_wide * item, wide * item)


@njit
def lower(u, v, w, z, least):  # type: ignore[no-untyped-def]
    """least[k] = the first of the least of least[k], u[k], v[k], w[k], z[k]."""
    for k in range(least.size):
        found = least[k]
        found = u[k] if u[k] < found else found
        found = v[k] if v[k] < found else found
        found = w[k] if w[k] < found else found
        least[k] = z[k] if z[k] < found else found


@njit
def higher(u, v, w, z, most):  # type: ignore[no-untyped-def]
    """most[k] = the first of the greatest of most[k], u[k], v[k], w[k], z[k]."""
    for k in range(most.size):
        found = most[k]
        found = u[k] if u[k] > found else found
        found = v[k] if v[k] > found else found
        found = w[k] if w[k] > found else found
        most[k] = z[k] if z[k] > found else found


@kernel
def find_extremes(x, rows, planes, places, taps, form, edge, y, first, end):  # type: ignore[no-untyped-def]
    """y[g, p, q] = min or max of padded_x[g + h, p + r, q + s] over the taps (h, r, s), the first of equals."""
    turn, item = form[TURN], x.itemsize
    strip, best = np.empty(form[PLACES], x.dtype), np.empty(form[RESULTS], x.dtype)
    apart, tables = np.empty(taps.size, np.int64), (form, rows, planes, places)
    for task in range(first, end):
        image = (address(x), address(edge), x.shape[1], item)  # here, so that the constant outlives the last task
        p, high, q, wide, pitch = prepare(task, tables, taps, image, y.shape[1], address(strip), apart)
        count = (high - 1) * pitch + wide
        for begin in range(0, count, turn):
            size = min(turn, count - begin)
            out = best[begin : begin + size]
            move_bytes(address(strip) + (begin + apart[0]) * item, address(best) + begin * item, size * item)
            for t in range(0, taps.size, TOGETHER):
                a, b, c, d = begin + apart[t], begin + apart[t + 1], begin + apart[t + 2], begin + apart[t + 3]
                u, v, w, z = strip[a : a + size], strip[b : b + size], strip[c : c + size], strip[d : d + size]
                if form[MINIMUM]:
                    lower(u, v, w, z, out)
                else:
                    higher(u, v, w, z, out)
        save(address(best), item, pitch, high, wide, address(y) + (p * y.shape[1] + q) * item, y.shape[1])


@njit
def add_products(u, v, w, z, a, b, c, d, total):  # type: ignore[no-untyped-def]
    """total[k] += a u[k] + b v[k] + c w[k] + d z[k]."""
    for k in range(total.size):
        total[k] += a * u[k] + b * v[k] + c * w[k] + d * z[k]


@kernel
def sum_products(x, rows, planes, places, taps, form, weights, y, first, end):  # type: ignore[no-untyped-def]
    """y[g, p, q] = sum of weights[t] * padded_x[g + h, p + r, q + s] over the taps t = (h, r, s), modulo 2^64."""
    turn, item = form[TURN], x.itemsize
    strip, total = np.empty(form[PLACES], x.dtype), np.empty(form[RESULTS], x.dtype)
    apart, tables = np.empty(taps.size, np.int64), (form, rows, planes, places)
    edge = np.zeros(1, x.dtype)
    for task in range(first, end):
        image = (address(x), address(edge), x.shape[1], item)  # here, so that the constant outlives the last task
        p, high, q, wide, pitch = prepare(task, tables, taps, image, y.shape[1], address(strip), apart)
        count = (high - 1) * pitch + wide
        for begin in range(0, count, turn):
            size = min(turn, count - begin)
            out = total[begin : begin + size]
            out[:] = 0
            for t in range(0, taps.size, TOGETHER):
                a, b, c, d = begin + apart[t], begin + apart[t + 1], begin + apart[t + 2], begin + apart[t + 3]
                u, v, w, z = strip[a : a + size], strip[b : b + size], strip[c : c + size], strip[d : d + size]
                add_products(u, v, w, z, weights[t], weights[t + 1], weights[t + 2], weights[t + 3], out)
        save(address(total), item, pitch, high, wide, address(y) + (p * y.shape[1] + q) * item, y.shape[1])
