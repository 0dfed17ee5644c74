"""How kernels are written, compiled and launched, and how an operation takes arrays of either side.

A kernel is a function of one-dimensional arrays and numbers, compiled when it is first launched for what it is given.
Sizes that decide about its code (a block's threads, a tile's extents, a dtype) are arguments of a factory that makes
it, so that one source serves all of them, and small ones in the simulator, where each thread costs half a millisecond.

Ints arrive as int64, so what counts as an index is masked (`i & MASK`): it tells LLVM that it is not negative, which
leaves out Python's meaning of a negative index. Floats are passed as numbers of the arrays' dtype, and literals in
kernels are of it too: a literal 0.5 is float64, and float64 costs an H100 two times float32's time, other GPUs 32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from inspect import signature
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device
from fastconv.backends.cuda.array import DeviceArray, from_host

MASK = 0x7FFFFFFFFFFFFFFF  # what an index that is never negative is masked with
SIMULATED_THREADS = 4


class Kernel:
    """A function that runs once in each thread of a grid of blocks of `block` threads."""

    def __init__(self, function: Callable[..., None], block: int, **options: Any) -> None:
        self.function, self.block, self.options = function, block, options
        self.packed: dict[Any, Any] = {}  # the device's, by what the kernel was compiled for
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    @cached_property
    def compiled(self) -> Any:
        """What numba makes of it, at its first launch."""
        return cuda.jit(self.function, **self.options)

    def __call__(self, blocks: int | tuple[int, ...], *args: Any) -> None:
        """Launch so many blocks; nothing for none."""
        if not (0 in blocks if isinstance(blocks, tuple) else blocks == 0):
            device.current.launch(self, blocks, args)


def kernel(block: int, **options: Any) -> Callable[[Callable[..., None]], Kernel]:
    """Decorate a function as a kernel whose blocks have so many threads; options are `cuda.jit`'s."""
    return lambda function: Kernel(function, block, **options)


def device_function(function: Callable[..., Any], inline: bool = False) -> Any:
    """Decorate a function that kernels call; one with `inline` becomes part of its caller, arrays in registers and all.

    The simulator calls it as it is, which is a hundred times faster, unless it uses `cuda`, which is swapped there.
    """
    if device.SIMULATED and "cuda" not in function.__code__.co_names:
        return function
    return cuda.jit(function, device=True, **({"forceinline": True} if inline and device.NUMBA_CUDA else {}))


def inlined(function: Callable[..., Any]) -> Any:
    """Decorate a function that becomes part of the kernel that calls it."""
    return device_function(function, inline=True)


def threads(usual: int) -> int:
    """So many threads of a block; a few in the simulator."""
    return min(usual, SIMULATED_THREADS) if device.SIMULATED else usual


def blocks_for(tasks: int, per_block: int) -> int:
    """Blocks that do all tasks, so many each."""
    return -(-tasks // per_block)


def operation(*writes: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate an operation so that it takes arrays of the host's too: they are copied in, and results copied out.

    `writes` are the names of the arguments that it changes.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        names = list(signature(function).parameters)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = dict(zip(names, args, strict=False)) | kwargs
            if not any(isinstance(value, np.ndarray) for value in given.values()):
                return function(*args, **kwargs)
            moved = {name: _inward(value) for name, value in given.items()}
            result = function(**moved)
            for name in writes:
                if isinstance(given.get(name), np.ndarray):
                    given[name][...] = moved[name].to_host()
            return _outward(result, moved, given)

        return call

    return decorate


def _inward(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(item, np.ndarray) for item in value):
        return tuple([_inward(item) for item in value])
    return from_host(value) if isinstance(value, np.ndarray) else value


def _outward(result: Any, moved: dict[str, Any], given: dict[str, Any]) -> Any:
    if isinstance(result, tuple):
        return tuple([_outward(item, moved, given) for item in result])
    for name, value in moved.items():  # what was given as the result's place is the result
        if result is value and isinstance(result, DeviceArray):
            return given[name]
    return result.to_host() if isinstance(result, DeviceArray) else result
