"""How a product is computed: by which kernel, in which tiles and parts, with tables that stay on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.cuda import depthwise, products, sums, tiles
from fastconv.backends.cuda import offsets as at
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.launching import Kernel, blocks_for
from fastconv.backends.cuda.offsets import Product
from fastconv.backends.cuda.sweeps import sweep
from fastconv.backends.cuda.tiles import Tile
from fastconv.typing import Shape

FEW = 4  # rows below which a tile stays empty
SHALLOW, SHORT = 64, 4096  # depth of an entry that one thread computes; entries that blocks compute one by one
LOADS = 8  # multiply-adds in the time of one whose numbers come from memory's cache
BUSY = 512  # entries of a multiprocessor from which on its threads are


@dataclass(frozen=True, eq=False)
class Plan:
    """A product's kernel and its tables.

    Attributes
    ----------
    form : "tiles", "entries" or "dots"
        What a block computes: a tile; an entry in each thread; one entry.
    tile : Tile or None
    parts : int
        Of the depth, whose sums a second kernel adds up.
    blocks : int
    extents : (int, int, int, int)
        Rows, columns, depth of a segment, batches.
    depth : int
    """

    form: str
    tile: Tile | None
    parts: int
    blocks: int
    extents: tuple[int, int, int, int]
    depth: int
    along: tuple[bool, bool]
    wide: bool
    precision: str
    dtype: np.dtype[Any]
    table: DeviceArray
    numbers: DeviceArray

    @property
    def entries(self) -> int:
        """Of C, with the columns that the last batch has less."""
        rows, columns, _, batch = self.extents
        return batch * rows * columns

    @property
    def cycles(self) -> float:
        """About how many a multiprocessor takes."""
        machine, (rows, columns, _, batch) = tiles.machine(), self.extents
        rate = machine.lanes(self.dtype, self.precision)
        if self.tile is not None:
            return tiles.cost(self.tile, self.parts, rows, columns, batch, self.depth) / rate
        return LOADS * self.entries * self.depth / (machine.multiprocessors * rate)

    def kernel(self, bias_on: str) -> Kernel:
        """The kernel; `bias_on` as in `products.product`."""
        split = self.parts > 1
        on = "" if split else bias_on
        if self.form == "dots":
            return depthwise.dots(self.dtype, on, split)
        if self.form == "entries":
            return depthwise.entries(self.dtype, on)
        assert self.tile is not None
        return products.product(self.tile, self.dtype, self.along, on, split, self.wide, self.precision)

    def __call__(self, a: Any, b: Any, bias: Any, c: Any, bias_on: str = "rows") -> None:
        """Compute C, with a bias of its rows or columns unless it is None."""
        on, added = ("", a) if bias is None else (bias_on, bias)
        target = c if self.parts == 1 else empty((self.parts * self.entries,), c.dtype)
        arguments = a, b, added, target, self.table, self.numbers
        if self.form == "entries":
            sweep(self.kernel(on), self.entries, *arguments)
        else:
            self.kernel(on)(self.blocks, *arguments)
        if self.parts > 1:
            sweep(sums.combine(self.dtype, on), self.entries, target, added, c, self.table, self.numbers)


def plan(
    product: Product, dtype: np.dtype[Any], precision: str, largest: int, chosen: tuple[Tile, int] | None = None
) -> Plan:
    """The plan of a product of arrays of which the largest has so many numbers; `chosen` is a tile, and parts."""
    rows, columns, segment, batch = product.extents
    wide, along = largest >= at.NARROW, product.along(dtype.itemsize)
    if dtype != np.float32 or not tiles.machine().tensor_cores:
        precision = "float32"
    form, entries = form_of(product, along) if chosen is None else "tiles", batch * rows * columns
    tile = None
    if form == "tiles":
        tile, parts = chosen or tiles.choose(rows, columns, batch, product.total, dtype, precision)
        extent, row_tiles, column_tiles = tile.depth, blocks_for(rows, tile.rows), blocks_for(columns, tile.columns)
        once = row_tiles * column_tiles * batch
    else:
        extent, row_tiles, column_tiles, once = depthwise.THREADS, 0, 0, entries
        parts = blocks_for(4 * tiles.machine().multiprocessors, max(1, entries)) if form == "dots" else 1
    each, rest = blocks_for(segment, extent), product.total % max(1, segment)
    steps = product.total // max(1, segment) * each + blocks_for(rest, extent)
    part_steps = max(1, blocks_for(steps, min(parts, max(1, steps))))
    parts = max(1, blocks_for(steps, part_steps))
    blocks = blocks_for(entries, depthwise.THREADS) if form == "entries" else once * parts
    numbers = {at.ROW_TILES: row_tiles, at.COLUMN_TILES: column_tiles, at.SEGMENT_STEPS: max(1, each)}
    numbers |= {at.STEPS: steps, at.PART_STEPS: part_steps, at.PARTS: parts}
    where = product.table(wide), product.numbers(numbers)
    return Plan(form, tile, parts, blocks, product.extents, product.total, along, wide, precision, dtype, *where)


def result(out: Any, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """Where a result goes: `out`, or a fresh array."""
    return empty(shape, dtype) if out is None else out


def form_of(product: Product, along: tuple[bool, bool]) -> str:
    """What a block had better compute."""
    rows, columns, segment, batch = product.extents
    if rows >= FEW or not product.total:
        return "tiles"
    many = not along[1] and batch * rows * columns >= BUSY * tiles.machine().multiprocessors
    if product.total <= segment and (many or product.total <= SHALLOW):
        return "entries"
    return "dots" if all(along) and rows * columns <= SHORT else "tiles"
