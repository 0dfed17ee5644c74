"""What every operation asks of its arguments before anything is computed."""

from typing import Any

import numpy as np

from fastconv import backends
from fastconv.errors import BackendUnavailableError
from fastconv.geometry import hashable
from fastconv.typing import Array, Shape

HALF = np.dtype(np.float16)


def floats(**arguments: object) -> tuple[np.dtype[Any], list[Any]]:
    """The arguments' common dtype, and each as a contiguous array of the dtype that is computed in.

    float32 and float64 are computed as they are, float16 in float32. None stays None. A TypeError names an argument of
    another dtype, or the first two that differ.
    """
    arrays = {name: None if value is None else floating(value, name) for name, value in arguments.items()}
    given = [(name, array.dtype) for name, array in arrays.items() if array is not None]
    for name, dtype in given:
        if dtype != given[0][1]:
            raise TypeError(f"{name} is {dtype}, {given[0][0]} is {given[0][1]}: one dtype for both is accepted")
    dtype = given[0][1]
    compute = np.dtype(np.float32) if dtype == HALF else dtype
    return dtype, [None if a is None else np.require(a, compute, ["C", "A"]) for a in arrays.values()]


def floating(value: object, name: str) -> Array:
    """`value` as an array of native float16, float32 or float64."""
    array = host(value, name)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} is {array.dtype}: float32, float64 and float16 are accepted")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def integers(value: object, name: str) -> Array:
    """`value` as a contiguous array of int64; a TypeError for anything but integers."""
    array = host(value, name)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} is {array.dtype}: integers are accepted")
    return np.require(array, np.int64, ["C", "A"])


def host(value: object, name: str) -> Array:
    """`value` as an array in the computer's memory."""
    if hasattr(value, "__cuda_array_interface__") and not isinstance(value, np.ndarray):
        if backends.backend_name() != "cuda":
            backends.load("cuda")
        raise BackendUnavailableError(f"{name} lives on a GPU: copy it to the host first")
    return np.asarray(value)


def batched(array: Array, rank: int, name: str) -> tuple[Array, bool]:
    """`array` as (N, C, *spatial), and whether it came without the batch axis."""
    if array.ndim == rank + 2:
        return array, False
    if array.ndim == rank + 1:
        return array[None], True
    raise ValueError(
        f"{name} has {array.ndim} axes, shape {array.shape}: {rank + 2} (N, C and {rank} spatial) are accepted, or "
        f"{rank + 1} (without N)"
    )


def axes(array: Array, count: int, name: str, meaning: str) -> None:
    """Raise unless `array` has `count` axes."""
    if array.ndim != count:
        raise ValueError(f"{name} has {array.ndim} axes, shape {array.shape}: {count} {meaning} are accepted")


def shaped(array: Array, shape: Shape, name: str) -> None:
    """Raise unless `array` has exactly this shape."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: {shape} is accepted")


def size(value: object, name: str) -> Shape:
    """A shape given as an argument, as a tuple of ints of at least 0."""
    sizes = hashable(value, name)
    if not isinstance(sizes, tuple) or not all(isinstance(s, int) and s >= 0 for s in sizes):
        raise ValueError(f"{name} is {value!r}: a sequence of ints of at least 0 is accepted")
    return sizes


def back(y: Array, dtype: np.dtype[Any], unbatched: bool = False) -> Array:
    """A result in the caller's dtype, without the batch axis if x came without."""
    y = y if y.dtype == dtype else y.astype(dtype)
    return y[0] if unbatched else y
