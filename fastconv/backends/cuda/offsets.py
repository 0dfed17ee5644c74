"""Tables of offsets: what makes of every convolution, and of every gradient of one, the same product of matrices.

    C[at + row[m] + column[n]] = bias + sum over k of A[at + row[m] + depth[k]] * B[at + column[n] + depth[k]]

Pixels' and taps' offsets simply add, so a table is short: it has as many entries as the product has rows, columns or
depth, and no patch of the image is ever copied. Where images are many, they fall into batches of columns, or segments
of the depth, which share a table: their offsets differ by one number.

Letters: `m` row, `n` column, `k` depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cuda.array import DeviceArray, from_host
from fastconv.typing import Array

LONGEST = 1 << 18  # entries of a table that several images share
NARROW = 1 << 31  # offsets below are int32
SPARE = 16  # entries that kernels may read, but not use, beyond those of the depth
SECTOR = 32  # bytes that memory moves at least
WARP = 32
# Numbers of a product that kernels read, by their place; those of the batches follow, FIELDS of each.
ROWS, COLUMNS, SEGMENT, TOTAL, A_STEP, B_STEP, BATCH = range(7)
ROW_TILES, COLUMN_TILES, SEGMENT_STEPS, STEPS, PART_STEPS, PARTS = range(7, 13)
BATCHES, FIELDS = 13, 5
A_AT, B_AT, C_AT, BIAS_AT, FILLED = range(FIELDS)  # offsets of a batch, and how many columns it has


@dataclass(frozen=True, eq=False)
class Product:
    """The offsets of a product's operands.

    Attributes
    ----------
    rows : offsets in A and in C
    columns : offsets in B and in C
    depth : offsets in A and in B, of a segment
    batches : int64 (count, FIELDS)
    total : int
        The depth of all segments; the last one may be shorter.
    steps : (int, int)
        From one segment to the next, in A and in B.
    """

    rows: tuple[Array, Array]
    columns: tuple[Array, Array]
    depth: tuple[Array, Array]
    batches: Array
    total: int
    steps: tuple[int, int] = (0, 0)

    @property
    def extents(self) -> tuple[int, int, int, int]:
        """Rows, columns, depth of a segment, batches."""
        return len(self.rows[0]), len(self.columns[0]), len(self.depth[0]), len(self.batches)

    def along(self, itemsize: int) -> tuple[bool, bool]:
        """Whether neighbouring threads had better read A, and B, along the depth: in fewer sectors of memory."""
        a, b = (
            sectors(lines, depth, 4, itemsize) < sectors(lines, depth, WARP, itemsize)
            for lines, depth in ((self.rows[0], self.depth[0]), (self.columns[0], self.depth[1]))
        )
        return a, b

    def table(self, wide: bool) -> DeviceArray:
        """All offsets on the device: rows' in A, in C, columns' in B, in C, depth's in A, in B."""
        depth = [np.pad(offsets, (0, SPARE)) for offsets in self.depth]
        whole = np.concatenate([*self.rows, *self.columns, *depth])
        return from_host(whole.astype(np.int64 if wide else np.int32))

    def numbers(self, more: dict[int, int]) -> DeviceArray:
        """What kernels read, on the device; `more` are numbers by their places."""
        found = np.zeros(BATCHES, np.int64)
        found[: BATCH + 1] = *self.extents[:3], self.total, *self.steps, self.extents[3]
        for place, value in more.items():
            found[place] = value
        return from_host(np.concatenate([found, self.batches.reshape(-1)]))


def sectors(lines: Array, depth: Array, across: int, itemsize: int) -> float:
    """Sectors of memory for each number that a warp reads of so many lines, with as much depth as it can."""
    found = lattice([lines[:across], depth[: WARP // across]])
    return len(np.unique(found * itemsize // SECTOR)) / max(1, len(found))


def lattice(axes: Sequence[Array]) -> Array:
    """The sums of one number of each axis, the last one's changing fastest."""
    found = np.zeros(1, np.int64)
    for axis in axes:
        found = (found[:, None] + np.asarray(axis, np.int64)).reshape(-1)
    return found


def box(counts: Sequence[int], steps: Sequence[int]) -> Array:
    """Offsets of all places of a box, which lie so far apart along each axis."""
    return lattice([np.arange(count, dtype=np.int64) * step for count, step in zip(counts, steps, strict=True)])


def pitches(sizes: Sequence[int]) -> tuple[int, ...]:
    """How far entries lie apart along each axis of a C-contiguous array."""
    return tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def shared(images: int, pixels: int, *sizes: int) -> int:
    """How many images share a table of their pixels; `sizes` are an image's numbers in each array."""
    return max(1, min(images, LONGEST // max(1, pixels), (NARROW - 1) // max(1, *sizes)))


def batches(images: int, together: int, groups: int, pixels: int, image: Any, group: Any) -> Array:
    """The batches of (images, group): offsets of an image and of a group in A, B, C and bias, and columns."""
    count = -(-images // together)
    filled = np.minimum(images - together * np.arange(count), together) * pixels
    fields = [box((count, groups), (together * i, g)) for i, g in zip(image, group, strict=True)]
    return np.stack([*fields, np.repeat(filled, groups)], axis=1).astype(np.int64)
