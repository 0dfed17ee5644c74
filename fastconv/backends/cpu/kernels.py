"""Kernels over arrays: how a loop over a range of tasks is compiled, cached and launched.

A kernel is a function `kernel(*arguments, first, end)` that does the tasks from `first` to `end`; its caller says how
many there are: `kernel(tasks, *arguments)`. Arguments are contiguous arrays, which it does not change unless it is
there to do so, ints and other numbers. It becomes a body (see `native`) for each set of dtypes, whose addresses are
those of the arrays' objects: there it finds their data, shapes and strides, and so a call takes neither Numba's
unpacking of arguments nor code of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from fastconv import threads
from fastconv.backends.cpu.launching import launch
from fastconv.backends.cpu.native import (
    DATA,
    I64,
    LONG,
    SHAPE,
    STRIDES,
    body,
    code,
    on_stack,
)  # fmt: skip
from fastconv.backends.cpu.programs import UNUSED
from fastconv.backends.cpu.team import share_out

# What LLVM may do with floating-point arithmetic. No "nnan" and no "ninf": NaN and infinity travel as IEEE says. And no
# "reassoc" but where sums must become vectors, so that expressions are computed in the order they are written in.
EXACT = {"contract", "nsz"}
SUMS = {*EXACT, "reassoc"}

# Numbers in all arrays of a call, below which one thread is faster: waking others takes as long as the work, and on a
# busy machine a hundred times as long.
SMALL = 10_000
DTYPES: dict[int, np.dtype[Any]] = {np.dtype(char).num: np.dtype(char) for char in "?bhilqBHILQfd"}
PARTS = 4  # into which each thread's share of the tasks falls

INT, AXES = -1, 64  # kinds of arguments: an int, or AXES times an array's dtype (its number) and its axes


class Kernel:
    """A function of arrays, numbers and a range of tasks, compiled for each set of dtypes."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.function = function
        self.codes: dict[tuple[int, ...], int] = {}

    def __call__(self, tasks: int, *args: Any) -> None:
        """Do all tasks, on threads where that is worth it and safe."""
        held, kinds, places, size = [], [], [], 0
        for value in args:
            if isinstance(value, (int, np.integer)):
                kinds.append(INT)
                places.append(int(value))
                continue
            array = value if type(value) is np.ndarray else np.asarray(value)
            held.append(array)  # as long as its address is used
            kinds.append(AXES * array.dtype.num + array.ndim)
            places.append(id(array))
            size += array.size
        key = tuple(kinds)
        address = self.codes.get(key) or self.compile(key)
        wanted = threads.get_num_threads() if size >= SMALL and tasks > 1 else 1
        launch(run_kernel, wanted, address, tasks, PARTS, *places, *UNUSED[len(places)])

    def compile(self, kinds: tuple[int, ...]) -> int:
        """The address of the code for such arguments."""
        unpacked, name = unpacking(tuple([_type(kind) for kind in kinds])), self.__name__
        options = {"nogil": True, "error_model": "numpy", "fastmath": EXACT}
        function = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(self.function)

        def entry(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
            function(*unpacked(arrays), first, end)

        entry.__name__ = name
        return self.codes.setdefault(kinds, code(body(entry)))


def kernel(function: Callable[..., None]) -> Kernel:
    """Make a function a kernel whose expressions are computed as they are written."""
    return Kernel(function)


@njit
def address(array):  # type: ignore[no-untyped-def]
    """Where a kernel's array has its data, as the signed number that Numba adds to others."""
    return np.int64(array.ctypes.data)


def _type(kind: int) -> Any:
    """Numba's type of an argument; numbers are arrays without axes."""
    return LONG if kind == INT else types.Array(from_dtype(DTYPES[kind // AXES]), kind % AXES, "C")


def unpacking(kinds: tuple[Any, ...]) -> Any:
    """An intrinsic that makes the arguments, of these types, of the address of their objects' addresses."""
    result = types.Tuple([kind if kind == LONG or kind.ndim else kind.dtype for kind in kinds])

    @intrinsic
    def unpacked(typingctx: Any, arrays: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            words = [_word(builder, values[0], index) for index in range(len(kinds))]
            found = [_argument(context, builder, *pair) for pair in zip(kinds, words, strict=True)]
            return context.make_tuple(builder, result, found)

        return result(LONG), codegen

    return unpacked


def _word(builder: Any, address: Any, index: int) -> Any:
    return builder.load(builder.gep(builder.inttoptr(address, I64.as_pointer()), [I64(index)]))


def _argument(context: Any, builder: Any, kind: Any, place: Any) -> Any:
    """A value of this type: an int itself, else what is in the array whose object is at `place`."""
    if kind == LONG:
        return place
    item = context.get_data_type(kind.dtype)
    data = builder.inttoptr(_word(builder, place, DATA), item.as_pointer())
    if not kind.ndim:
        return context.unpack_value(builder, kind.dtype, data)
    shape, strides = _word(builder, place, SHAPE), _word(builder, place, STRIDES)
    array = arrayobj.make_array(kind)(context, builder)
    arrayobj.populate_array(
        array,
        data=data,
        shape=cgutils.pack_array(builder, [_word(builder, shape, axis) for axis in range(kind.ndim)]),
        strides=cgutils.pack_array(builder, [_word(builder, strides, axis) for axis in range(kind.ndim)]),
        itemsize=context.get_constant(types.intp, context.get_abi_sizeof(item)),
        meminfo=None,
    )
    return array._getvalue()


@body
def run_kernel(team, threads, kernel, tasks, parts, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """All tasks of a body, which needs no plan."""
    arrays = on_stack(a, b, c, d, e, f, g, h)
    share_out(team, threads, kernel, arrays, arrays, tasks, parts)
