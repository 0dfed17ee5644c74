"""Numbers moved to other places: arrays joined, split, and spread to wider shapes.

Index letters: `i` number of the target, `row`, and `column` of its `width`.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.elementwise import BLOCK, blocks, copy_strided
from fastconv.backends.cuda.launching import MASK, kernel
from fastconv.typing import Shape


@kernel(BLOCK)
def move_rows(size, width, source, source_pitch, source_start, target, target_pitch, target_start):  # type: ignore[no-untyped-def]
    """target[target_start + row * target_pitch + column] = source[source_start + row * source_pitch + column]."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    step = cuda.gridDim.x * cuda.blockDim.x
    while i < size:
        row, column = (i & MASK) // (width & MASK), (i & MASK) % (width & MASK)
        place = (target_start + row * target_pitch + column) & MASK
        target[place] = source[(source_start + row * source_pitch + column) & MASK]
        i += step


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> DeviceArray:
    """As `numpy.concatenate`, of arrays that all are on the device."""
    if not all(isinstance(a, DeviceArray) for a in arrays):
        kinds = ", ".join(type(a).__name__ for a in arrays)
        raise TypeError(f"the arrays are {kinds}: arrays that all live on the GPU are accepted")
    parts = [a.reshape(-1) for a in arrays] if axis is None else list(arrays)
    place = _axis(axis or 0, parts[0].ndim)
    if len({(a.ndim, *a.shape[:place], *a.shape[place + 1 :]) for a in parts}) != 1:
        shapes = ", ".join(str(a.shape) for a in parts)
        raise ValueError(f"arrays of shapes {shapes} along axis {place}: equal sizes of the other axes are accepted")
    shape = list(parts[0].shape)
    shape[place] = sum(a.shape[place] for a in parts)
    joined = empty(tuple(shape), np.result_type(*[a.dtype for a in parts]))
    pitch, start = prod(shape[place:]), 0
    for part in parts:
        part = part.astype(joined.dtype, copy=False)
        width = prod(part.shape[place:])
        move_rows(blocks(part.size), part.size, width, part, width, 0, joined, pitch, start)
        start += width
    return joined


def split(array: DeviceArray, indices_or_sections: Any, axis: int = 0) -> list[DeviceArray]:
    """As `numpy.split`; each part is a copy."""
    place = _axis(axis, array.ndim)
    length, inner, pitch = array.shape[place], prod(array.shape[place + 1 :]), prod(array.shape[place:])
    parts = []
    for start, end in _ranges(indices_or_sections, length):
        part = empty((*array.shape[:place], end - start, *array.shape[place + 1 :]), array.dtype)
        width = (end - start) * inner
        move_rows(blocks(part.size), part.size, width, array, pitch, start * inner, part, width, 0)
        parts.append(part)
    return parts


def _ranges(indices_or_sections: Any, length: int) -> list[tuple[int, int]]:
    """Where the parts of an axis begin and end."""
    if np.ndim(indices_or_sections) == 0:
        sections = int(indices_or_sections)
        if sections <= 0 or length % sections:
            raise ValueError(f"{sections} sections of an axis of {length}: equal sections are accepted")
        cuts = list(range(0, length + 1, length // sections)) if length else [0] * (sections + 1)
    else:
        inside = [slice(int(cut)).indices(length)[1] for cut in indices_or_sections]
        cuts = [0, *inside, length]
    return [(start, max(start, end)) for start, end in pairwise(cuts)]


def _axis(axis: Any, count: int) -> int:
    if not -count <= axis < count:
        raise ValueError(f"axis is {axis}: one of {count} axes is accepted")
    return int(axis) % count


def spread(array: DeviceArray, shape: Shape) -> DeviceArray:
    """As `numpy.broadcast_to`, but a copy."""
    found = empty(shape, array.dtype)
    copy_strided(array, broadcast_strides(array.shape, shape), 0, found)
    return found


def tile(array: DeviceArray, reps: int | Sequence[int]) -> DeviceArray:
    """As `numpy.tile`."""
    counts = tuple(map(int, reps)) if isinstance(reps, Sequence) else (int(reps),)
    shape = (*[1] * (len(counts) - array.ndim), *array.shape)
    counts = (*[1] * (len(shape) - len(counts)), *counts)
    pairs = tuple(zip(counts, shape, strict=True))
    apart = array.reshape(tuple(size for extent in shape for size in (1, extent)))
    wider = spread(apart, tuple(size for pair in pairs for size in pair))
    return wider.reshape(tuple(count * extent for count, extent in pairs))


def broadcast_strides(shape: Shape, wider: Shape) -> Shape:
    """The strides, in numbers, of a contiguous array spread to a shape that it broadcasts to."""
    steps = [prod(shape[axis + 1 :]) if extent != 1 else 0 for axis, extent in enumerate(shape)]
    return (*[0] * (len(wider) - len(shape)), *steps)
