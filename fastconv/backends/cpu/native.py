"""Kernels as serial bodies over addresses, one parallel driver for all of them, and programs of bound steps.

A body is a function `body(plan, arrays, first, end, thread)` of five int64: the address of the int64 parameters that a
plan fixed, the address of the call's own addresses, a range of tasks, and the number of the thread that runs them, for
its workspace. Bodies know no threads, so they compile three times faster than `prange` loops; `spread`, which is
compiled once, runs any of them on all threads. A program is a table of steps that runs as one native call.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.backends.cpu import cache, launching
from fastconv.typing import Array

I32, I64, LONG = ir.IntType(32), ir.IntType(64), types.int64
BODY = types.void(*[LONG] * 5)
ADDRESSES = 8  # of a call: those of its arrays and its workspace
COUNTERS = 8  # of shares of a body's tasks: a thread's own, or several threads'
STEP = 4  # words of a step: code, plan, tasks, parts for each thread

# In words of an array's object: the address of its data, and behind it the number of axes, the addresses of the shape
# and of the strides. NumPy's binary interface fixes this; the object's own head differs from Python to Python.
DATA = object.__basicsize__ // 8
SHAPE, STRIDES = DATA + 2, DATA + 3
NOTHING = id(None)


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
def numba_threads(builder: Any) -> Any:
    """What `numba.get_num_threads` tells, which itself can't be kept on disk."""
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), "get_num_threads")
    return builder.sext(builder.call(function, []), I64)


@native(types.void)
def set_numba_threads(builder: Any, count: Any) -> Any:
    """What `numba.set_num_threads` does, for this thread."""
    kind = ir.FunctionType(ir.VoidType(), [I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "set_num_threads")
    return builder.call(function, [builder.trunc(count, I32)])


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
def spread(kernel, plan, arrays, tasks, chunk, counters, threads):  # type: ignore[no-untyped-def]
    """All tasks of a body; each thread takes the next chunk of its own share, then of the others' that are left.

    So a thread meets the same tasks' data in one step after another, as long as nothing holds it up.
    """
    for thread in prange(threads):
        groups, chunks = min(threads, COUNTERS), (tasks + chunk - 1) // chunk
        for turn in range(groups):
            group = (thread * groups // threads + turn) % groups
            begin, end = chunks * group // groups, chunks * (group + 1) // groups
            place = begin + next_word(counters + 8 * group)
            while place < end:
                call(kernel, plan, arrays, place * chunk, min((place + 1) * chunk, tasks), thread)
                place = begin + next_word(counters + 8 * group)


@body
def share_out(kernel, plan, arrays, tasks, parts, threads):  # type: ignore[no-untyped-def]
    """All tasks of a body on so many threads; the caller's own number of Numba's threads is left as it was."""
    counters = on_stack(0, 0, 0, 0, 0, 0, 0, 0)
    chunk, before = max(1, tasks // (threads * parts)), numba_threads()
    if before != threads:
        set_numba_threads(threads)
    spread(kernel, plan, arrays, tasks, chunk, counters, min(threads, tasks))
    if before != threads:
        set_numba_threads(before)


@body
def data(address, nothing):  # type: ignore[no-untyped-def]
    """The address itself, or (`nothing` not 0) that of the data of an array's object; 0 where that is nothing."""
    if nothing == 0 or address == 0:
        return address
    return 0 if address == nothing else word(address, DATA)


@body
def run_parallel(threads, table, steps, nothing, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """The steps of a table in order, on threads."""
    arrays = on_stack(
        *(data(a, nothing), data(b, nothing), data(c, nothing), data(d, nothing)),
        *(data(e, nothing), data(f, nothing), data(g, nothing), data(h, nothing)),
    )
    for step in range(table, table + 8 * STEP * steps, 8 * STEP):
        kernel, plan, tasks, parts = word(step, 0), word(step, 1), word(step, 2), word(step, 3)
        if parts > 0 and tasks > 1:
            share_out(kernel, plan, arrays, tasks, parts, threads)
        else:
            call(kernel, plan, arrays, 0, tasks, 0)


@body
def run_serial(threads, table, steps, nothing, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """The steps of a table in order, on this thread."""
    arrays = on_stack(
        *(data(a, nothing), data(b, nothing), data(c, nothing), data(d, nothing)),
        *(data(e, nothing), data(f, nothing), data(g, nothing), data(h, nothing)),
    )
    for step in range(table, table + 8 * STEP * steps, 8 * STEP):
        call(word(step, 0), word(step, 1), arrays, 0, word(step, 2), 0)


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
        unused = UNUSED[len(addresses)]
        if threads < 2:
            run_serial(1, self.address, self.steps, 0, *addresses, *unused)
        else:
            launching.launch(run_parallel, run_serial, threads, self.address, self.steps, 0, *addresses, *unused)

    def on(self, threads: int, *arrays: Array | None) -> None:
        """Run with the addresses of these arrays' data; 0 for None."""
        unused = UNUSED[len(arrays)]
        if threads < 2:
            run_serial(1, self.address, self.steps, NOTHING, *map(id, arrays), *unused)
        else:
            places = map(id, arrays)
            launching.launch(run_parallel, run_serial, threads, self.address, self.steps, NOTHING, *places, *unused)


UNUSED = [(0,) * (ADDRESSES - count) for count in range(ADDRESSES + 1)]


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


_check_layout()
