"""Where the tiles of a block lie beside each other, so that those which have a product are a range.

An image's last row and last column of tiles may be of lesser ones, which have the first products of a line alone. First
come the tiles of last rows, then all others, then those of last columns, and the corners: without last rows or last
columns, or both, a range is left.

An item is a row of tiles of an image, or a run of one; a block is some items. A layout tells `run` tiles of an item,
`runs` in a row, `down` rows in an image, and how many pixels the last ones have, `last_height` and `last_width`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from numba import njit

RUN = 28  # tiles side by side, at most: a strip of them stays in the first-level cache

loop = functools.partial(njit, nogil=True, error_model="numpy")


class Cover(NamedTuple):
    """How tiles cover images."""

    run: int  # tiles
    runs: int  # in a row of tiles
    down: int  # rows of tiles
    last_height: int  # pixels of the last row's and the last column's tiles
    last_width: int
    items: int  # runs in all images

    @property
    def tiles(self) -> int:
        """Tiles in all images."""
        return self.items * self.run

    def products(self, m: int) -> int:
        """Products of all tiles."""
        rows = self.down * m + 2 * self.down - m + self.last_height
        columns = (self.run * m + 2 * self.run) * self.runs - m + self.last_width
        return self.items // (self.down * self.runs) * rows * columns


def cover(batch: int, size: tuple[int, int], m: int) -> Cover:
    """Tiles of m x m pixels, and lesser ones at the rim; those of rows that are divided are all wide."""
    down, across = (-(-pixels // m) for pixels in size)
    runs = -(-across // RUN)
    height, width = ((pixels - 1) % m + 1 for pixels in size)
    return Cover(-(-across // runs), runs, down, height, width if runs == 1 else m, batch * down * runs)


def slot_count(tiles: int) -> int:
    """Room for so many tiles, where products may be of three more than those from any of them on."""
    return -(-tiles // 4) * 4 + 4


@loop
def lesser_items(a, m, first, end):  # type: ignore[no-untyped-def]
    """How many items have tiles of less than m rows of pixels."""
    if a.last_height == m:
        return 0
    image, count = a.runs * a.down, 0
    for items, sign in ((end, 1), (first, -1)):
        count += sign * (items // image * a.runs + max(0, items % image - image + a.runs))
    return count


@loop
def whole_tiles(a, m):  # type: ignore[no-untyped-def]
    """The tiles of an item that have m columns of pixels."""
    return a.run if a.last_width == m else a.run - 1


@loop
def places(a, m, row, items, lesser, index, before):  # type: ignore[no-untyped-def]
    """Rows of pixels that an item's tiles have, and the places of its first tile and of one that is not wide.

    It is a block's item of this index, a row of tiles of its image; `before` of the `lesser` items precede it.
    """
    whole = whole_tiles(a, m)
    if row == a.down - 1 and a.last_height < m:
        return a.last_height, before * whole, items * whole + items - lesser + before
    return m, (lesser + index - before) * whole, items * whole + index - before


@loop
def tiles_with(a, m, items, lesser, i):  # type: ignore[no-untyped-def]
    """The range of the tiles that have product i of the (m + 2) * (m + 2)."""
    whole, begin, corners = whole_tiles(a, m), 0, 0
    if i // (m + 2) >= a.last_height + 2:
        begin, corners = lesser * whole, lesser * (a.run - whole)
    if i % (m + 2) >= a.last_width + 2:
        return begin, items * whole
    return begin, items * a.run - corners
