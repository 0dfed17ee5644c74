"""What the GPU is, and its two roofs: multiply-adds a second by its clock, and bytes a second of a streaming triad.

`python -m benchmarks.gpu_roofs PRECISION` prints both as JSON: a process whose hold on the GPU is gone afterwards.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

WHILE = 0.7  # seconds: long enough that something else on the machine does not disturb all calls
TRIAD = 1 << 26  # numbers an array: 256 MiB in float32, above any GPU's caches
THREADS, BLOCKS = 256, 32  # of a block, and for each multiprocessor
DRIVER = Path("/proc/driver/nvidia/version")


class Lanes(NamedTuple):
    """Multiply-adds that a multiprocessor begins in a cycle."""

    float32: int
    float64: int
    tf32: int  # of its matrix units, on dense matrices; 0 where they have no such format


# By compute capability: CUDA's programming guide (throughput of arithmetic instructions), and for TF32 NVIDIA's peaks
# divided by multiprocessors and clock: A100 156 TFLOP/s, H100 495, RTX 3090 35.6, RTX 4090 82.6, RTX 5090 105.
LANES = {
    (7, 0): Lanes(64, 32, 0),
    (7, 5): Lanes(64, 2, 0),
    (8, 0): Lanes(64, 32, 512),
    (8, 6): Lanes(128, 2, 128),
    (8, 9): Lanes(128, 2, 128),
    (9, 0): Lanes(128, 64, 1024),
    (10, 0): Lanes(128, 64, 2048),
    (12, 0): Lanes(128, 2, 128),
}


def lanes_of(capability: tuple[int, int]) -> Lanes:
    """Those of a capability, or of the one before it where it is not known."""
    return LANES[max((known for known in LANES if known <= capability), default=min(LANES))]


def flops_by_clock(capability: tuple[int, int], multiprocessors: int, clock: float, precision: str) -> dict[str, float]:
    """FLOP/s of each dtype if every lane begins a multiply-add in every cycle; float32 is that of the precision."""
    lanes = lanes_of(capability)
    single = lanes.tf32 if precision == "tf32" and lanes.tf32 else lanes.float32
    counts = {"float32": single, "float64": lanes.float64}
    return {name: 2.0 * multiprocessors * clock * count for name, count in counts.items()}


def triad(a: Any, b: Any, c: Any, scale: Any) -> None:
    """a = b + scale * c, by any number of threads."""
    for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
        a[i] = b[i] + scale * c[i]


def bytes_by_triad(multiprocessors: int, size: int = TRIAD) -> float:
    """Bytes a second, two reads and a write counted: of the quickest call, by the device's events."""
    a, b, c = (cuda.to_device(np.full(size, value, np.float32)) for value in (0, 1, 2))
    stream = cuda.jit(triad)[BLOCKS * multiprocessors, THREADS]
    stream(a, b, c, np.float32(3))
    cuda.synchronize()
    seconds: list[float] = []
    end = time.perf_counter() + WHILE
    while len(seconds) < 5 or time.perf_counter() < end:
        before, after = cuda.event(), cuda.event()
        before.record()
        stream(a, b, c, np.float32(3))
        after.record()
        after.synchronize()
        seconds.append(before.elapsed_time(after) / 1e3)
    return 3.0 * 4.0 * size / min(seconds)


def describe(device: Any) -> dict[str, Any]:
    """What a reader needs to judge the numbers; never which one of its kind it is."""
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    return {
        "name": name,
        "capability": ".".join(map(str, device.compute_capability)),
        "multiprocessors": int(device.MULTIPROCESSOR_COUNT),
        "clock": 1e3 * device.CLOCK_RATE,
        "memory": int(cuda.current_context().get_memory_info()[1]),
        "driver": driver(),
        "CUDA": dotted(cuda.cudadrv.driver.driver.get_version()),
        "runtime": dotted(cuda.runtime.get_version()),
    }


def driver() -> str | None:
    """The version of the system's driver, where it says."""
    try:
        found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", DRIVER.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[0] if found else None


def dotted(version: tuple[int, int]) -> str:
    """(13, 0) as 13.0."""
    return ".".join(map(str, version))


def measure(precision: str) -> dict[str, Any]:
    """The device and its roofs: "float32" and "float64" in FLOP/s, "bytes" in byte/s."""
    device = cuda.get_current_device()
    found = describe(device)
    flops = flops_by_clock(tuple(device.compute_capability), found["multiprocessors"], found["clock"], precision)
    return {"device": found, "roofs": {**flops, "bytes": bytes_by_triad(found["multiprocessors"])}}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
