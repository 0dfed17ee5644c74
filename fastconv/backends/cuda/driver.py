"""Launches by the driver's own call, which takes 5 microseconds; numba's way to it takes 20 for each array.

A kernel's first launch for what it is given is numba's, which compiles it. Later ones write their arguments into one
buffer, as the compiled code expects them: a number in 8 bytes, a one-dimensional array in seven words.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from struct import Struct
from typing import Any

import numpy as np

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
WORDS = 7  # of an array: two of numba's bookkeeping, numbers, bytes of one, address, extent, stride
_NUMBERS = "?bBhHiIqQefd"  # of struct's; NumPy's q is C's long too
_OF_DTYPE = {np.dtype(code.replace("q", "i8").replace("Q", "u8")): code for code in _NUMBERS}
FORMATS: dict[type, str] = {int: "q", float: "d", bool: "?7x"} | {
    dtype.type: f"{code}{8 - dtype.itemsize}x" for dtype, code in _OF_DTYPE.items()
}


def words(address: int, size: int, itemsize: int) -> tuple[int, ...]:
    """What compiled code takes for a one-dimensional array."""
    return 0, 0, size, itemsize, address, size, itemsize


def signature(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What decides which code of a kernel runs: numbers' types, arrays' dtypes as characters, and those of tuples."""
    return tuple([kind if (kind := type(value)) in FORMATS else _signature_of(value) for value in arguments])


def _signature_of(value: Any) -> Any:
    return signature(value) if isinstance(value, tuple) else value.dtype.char


def _format(kind: Any) -> str:
    return "".join(map(_format, kind)) if isinstance(kind, tuple) else FORMATS.get(kind, f"{WORDS}q")


def flat(arguments: tuple[Any, ...]) -> list[Any]:
    """Arguments as compiled code takes them, one number after another."""
    values: list[Any] = []
    for value in arguments:
        if type(value) in FORMATS:
            values.append(value)
        else:
            values += flat(value) if isinstance(value, tuple) else value.words
    return values


class Packed:
    """A kernel compiled for one signature in one context, whose launches use one buffer for their arguments."""

    def __init__(self, function: int, kinds: tuple[Any, ...]) -> None:
        self.function = function
        self.struct = Struct("<" + _format(kinds))
        self.buffer = ctypes.create_string_buffer(max(self.struct.size, 1))
        first = ctypes.addressof(self.buffer)
        addresses = range(first, first + self.struct.size, 8)
        self.pointers = (ctypes.c_void_p * len(addresses))(*addresses)
        self.lock = threading.Lock()

    def launch(self, grid: tuple[int, int, int], block: int, stream: int, arguments: tuple[Any, ...]) -> None:
        """Run it over a grid of blocks; the driver has taken the arguments when it returns."""
        with self.lock:
            self.struct.pack_into(self.buffer, 0, *flat(arguments))
            status = library().cuLaunchKernel(self.function, *grid, block, 1, 1, 0, stream, self.pointers, None)
        if status:
            raise RuntimeError(f"the GPU's driver did not launch a kernel: {error_name(status)}")


@cache
def library() -> Any:
    """The driver's library, with the types of what is called.

    Raises
    ------
    OSError
        If it is not where numba has found it.
    """
    found = ctypes.CDLL(LIBRARY)
    pointer, number = ctypes.c_void_p, ctypes.c_uint
    found.cuLaunchKernel.argtypes = [pointer, *[number] * 7, pointer, pointer, pointer]
    found.cuCtxGetCurrent.argtypes = [pointer]
    found.cuGetErrorName.argtypes = [ctypes.c_int, pointer]
    return found


def context() -> int:
    """The calling thread's context, 0 where it has none yet."""
    found = ctypes.c_void_p()
    library().cuCtxGetCurrent(ctypes.byref(found))
    return found.value or 0


def error_name(status: int) -> str:
    """As the driver calls it."""
    name = ctypes.c_char_p()
    library().cuGetErrorName(status, ctypes.byref(name))
    return (name.value or b"").decode() or f"error {status}"


def function_of(compiled: Any, kinds: tuple[Any, ...]) -> int:
    """The driver's handle of a kernel that numba has compiled for these types.

    Raises
    ------
    AttributeError, KeyError, TypeError
        If this version of numba keeps it elsewhere.
    """
    handle = compiled.overloads[kinds]._codelibrary.get_cufunc().handle
    return int(getattr(handle, "value", handle))
