"""Kernels with `prange` loops over contiguous arrays, whose twins without threads run where those are not safe."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numba import njit

from fastconv import threads
from fastconv.backends.cpu import cache, launching
from fastconv.backends.cpu.kernels import EXACT, SMALL, SUMS
from fastconv.typing import Array


class Kernel:
    """A function of arrays and numbers that Numba compiles, its `prange` loops on all threads."""

    def __init__(self, function: Callable[..., None], fastmath: set[str]) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.function, self.options = function, {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

    @cached_property
    def parallel(self) -> Callable[..., None]:
        """The kernel on threads; the caller's own number of Numba's threads is left as it was."""
        compiled = cache.kept(njit(parallel=True, **self.options)(self.function))

        def run(wanted: int, *args: Any) -> None:
            before = numba.get_num_threads()
            numba.set_num_threads(wanted)
            try:
                compiled(*args)
            finally:
                numba.set_num_threads(before)

        return run

    @cached_property
    def serial(self) -> Callable[..., None]:
        """The twin without threads."""
        compiled = cache.kept(njit(**self.options)(self.function))
        return lambda _, *args: compiled(*args)

    def __call__(self, *args: Any) -> None:
        """Run the kernel, on threads where that is safe."""
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        if not all(a.flags.writeable for a in arrays):
            args = tuple(writable(a) if isinstance(a, np.ndarray) and not a.flags.writeable else a for a in args)
        wanted = threads.get_num_threads() if sum(a.size for a in arrays) >= SMALL else 1
        launching.launch(self.parallel, self.serial, wanted, *args)


def kernel(function: Callable[..., None]) -> Kernel:
    """Make a function a kernel whose expressions are computed as they are written."""
    return Kernel(function, EXACT)


def kernel_of_sums(function: Callable[..., None]) -> Kernel:
    """Make a function a kernel whose inner loops are sums of one term, in an order that suits the vector units."""
    return Kernel(function, SUMS)


def writable(array: Array) -> Array:
    """An alias of a read-only array that does not say so.

    Kernels write to no input, but Numba would compile each of them once more for every mix of read-only arguments. The
    alias is only good while the caller holds the array, as it does during a launch.
    """
    alias = {"data": (array.ctypes.data, False), "shape": array.shape, "typestr": array.dtype.str, "version": 3}
    return np.asarray(type("alias", (), {"__array_interface__": alias})())
