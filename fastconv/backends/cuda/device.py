"""The GPU: its memory, which is kept for later arrays, copies to and from it, and launches of kernels.

All work goes to one stream at a time, in order, so memory that was given back can serve again at once: whatever is
computed in it next waits for what was computed in it before. Each stream has memory of its own.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numba import config, cuda, typeof

from fastconv.backends.cuda import driver, simulation
from fastconv.typing import Array

SIMULATED = bool(config.ENABLE_CUDASIM)
NUMBA_CUDA = not SIMULATED and find_spec("numba_cuda") is not None  # Numba's own target knows fewer options
KEPT = 1 << 31  # bytes that wait for later arrays; beyond, memory goes back to the driver
_simulator, _advice = threading.Lock(), threading.Lock()
_stream: ContextVar[Any] = ContextVar("the stream that kernels are launched on", default=0)


class Device:
    """The current GPU through `numba.cuda`. Handles are one-dimensional arrays of numba's."""

    def __init__(self) -> None:
        self._free: defaultdict[tuple[Any, str, int], list[Any]] = defaultdict(list)
        self._waiting = 0
        self._lock = threading.RLock()  # an array that is collected meanwhile gives its memory back

    def take(self, size: int, dtype: np.dtype[Any]) -> tuple[Any, tuple[Any, str, int]]:
        """An uninitialised handle of at least `size` numbers, and the key to give it back with."""
        key = _stream.get(), dtype.char, rounded(max(size, 1))
        with self._lock:
            if self._free[key]:
                self._waiting -= key[2] * dtype.itemsize
                return self._free[key].pop(), key
        return cuda.device_array(key[2], dtype), key

    def give_back(self, handle: Any, key: tuple[Any, str, int]) -> None:
        """Keep memory for a later array."""
        size = key[2] * np.dtype(key[1]).itemsize
        with self._lock:
            if self._waiting + size <= KEPT:
                self._waiting += size
                self._free[key].append(handle)

    def clear(self) -> None:
        """Release the memory that no array is using."""
        with self._lock:
            self._free.clear()
            self._waiting = 0

    def copy_in(self, handle: Any, array: Array) -> None:
        """Fill a handle with an array of its size and dtype; the array may change right after."""
        handle.copy_to_device(array.reshape(-1), stream=_stream.get())
        if _stream.get():
            _stream.get().synchronize()

    def copy_out(self, handle: Any) -> Array:
        """A handle's numbers, once all that was launched before has run."""
        stream = _stream.get()
        array: Array = handle.copy_to_host(stream=stream)
        if stream:
            stream.synchronize()
        return array

    def launch(self, kernel: Any, blocks: Any, arguments: tuple[Any, ...]) -> None:
        """Run a `launching.Kernel` over so many blocks; arguments are arrays and numbers."""
        if SIMULATED:
            with _simulation():
                kernel.compiled[blocks, kernel.block](*handles(arguments))
            return
        kinds, stream = driver.signature(arguments), _stream.get()
        packed = kernel.packed.get((driver.context(), kinds))
        if packed is None:
            launch_by_numba(kernel, blocks, stream, kinds, handles(arguments))
            return
        grid = (*blocks, 1, 1)[:3] if isinstance(blocks, tuple) else (blocks, 1, 1)
        packed.launch(grid, kernel.block, int(stream), arguments)


def handles(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments as numba takes them: of arrays, the device's."""
    return tuple([getattr(value, "handle", value) for value in arguments])


def launch_by_numba(kernel: Any, blocks: Any, stream: Any, kinds: tuple[Any, ...], arguments: tuple[Any, ...]) -> None:
    """A kernel's first launch for these types, which compiles it, without numba's advice to beginners.

    It warns of grids that leave multiprocessors idle, which small arrays do.
    """
    setting = importlib.import_module("numba.cuda.dispatcher").config
    with _advice:
        before, setting.CUDA_LOW_OCCUPANCY_WARNINGS = setting.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            launch = kernel.compiled[blocks, kernel.block, stream]
        finally:
            setting.CUDA_LOW_OCCUPANCY_WARNINGS = before
    launch(*arguments)
    with suppress(AttributeError, KeyError, TypeError):  # a numba that keeps it elsewhere launches all
        function = driver.function_of(kernel.compiled, tuple(map(typeof, arguments)))
        kernel.packed[driver.context(), kinds] = driver.Packed(function, kinds)


@contextmanager
def _simulation() -> Iterator[None]:
    """What the simulator needs: one kernel at a time, and no warnings of what IEEE calls results.

    Threads take turns quickly, for while they wait for each other the simulator keeps asking whether they are there.
    """
    interval = sys.getswitchinterval()
    with _simulator, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        sys.setswitchinterval(5e-5)
        try:
            yield
        finally:
            sys.setswitchinterval(interval)


def rounded(size: int) -> int:
    """`size` or a little more: one of eight sizes between two powers of two, so that memory serves again."""
    step = max(64, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


@contextmanager
def use_stream(stream: Any) -> Iterator[None]:
    """Launch kernels and copy on this stream inside a `with` block; other threads keep theirs.

    Parameters
    ----------
    stream : stream of numba.cuda, or of CuPy or PyTorch (whatever has `ptr` or `cuda_stream`), or its address as an int
    """
    address = getattr(stream, "cuda_stream", getattr(stream, "ptr", stream))
    token = _stream.set(_stream_at(address) if isinstance(address, int) and address else address)
    try:
        yield
    finally:
        _stream.reset(token)


@lru_cache(maxsize=64)
def _stream_at(address: int) -> Any:
    """The stream at an address, the same object each time: memory and launches are kept by it."""
    return cuda.external_stream(address)


def synchronize() -> None:
    """Wait until all that was launched has run."""
    cuda.synchronize()


def clear() -> None:
    """Release the memory that no array is using."""
    current.clear()


current = Device()
if SIMULATED:
    simulation.mend()
