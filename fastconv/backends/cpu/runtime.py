"""How a kernel is compiled, cached and launched: Numba's options and its pitfalls live here alone.

A kernel is a function with `prange` loops over contiguous arrays, decorated by `kernel`. It is compiled on its first
call for a set of dtypes, and kept in Numba's cache on disk. What a launch must survive:

- a child made by `fork` can't use GNU OpenMP's threads: Numba kills a child that tries;
- the `workqueue` threading layer aborts the process when two threads launch at once.

In both cases the kernel's serial twin runs instead: the same function, compiled without threads.
"""

import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numba import config, njit

from fastconv import threads
from fastconv.typing import Array

# What LLVM may do with floating-point arithmetic. No "nnan" and no "ninf": NaN and infinity travel as IEEE says. And no
# "reassoc" but where sums must become vectors: Numba orders a parallel loop's variables by their hash, LLVM orders the
# terms of an expression by its variables, and so the bits of a result would change from one compilation to the next.
EXACT = {"contract", "nsz"}
SUMS = {*EXACT, "reassoc"}

# Numbers in all arrays of a call, below which one thread is faster: waking others takes as long as the work, and on a
# busy machine a hundred times as long.
SMALL = 10_000

_turn = threading.Lock()
_forked = False


def _after_fork() -> None:
    global _turn, _forked
    _turn, _forked = threading.Lock(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Kernel:
    """A function of arrays and numbers that Numba compiles, its `prange` loops on all threads."""

    def __init__(self, function: Callable[..., None], fastmath: set[str]) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.function, self.options = function, {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

    @cached_property
    def parallel(self) -> Callable[..., None]:
        """The kernel on threads."""
        compiled: Callable[..., None] = njit(parallel=True, cache=True, **self.options)(self.function)
        return compiled

    @cached_property
    def serial(self) -> Callable[..., None]:
        """The twin without threads. It is not cached: Numba's cache would take one for the other."""
        compiled: Callable[..., None] = njit(**self.options)(self.function)
        return compiled

    def __call__(self, *args: Any) -> None:
        """Run the kernel, on threads where that is safe."""
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        if not all(a.flags.writeable for a in arrays):
            args = tuple(writable(a) if isinstance(a, np.ndarray) and not a.flags.writeable else a for a in args)
        wanted = threads.get_num_threads() if sum(a.size for a in arrays) >= SMALL else 1
        if _forked:
            self.serial(*args)
        elif _turn.acquire(blocking=_layer() is None):
            try:
                with_threads(wanted, self.parallel, args)
            finally:
                _turn.release()
        elif _layer() == "workqueue":
            self.serial(*args)
        else:
            with_threads(wanted, self.parallel, args)


def kernel(function: Callable[..., None]) -> Kernel:
    """Make a function a kernel whose expressions are computed as they are written."""
    return Kernel(function, EXACT)


def kernel_of_sums(function: Callable[..., None]) -> Kernel:
    """Make a function a kernel whose inner loops are sums of one term, in an order that suits the vector units."""
    return Kernel(function, SUMS)


def _layer() -> str | None:
    """Numba's threading layer, which the first launch chooses."""
    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def with_threads(wanted: int, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    """`function(*args)` on so many threads; the caller's own setting of Numba's is left as it was."""
    before = numba.get_num_threads()
    wanted = min(wanted, config.NUMBA_NUM_THREADS)
    if wanted == before:
        return function(*args)
    numba.set_num_threads(wanted)
    try:
        return function(*args)
    finally:
        numba.set_num_threads(before)


def writable(array: Array) -> Array:
    """An alias of a read-only array that does not say so.

    Kernels write to no input, but Numba would compile each of them once more for every mix of read-only arguments. The
    alias is only good while the caller holds the array, as it does during a launch.
    """
    alias = {"data": (array.ctypes.data, False), "shape": array.shape, "typestr": array.dtype.str, "version": 3}
    return np.asarray(type("alias", (), {"__array_interface__": alias})())
