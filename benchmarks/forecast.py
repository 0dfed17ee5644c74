"""How long a run will take: said when it starts, and counted down while it runs.

The times of a row are sums of what it costs at least, of its FLOPs and of its bytes, with factors that were fitted to
runs of this suite; the machine's roofs are those of the run itself. While it runs, what is left is scaled by what the
rows that are done took against what they were expected to take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .case import Case

# Seconds of a row by peer: at least, for each second that its FLOPs need at the roof, and its bytes likewise.
COSTS = {
    "arrays": (0.01, 0.3, 25.0),
    "fastconv": (0.25, 10.0, 20.0),
    "pytorch": (0.35, 12.0, 25.0),
    "jax": (0.9, 20.0, 25.0),
    "opencv": (0.15, 5.0, 20.0),
    "scipy": (0.2, 5.0, 40.0),
    "numpy": (0.2, 5.0, 40.0),
    "onnxruntime": (0.2, 8.0, 10.0),
}
STARTUP = 12.0  # seconds for a peer's import and first calls, in all repetitions
IMPORTS = 4.0  # seconds until a peer's processes are there
USUAL_ROOF = {"float32": 2e11, "float64": 1e11, "bytes": 2e10}  # where none was measured


def seconds(case: Case, peers: Sequence[str], roof: Mapping[str, float] | None) -> float:
    """What a row will take."""
    found = roof or USUAL_ROOF
    flops = case.flops / found["float64" if case.dtype == "float64" else "float32"]
    traffic = case.traffic / found["bytes"]
    names = ["arrays", "fastconv"] if case.alone else ["arrays", *peers]
    costs = [COSTS[name] for name in names]
    return sum(least + by_flops * flops + by_bytes * traffic for least, by_flops, by_bytes in costs)


def shown(duration: float) -> str:
    """A duration in words that promise no more than is known."""
    if duration < 100:
        return f"{max(10, round(duration, -1)):.0f} s"
    return f"{max(1, round(duration / 60)):.0f} min"
