"""Kernels whose threads share out any number of tasks, and functions that kernels call."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cuda import device
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, device_function

MOST = 2 if device.SIMULATED else 1 << 22  # blocks of a launch; beyond, each thread takes several tasks


def sweep(kernel: Kernel, tasks: int, *args: Any, most: int = MOST) -> None:
    """Launch a kernel over so many tasks, which is its last argument: thread i takes task i, and so on in strides."""
    kernel(min(blocks_for(tasks, kernel.block), most), *args, tasks)


@device_function
def split(place, extent):  # type: ignore[no-untyped-def]
    """Quotient and rest of numbers that are not negative: a flat index's outer part, and its place along an axis."""
    outer = (place & MASK) // (extent & MASK)
    return outer & MASK, (place - outer * extent) & MASK
