"""The peak of memory in a call, as the system counts pages.

Only Linux lets a process set its peak back; elsewhere the peak is that of the whole life, and a call that stays below
an earlier one would look as if it needed nothing.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from .peers import Unsupported

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # proc_pid_clear_refs(5): the peak becomes what is resident now
TIMES = 3


def peak(call: Callable[[], Any], outputs: int = 0) -> int:
    """Bytes that a call needs at its peak beyond what is there before it and beyond its outputs.

    Parameters
    ----------
    call : function
        Called a few times; the median counts. It has been called before: what is compiled or allocated once, such as a
        workspace that the library keeps, is there already.
    outputs : int
        Bytes of the arrays that it returns.

    Raises
    ------
    Unsupported
        Where the system does not tell.
    """
    if sys.platform != "linux":
        raise Unsupported("the peak of a single call is measured on Linux only")
    return max(0, round(median(grown(call) for _ in range(TIMES))) - outputs)


def grown(call: Callable[[], Any]) -> int:
    """Bytes from what is resident before a call to the peak in it, outputs among them."""
    release()
    try:
        CLEAR.write_text(FORGET_PEAK, encoding="ascii")
    except OSError as problem:
        raise Unsupported(f"the system does not let a process set its peak of memory back: {problem}") from problem
    before = resident("VmRSS")
    answer = call()
    highest = resident("VmHWM")
    del answer  # held until here, as the user would
    return highest - before


def resident(field: str) -> int:
    """A line of the process's status, in bytes."""
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def release() -> None:
    """Give the system back what was freed: pages that the allocator keeps would be used again and not be seen."""
    gc.collect()
    with suppress(AttributeError):  # a C library other than glibc has an allocator of its own
        ctypes.CDLL(None).malloc_trim(0)
