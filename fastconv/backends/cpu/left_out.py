"""Which taps of a sum meet padding alone: in all pixels of a tile, or in the first or last one of its rows.

The former are not summed, the latter without that pixel. So a tile's taps are in the order of their kinds, and of each
kind in that of their rows, and what a row of tiles sums is a range of each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fastconv.backends.cpu.axes import Axis
from fastconv.backends.cpu.tile_choice import BRANCH, Sum, Tile
from fastconv.typing import Array

KINDS = 3  # taps that meet padding in the first pixel of a row, in neither or both, in the last one


def kinds(sum_: Sum, tile: Tile) -> int:
    """KINDS if to leave out pixels saves more than it takes to tell taps apart, else 1."""
    wide = sum_.axes[2]
    edges = sum((kinds_of(wide, phase) != 1).mean() for phase in wide.phases if phase) / len(wide.phases)
    saved = edges * sum_.taps * tile.rows * tile.vectors / 2
    return KINDS if saved > 2 * BRANCH * -(-wide.count // tile.columns) else 1


def kinds_of(wide: Axis, phase: Sequence[tuple[int, int]]) -> Array:
    """The kind of each tap of a phase along the rows."""
    seen = (wide.seen(shift) for _, shift in phase)
    return np.array([1 - (begin > 0) + (end < wide.count) for begin, end in seen], np.int64)


def ranges(high: Axis, rows: int, shifts: Array, kinds: Array, count: int) -> Array:
    """From which tap to which one each row of tiles of so many rows sums, of each kind.

    Taps are in the order of their kinds, and of each in that of their rows' shifts.
    """
    tops = np.arange(high.count) * high.step
    bounds = -tops - (rows - 1) * high.step, high.source - tops
    parts = [(first, shifts[first:last]) for first, last in pairwise(np.searchsorted(kinds, range(count + 1)))]
    places = [[first + np.searchsorted(part, bound) for bound in bounds] for first, part in parts]
    return np.ascontiguousarray(np.transpose(places, (2, 0, 1)), np.int64)
