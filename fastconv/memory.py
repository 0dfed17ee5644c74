"""Arrays that begin on a cache line, so that vectors of them lie in one line each."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv.typing import Array, Shape

LINE = 64  # bytes


def aligned(shape: int | Shape, dtype: Any) -> Array:
    """An uninitialised array."""
    size = (shape if isinstance(shape, int) else prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    found: Array = raw[start : start + size].view(dtype)
    return found if isinstance(shape, int) else found.reshape(shape)


def aligned_copy(array: Array) -> Array:
    """The same numbers, C-contiguous."""
    found = aligned(array.shape, array.dtype)
    found[...] = array
    return found
