"""Filters so large that Fourier transforms are quicker: tiles with their borders, one after the other on each thread.

Transforms are a library's, in float64 whatever the image's dtype: their errors are relative to a tile's largest
numbers, and so stay far below float32's own roundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from fastconv.borders import CONSTANT
from fastconv.transforms import fast_length, transforms
from fastconv.typing import Array

LENGTHS = (256, 512, 1024)  # of a tile along an axis: more leave the second cache
SIGNAL = 1 << 14  # the same of a signal
# Cycles of a thread for each number of a tile: for its padding and product, and times the logarithm of its size.
COPY, TRANSFORM = 10.0, 2.1


@dataclass(frozen=True, eq=False)
class Transformed:
    """A filter of rows and columns as a plan.

    Attributes
    ----------
    places : (rows, columns)
        Tables of both axes' borders.
    weights : (R, S), float64
    constant : float
    lengths : (int, int)
        Of a tile.
    threads : int
    cycles : float
        Of all threads together, about.
    """

    places: tuple[Array, Array]
    weights: Array
    constant: float
    lengths: tuple[int, int]
    threads: int
    cycles: float

    @property
    def told(self) -> dict[str, Any]:
        """What `explain` says of it."""
        down, across = self.lengths
        return {
            "algorithm": "fft",
            "tile": f"{down} x {across} numbers",
            "threads": self.threads,
            "workspace": 32 * down * across * self.threads,
            "parts": {"transforms": self.cycles},
        }

    def run(self, x: Array, y: Array) -> bool:
        """y[p] = sum over r of weights[r] * padded_x[p + r]; False, and y is not to be used, if any is not finite."""
        fourier, (high, wide) = transforms(), self.weights.shape
        rows, columns = (length - taps + 1 for length, taps in zip(self.lengths, (high, wide), strict=True))
        with np.errstate(all="ignore"):
            spectrum = np.conj(fourier.rfft2(self.weights, self.lengths))

        def tile(place: tuple[int, int]) -> bool:
            top, left = place
            kept = y[top : top + rows, left : left + columns]
            with np.errstate(all="ignore"):
                frequencies = fourier.rfft2(self.padded(x, top, left, kept.shape))
                frequencies *= spectrum
                found = fourier.irfft2(frequencies, self.lengths)
                kept[...] = found[: kept.shape[0], : kept.shape[1]]
                return bool(np.isfinite(kept).all())

        places = list(product(range(0, y.shape[0], rows), range(0, y.shape[1], columns)))
        if self.threads < 2 or len(places) < 2:
            return all(list(map(tile, places)))
        with ThreadPoolExecutor(self.threads) as pool:
            return all(list(pool.map(tile, places)))

    def padded(self, x: Array, top: int, left: int, kept: Sequence[int]) -> Array:
        """A tile of pixels with their borders, and zeros behind them."""
        tile = np.zeros(self.lengths)
        tables = [
            table[begin : begin + count + taps - 1]
            for table, begin, count, taps in zip(self.places, (top, left), kept, self.weights.shape, strict=True)
        ]
        seen = tile[: tables[0].size, : tables[1].size]
        rows = x[between(tables[0])]
        seen[...] = rows[:, between(tables[1])]
        seen[tables[0] == CONSTANT] = self.constant
        seen[:, tables[1] == CONSTANT] = self.constant
        return tile


def between(table: Array) -> Array | slice:
    """A table as a slice, where its places follow each other."""
    if table[0] >= 0 and table[-1] - table[0] == table.size - 1 and (np.diff(table) == 1).all():
        return slice(int(table[0]), int(table[-1]) + 1)
    return table


def best_lengths(taps: tuple[int, int], shape: tuple[int, int], threads: int) -> tuple[tuple[int, int], float]:
    """A tile's lengths, and cycles for each pixel of a result of this shape, of all threads together."""
    found = []
    for length in LENGTHS:
        sizes = [
            fast_length(min(max(length if extent > 1 else SIGNAL, 2 * count), extent + count - 1))
            if count > 1 or extent > 1
            else 1
            for count, extent in zip(taps, shape, strict=True)
        ]
        inside = [size - count + 1 for size, count in zip(sizes, taps, strict=True)]
        tiles = int(np.prod([-(-extent // step) for extent, step in zip(shape, inside, strict=True)]))
        turns = -(-tiles // threads) * threads  # some threads may be idle in the last one
        area = sizes[0] * sizes[1]
        cycles = turns * area * (COPY + TRANSFORM * np.log2(area + 1)) / (shape[0] * shape[1])
        found.append((float(cycles), (sizes[0], sizes[1])))
    cycles, lengths = min(found)
    return lengths, cycles
