"""Kernels as serial bodies over addresses, one parallel driver for all of them, and programs of bound steps.

A body is a function `body(plan, arrays, first, end, thread)` of five int64: the address of the int64 parameters that a
plan fixed, the address of the call's own addresses, a range of tasks, and the number of the thread that runs them, for
its workspace. Bodies know no threads, so they compile three times faster than `prange` loops; `spread`, which is
compiled once, runs any of them on all threads. A program is a table of steps that runs as one native call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

from fastconv.backends.cpu import cache, launching
from fastconv.typing import Array

I64, LONG = ir.IntType(64), types.int64
BODY = types.void(*[LONG] * 5)
ADDRESSES = 8  # of a call: those of its arrays and its workspace
STEP = 4  # words of a step: code, plan, tasks, parts for each thread
Body = Callable[..., None]


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
def next_word(builder: Any, address: Any) -> Any:
    """The int64 at an address, which becomes one greater; every thread gets another one."""
    return builder.atomic_rmw("add", builder.inttoptr(address, I64.as_pointer()), I64(1), "monotonic")


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


@body(parallel=True)
def spread(kernel, plan, arrays, tasks, chunk, counter, threads):  # type: ignore[no-untyped-def]
    """All tasks of a body; each thread takes the next chunk when it has done one."""
    for thread in prange(threads):
        first = next_word(counter) * chunk
        while first < tasks:
            call(kernel, plan, arrays, first, min(first + chunk, tasks), thread)
            first = next_word(counter) * chunk


@body
def run_parallel(table, steps, threads, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """The steps of a table in order, on threads."""
    arrays = on_stack(a, b, c, d, e, f, g, h)
    for step in range(steps):
        kernel, plan, tasks, parts = (
            word(table, 4 * step),
            word(table, 4 * step + 1),
            word(table, 4 * step + 2),
            word(table, 4 * step + 3),
        )
        if parts > 0 and tasks > 1 and threads > 1:
            counter = on_stack(0, 0, 0, 0, 0, 0, 0, 0)
            chunk = max(1, tasks // (threads * parts))
            spread(kernel, plan, arrays, tasks, chunk, counter, min(threads, tasks))
        else:
            call(kernel, plan, arrays, 0, tasks, 0)


@body
def run_serial(table, steps, threads, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """The steps of a table in order, on this thread."""
    arrays = on_stack(a, b, c, d, e, f, g, h)
    for step in range(steps):
        call(word(table, 4 * step), word(table, 4 * step + 1), arrays, 0, word(table, 4 * step + 2), 0)


RUN = types.void(*[LONG] * (3 + ADDRESSES))


class Program:
    """Steps that run in order as one native call.

    Parameters
    ----------
    steps : sequence of (body, parameters, tasks, parts)
        `parameters` are int64 that the body reads with `word(plan, i)`; `parts` is into how many parts each thread's
        share of the tasks falls, for balance; 0: this step is not worth threads.
    work : int
        Multiply-adds, or numbers moved where there are more of them: what decides on threads.
    """

    def __init__(self, steps: Sequence[tuple[Any, Sequence[int], int, int]], work: int) -> None:
        self.parameters = [np.array(parameters, np.int64) for _, parameters, _, _ in steps]
        rows = [
            (code(kernel), parameters.ctypes.data, tasks, parts)
            for (kernel, _, tasks, parts), parameters in zip(steps, self.parameters, strict=True)
        ]
        self.table = np.array(rows, np.int64).reshape(-1, STEP)
        self.address, self.steps, self.work = self.table.ctypes.data, len(rows), work

    def __call__(self, threads: int, *addresses: int) -> None:
        """Run with these addresses; whoever calls holds their arrays."""
        filled = (*addresses, *(0,) * (ADDRESSES - len(addresses)))
        launching.launch(run_parallel, run_serial, threads, self.address, self.steps, threads, *filled)


OBJECT = object.__basicsize__  # where an array's object holds the address of its data, after what every object has


def _address(array: Array) -> int:
    return int(array.ctypes.data)


@njit(LONG(LONG), nogil=True)
def _peek(place):  # type: ignore[no-untyped-def]
    return word(place, 0)


address = _address
__all__ = ["ADDRESSES", "BODY", "Program", "address", "body", "code", "native", "numba", "set_word", "word"]
