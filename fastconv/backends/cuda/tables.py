"""Small tables of the host's that kernels read: copied once, and kept on the device for later calls."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.backends.cuda import device
from fastconv.backends.cuda.array import DeviceArray, from_host
from fastconv.typing import Array, Shape

SMALL = 1 << 16  # bytes of tables that are kept


def kept(array: Array) -> DeviceArray:
    """A table on the device, which must not be written to; a large one is copied each time."""
    if array.nbytes > SMALL:
        return from_host(array)
    # One copy for each stream: its memory serves again only to the stream that it belongs to.
    return _copied(array.tobytes(), array.shape, array.dtype.str, device._stream.get())


@lru_cache(maxsize=1024)
def _copied(numbers: bytes, shape: Shape, dtype: str, stream: Any) -> DeviceArray:
    return from_host(np.frombuffer(numbers, dtype).reshape(shape))
