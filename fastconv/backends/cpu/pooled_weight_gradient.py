"""The gradient of a convolution's weights through the 2x2 maximum pooling behind it.

grad_weight[k, c, r, s] = sum over n, i, j of g[n, i, j, k] x[n, 2 i + dy + r, 2 j + dx + s, c]

The gradient g of a pooled pixel belongs to the winner, of the code 2 dy + dx. Its place is an offset, so this takes a
quarter of the multiply-adds of a gradient that knows nothing of zeros, and what lanes waste. Names and index letters
are those of pooled_convolution.py.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastconv.backends.cpu import launching, machine, native
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import clear_numbers
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.pooled_convolution import ENOUGH, LEVEL_1, SMALL, SPARE, Images
from fastconv.backends.cpu.pooled_gradient_tiles import (
    add_chunks,
    add_pixels,
    add_winners,
    copy_starts,
    store_total,
)
from fastconv.backends.cpu.pooled_tiles import even, gather_numbers
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array

MOST_FILTERS = 8  # of a tile
APART = 4096  # bytes between threads' workspaces: what is fetched ahead of reading stays within a page
COPY = 3  # loads that copying a vector takes as long as

# Words of a plan: the places and distances of x and g, then these.
X, X_IMAGE, X_ROW, X_PIXEL, G, G_IMAGE, G_ROW, G_PIXEL, CODES_PIXEL, CODES_IMAGE = range(10)
DOWN, ACROSS, FILTERS, OFFSETS = 10, 11, 12, 13
OWN = OFFSETS + 4  # behind four offsets, by code
IMAGES, CHUNKS, SHARES, GROUPS, ROWS, VECTORS, TILES_DOWN, TILES_ACROSS, CHUNK_BYTES, BIAS_BYTES = range(OWN, OWN + 10)
STRIP_IMAGES, STRIP_DOWN, STRIP_ACROSS, STRIP_BYTES, SPACE_BYTES = range(OWN + 10, OWN + 15)


class WeightTile(NamedTuple):
    """What is summed in registers: so many filters, rows of taps, and vectors of such a row's numbers.

    Rows of taps begin anywhere, and what loads of b bytes meet is, in (b - item) / LINE of them, two cache lines, which
    takes twice as long. Where enough filters meet a row, it is copied first, from each pixel on, to a place of its own.
    """

    lanes: int
    filters: int
    rows: int
    vectors: int
    start: int  # bytes of a copied row; 0: none are


@functools.cache
def weight_tile(item: int, lanes: int, registers: int, filters: int, rows: int, length: int) -> WeightTile:
    """The tile for rows of taps of so many numbers: whether copied, and how wide vectors are, as costs fewest loads."""
    found = []
    for width in (lanes, lanes // 2, lanes // 4):
        if width >= 2:
            vectors = -(-length // width)
            loads = filters * rows * vectors
            found.append((loads * (1 + (width * item - item) / LINE), width, 0))
            found.append((loads + 4 * COPY * vectors, width, vectors * width * item))
    _, width, start = min(found)
    most = registers - SPARE - 1
    across = even(-(-length // width), most)
    down = even(rows, most // across)
    return WeightTile(width, even(filters, min(MOST_FILTERS, most // (across * down))), down, across, start)


class Strips(NamedTuple):
    """What of the images is gone through at once: so many images, or so many rows and columns of pooled pixels."""

    images: int
    down: int
    across: int
    bytes: int  # of a copied image, or a part of one


def strips_of(x: Images, g: Images, rows: int, tile: WeightTile) -> Strips:
    """Strips that stay in the nearest cache while all filters meet them."""
    room, item, (_, down, across, filters) = machine.cache_bytes(1, LEVEL_1) // 2, x.array.itemsize, g.shape
    column = 2 * (tile.start or x.pixel * item)  # bytes of two of a row's pixels
    grads = filters * (item + 1)
    if not tile.start or column * across * (rows + 1) <= room:
        line = across * (2 * column + grads)
        most = (room - across * column * (rows - 1)) // line
        if most >= down:
            whole = down * line + across * column * (rows - 1)
            return Strips(room // whole, down, across, across * column * (2 * down + rows - 1))
        strip = even(down, most)
        return Strips(1, strip, across, across * column * (2 * strip + rows - 1))
    strip = even(across, room // (column * (rows + 1)))
    return Strips(1, 1, strip, strip * column * (rows + 1))


def weight_grad(x: Images, g: Images, codes: Array, grad_weight: Array, grad_bias: Array | None) -> list[Step]:
    """Steps that compute the gradients of the weights and, unless None, of the bias.

    Sums are of the weights' dtype, those of strips of images first, then of chunks. Both are chosen by the shapes and
    the machine's cache, whatever the threads. The bias is summed in float64.

    Parameters
    ----------
    x : Images
        What `forward` had; a vector's numbers behind any pixel's channels may be read.
    g : Images
        The gradient of what was pooled, before the activation.
    codes : array of uint8
    grad_weight : array (filters, channels, rows, columns)
    grad_bias : array (filters,) or None
    """
    registers, item, (filters, channels, rows, columns) = machine.vectors(), grad_weight.itemsize, grad_weight.shape
    full, (images, down, across, _) = registers.lanes(item), g.shape
    length = (columns - 1) * x.pixel + channels
    tile = weight_tile(item, full, registers.registers, filters, rows, length)
    vectors = -(-length // tile.lanes)
    tiles = -(-rows // tile.rows), -(-vectors // tile.vectors)
    groups, own = -(-filters // tile.filters), tile.rows * tile.vectors * tile.lanes
    size = groups * prod(tiles) * tile.filters * own
    strips = strips_of(x, g, rows, tile)
    work = prod(grad_weight.shape) * images * 4 * down * across
    chunks = min(ENOUGH, -(-images // strips.images)) if work >= SMALL else 1
    shares = min(groups, -(-ENOUGH // chunks)) if work >= SMALL else 1
    if tile.start:
        shares = max(1, min(shares, filters * rows // (8 * COPY)))
    sums = aligned(chunks * size, grad_weight.dtype)
    bias = aligned(chunks * -(-filters // LINE) * LINE, np.float64).reshape(chunks, -1)  # no line is two chunks'
    own_space = -(-strips.images * strips.bytes // APART) * APART + APART if tile.start else 0
    space = aligned(launching.LIMIT * own_space, np.uint8)
    parameters = [
        *(*x.words(), *g.words(), codes.shape[3], prod(codes.shape[1:]), down, across, filters),
        *[item * (dy * x.row + dx * x.pixel) for dy in range(2) for dx in range(2)],
        *(images, chunks, shares, groups, rows, vectors, *tiles, size * item, bias.strides[0]),
        *(strips.images, strips.down, strips.across, strips.bytes, own_space),
    ]
    parts = 4 if work >= SMALL else 0
    arrays = [x.array, g.array, codes, sums, bias, space]
    add = Step(
        "weight gradient", weight_body(item, full, tile), parameters, arrays, chunks * shares, parts, 0, 2 * work
    )
    places = places_of(grad_weight.shape, tile, vectors, x.pixel) * item
    ends = [
        *(filters, chunks, size * item, own * item, prod(tiles), prod(grad_weight.shape[1:]), bias.strides[0]),
        int(grad_bias is not None),
    ]
    others = [sums, bias, places.astype(np.int32), grad_weight, grad_bias]
    large = 4 if chunks * size > 1 << 16 else 0
    return [add, Step("weight gradient's end", weight_end(item, tile), ends, others, filters, large)]


@functools.cache
def strip_functions(item: int, tile: WeightTile) -> tuple[Any, Any]:
    """What copies a strip of images, and what adds it to sums[group, tile of rows, of vectors, filter, row, vector]."""
    lanes, filters, rows, vectors, start = tile
    bytes_, all_vectors = filters * rows * vectors * lanes * item, max(1, start // (lanes * item))

    @njit
    def copied(plan, x, count, i, j, down, across, target):  # type: ignore[no-untyped-def]
        """Copy what the strip meets, of so many images."""
        x_row, x_pixel = word(plan, X_ROW), word(plan, X_PIXEL)
        for n in range(count):
            source = x + n * word(plan, X_IMAGE) + 2 * i * x_row + 2 * j * x_pixel
            to, taps = target + n * word(plan, STRIP_BYTES), word(plan, ROWS)
            copy_starts(item, lanes, all_vectors, source, x_row, x_pixel, 2 * down + taps - 1, across, to)

    @njit
    def add_strip(plan, x, g, codes, count, i, j, down, across, g0, g1, sums):  # type: ignore[no-untyped-def]
        """Add to the sums of all tiles of some groups; x is the strip's own. A direction's last tile ends with it."""
        x_image, x_row, x_pair = word(plan, X_IMAGE), word(plan, X_ROW), 2 * word(plan, X_PIXEL)
        if start > 0:
            x_image, x_pair = word(plan, STRIP_BYTES), 2 * start * (2 * down + word(plan, ROWS) - 1)
        g_row, g_pixel, codes_pixel = word(plan, G_ROW), word(plan, G_PIXEL), word(plan, CODES_PIXEL)
        codes_row, tiles_across = word(plan, ACROSS) * codes_pixel, word(plan, TILES_ACROSS)
        tiles = word(plan, TILES_DOWN) * tiles_across
        g, codes = g + i * g_row + j * g_pixel, codes + i * codes_row + j * codes_pixel
        for group in range(g0, g1):
            k = min(group * filters, word(plan, FILTERS) - filters)
            for part in range(tiles):
                r = min(part // tiles_across * rows, word(plan, ROWS) - rows)
                v = min(part % tiles_across * vectors, word(plan, VECTORS) - vectors)
                add_winners(
                    item, lanes, filters, rows, vectors, start,
                    x + r * (2 * start if start > 0 else x_row) + v * lanes * item, x_image, x_row, x_pair,
                    plan + 8 * OFFSETS, g + k * item, word(plan, G_IMAGE), g_row, g_pixel,
                    codes + k, word(plan, CODES_IMAGE), codes_row, codes_pixel,
                    count, down, across, sums + (group * tiles + part) * bytes_,
                )  # fmt: skip

    return copied, add_strip


@functools.cache
def bias_sums(item: int, lanes: int) -> Any:
    """What sums the gradient over all pixels of images, in float64."""

    @njit
    def add_bias(plan, g, first, last, sums):  # type: ignore[no-untyped-def]
        for k in range(0, word(plan, FILTERS), lanes):
            clear_numbers(8, lanes, lanes, sums + 8 * k)
            for n in range(first, last):
                add_pixels(
                    item, lanes, g + n * word(plan, G_IMAGE) + k * item, word(plan, G_ROW), word(plan, G_PIXEL),
                    word(plan, DOWN), word(plan, ACROSS), word(plan, FILTERS) - k, sums + 8 * k,
                )  # fmt: skip

    return add_bias


@functools.cache
def weight_body(item: int, full: int, tile: WeightTile) -> Any:
    """The body that sums a chunk of images."""
    lanes, filters, rows, vectors, start = tile
    bytes_ = filters * rows * vectors * lanes * item
    (copied, add_strip), add_bias = strip_functions(item, tile), bias_sums(item, full)

    @native.body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (chunk, share of the groups of filters)."""
        down, across, shares = word(plan, DOWN), word(plan, ACROSS), word(plan, SHARES)
        group_bytes = word(plan, TILES_DOWN) * word(plan, TILES_ACROSS) * bytes_
        x, g, block = word(arrays, 0) + word(plan, X), word(arrays, 1) + word(plan, G), word(plan, STRIP_IMAGES)
        space = word(arrays, 5) + thread * word(plan, SPACE_BYTES)
        for task in range(first, end):
            chunk, share = task // shares, task % shares
            begin = chunk * word(plan, IMAGES) // word(plan, CHUNKS)
            last = (chunk + 1) * word(plan, IMAGES) // word(plan, CHUNKS)
            g0, g1 = share * word(plan, GROUPS) // shares, (share + 1) * word(plan, GROUPS) // shares
            target = word(arrays, 3) + chunk * word(plan, CHUNK_BYTES)
            clear_numbers(item, lanes, (g1 - g0) * group_bytes // item, target + g0 * group_bytes)
            for n in range(begin, last, block):
                count, place = min(block, last - n), x + n * word(plan, X_IMAGE)
                grads, codes = g + n * word(plan, G_IMAGE), word(arrays, 2) + n * word(plan, CODES_IMAGE)
                for i in range(0, down, word(plan, STRIP_DOWN)):
                    high = min(word(plan, STRIP_DOWN), down - i)
                    for j in range(0, across, word(plan, STRIP_ACROSS)):
                        wide = min(word(plan, STRIP_ACROSS), across - j)
                        met = place + 2 * (i * word(plan, X_ROW) + j * word(plan, X_PIXEL))
                        if start > 0:
                            copied(plan, place, count, i, j, high, wide, space)
                            met = space
                        add_strip(plan, met, grads, codes, count, i, j, high, wide, g0, g1, target)
            if share == 0:
                add_bias(plan, g, begin, last, word(arrays, 4) + chunk * word(plan, BIAS_BYTES))

    return sums


def places_of(shape: tuple[int, ...], tile: WeightTile, vectors: int, pixel: int) -> Array:
    """For each weight of a filter, its place among the sums of the group's first filter."""
    _, channels, rows, columns = shape
    c, r, s = np.indices((channels, rows, columns))
    v, lane = np.divmod(s * pixel + c, tile.lanes)
    down, across = r // tile.rows, v // tile.vectors
    r = r - np.minimum(down * tile.rows, rows - tile.rows)
    v = v - np.minimum(across * tile.vectors, vectors - tile.vectors)
    part = (down * -(-vectors // tile.vectors) + across) * tile.filters
    found: Array = ((part * tile.rows + r) * tile.vectors + v) * tile.lanes + lane
    return found.reshape(-1)


@functools.cache
def weight_end(item: int, tile: WeightTile) -> Any:
    """The body that adds the chunks' sums and puts them where the gradient has them."""
    lanes, filters, rows, vectors, _ = tile

    @native.body
    def end_of_sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a filter."""
        chunks, chunk_bytes, own, tiles = word(plan, 1), word(plan, 2), word(plan, 3), word(plan, 4)
        for k in range(first, end):
            group = k // filters
            place = k - min(group * filters, word(plan, 0) - filters)
            sums = word(arrays, 0) + group * tiles * filters * own + place * own
            if chunks > 1:
                for part in range(tiles):
                    add_chunks(item, lanes, sums + part * filters * own, rows * vectors, chunks, chunk_bytes)
            count = word(plan, 5)
            gather_numbers(item, lanes, sums, word(arrays, 2), count, word(arrays, 3) + k * count * item)
            if word(plan, 7):
                store_total(item, lanes, word(arrays, 1) + 8 * k, chunks, word(plan, 6), word(arrays, 4) + k * item)

    return end_of_sums
