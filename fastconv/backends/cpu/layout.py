"""Where a strip keeps its pixels: bytes from one to the next along each axis, and the place of each tap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.axes import Axis
from fastconv.backends.cpu.machine import LINE, vectors
from fastconv.typing import Array

SPILLED = 32  # bytes at most that the copy of a row writes behind it, where masks have no registers


def up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


def greatest(count: int, tile: int, blocks: int) -> int:
    """Pixels of the greatest of these blocks, along an axis: whole tiles, and in the last one what is left."""
    tiles = max(1, count // tile)
    most = -(-tiles // blocks)
    last = tiles - (blocks - 1) * tiles // blocks
    return max(min(count, most * tile), count - (tiles - last) * tile)


@dataclass(frozen=True, eq=False)
class Strip:
    """The strip of a block of output pixels.

    Attributes
    ----------
    axes : three Axis
    rows, columns : int
        Of the greatest block.
    item : int
        Bytes of a number.
    channel, plane, row, part : int
        Bytes of a channel, a plane, a row, and a residue's part of a row.
    residues : three arrays
        Of each axis.
    """

    axes: tuple[Axis, Axis, Axis]
    rows: int
    columns: int
    item: int
    channel: int
    plane: int
    row: int
    part: int
    residues: tuple[Array, ...]

    @classmethod
    def of(cls, axes: tuple[Axis, Axis, Axis], rows: int, columns: int, item: int, align: int = LINE) -> Strip:
        """The strip of blocks of at most so many rows and columns; a row's parts begin at multiples of `align`."""
        axes = deep, high, wide = axes[0].strip(1), axes[1].strip(rows), axes[2].strip(columns)
        span, vector = (columns + wide.margin) * item, SPILLED * (not vectors().masks)
        part = up(span, align)
        row = part * len(wide.residues)
        if len(wide.residues) > 1:  # nothing is spilled from the last part to the first one of the next row
            row = up(max(row, row - part + up(span, vector or item)), align)
        plane = row * (rows + high.margin) * len(high.residues)
        channel = up(plane * (1 + deep.margin) * len(deep.residues) + vector, LINE)
        channel += LINE * (channel // LINE % 2 == 0)  # an even number of lines would crowd some sets of the caches
        residues = tuple(np.array(a.residues, np.int64) for a in axes)
        return cls(axes, rows, columns, item, channel, plane, row, part, residues)

    def place(self, shifts: tuple[int, int, int]) -> int:
        """Bytes from a block's first pixel to a tap's."""
        deep, high, wide = self.axes
        (plane, i), (line, j), (part, where) = deep.found(shifts[0]), high.found(shifts[1]), wide.found(shifts[2])
        place = (plane * (1 + deep.margin) + i) * self.plane + (line * (self.rows + high.margin) + j) * self.row
        return place + part * self.part + where * self.item

    def words(self) -> dict[int, int]:
        """A plan's words on the source and its strips."""
        values = {
            s.STRIP_CHANNEL: self.channel,
            s.STRIP_PLANE: self.plane,
            s.STRIP_PART: self.part,
            s.STRIP_ROW: self.row,
            s.STRIP_ROW_SPAN: self.rows + self.axes[1].margin,
        }
        for axis, a in enumerate(self.axes):
            values |= {s.SOURCE + axis: a.source, s.LEAST + axis: a.least, s.STEPS + axis: a.step}
            values |= {s.MARGINS + axis: a.margin, s.RESIDUES + axis: len(a.residues)}
            values |= {s.RESIDUE_TABLES + axis: self.residues[axis].ctypes.data}
        return values

    def coming_words(self, wanted: bool) -> dict[int, int]:
        """A plan's words on the lines of a strip's source, if they are to be fetched ahead."""
        _, high, wide = self.axes
        row, sampled = wide.source * self.item, len(high.residues) == 1
        lines = up(self.columns * wide.step * self.item, LINE) // LINE
        return {s.COMING_LINES: lines if wanted else 0, s.COMING_ROW: row * high.step if sampled else row}
