"""Convolution, 2x2 maximum pooling and an activation in one kernel: what a bound network runs where these follow.

y[n, i, j, k] = f(max over dy, dx of bias[k] + sum over c, r, s of w[k, c, r, s] x[n, 2 i + dy + r, 2 j + dx + s, c])

in cross-correlation's meaning, with stride 1; padding is part of x. Channels are last. The activation comes after the
maximum, which is the same for one that nowhere falls, and has a quarter of the work. What is kept for the gradients
(pooled_weight_gradient.py, pooled_input_gradient.py) is each maximum's code, 2 dy + dx, a byte.

Index letters: `n` image, `k` filter, `c` channel, `i j` pooled pixel, `r s` filter tap.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.pooled_lanes import fits, lanes_body
from fastconv.backends.cpu.pooled_tiles import pooled_tile, scatter_numbers
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array

SPARE = 3  # registers that a tile leaves for what is not a sum
LATENCY = 4  # cycles of a multiply-add, two of which begin in each
LOADS = 1.6  # begun in each cycle beside multiply-adds, as measured
LEVEL_1 = 32 << 10  # bytes of the nearest cache, where the system does not say
ENOUGH = 8  # tasks that are enough for a machine's threads
SMALL = 1 << 20  # multiply-adds below which threads do not pay
PIECE = 1 << 12  # numbers of a task that packs


@dataclass(frozen=True)
class Images:
    """Images whose channels are last, somewhere in an array: they may have a border, or gaps between pixels.

    Number c of the pixel at row h and column w of image n is `array.flat[first + n * image + h * row + w * pixel + c]`.

    Attributes
    ----------
    array : array
    shape : (images, rows, columns, channels)
    image, row, pixel : int
        From one to the next, in numbers.
    first : int
    """

    array: Array
    shape: tuple[int, int, int, int]
    image: int
    row: int
    pixel: int
    first: int = 0

    def words(self) -> tuple[int, int, int, int]:
        """What kernels read: the first number's place, and from an image, row and pixel to the next one, in bytes."""
        item = self.array.itemsize
        return self.first * item, self.image * item, self.row * item, self.pixel * item


class Tile(NamedTuple):
    """How a row of pooled pixels is computed: so many at once, with so many vectors of filters."""

    paired: bool  # a vector has both pixels of a quad's row
    vectors: int
    columns: int
    group: int  # taps of a row whose weights are in registers together


def is_paired(lanes: int, filters: int) -> bool:
    """Whether filters fill no more than half a vector."""
    return lanes >= 4 and 2 * filters <= lanes


@functools.cache
def tile_for(lanes: int, registers: int, filters: int, across: int, width: int) -> Tile:
    """The tile that takes least time for a row of pooled pixels and of taps."""
    needed, paired = -(-filters // lanes), is_paired(lanes, filters)
    found = []
    for vectors, columns in itertools.product(range(1, min(needed, 3) + 1), range(1, min(across, registers // 2) + 1)):
        sums = (2 if paired else 4 * vectors) * columns
        group = min(width, (registers - SPARE - sums) // vectors)
        if group >= 1 and needed % vectors == 0:
            groups = -(-width // group)
            loads = width * vectors + 2 * (groups * (2 * columns - 1) + width)
            blend = columns if paired else 0
            cycles = max((sums * width + 2 * blend) / 2, loads / LOADS, LATENCY * width) + 1
            tiles = -(-needed // vectors) * -(-across // columns)
            found.append((tiles * cycles, columns, Tile(paired, vectors, columns, group)))
    return min(found)[-1]


def empty_codes(y: Images) -> Array:
    """The array of codes that belongs to y, of shape (images, rows, columns, filters and what fills a vector)."""
    lanes, filters = machine.vectors().lanes(y.array.itemsize), y.shape[3]
    each = lanes // 2 if is_paired(lanes, filters) else lanes
    return np.zeros((*y.shape[:3], -(-filters // each) * each), np.uint8)


def forward(x: Images, weight: Array, bias: Array | None, y: Images, codes: Array, kind: int) -> list[Step]:
    """Steps that pack the filters, which is to be done when they have changed (`early`), and compute y and the codes.

    Parameters
    ----------
    x : Images
        With the padding.
    weight : array (filters, channels, rows, columns)
    bias : array (filters,) or None
    y : Images
        Nothing but their pixels' channels is written to.
    codes : array of uint8
        As `empty_codes` makes it.
    kind : int
        NONE, RELU, TANH or SIGMOID of `exponentials`.
    """
    vectors, item = machine.vectors(), weight.itemsize
    lanes, (filters, channels, rows, columns) = vectors.lanes(item), weight.shape
    images, down, across, _ = y.shape
    if fits(lanes, vectors.registers, filters, x.pixel, across):
        return [along_rows(x, weight, bias, y, codes, kind)]
    tile = tile_for(lanes, vectors.registers, filters, across, columns)
    panels, pack = packed_filters(weight, bias, lanes, tile)
    work, strips, parts = shared_out(weight, y)
    parameters = [
        *(*x.words(), *y.words(), codes.shape[3], prod(codes.shape[1:])),
        *(down, across, strips, filters, rows, channels),
        *(-(-filters // (lanes * tile.vectors)), panels.size * item // -(-filters // (lanes * tile.vectors))),
    ]
    body = forward_body(item, lanes, tile, columns, x.pixel * item, kind)
    arrays = [x.array, panels, y.array, codes]
    convolve = Step("convolution, pooling", body, parameters, arrays, images * strips, parts, images, 2 * work)
    return [pack, convolve]


# Words of a plan: the places and distances of x and y, then these.
X, X_IMAGE, X_ROW, X_PIXEL, Y, Y_IMAGE, Y_ROW, Y_PIXEL, CODES_PIXEL, CODES_IMAGE = range(10)
DOWN, ACROSS, STRIPS, FILTERS, ROWS, CHANNELS, BLOCKS, BLOCK_BYTES = range(10, 18)


@functools.cache
def forward_body(item: int, lanes: int, tile: Tile, width: int, pixel: int, kind: int) -> Any:
    """The body that computes a strip of an image's pooled rows."""
    paired, vectors, columns, group = int(tile.paired), tile.vectors, tile.columns, tile.group
    each = vectors * lanes

    @native.body
    def convolve(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, strip); the last tile of a row begins where it ends with the row."""
        strips, down, across = word(plan, STRIPS), word(plan, DOWN), word(plan, ACROSS)
        x_row, y_pixel, codes_pixel = word(plan, X_ROW), word(plan, Y_PIXEL), word(plan, CODES_PIXEL)
        rows, channels = word(plan, ROWS), word(plan, CHANNELS)
        for task in range(first, end):
            image, strip = task // strips, task % strips
            x = word(arrays, 0) + word(plan, X) + image * word(plan, X_IMAGE)
            y = word(arrays, 2) + word(plan, Y) + image * word(plan, Y_IMAGE)
            codes = word(arrays, 3) + image * word(plan, CODES_IMAGE)
            for block in range(word(plan, BLOCKS)):
                filters = word(arrays, 1) + block * word(plan, BLOCK_BYTES)
                valid, place = word(plan, FILTERS) - block * each, block * each
                for i in range(strip * down // strips, (strip + 1) * down // strips):
                    for start in range(0, across, columns):
                        j = min(start, across - columns)
                        at, to = x + 2 * (i * x_row + j * pixel), codes + (i * across + j) * codes_pixel + place
                        out = y + i * word(plan, Y_ROW) + j * y_pixel + place * item
                        pooled_tile(
                            item, lanes, paired, vectors, columns, group, width, pixel, kind,
                            at, x_row, rows, channels, filters, out, y_pixel, valid, to, codes_pixel,
                        )  # fmt: skip

    return convolve


def along_rows(x: Images, weight: Array, bias: Array | None, y: Images, codes: Array, kind: int) -> Step:
    """The step that computes y and the codes with pooled pixels in the lanes, of filters as they are."""
    item, (filters, _, rows, columns), (images, down, across, _) = weight.itemsize, weight.shape, y.shape
    lanes = machine.vectors().lanes(item)
    work, strips, parts = shared_out(weight, y)
    parameters = [*x.words()[:3], *y.words(), prod(codes.shape[1:]), down, across, strips, rows, rows * columns * item]
    body = lanes_body(item, lanes, filters, columns, min(across, lanes), kind)
    arrays = [x.array, weight, np.zeros(filters, weight.dtype) if bias is None else bias, y.array, codes]
    return Step("convolution, pooling", body, parameters, arrays, images * strips, parts, images, 2 * work)


def shared_out(weight: Array, y: Images) -> tuple[int, int, int]:
    """Multiply-adds, and for threads, where they pay: strips of an image, and parts of a thread's share of them."""
    images, down, across, _ = y.shape
    work = prod(weight.shape) * images * 4 * down * across
    return (work, min(down, -(-ENOUGH // images)), 4) if work >= SMALL else (work, 1, 0)


def packed_filters(weight: Array, bias: Array | None, lanes: int, tile: Tile) -> tuple[Array, Step]:
    """The filters as tiles read them, zeros as yet, and the step that fills them in.

    A block of filters is a row for the bias, then one for each (r, c, s). In pairs a row has the weights of the left
    pixel's tap s, then of the right one's tap s - 1; its tap before the first one is the last one.
    """
    filters, channels, rows, columns = weight.shape
    each = lanes * tile.vectors
    blocks = -(-filters // each)
    size = (1 + rows * columns * channels) * each
    k, c, r, s = np.indices(weight.shape)
    first, taps = k // each * size + k % each, (r * channels + c) * columns
    places, begin = [first + (1 + taps + s) * each], [first[:, 0, 0, 0]]
    if tile.paired:
        places.append(first + lanes // 2 + (1 + taps + (s + 1) % columns) * each)
        begin.append(begin[0] + lanes // 2)
    panels = aligned(blocks * size, weight.dtype)
    panels[:] = 0
    pairs = [(weight, places), (bias, begin)] if bias is not None else [(weight, places)]
    return panels, placed("pack filters", panels, pairs)


def placed(name: str, target: Array, pairs: Sequence[tuple[Array, Sequence[Array]]]) -> Step:
    """The step target[places[i]] = source[i] for each source and each of its tables of places."""
    parameters, arrays, item = [], [target], target.itemsize
    for source, tables in pairs:
        table = np.stack([places.reshape(-1) for places in tables]) * item
        arrays += [source, table.astype(np.int32)]
        parameters += [source.size, len(tables)]
    pieces = [-(-source.size // PIECE) for source, _ in pairs]
    body, tasks = placed_body(item, machine.vectors().lanes(item)), sum(pieces)
    return Step(name, body, [pieces[0], *parameters], arrays, tasks, 4 if tasks > ENOUGH else 0, early=True)


@functools.cache
def placed_body(item: int, lanes: int) -> Any:
    """The body that puts numbers where a table says."""

    @native.body
    def placed(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks are pieces of the first source, then of the second one."""
        for task in range(first, end):
            source = 0 if task < word(plan, 0) else 1
            begin = (task - source * word(plan, 0)) * PIECE
            size = word(plan, 1 + 2 * source)
            count = min(PIECE, size - begin)
            numbers, places = word(arrays, 1 + 2 * source) + begin * item, word(arrays, 2 + 2 * source)
            for table in range(word(plan, 2 + 2 * source)):
                scatter_numbers(item, lanes, numbers, places + 4 * (table * size + begin), count, word(arrays, 0))

    return placed
