"""Workspaces: memory that kernels need while they run, used again by later calls.

Fresh pages cost more than the arithmetic on them. A buffer belongs to one call at a time: `take` removes it from the
pool, so no two threads ever share one.
"""

from __future__ import annotations

from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array

KEPT = 256 << 20  # bytes that the pool holds at most
STEP = 1 << 16  # sizes are multiples of it, so that one buffer serves many calls

SMALL, MANY = 1 << 16, 64  # bytes of the buffers for small calls, and how many are kept

_free: list[Array] = []
_small: list[Array] = []


def take(size: int) -> Array:
    """A buffer of at least `size` bytes, which begins on a cache line."""
    if size <= SMALL:
        try:
            return _small.pop()
        except IndexError:
            return fresh(SMALL)
    for _ in range(len(_free)):
        try:
            buffer = _free.pop()
        except IndexError:  # another thread was faster
            break
        if buffer.size >= size:
            return buffer
        _free.insert(0, buffer)
    return fresh(-(-size // STEP) * STEP)


def fresh(size: int) -> Array:
    """A new buffer."""
    buffer: Array = aligned(size, "u1")
    return buffer


def give(buffer: Array) -> None:
    """Give a buffer back; what is more than the pool holds is dropped, the longest unused first."""
    if buffer.size == SMALL:
        if len(_small) < MANY:
            _small.append(buffer)
        return
    _free.append(buffer)
    while len(_free) > 1 and sum(kept.size for kept in list(_free)) > KEPT:
        try:
            _free.pop(0)
        except IndexError:
            break


def clear() -> None:
    """Drop all buffers that no call is using."""
    _free.clear()
    _small.clear()
