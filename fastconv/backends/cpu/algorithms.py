"""Which algorithm computes a geometry: the direct sum, or Winograd's where it is expected to take less time.

Both estimates are in cycles of one thread.
"""

from __future__ import annotations

from functools import lru_cache

from fastconv.backends.cpu import depthwise_plans, plans, pointwise_plans, weight_plans, winograd
from fastconv.geometry import Convolution

SINGLE = 4  # bytes: Winograd's error is within 1e-5 in float32 alone, and worth it there
GAIN = 0.9  # of the direct algorithm's time that another one may take, for its checks and their spread


@lru_cache(maxsize=4096)
def choose(geometry: Convolution, which: str, item: int, threads: int, algorithm: str = "auto") -> str:
    """The algorithm for the "forward" pass, the "input_grad" or the "weight_grad" of numbers of `item` bytes.

    What is asked for is chosen where it can be, and "direct" where it can't.
    """
    if algorithm in ("direct", "fft") or item != SINGLE or not winograd.suits(geometry):
        return "fft" if algorithm == "fft" else "direct"
    if algorithm == "winograd":
        return algorithm
    if not winograd.accurate(geometry, which):
        return "direct"
    direct = direct_plan(geometry, which, item, threads).program.work
    return "winograd" if winograd.cost(geometry, which) < GAIN * direct else "direct"


@lru_cache(maxsize=4096)
def direct_plan(
    geometry: Convolution, which: str, item: int, threads: int
) -> plans.Plan | pointwise_plans.Plan | weight_plans.WeightPlan | depthwise_plans.Plan:
    """The direct algorithm's plan, whose program's `work` is in cycles."""
    if depthwise_plans.suits(geometry, which, item):
        return depthwise_plans.planned(geometry, which, item, threads)
    if which == "weight_grad":
        return weight_plans.planned(geometry, item, threads)
    backward = which == "input_grad"
    found = pointwise_plans.planned(geometry, backward, item, threads)
    return found or plans.planned(geometry, backward, item, threads)
