"""Arrays of other libraries on the GPU, by CUDA's array interface: CuPy's, PyTorch's, Numba's."""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device
from fastconv.backends.cuda.array import DTYPES, DeviceArray, Memory, empty


def wrapped(value: Any) -> DeviceArray:
    """An array of another library as a DeviceArray over the same memory, which it keeps alive.

    Numbers that don't lie in C's order, one after another, are copied. What was launched on the stream that the array
    names is waited for.
    """
    if isinstance(value, DeviceArray):
        return value
    interface = value.__cuda_array_interface__
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    if interface.get("mask") is not None:
        raise TypeError("an array with a mask came: arrays without are accepted")
    if dtype not in DTYPES:
        raise TypeError(f"an array of {dtype} came: bool, integers and floats in the machine's byte order are accepted")
    if not prod(shape):
        return empty(shape, dtype)
    strides = interface.get("strides")
    strides = [dtype.itemsize * prod(shape[i + 1 :]) for i in range(len(shape))] if strides is None else strides
    steps = [stride // dtype.itemsize for stride in strides]
    flat = all(step == prod(shape[i + 1 :]) or shape[i] == 1 for i, step in enumerate(steps))
    if flat:
        return DeviceArray(Memory(_handle(value, prod(shape), dtype), owner=value), shape, dtype)
    return _gathered(value, shape, dtype, steps)


def _gathered(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], steps: list[int]) -> DeviceArray:
    """A copy in C's order of numbers that lie `steps` apart."""
    from fastconv.backends.cuda import elementwise

    before = sum((s - 1) * step for s, step in zip(shape, steps, strict=True) if step < 0)
    after = sum((s - 1) * step for s, step in zip(shape, steps, strict=True) if step > 0)
    spread = _handle(value, after - before + 1, dtype, before)
    source = DeviceArray(Memory(spread, owner=value), (after - before + 1,), dtype)
    target = empty(shape, dtype)
    elementwise.copy_strided(source, steps, -before, target)
    return target


def _handle(value: Any, size: int, dtype: np.dtype[Any], start: int = 0) -> Any:
    """A handle of `size` numbers of another library's memory, from `start` numbers after its first."""
    interface = value.__cuda_array_interface__
    address = interface["data"][0] + start * dtype.itemsize
    if device.SIMULATED:
        buffer = (ctypes.c_byte * (size * dtype.itemsize)).from_address(address)
        return cuda.simulator.cudadrv.devicearray.FakeCUDAArray(np.frombuffer(memoryview(buffer), dtype))

    class Piece:
        __cuda_array_interface__ = {  # noqa: RUF012
            **interface,
            "shape": (size,),
            "strides": None,
            "data": (address, interface["data"][1]),
        }

    return cuda.as_cuda_array(Piece())
