"""NumPy's functions of arrays on the device, as `__array_function__` finds them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.backends.cuda import elementwise, moves
from fastconv.backends.cuda.array import DeviceArray, empty


def empty_like(prototype: DeviceArray, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    """As `numpy.empty_like`."""
    sizes = prototype.shape if shape is None else shape if isinstance(shape, tuple | list) else (shape,)
    return empty(tuple(sizes), prototype.dtype if dtype is None else dtype)


def full_like(a: DeviceArray, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    """As `numpy.full_like`, of one number."""
    found = empty_like(a, dtype, shape=shape)
    elementwise.fill(found, fill_value)
    return found


def zeros_like(a: DeviceArray, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    """As `numpy.zeros_like`."""
    return full_like(a, 0, dtype, shape=shape)


def ones_like(a: DeviceArray, dtype: Any = None, *, shape: Any = None) -> DeviceArray:
    """As `numpy.ones_like`."""
    return full_like(a, 1, dtype, shape=shape)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.concatenate: moves.concatenate,
    np.split: moves.split,
    np.broadcast_to: moves.spread,
    np.tile: moves.tile,
    np.empty_like: empty_like,
    np.zeros_like: zeros_like,
    np.ones_like: ones_like,
    np.full_like: full_like,
    np.copy: lambda a: a.copy(),
    np.reshape: lambda a, shape: a.reshape(*shape) if isinstance(shape, tuple | list) else a.reshape(shape),
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a: a.size,
    np.sum: lambda a, axis=None, **options: a.sum(axis, **options),
    np.mean: lambda a, axis=None, **options: a.mean(axis, **options),
    np.max: lambda a, axis=None, **options: a.max(axis=axis, **options),
    np.min: lambda a, axis=None, **options: a.min(axis=axis, **options),
    np.argmax: lambda a, axis=None, **options: a.argmax(axis, **options),
}
