"""The gradient of a convolution's input through the 2x2 maximum pooling behind it.

gx[n, h, w, c] = sum over k, r, s, i, j with 2 i + dy + r = h, 2 j + dx + s = w of g[n, i, j, k] weight[k, c, r, s]

The gradient g of a pooled pixel belongs to the winner, of the code 2 dy + dx. Zero margins around a filter stand for
its place: all that a pooled pixel meets is rows + 1 rows of columns + 1 pixels, and a filter is read from where the
margins put it at the winner. Names and index letters are those of pooled_convolution.py.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.moves import clear_numbers
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.pooled_convolution import LEVEL_1, SMALL, SPARE, Images, placed
from fastconv.backends.cpu.pooled_gradient_tiles import spread_winners
from fastconv.backends.cpu.pooled_tiles import even
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array

# Words of a plan: the places and distances of gx and g, then these.
X, X_IMAGE, X_ROW, X_PIXEL, G, G_IMAGE, G_ROW, G_PIXEL, CODES_PIXEL, CODES_IMAGE = range(10)
DOWN, ACROSS, FILTERS, BLOCK, AREA_ROWS, AREA_LENGTH, PARTS, TABLE_FILTER, GX_ROWS, GX_COLUMNS = range(10, 20)


class InputTile(NamedTuple):
    """What of the pixels that a pooled one meets is summed in registers: so many rows, and vectors of a row."""

    lanes: int
    rows: int
    vectors: int


@functools.cache
def input_tile(lanes: int, registers: int, rows: int, length: int) -> InputTile:
    """The tile for so many rows of so many numbers."""
    widths = [width for width in (lanes, lanes // 2, lanes // 4) if width >= 2]
    lanes = min(widths, key=lambda width: (-(-length // width), width))
    most = registers - SPARE - 1
    vectors = even(-(-length // lanes), most)
    return InputTile(lanes, even(rows, most // vectors), vectors)


def input_grad(g: Images, codes: Array, weight: Array, gx: Images) -> list[Step]:
    """Steps that lay out the filters, which is to be done when they have changed, and compute the input's gradient.

    If g is infinite or NaN, what it meets is NaN, whichever of the four pixels won: the margins are 0 times g.

    Parameters
    ----------
    g : Images
        The gradient of what was pooled, before the activation.
    codes : array of uint8
    weight : array (filters, channels, rows, columns)
    gx : Images
        The gradient of what `forward` had as x, its border too. Nothing but rows of pixels, gaps between them
        included, is written to.
    """
    vectors, item, (filters, _, rows, columns) = machine.vectors(), weight.itemsize, weight.shape
    images, down, across, _ = g.shape
    length = (columns + 1) * gx.pixel
    full = vectors.lanes(item)
    tile = input_tile(full, vectors.registers, rows + 1, length)
    own = tile.vectors * tile.lanes
    parts = -(-length // own)
    section = (rows + 1) * 2 * own  # of a filter: a row of zeros, then the taps' rows from the last one on
    table = aligned(parts * filters * section + 2 * tile.rows * own + 2 * own, weight.dtype)
    table[:] = 0
    k, c, r, s = np.indices(weight.shape)
    places = []
    for dx in range(2):
        part, place = np.divmod((s + dx) * gx.pixel + c, own)
        places.append((part * filters + k) * section + (2 * (rows - r) + dx) * own + place)
    pack = placed("lay out filters", table, [(weight, places)])
    block = even(filters, machine.cache_bytes(1, LEVEL_1) * 4 // 5 // (section * item))
    parameters = [
        *(*gx.words(), *g.words(), codes.shape[3], prod(codes.shape[1:]), down, across, filters),
        *(block, rows + 1, length, parts, section * item, *gx.shape[1:3]),
    ]
    work = prod(weight.shape) * images * 4 * down * across
    arrays = [gx.array, g.array, codes, table]
    spread = Step("input gradient", input_body(item, full, tile), parameters, arrays, images, 0, images, 2 * work)
    return [pack, spread._replace(parts=4 if work >= SMALL else 0)]


@functools.cache
def input_body(item: int, full: int, tile: InputTile) -> Any:
    """The body that computes an image's gradient: each pooled pixel adds to the pixels that it meets."""
    lanes, rows, vectors = tile
    own = vectors * lanes

    @native.body
    def spread(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is an image. A block of filters, few enough for the nearest cache, goes over all pixels."""
        gx_row, gx_pixel, codes_pixel = word(plan, X_ROW), word(plan, X_PIXEL), word(plan, CODES_PIXEL)
        g_row, g_pixel, down, across = word(plan, G_ROW), word(plan, G_PIXEL), word(plan, DOWN), word(plan, ACROSS)
        filters, block, table_filter = word(plan, FILTERS), word(plan, BLOCK), word(plan, TABLE_FILTER)
        area_rows, length, parts = word(plan, AREA_ROWS), word(plan, AREA_LENGTH), word(plan, PARTS)
        for image in range(first, end):
            gx = word(arrays, 0) + word(plan, X) + image * word(plan, X_IMAGE)
            g = word(arrays, 1) + word(plan, G) + image * word(plan, G_IMAGE)
            codes = word(arrays, 2) + image * word(plan, CODES_IMAGE)
            for h in range(word(plan, GX_ROWS)):
                clear_numbers(item, full, word(plan, GX_COLUMNS) * gx_pixel // item, gx + h * gx_row)
            for part in range(parts):
                valid = length - part * own
                for r in range(0, area_rows, rows):
                    for k in range(0, filters, block):
                        count, table = min(block, filters - k), word(arrays, 3) + 2 * r * own * item
                        table += (part * filters + k) * table_filter
                        for i in range(down):
                            for j in range(across):
                                target = (
                                    gx + (2 * i + area_rows - 1 - r) * gx_row + 2 * j * gx_pixel + part * own * item
                                )
                                spread_winners(
                                    item, lanes, rows, vectors,
                                    count, g + i * g_row + j * g_pixel + k * item,
                                    codes + (i * across + j) * codes_pixel + k,
                                    table, table_filter, target, gx_row, area_rows - r, valid,
                                )  # fmt: skip

    return spread
