"""Words that several threads read and write, and calls of C functions by their addresses, for compiled code."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastconv.backends.cpu.native import I32, I64, LONG, native

# LLVM's intrinsics, and their argument, that make a processor's core rest for a moment.
RESTS = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [1])}
RESTS |= {"amd64": RESTS["x86_64"], "arm64": RESTS["aarch64"]}
ORDER = "seq_cst"  # one order for all threads: what each has written is seen by whoever it has not seen


def _word(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, I64.as_pointer())


@native(LONG)
def seen(builder: Any, address: Any) -> Any:
    """The word at an address, as all threads see it."""
    return builder.load_atomic(_word(builder, address), ORDER, 8)


@native(types.void)
def show(builder: Any, address: Any, value: Any) -> Any:
    """Store a word for all threads to see, after all that was stored before."""
    return builder.store_atomic(value, _word(builder, address), ORDER, 8)


@native(LONG)
def added(builder: Any, address: Any, value: Any) -> Any:
    """The word at an address, to which the value is added at the same time."""
    return builder.atomic_rmw("add", _word(builder, address), value, ORDER)


@native(LONG)
def swapped(builder: Any, address: Any, old: Any, new: Any) -> Any:
    """Whether the word at an address was the old one, and is the new one since: of several threads one succeeds."""
    found = builder.cmpxchg(_word(builder, address), old, new, ORDER, ORDER)
    return builder.zext(builder.extract_value(found, 1), I64)


@native(types.void)
def rest(builder: Any) -> Any:
    """A moment in a loop that waits, which leaves the core to its other thread."""
    name, numbers = RESTS.get(platform.machine().lower(), ("", []))
    if name:
        kind = ir.FunctionType(ir.VoidType(), [I32] * len(numbers))
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [I32(n) for n in numbers])


@native(LONG)
def called(builder: Any, function: Any) -> Any:
    """What `int function(void)` returns."""
    return builder.sext(builder.call(builder.inttoptr(function, ir.FunctionType(I32, []).as_pointer()), []), I64)


@native(LONG)
def mask_called(builder: Any, function: Any, size: Any, mask: Any) -> Any:
    """What `int function(int thread, size_t size, void *mask)`, one of Linux's, returns for this thread."""
    kind = ir.FunctionType(I32, [I32, I64, I64])
    return builder.sext(builder.call(builder.inttoptr(function, kind.as_pointer()), [I32(0), size, mask]), I64)


@native(types.void)
def acquire(builder: Any, function: Any, lock: Any) -> Any:
    """Call `int function(void *lock, int wait)`, Python's that waits for a lock, without its own."""
    kind = ir.FunctionType(I32, [I64, I32])
    builder.call(builder.inttoptr(function, kind.as_pointer()), [lock, I32(1)])


@native(types.void)
def release(builder: Any, function: Any, lock: Any) -> Any:
    """Call `void function(void *lock)`, Python's that releases one."""
    builder.call(builder.inttoptr(function, ir.FunctionType(ir.VoidType(), [I64]).as_pointer()), [lock])
