"""Arrays in a GPU's memory: C-contiguous, of any shape, sharing their numbers with views of them.

They do what the upper floors ask of NumPy's arrays: shapes and views, arithmetic, copies. What they do not do is turn
into NumPy's in silence, for a copy waits for all that was launched: `to_host` says it aloud.
"""

from __future__ import annotations

import weakref
from functools import cached_property
from math import prod
from operator import index
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastconv.backends.cuda import device, driver
from fastconv.typing import Array, Shape

DTYPES = {np.dtype(char) for char in "?bhilqBHILQefd"}


class Memory:
    """What several arrays may share: a handle of the device's, given back when the last of them is gone."""

    def __init__(self, handle: Any, key: Any = None, owner: Any = None) -> None:
        self.handle, self.owner = handle, owner
        self.writes = 0  # how often numbers were written since bounds of some array in it were known
        if key is not None:
            # Not `__del__`: of garbage in a cycle the handle, which numba frees by weak references, would go first, and
            # what is given back would be dead. Here the finalizer keeps it alive.
            weakref.finalize(self, device.current.give_back, handle, key).atexit = False

    @cached_property
    def address(self) -> int:
        """Of the first number."""
        return int(self.handle.__cuda_array_interface__["data"][0])


class DeviceArray(NDArrayOperatorsMixin):
    """An array on the GPU.

    Attributes
    ----------
    shape, dtype, ndim, size, nbytes
        As of NumPy's arrays.
    handle : one-dimensional array of the device's
        The numbers: what kernels take.
    bounds : (least, greatest) or None
        What no number is below or above, where it is known without asking the device.
    exact : bool
        Whether there are numbers that reach the bounds: of a part of an array they are only known not to pass them.
    """

    on_gpu = True  # what other libraries' arrays are asked takes longer

    def __init__(self, memory: Memory, shape: Shape, dtype: Any, start: int = 0) -> None:
        self.memory, self.shape, self.dtype = memory, tuple(map(int, shape)), np.dtype(dtype)
        self.start, self.size = start, prod(self.shape)
        self._bounds: tuple[tuple[int, int] | None, int] = None, 0
        self.exact = False

    @cached_property
    def handle(self) -> Any:
        """The numbers, as a one-dimensional array of the device's; numba takes ten microseconds to make one."""
        whole, size = self.memory.handle, max(self.size, 1)
        return whole if self.start == 0 and whole.size == size else whole[self.start : self.start + size]

    @cached_property
    def words(self) -> tuple[int, ...]:
        """The numbers, as compiled code takes an array."""
        itemsize = self.dtype.itemsize
        return driver.words(self.memory.address + self.start * itemsize, max(self.size, 1), itemsize)

    @property
    def bounds(self) -> tuple[int, int] | None:
        """What no number is below or above, where it is known; None is set when numbers are written."""
        found, writes = self._bounds
        return found if writes == self.memory.writes else None

    @bounds.setter
    def bounds(self, found: tuple[int, int] | None) -> None:
        self.memory.writes += found is None  # of other views they are no longer known either
        self._bounds, self.exact = (found, self.memory.writes), False

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return int(self.size * self.dtype.itemsize)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of one number, an array without axes")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        raise TypeError("a DeviceArray lives on the GPU: fastconv.to_host copies it to the computer's memory")

    def to_host(self) -> Array:
        """The numbers as an array of NumPy's, once all that was launched before has run."""
        if not self.size:
            return np.empty(self.shape, self.dtype)
        return device.current.copy_out(self.handle).reshape(self.shape)

    def reshape(self, *shape: Any) -> DeviceArray:
        """The same numbers in another shape; one of its sizes may be -1."""
        sizes = [index(s) for s in (shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape)]
        if -1 in sizes:
            known = prod(s for s in sizes if s != -1)
            sizes[sizes.index(-1)] = self.size // known if known else 0
        if prod(sizes) != self.size or min(sizes, default=0) < 0:
            raise ValueError(f"cannot reshape an array of shape {self.shape} into shape {tuple(shape)}")
        return self._view(tuple(sizes), 0)

    def _view(self, shape: Shape, start: int) -> DeviceArray:
        view = DeviceArray(self.memory, shape, self.dtype, self.start + start)
        view._bounds, view.exact = self._bounds, self.exact and view.size == self.size
        return view

    def __getitem__(self, place: Any) -> DeviceArray:
        """A view: `[None]`, `[...]`, one entry or a range of entries of the first axis."""
        if place is None:
            return self._view((1, *self.shape), 0)
        if place is Ellipsis:
            return self._view(self.shape, 0)
        inner = prod(self.shape[1:])
        if isinstance(place, slice):
            start, end, step = place.indices(len(self))
            if step != 1:
                raise IndexError(f"a step of {step}: 1 is accepted for arrays on the GPU")
            return self._view((max(end - start, 0), *self.shape[1:]), start * inner)
        entry = index(place)
        if not -len(self) <= entry < len(self):
            raise IndexError(f"index {entry} of {len(self)} entries")
        return self._view(self.shape[1:], entry % len(self) * inner)

    def __setitem__(self, place: Any, value: Any) -> None:
        """Write numbers: another array's of the same shape, from either side, or one number everywhere."""
        from fastconv.backends.cuda import elementwise

        target = self[place]
        target.bounds = None
        if isinstance(value, DeviceArray) and value.shape == target.shape:
            elementwise.copy(value, target)
        elif np.ndim(value) == 0 and not isinstance(value, DeviceArray):
            elementwise.fill(target, value)
        else:
            host = np.broadcast_to(np.asarray(value, self.dtype), target.shape)
            if target.size:
                device.current.copy_in(target.handle, np.ascontiguousarray(host))

    def copy(self) -> DeviceArray:
        """The same numbers in memory of their own."""
        return self.astype(self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> DeviceArray:
        """The numbers rounded to another dtype, in memory of their own; the array itself if it need not be copied."""
        from fastconv.backends.cuda import elementwise

        if not copy and np.dtype(dtype) == self.dtype:
            return self
        found = empty(self.shape, dtype)
        elementwise.copy(self, found)
        if self.dtype.kind in "iu" and np.can_cast(self.dtype, found.dtype) and self.bounds is not None:
            found.bounds, found.exact = self.bounds, self.exact
        return found

    def min(self, initial: Any = None, *, axis: Any = None, keepdims: bool = False) -> Any:
        """The least of the numbers, as a number of the host's; an array here along an `axis`.

        With an `initial`, which it is no more than, known bounds that are less will do: they need no answer from here.
        """
        return self._extreme(0, initial) if axis is None else self._extremes("lesser", axis, keepdims)

    def max(self, initial: Any = None, *, axis: Any = None, keepdims: bool = False) -> Any:
        """The greatest of the numbers, as a number of the host's; an array here along an `axis`.

        With an `initial`, which it is no less than, known bounds that are greater will do, as for `min`.
        """
        return self._extreme(1, initial) if axis is None else self._extremes("greater", axis, keepdims)

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> DeviceArray:
        """The sum along axes, or of all numbers: here too an array, without axes."""
        from fastconv.backends.cuda import reductions

        return reductions.total(self, axis, dtype, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """The mean along axes, or of all numbers."""
        from fastconv.backends.cuda import reductions

        return reductions.mean(self, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> DeviceArray:
        """The place of the greatest number along an axis, or of all; the first of equals."""
        from fastconv.backends.cuda import reductions

        return reductions.argmax(self, axis, keepdims)

    def _extremes(self, how: str, axis: Any, keepdims: bool) -> DeviceArray:
        from fastconv.backends.cuda import reductions

        return reductions.extreme(self, how, axis, keepdims)

    def _extreme(self, which: int, initial: Any) -> Any:
        from fastconv.backends.cuda import reductions

        found = () if initial is None else (initial,)
        if self.size:
            if self.bounds is None or (initial is None and not self.exact):
                self.bounds = reductions.extremes(self)
                self.exact = True
            found = (*found, self.bounds[which])
        if not found:
            raise ValueError("an array without numbers has neither a least nor a greatest: an `initial` is accepted")
        return (min, max)[which](found)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the interface by which libraries share arrays on a GPU without a copy."""
        handle = self.handle
        # The simulator's handles have none, but their numbers have an address.
        interface = getattr(handle, "__cuda_array_interface__", None) or {
            "data": (handle.ctypes.data, False),
            "version": 3,
        }
        return {**interface, "shape": self.shape, "typestr": self.dtype.str, "strides": None}

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        from fastconv.backends.cuda import ufuncs

        out = options.pop("out", (None,))
        if method != "__call__" or options:
            return NotImplemented
        return ufuncs.call(ufunc, inputs, out[0])

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from fastconv.backends.cuda import functions

        found = functions.FUNCTIONS.get(function)
        return NotImplemented if found is None else found(*args, **kwargs)


def empty(shape: Shape, dtype: Any) -> DeviceArray:
    """An uninitialised array."""
    dtype = np.dtype(dtype)
    return DeviceArray(Memory(*device.current.take(prod(shape), dtype)), shape, dtype)


def from_host(array: Array) -> DeviceArray:
    """A copy of an array of NumPy's, of numbers."""
    dtype = array.dtype.newbyteorder("=")
    if dtype not in DTYPES:
        raise TypeError(f"the array is {array.dtype}: bool, integers and floats are accepted")
    found = empty(array.shape, dtype)
    if array.size:
        device.current.copy_in(found.handle, np.ascontiguousarray(array, dtype))
        if dtype.kind in "iu":
            found.bounds = (int(array.min()), int(array.max()))
            found.exact = True
    return found
