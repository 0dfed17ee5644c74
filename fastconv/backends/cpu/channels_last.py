"""Images whose channels are last, with a border, made of images whose channels are first, and the other way round.

Bound networks keep them so where kernels want it, and convert at the ends of such a stretch only. Index letters: `n`
image, `c` channel, `h w` pixel.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.moves import copy_numbers
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.pooled_convolution import Images
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.turns import turn_block
from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array, Pairs, Shape

CHANNELS, ROWS, COLUMNS, LAST, LAST_IMAGE, LAST_ROW, LAST_PIXEL = range(7)
FIRST_ARRAY, LAST_ARRAY = range(2)


def images_last(shape: Shape, dtype: np.dtype[Any], padding: Pairs = ((0, 0), (0, 0))) -> Images:
    """Images (N, C, H, W) with channels last, and a border of zeros; a vector behind them may be read and written."""
    n, channels, height, width = shape
    (top, bottom), (left, right) = padding
    row = (width + left + right) * channels
    image = row * (height + top + bottom)
    array = aligned(n * image + 2 * machine.vectors().lanes(dtype.itemsize), dtype)
    array[:] = 0
    return Images(array, (n, height, width, channels), image, row, channels, top * row + left * channels)


def within(images: Images, padding: Pairs) -> Images:
    """The same with the border: what a convolution with this padding looks at."""
    n, height, width, channels = images.shape
    (top, bottom), (left, right) = padding
    shape = n, height + top + bottom, width + left + right, channels
    return Images(images.array, shape, images.image, images.row, images.pixel, 0)


def numbers(images: Images) -> Array:
    """All numbers of all images, borders too, as (N, numbers of an image)."""
    n = images.shape[0]
    return images.array[: n * images.image].reshape(n, images.image)


def to_last(x: Array, y: Images) -> Step:
    """y[n, h, w, c] = x[n, c, h, w]."""
    return _step("channels last", x, y, True)


def to_first(x: Images, y: Array) -> Step:
    """y[n, c, h, w] = x[n, h, w, c]."""
    return _step("channels first", y, x, False)


def _step(name: str, first: Array, last: Images, onto_last: bool) -> Step:
    n, channels, height, width = first.shape
    item = first.itemsize
    if last.row == width * last.pixel:  # rows follow each other: as good as one
        height, width = 1, height * width
    body = layout_body(item, machine.vectors().lanes(item), onto_last, channels == last.pixel == 1)
    parameters = [channels, height, width, *last.words()]
    parts = 4 if first.size >= 1 << 15 else 0
    return Step(name, body, parameters, [first, last.array], n, parts, n if n > 1 else 0, prod(first.shape))


@cache
def layout_body(item: int, lanes: int, onto_last: bool, single: bool) -> Any:
    """The body that converts an image in a task, in squares of as many channels and pixels as a vector has lanes."""

    @native.body
    def converted(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Images from first to end."""
        channels, rows, columns = word(plan, CHANNELS), word(plan, ROWS), word(plan, COLUMNS)
        pixel, plane = word(plan, LAST_PIXEL), rows * columns * item
        for n in range(first, end):
            planes = word(arrays, FIRST_ARRAY) + n * channels * plane
            pixels = word(arrays, LAST_ARRAY) + word(plan, LAST) + n * word(plan, LAST_IMAGE)
            for h in range(rows):
                line, row = planes + h * columns * item, pixels + h * word(plan, LAST_ROW)
                if single:
                    if onto_last:
                        copy_numbers(item, lanes, line, columns, row)
                    else:
                        copy_numbers(item, lanes, row, columns, line)
                else:
                    for c in range(0, channels, lanes):
                        deep = min(lanes, channels - c)
                        for w in range(0, columns, lanes):
                            wide = min(lanes, columns - w)
                            by_plane, by_pixel = line + c * plane + w * item, row + w * pixel + c * item
                            if onto_last:
                                turn_block(item, lanes, by_plane, plane, deep, wide, by_pixel, pixel, deep)
                            else:
                                turn_block(item, lanes, by_pixel, pixel, wide, deep, by_plane, plane, wide)

    return converted
