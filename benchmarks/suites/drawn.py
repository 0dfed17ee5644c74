"""Convolutions that nobody chose: drawn at random, of any rank, stride, padding, dilation and groups, from a seed.

fastconv has them for itself, by the direct method. What the plan of a call expects goes with its row, so that a slow
one comes with a reason.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..case import Case, size
from . import cost

SHAPES, SEED = 300, 1
WORK = (5, 9)  # FLOPs of a shape, as powers of ten
LARGEST = 1 << 25  # numbers of an array
EXTENT = {1: 4.0, 2: 2.2, 3: 1.5}  # pixels along an axis at most, as a power of ten
QUICK = 3  # shapes of a quick run


def cases(quick: bool) -> list[Case]:
    """All shapes, or the first few."""
    rng = np.random.default_rng(SEED)
    return [draw(rng, number) for number in range(QUICK if quick else SHAPES)]


def draw(rng: np.random.Generator, number: int) -> Case:
    """A convolution whose work lies within the bounds."""
    while True:
        found = attempt(rng, number)
        if found and 10 ** WORK[0] <= found.flops <= 10 ** WORK[1] and found.traffic <= 4 * LARGEST:
            return found


def attempt(rng: np.random.Generator, number: int) -> Case | None:
    """A convolution, or None where the filter is larger than the image."""
    rank = int(rng.choice([1, 2, 2, 2, 2, 3]))
    taps = per_axis(rng, rank, [1, 2, 3, 3, 3, 4, 5, 7] if rank < 3 else [1, 2, 3, 3, 5])
    stride, dilation = per_axis(rng, rank, [1, 1, 1, 1, 2, 2, 3]), per_axis(rng, rank, [1, 1, 1, 1, 1, 2, 4])
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (rank, 2)))
    extent = tuple(int(10 ** rng.uniform(0.5, EXTENT[rank])) for _ in range(rank))
    batch, channels, filters = (int(2 ** rng.uniform(0, most)) for most in (5, 9, 9))
    groups = 1
    if rng.random() < 0.15:
        groups = int(rng.integers(2, 9))
        channels, filters = -(-channels // groups) * groups, -(-filters // groups) * groups
    elif rng.random() < 0.15:
        groups = filters = channels
    x, weight = (batch, channels, *extent), (filters, channels // groups, *taps)
    pixels = cost.output_size(extent, taps, stride, padding, dilation)
    if min(pixels) < 1 or max(map(prod, (x, weight, (batch, filters, *pixels)))) > LARGEST:
        return None
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    told = ", ".join(f"{name} {compact(value)}" for name, value in options.items() if value not in (1, (1,) * rank))
    return Case(
        suite="drawn",
        group="forward, direct",
        name=f"{number + 1}: {compact(x)} by {compact(weight)}, {told}",
        operation=f"conv{rank}d",
        arrays={"x": x, "weight": weight},
        options={**{name: as_list(value) for name, value in options.items()}, "algorithm": "direct"},
        flops=cost.convolution(x, weight, stride, padding, dilation),
        traffic=size(x, weight, (batch, filters, *pixels)),
        tolerance=1e-5,
        alone=True,
    )


def per_axis(rng: np.random.Generator, rank: int, choices: list[int]) -> tuple[int, ...]:
    """A choice for each axis, most often the same one."""
    found = tuple(int(number) for number in rng.choice(choices, rank))
    return found[:1] * rank if rng.random() < 0.7 else found


def compact(value: Any) -> str:
    """Extents with an x between them; pairs with a plus."""
    if not isinstance(value, tuple):
        return str(value)
    return "x".join("+".join(map(str, axis)) if isinstance(axis, tuple) else str(axis) for axis in value)


def as_list(value: Any) -> Any:
    """Tuples as JSON has them."""
    return [as_list(inside) for inside in value] if isinstance(value, tuple) else value
