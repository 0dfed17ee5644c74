"""Arrays as planes of rows of columns, with their borders: what a filter's plan is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.cpu.filter_stages import Grid
from fastconv.backends.cpu.filter_strips import OUTSIDE
from fastconv.borders import CONSTANT, Border
from fastconv.typing import Array, Shape


class Layout(NamedTuple):
    """An array's dtype, shape, and bytes from a number to the next along each axis."""

    dtype: np.dtype[Any]
    shape: Shape
    strides: Shape


def layout_of(array: Array) -> Layout:
    """Where an array's numbers are."""
    return Layout(array.dtype, array.shape, array.strides)


def ready(array: Array) -> bool:
    """Whether rows of the array can be read and written as they are."""
    together = array.strides[-1] == array.itemsize or array.shape[-1] == 1
    return together and array.dtype.isnative and array.flags.aligned


def grid_of(
    x: Layout,
    y: Layout,
    computed: np.dtype[Any],
    places: Sequence[Array],
    taps: Shape,
    before: int,
    cval: float,
    between: bool = False,
) -> Grid:
    """The grid of a filter over all axes, two at least: `places` are the tables of its borders.

    `before` is the border's pixels before the first column, `between` whether the constant also surrounds what the
    first of two stages gives.
    """
    planes, y_planes = np.zeros((1, 1), np.int64), np.zeros(1, np.int64)
    for axis, table in enumerate(places[:-2]):
        window = np.arange(y.shape[axis])[:, None] + np.arange(taps[axis])
        own = table[window]
        offsets = own * x.strides[axis]
        outside = (planes == OUTSIDE)[:, None, :, None] | (own == CONSTANT)[None, :, None, :]
        sums = planes[:, None, :, None] + offsets[None, :, None, :]
        shape = (planes.shape[0] * own.shape[0], planes.shape[1] * own.shape[1])
        planes = np.where(outside, OUTSIDE, sums).reshape(shape)
        y_planes = np.add.outer(y_planes, np.arange(y.shape[axis]) * y.strides[axis]).reshape(-1)
    return Grid(
        x.dtype, y.dtype, computed, np.ascontiguousarray(planes), np.ascontiguousarray(y_planes),
        np.ascontiguousarray(places[-2]), np.ascontiguousarray(places[-1]),
        (x.strides[-2], y.strides[-2]), before, x.shape[-1], (y.shape[-2], y.shape[-1]), cval, between,
    )  # fmt: skip


def inside(extent: int) -> Border:
    """An axis that no filter looks along."""
    return Border(extent, 0, 0)
