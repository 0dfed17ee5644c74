"""How long a run will take: said when it starts, and counted down while it runs.

The time of a row is what it costs at least, and so many seconds for each second that its FLOPs and its bytes need at
the machine's roofs, by peer; the factors are from runs of this suite. What is left of a run is scaled by what the rows
that are done took against what they were expected to take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .case import Case

Costs = dict[str, tuple[float, float, float]]

LAYERS: Costs = {
    "arrays": (0.01, 4.0, 40.0),
    "fastconv": (0.15, 6.0, 40.0),
    "pytorch": (0.25, 12.0, 60.0),
    "jax": (0.35, 10.0, 60.0),
    "opencv": (0.02, 0.0, 5.0),
    "scipy": (0.02, 0.0, 5.0),
    "numpy": (0.04, 3.0, 30.0),
    "onnxruntime": (0.05, 2.0, 10.0),
}
FILTERS: Costs = {  # where many have FFTs, and FLOPs cost little
    "arrays": (0.02, 0.0, 180.0),
    "fastconv": (0.15, 2.0, 90.0),
    "pytorch": (0.2, 0.3, 150.0),
    "jax": (0.4, 0.3, 180.0),
    "opencv": (0.1, 0.3, 80.0),
    "scipy": (0.15, 0.3, 180.0),
    "numpy": (0.15, 0.3, 200.0),
    "onnxruntime": (0.02, 0.0, 5.0),
}
TRAINING: Costs = {  # where whole networks are compiled, and the oracle is NumPy
    "arrays": (0.05, 240.0, 0.0),
    "fastconv": (0.4, 80.0, 0.0),
    "pytorch": (0.4, 80.0, 0.0),
    "jax": (1.5, 120.0, 0.0),
    **dict.fromkeys(("opencv", "scipy", "numpy"), (0.02, 0.0, 0.0)),
    "onnxruntime": (0.1, 5.0, 0.0),
}
KINDS = {
    **dict.fromkeys(("filter2d", "gaussian", "sobel", "convolve1d", "match_template"), FILTERS),
    **dict.fromkeys(("train_step", "infer"), TRAINING),
}
ON_GPU = (0.6, 0.0, 40.0)  # of any peer there, at the processor's roofs
STARTUP = 12.0  # seconds for a peer's import and first calls, in all repetitions
IMPORTS = 4.0  # seconds until a peer's processes are there
USUAL_ROOF = {"float32": 2e11, "float64": 1e11, "bytes": 2e10}  # where none was measured


def seconds(case: Case, peers: Sequence[str], roof: Mapping[str, float] | None) -> float:
    """What a row will take."""
    found, costs = roof or USUAL_ROOF, KINDS.get(case.operation, LAYERS)
    flops = case.flops / found["float64" if case.dtype == "float64" else "float32"]
    traffic = case.traffic / found["bytes"]
    names = ["arrays", *(["fastconv"] if case.alone else peers)]
    return sum(costs[name][0] + costs[name][1] * flops + costs[name][2] * traffic for name in names)


def seconds_on_gpu(case: Case, peers: Sequence[str]) -> float:
    """What a row on a GPU will take: the right answers come from the processor, and each peer reads and compares."""
    flops, traffic = case.flops / USUAL_ROOF["float32"], case.traffic / USUAL_ROOF["bytes"]
    arrays = KINDS.get(case.operation, LAYERS)["arrays"]
    costs = [arrays, *[ON_GPU] * (1 if case.alone else len(peers))]
    return sum(row + each * flops + byte * traffic for row, each, byte in costs)


def shown(duration: float) -> str:
    """A duration in words that promise no more than is known."""
    if duration < 100:
        return f"{max(10, round(duration, -1)):.0f} s"
    return f"{max(1, round(duration / 60)):.0f} min"
