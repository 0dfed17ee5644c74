"""The machine's two roofs: fused multiply-adds a second, and bytes a second of a streaming triad, both in Numba."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
from numba import njit, prange

from fastconv.backends.cpu.roof import fma_roof

WHILE = 0.7  # seconds: long enough that something else on the machine does not disturb all calls
TRIAD = 1 << 25  # numbers an array: 128 MiB in float32, far above the caches


@njit(parallel=True, nogil=True)
def triad(a: Any, b: Any, c: Any, scale: Any) -> None:
    """a = b + scale * c."""
    for i in prange(a.size):
        a[i] = b[i] + scale * c[i]


def measure(threads: int) -> dict[str, float]:
    """The roofs on so many threads: "float32" and "float64" in FLOP/s, "bytes" in byte/s (two reads, one write)."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        roofs = {name: fma_roof(np.dtype(name).itemsize, threads) for name in ("float32", "float64")}
        return {**roofs, "bytes": triad_roof()}
    finally:
        numba.set_num_threads(before)


def triad_roof() -> float:
    """Bytes a second, counting no read of what is only written."""
    a, b, c = (np.full(TRIAD, value, np.float32) for value in (0, 1, 2))
    return 3.0 * a.nbytes / best(lambda: triad(a, b, c, np.float32(3)))


def best(call: Any) -> float:
    """The least seconds of all calls in a while: a roof is what the machine can do, undisturbed."""
    call()
    seconds: list[float] = []
    end = time.perf_counter() + WHILE
    while len(seconds) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """`python -m benchmarks.roofs THREADS` prints the roofs as JSON: a process whose threads are gone afterwards."""
    threads = int(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    print(json.dumps(measure(threads)))


if __name__ == "__main__":
    main()
