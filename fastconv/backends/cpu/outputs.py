"""Fresh arrays for results, in memory that earlier results have left.

The system clears each page that it gives, and faults on the first touch of each: for tens of megabytes that takes
longer than the arithmetic on them. A large result lies in a buffer of ours, which comes back when the last array that
shows it is gone.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array, Shape

LARGE = 1 << 20  # bytes from which on a result lies in such a buffer
KEPT = 512 << 20  # bytes of buffers that wait, at most
WASTE = 1.25  # how much larger than the result a buffer may be

_waiting: dict[int, Array] = {}  # by their ids, the longest unused first


class Lease:
    """Shows a buffer as an array, and gives it back in the end."""

    def __init__(self, buffer: Array, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.buffer = buffer
        self.__array_interface__ = {
            "data": (buffer.ctypes.data, False),
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        if _give_back is not None:  # as all names of a module become when the interpreter ends
            _give_back(self.buffer)


def _give_back(buffer: Array) -> None:
    """Let a buffer wait for a later result; the longest unused go where they are too many."""
    _waiting[id(buffer)] = buffer
    while sum(buffer.size for buffer in list(_waiting.values())) > KEPT:
        _waiting.pop(next(iter(list(_waiting)), 0), None)  # another thread may be faster


def empty(shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An uninitialised array."""
    size = prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    return np.asarray(Lease(_buffer(size), shape, dtype))


def _buffer(size: int) -> Array:
    """A buffer that waits and fits, or a new one."""
    for buffer in reversed(list(_waiting.values())):
        if size <= buffer.size <= WASTE * size and _waiting.pop(id(buffer), None) is buffer:
            return buffer
    fresh: Array = aligned(size, "u1")
    return fresh


def clear() -> None:
    """Drop the buffers that wait."""
    _waiting.clear()
