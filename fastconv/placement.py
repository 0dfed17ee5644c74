"""Where arrays live: in the computer's memory, as NumPy's, or in a GPU's, as any library's with CUDA's array interface.

What lives on a GPU is computed there, by the cuda backend, whichever is active.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv import backends
from fastconv.typing import Array

__all__ = ["to_device", "to_host", "use_stream"]


def on_gpu(value: object) -> bool:
    """Whether `value` is an array that lives on a GPU."""
    kind = type(value)
    return kind is not np.ndarray and (getattr(kind, "on_gpu", False) or hasattr(value, "__cuda_array_interface__"))


def on_device(value: Any) -> Any:
    """An array on a GPU as fastconv's own, sharing its memory; a copy if its numbers don't lie in C's order.

    Raises
    ------
    BackendUnavailableError
        If the cuda backend can't run here.
    """
    if getattr(type(value), "on_gpu", False):
        return value
    backends.load("cuda")
    return importlib.import_module("fastconv.backends.cuda.interface").wrapped(value)


def to_device(x: Any) -> Any:
    """An array, or a model with its parameters and buffers, on the GPU.

    Parameters
    ----------
    x : array or Module
        An array of numbers is copied; one that lives on the GPU already (fastconv's, CuPy's, PyTorch's) is shared. Of
        a model the arrays are replaced, in place.

    Returns
    -------
    DeviceArray or Module
        An array that `functional`, `nn`, `optim`, `training`, `ndimage` and `match_template` compute with on the GPU,
        and that CuPy, PyTorch and Numba take without a copy, by its `__cuda_array_interface__`; or the model itself.

    Raises
    ------
    BackendUnavailableError
        If there is no GPU, or no driver or package for it.
    TypeError
        If the array does not hold numbers.
    """
    if hasattr(x, "to_device") and hasattr(x, "parameters"):
        return x.to_device()
    if on_gpu(x):
        return on_device(x)
    backends.load("cuda")
    array: Any = importlib.import_module("fastconv.backends.cuda.array")
    return array.from_host(np.asarray(x))


def to_host(x: Any) -> Any:
    """An array, or a model with its parameters and buffers, in the computer's memory.

    Parameters
    ----------
    x : array or Module

    Returns
    -------
    array or Module
        A copy of an array on the GPU, once all that was launched before has run; any other array itself, as NumPy's.
        Of a model the arrays are replaced, in place.

    Examples
    --------
    >>> to_host([1.0, 2.0])
    array([1., 2.])
    """
    if hasattr(x, "to_host") and hasattr(x, "parameters"):
        return x.to_host()
    return on_device(x).to_host() if on_gpu(x) else np.asarray(x)


@contextmanager
def use_stream(stream: Any) -> Iterator[None]:
    """Launch kernels and copy on a stream of the GPU inside a `with` block; other threads keep theirs.

    Parameters
    ----------
    stream : stream of Numba, CuPy or PyTorch, or its address as an int

    Raises
    ------
    BackendUnavailableError
        If the cuda backend can't run here.
    """
    backends.load("cuda")
    with importlib.import_module("fastconv.backends.cuda.device").use_stream(stream):
        yield


def together(**arguments: Any) -> bool:
    """Whether all arrays live on a GPU; a TypeError if only some do. None is nowhere."""
    places = {name: on_gpu(value) for name, value in arguments.items() if value is not None}
    if not any(places.values()):
        return False
    backends.load("cuda")
    if not all(places.values()):
        there = next(name for name, place in places.items() if place)
        here = next(name for name, place in places.items() if not place)
        raise TypeError(
            f"{there} lives on a GPU, {here} in the computer's memory: one place for both is accepted "
            "(fastconv.to_device and fastconv.to_host copy)"
        )
    return True


def as_array(value: Any) -> Any:
    """`value` as an array where it lives: NumPy's, or fastconv's own on the GPU."""
    return on_device(value) if on_gpu(value) else np.asarray(value)


def ready(array: Array, dtype: np.dtype[Any]) -> Array:
    """An array of this dtype whose numbers lie one after another, as those on a GPU always do."""
    return np.require(array, dtype, ["C", "A"]) if isinstance(array, np.ndarray) else array.astype(dtype, copy=False)


def beside(array: Array, other: Any) -> Any:
    """An array of NumPy's, on the GPU if another one is."""
    return array if isinstance(other, np.ndarray) else to_device(array)
