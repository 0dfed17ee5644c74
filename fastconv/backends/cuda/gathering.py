"""A slab of an operand, from memory to a block's shared memory, through registers.

A slab is so many lines (rows of A, columns of B) of so many entries of the depth. It lies in shared memory with its
lines side by side, so that a thread reads several of them at once; a pitch keeps the threads of a warp in different
banks as they write.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastconv.backends.cuda.launching import MASK, inlined
from fastconv.backends.cuda.tiles import Tile

SHARED = 0xFFFF  # what an index of shared memory is masked with
POSITION = 0x7FFFFFFF  # and a place in a product, or in a table


@inlined
def unchanged(number):  # type: ignore[no-untyped-def]
    """The number."""
    return number


@cache
def gatherer(lines: int, tile: Tile, along: bool, pitch: int, wide: bool, dtype: np.dtype[Any], rounded: Any) -> Any:
    """Functions of the device `(find, fetch, put)`: all threads of a block together bring a slab.

    Parameters
    ----------
    along : bool
        Whether neighbouring threads read along the depth, or else one entry of neighbouring lines.
    wide : bool
        Whether offsets are of 64 bits.
    rounded : function of the device
        What numbers become on their way to shared memory.
    """
    depth, threads, zero = tile.depth, tile.threads, dtype.type(0)
    count, folds = lines * depth // threads, max(1, lines // threads)
    narrow = np.uint64 if wide else np.uint32

    @inlined
    def line_of(t, j):  # type: ignore[no-untyped-def]
        if along:
            return t // depth + j * (threads // depth)
        return t % lines + j % folds * threads

    @inlined
    def entry_of(t, j):  # type: ignore[no-untyped-def]
        if along:
            return t % depth
        return t // lines + j // folds * max(1, threads // lines)

    @inlined
    def find(offsets, table, start, first, last, t):  # type: ignore[no-untyped-def]
        """The offsets of this thread's lines; beyond the last line those of the last, for results that nobody keeps."""
        for j in range(count):
            offsets[j] = narrow(table[(start + min(first + line_of(t, j), last)) & MASK])

    @inlined
    def fetch(held, source, offsets, table, start, at, left, t):  # type: ignore[no-untyped-def]
        """The slab's numbers to registers; zeros from `left` entries on. Its depth's offsets start at `start`."""
        begin = (start + entry_of(t, 0)) & POSITION
        for j in range(count):
            k = entry_of(0, j) - entry_of(0, 0)
            offset = table[begin + k]
            held[j] = zero
            if np.int32(entry_of(t, j)) < left:
                held[j] = source[narrow(offsets[j] + offset + at)]

    @inlined
    def put(slab, at, held, t):  # type: ignore[no-untyped-def]
        """The registers to shared memory."""
        begin = (at + entry_of(t, 0) * pitch + line_of(t, 0)) & SHARED
        for j in range(count):
            apart = (entry_of(0, j) - entry_of(0, 0)) * pitch + line_of(0, j) - line_of(0, 0)
            slab[begin + apart] = rounded(held[j])

    return find, fetch, put
