"""Where the pixels under a filter's taps are, as tables on the device: no kernel knows a border or the number of axes.

All axes but the last two are counted as one: an image is a plane of rows and columns, one of many if it has more axes.
Of the padded image, `planes`, `rows` and `columns` say where each plane, row and column is in x, -1 for the constant;
`starts` and `shifts` are the padded planes at which the output's begin, and how far from there each tap's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.backends.cuda import device
from fastconv.backends.cuda.array import DeviceArray, from_host
from fastconv.borders import CONSTANT, Border
from fastconv.typing import Array, Shape


@dataclass(frozen=True)
class Grid:
    """The tables of a filter, and extents: x's rows and columns, planes, rows and columns of output and taps."""

    tables: tuple[DeviceArray, ...]
    shifts: Array
    size: Shape
    shape: Shape
    taps: Shape


def grid(borders: tuple[Border, ...], taps: Shape) -> Grid:
    """The grid of a filter of so many taps along each axis."""
    return _grid(borders, taps, device._stream.get())


@lru_cache(maxsize=64)
def _grid(borders: tuple[Border, ...], taps: Shape, stream: Any) -> Grid:
    while len(borders) < 2:
        borders, taps = (Border(1, 0, 0), *borders), (1, *taps)
    planes, starts, shifts = np.zeros((3, 1), np.int64)
    for border, k in zip(borders[:-2], taps[:-2], strict=True):
        places = border.places
        outside = (planes[:, None] == CONSTANT) | (places == CONSTANT)
        planes = np.where(outside, CONSTANT, planes[:, None] * border.extent + places).reshape(-1)
        starts = np.add.outer(starts * border.padded, np.arange(border.padded - k + 1)).reshape(-1)
        shifts = np.add.outer(shifts * border.padded, np.arange(k)).reshape(-1)
    shape = starts.size, *(max(0, border.padded - k + 1) for border, k in zip(borders[-2:], taps[-2:], strict=True))
    tables: list[Array] = [planes, starts, shifts, borders[-2].places, borders[-1].places]
    size = borders[-2].extent, borders[-1].extent
    return Grid(tuple([from_host(table) for table in tables]), shifts, size, shape, (shifts.size, *taps[-2:]))
