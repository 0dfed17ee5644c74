"""Kernels as serial bodies over addresses, and what bodies are made of.

A body is a function `body(plan, arrays, first, end, thread)` of five int64: the address of the int64 parameters that a
plan fixed, the address of the call's own addresses, a range of tasks, and the number of the thread that runs them, for
its workspace. Bodies know no threads, so they compile three times faster than `prange` loops; one driver, in `team`,
runs any of them on all threads.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastconv.backends.cpu import cache
from fastconv.typing import Array

I32, I64, LONG = ir.IntType(32), ir.IntType(64), types.int64
BODY = types.void(*[LONG] * 5)

# In words of an array's object: the address of its data, and behind it the number of axes, the addresses of the shape
# and of the strides. NumPy's binary interface fixes this; the object's own head differs from Python to Python.
DATA = object.__basicsize__ // 8
SHAPE, STRIDES = DATA + 2, DATA + 3
ITEMS = tuple.__basicsize__ // 8  # and in words of a tuple: its first item


def native(result: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic on int64 values of a function that emits its LLVM IR."""

    def wrap(write: Callable[..., Any]) -> Any:
        @intrinsic
        @functools.wraps(write)
        def typed(typingctx: Any, *args: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                value = write(builder, *values)
                return context.get_dummy_value() if result is types.void else value

            return result(*[LONG] * len(args)), codegen

        return typed

    return wrap


@native(LONG)
def word(builder: Any, address: Any, index: Any) -> Any:
    """The int64 at an index from an address."""
    return builder.load(builder.gep(builder.inttoptr(address, I64.as_pointer()), [index]))


@native(types.void)
def set_word(builder: Any, address: Any, index: Any, value: Any) -> Any:
    """Store an int64 at an index from an address."""
    return builder.store(value, builder.gep(builder.inttoptr(address, I64.as_pointer()), [index]))


@native(LONG)
def on_stack(builder: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """The address of these values, which live as long as the function that asks."""
    values = (a, b, c, d, e, f, g, h)
    with builder.goto_entry_block():
        block = builder.alloca(I64, len(values))
    for place, value in enumerate(values):
        builder.store(value, builder.gep(block, [I64(place)]))
    return builder.ptrtoint(block, I64)


@native(types.void)
def call(builder: Any, kernel: Any, plan: Any, arrays: Any, first: Any, end: Any, thread: Any) -> Any:
    """Call the body at an address."""
    function = ir.FunctionType(ir.VoidType(), [I64] * 5)
    builder.call(builder.inttoptr(kernel, function.as_pointer()), [plan, arrays, first, end, thread])


def body(function: Callable[..., None] | None = None, **options: Any) -> Any:
    """Make a function a body: compiled when first used, and kept on disk."""
    if function is None:
        return functools.partial(body, **options)
    return cache.kept(njit(**{"nogil": True, "error_model": "numpy", **options})(function))


@functools.cache
def code(kernel: Any) -> int:
    """The address of a body's machine code, which is compiled, or loaded, here."""
    result = kernel.get_compile_result(BODY)
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


@functools.cache
def entry(kernel: Any, arguments: int) -> Callable[..., None]:
    """What a compiled function of so many int64 is called by if their types need not be found out, in 0.2 us less."""
    compiled: Callable[..., None] = kernel.compile(types.void(*[LONG] * arguments))
    return compiled


def address(array: Array) -> int:
    """The address of an array's data: `array.ctypes.data`, which takes 1 us, in 0.2."""
    return ctypes.c_ssize_t.from_address(id(array) + 8 * DATA).value


def _check_layout() -> None:
    """Raise unless arrays lie in memory as this module reads them."""
    array, words = np.empty((2, 3, 5), np.float32), ctypes.c_ssize_t * 3
    data, shape, strides = [words.from_address(id(array) + 8 * place) for place in (DATA, SHAPE, STRIDES)]
    known = (
        tuple(words.from_address(shape[0])) == array.shape and tuple(words.from_address(strides[0])) == array.strides
    )
    if data[0] != array.ctypes.data or not known:
        raise ImportError(f"NumPy {np.__version__} keeps arrays in a form that fastconv does not know")
    triple = array, None, array
    if tuple(words.from_address(id(triple) + 8 * ITEMS)) != tuple(map(id, triple)):
        raise ImportError(f"Python {sys.version} keeps tuples in a form that fastconv does not know")


_check_layout()
