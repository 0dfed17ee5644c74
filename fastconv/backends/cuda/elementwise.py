"""Functions of each number by itself: one kernel that walks over an array, and what is computed in each place.

A mapping is written as a factory of a function of the index `i` and of operands, arrays or numbers:

    @mapping
    def leaky(t):  # t is the dtype's type: constants are made with it
        zero = t(0)
        return lambda i, x, slope: x[i] if x[i] > zero else slope * x[i]

    y = leaky(x.dtype)(x, slope)

Floats among the operands become numbers of the dtype; ints stay what they are: sizes. The same functions are the terms
of sums in `reductions`. Index letter: `i` number.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from inspect import signature
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device
from fastconv.backends.cuda.array import DeviceArray, empty, from_host
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, device_function, kernel, threads
from fastconv.typing import Shape

BLOCK = threads(256)
BLOCKS = 2 if device.SIMULATED else 8192  # no more of them: each walks on by as many numbers as all have threads
OPERANDS = 8


class Mapping:
    """y[i] = function(i, *operands) for each i.

    Attributes
    ----------
    only, function : callable
        For kernels: of the index and the operands, and with as many more, which are ignored, as make `OPERANDS`.
    count : int
        The operands.
    """

    def __init__(self, function: Callable[..., Any], dtype: np.dtype[Any]) -> None:
        self.count, self.type = len(signature(function).parameters) - 1, dtype.type
        self.only = device_function(function)
        self.function = device_function(_padded(self.only, self.count))
        self.kernel = _walk(self.function)

    def __call__(self, *operands: Any, out: Any = None) -> Any:
        """The mapping of arrays and numbers, in `out`, or in an array like the first."""
        y = empty(operands[0].shape, operands[0].dtype) if out is None else out
        self.kernel(blocks(y.size), y.size, y, *self.ready(operands))
        y.bounds = None
        return y

    def ready(self, operands: tuple[Any, ...]) -> list[Any]:
        """The operands as kernels take them, `OPERANDS` many."""
        if len(operands) != self.count:
            raise TypeError(f"{len(operands)} operands: {self.count} are accepted")
        found = [self.type(value) if isinstance(value, float) else value for value in operands]
        return found + [0] * (OPERANDS - len(found))


def mapping(make: Callable[..., Callable[..., Any]]) -> Callable[..., Mapping]:
    """Decorate a factory (type of numbers, options) -> function; it then takes a dtype and makes each mapping once."""

    @cache
    def made(dtype: np.dtype[Any], *options: Any) -> Mapping:
        return Mapping(make(dtype.type, *options), dtype)

    return made


def blocks(size: int) -> int:
    """The blocks that walk over so many numbers."""
    return min(blocks_for(size, BLOCK), BLOCKS)


def _padded(f: Any, count: int) -> Callable[..., Any]:
    """The function f of an index and `count` operands, as one of `OPERANDS`: kernels take a fixed number of them."""
    return (
        lambda i, a, b, c, d, e, g, h, k: f(i),
        lambda i, a, b, c, d, e, g, h, k: f(i, a),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b, c),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b, c, d),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b, c, d, e),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b, c, d, e, g),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b, c, d, e, g, h),
        lambda i, a, b, c, d, e, g, h, k: f(i, a, b, c, d, e, g, h, k),
    )[count]


def _walk(function: Any) -> Kernel:
    @kernel(BLOCK)
    def run(size, y, a, b, c, d, e, g, h, k):  # type: ignore[no-untyped-def]
        """y[i] = function(i, operands)."""
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        step = cuda.gridDim.x * cuda.blockDim.x
        while i < size:
            i &= MASK
            y[i] = function(i, a, b, c, d, e, g, h, k)
            i += step

    return run


@mapping
def converted(t: Any, source: str, target: str) -> Callable[..., Any]:
    """y[i] = x[i], rounded to the target's dtype."""
    if target == "?":
        zero = t(0)
        return lambda i, x: t(x[i]) != zero  # of float16 too, in float32: CUDA compares no others
    if source == "e" and target in "bhilqBHILQ":
        return lambda i, x: t(x[i])  # from float16 alone it would round to the nearest integer, not towards zero
    return lambda i, x: x[i]


def copy(source: DeviceArray, target: DeviceArray) -> None:
    """Write an array's numbers to another of its size, rounded to the other's dtype (bool: whether they aren't 0)."""
    if overlap(source, target):
        source = source.copy()
    compute = np.dtype(np.float32) if source.dtype.char == "e" else source.dtype
    converted(compute, source.dtype.char, target.dtype.char)(source, out=target)


@mapping
def constant(t: Any) -> Callable[..., Any]:
    """y[i] = value."""
    return lambda i, value: value


def fill(target: DeviceArray, value: Any) -> None:
    """Write one number everywhere."""
    number: Any = np.asarray(value).astype(target.dtype)[()]
    if target.dtype.char == "e":  # no number of this dtype is passed to a kernel
        number = np.float32(number)
    constant(target.dtype)(number, out=target)


def overlap(a: DeviceArray, b: DeviceArray) -> bool:
    """Whether two arrays share some of their memory, but not number by number."""
    same = a.start == b.start and a.size == b.size and a.dtype == b.dtype
    return a.memory is b.memory and not same and a.start < b.start + b.size and b.start < a.start + a.size


@device_function
def place_of(i, table, axes, operand):  # type: ignore[no-untyped-def]
    """The place of number i of a C-contiguous array in an operand whose strides are a column of the table.

    The table has a row for each axis: its extent, and each operand's stride in numbers.
    """
    place = 0
    axis = axes - 1
    width = len(table) // (axes & MASK)
    while axis >= 0:
        extent = table[(axis * width) & MASK] & MASK
        place += i % extent * table[(axis * width + 1 + operand) & MASK]
        i = i // extent
        axis -= 1
    return place


@mapping
def gathered(t: Any, source: str, target: str) -> Callable[..., Any]:
    """y[i] = x[offset + the place of i among strides]."""
    convert = converted(np.dtype(t), source, target).only
    return lambda i, x, table, axes, offset: convert((offset + place_of(i, table, axes, 0)) & MASK, x)


@lru_cache(maxsize=256)
def table(shape: Shape, *strides: Shape) -> tuple[DeviceArray, int]:
    """What `place_of` takes, for operands of these strides, and its number of rows: axes that go on are merged."""
    rows: list[list[int]] = []
    for row in zip(shape, *strides, strict=True):
        extent, steps = row[0], list(row[1:])
        if rows and all(above == step * extent for above, step in zip(rows[-1][1:], steps, strict=True)):
            rows[-1] = [rows[-1][0] * extent, *steps]
        elif extent != 1:
            rows.append([extent, *steps])
    rows = rows or [[1, *[0] * len(strides)]]
    return from_host(np.array(rows, np.int64)), len(rows)


def copy_strided(source: DeviceArray, strides: Sequence[int], offset: int, target: DeviceArray) -> None:
    """target[i, j, …] = source[offset + i strides[0] + j strides[1] + …], rounded to the target's dtype.

    Parameters
    ----------
    source : DeviceArray
        Its numbers are counted as if it had one axis.
    strides, offset : in numbers, not bytes
        Strides may be 0 or negative as long as all places lie in the source.
    target : DeviceArray with as many axes as there are strides, in memory of its own
    """
    compute = np.dtype(np.float32) if source.dtype.char == "e" else source.dtype
    rows, axes = table(target.shape, tuple(strides))
    gathered(compute, source.dtype.char, target.dtype.char)(source, rows, axes, int(offset), out=target)
