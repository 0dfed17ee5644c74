"""What a filter is, whatever its name: which products of a column and a row make its matrix, which sums are exact."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from fastconv.typing import Array

ROUNDINGS = 8  # half units in the last place by which a tap may differ from the product: two of them and a division
MOST = 3  # products of a column and a row
SCALES = 24  # powers of two, down to which weights are whole multiples of one


def products(weights: Array, single: bool) -> list[tuple[Array, Array]]:
    """Columns and rows whose outer products add up to a matrix, tap by tap; none where that would take too many.

    Every tap is met to a few roundings of its own, not of the largest one: so small taps, which an image that is dark
    elsewhere shows alone, are as right as they were. `single`: in float32.
    """
    limit = ROUNDINGS * (2.0**-24 if single else 2.0**-53) * np.abs(weights)
    rest = weights.copy()
    found: list[tuple[Array, Array]] = []
    for _ in range(min(MOST, min(weights.shape) - 1)):
        row, column = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
        pivot = rest[row, column]
        if pivot == 0 or not np.isfinite(rest).all():
            break
        scale = np.sqrt(abs(pivot))
        pair = rest[:, column] / scale, rest[row] * (scale / pivot)
        found.append(pair)
        rest = rest - np.outer(*pair)
        if (np.abs(weights - sum(np.outer(*pair) for pair in found)) <= limit).all():
            return found
    return []


def factors(weights: Array, single: bool) -> list[Array]:
    """A vector along each axis whose outer product the weights are, tap by tap as in `products`, or none."""
    pivot = tuple(int(place) for place in np.unravel_index(np.argmax(np.abs(weights)), weights.shape))
    largest = weights[pivot]
    if not (largest and np.isfinite(weights).all()):
        return []
    found = []
    for axis in range(weights.ndim):
        place: Any = (*pivot[:axis], slice(None), *pivot[axis + 1 :])
        line = weights[place]
        found.append(line if axis == 0 else line / largest)
    made = reduce(np.multiply.outer, found)
    rounding = weights.ndim * (2.0**-24 if single else 2.0**-53)
    return found if (np.abs(made - weights) <= ROUNDINGS / 2 * rounding * np.abs(weights)).all() else []


def whole_bits(weights: Array, largest: float) -> int:
    """The bits that every sum of weights times integers up to `largest` fits in, of any order; 10,000 if none do."""
    if not np.isfinite(weights).all():
        return 10_000
    for power in range(SCALES + 1):
        scaled = weights * 2.0**power
        if (scaled == np.rint(scaled)).all():
            return int(np.ceil(np.log2(max(1.0, float(np.abs(scaled).sum()) * largest) + 1)))
    return 10_000
