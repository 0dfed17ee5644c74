"""Filters of signals and images of any rank: arrays made ready, and what `filter_choice` plans for them run.

Correlation along several axes is two axes at a time where they are the last two: what lies between stays in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import outputs, roof
from fastconv.backends.cpu.filter_choice import Packed, correlation, line_filter, together
from fastconv.backends.cpu.filter_grids import inside, layout_of, ready
from fastconv.backends.cpu.filter_rank import factors
from fastconv.backends.cpu.footprints import correlate_modular, extreme
from fastconv.backends.cpu.moving_lines import extreme_lines, uniform_lines
from fastconv.borders import Border
from fastconv.typing import Array, Shape

__all__ = [
    "correlate", "correlate_lines", "correlate_modular", "empty", "extreme", "extreme_lines", "plan", "uniform_lines",
]  # fmt: skip

Pass = tuple[int, Array, Border]  # an axis, the taps along it, and its border
QUICKER = 3  # taps of a volume for each of those along its axes, from which on passes along these are quicker


def empty(shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An uninitialised array for a result."""
    return outputs.empty(shape, dtype)


def correlate(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float, skip_zeros: bool) -> None:
    """y[p] = sum over r of weights[r] * padded_x[p + r].

    With `skip_zeros` a tap of 0 is left out, so that NaN and infinity do not reach over it.
    """
    if x.ndim > 2 and (lines := as_lines(x, weights, y, borders, cval)):
        correlate_lines(x, lines, y, cval)
        return
    result = y
    while x.ndim < 2:
        x, weights, result, borders = x[None], weights[None], result[None], (inside(1), *borders)
    source, target = readable(x), writable(result)
    key = (layout_of(source), layout_of(target), weights.shape, weights.tobytes(), borders, cval, skip_zeros)
    count = threads.get_num_threads()
    quick = correlation(*key, False, count)
    if quick is None:
        target[...] = 0
    elif not quick.run(source, target):
        again = correlation(*key, True, count)
        assert again is not None
        again.run(source, target)
    if target is not result:
        result[...] = target


def as_lines(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float) -> list[Pass]:
    """The passes that a volume's filter is, if it is a product of lines and they are quicker; none else.

    What each gives is held in y's dtype, and is the constant beyond the edges: neither may change a result.
    """
    exact = cval == 0 or not any(border.constant for border in borders)
    if not exact or x.dtype != y.dtype or x.dtype.kind != "f" or weights.size < QUICKER * sum(weights.shape):
        return []
    found = product_of_lines(weights.shape, weights.tobytes(), x.itemsize == 4)
    lines = [(axis, taps, border) for axis, (taps, border) in enumerate(zip(found, borders, strict=False))]
    return [line for line in lines if line[1].size > 1 or line[0] == 0]


@lru_cache(maxsize=256)
def product_of_lines(shape: Shape, packed: bytes, single: bool) -> list[Array]:
    """`factors` of weights without zeros, which NaN and infinity do not pass."""
    weights = np.frombuffer(packed).reshape(shape)
    return factors(weights, single) if weights.all() else []


def plan(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float) -> dict[str, Any]:
    """What carries out `correlate` of such arrays, whose numbers do not matter, with this filter."""
    if x.ndim > 2 and (lines := as_lines(x, weights, y, borders, cval)):
        return {"algorithm": f"along {len(lines)} axes, one after the other"}
    while x.ndim < 2:
        x, weights, y, borders = x[None], weights[None], y[None], (inside(1), *borders)
    key = (layout_of(x), layout_of(y), weights.shape, weights.tobytes(), borders, cval, True)
    found = correlation(*key, False, threads.get_num_threads())
    if found is None:
        return {"algorithm": "zeros"}
    told = dict(found.told)
    second = roof.cycles_a_second() * told.get("threads", 1)
    parts = {part: cycles / second for part, cycles in told.pop("parts").items()}
    return {**told, "expected": sum(parts.values()), "parts": parts}


def correlate_lines(x: Array, passes: Sequence[Pass], y: Array, cval: float) -> None:
    """1-D correlations along axes, one after the other; what each gives is held in y's dtype."""
    rest = list(passes)
    while rest:
        axis, down, side = taken(rest, x, y, cval)
        target = y if not rest else outputs.empty(y.shape, y.dtype)
        one_or_two(x, axis, down, side, target, cval)
        x = target


def taken(rest: list[Pass], x: Array, y: Array, cval: float) -> tuple[int, Packed | None, Packed | None]:
    """The next pass, or the next two where they go together, off the list: its axis, and taps along it or the last one.

    Two passes go together along the last two axes. Across first and down then is the same the other way round, but
    where the constant, not a sum of constants, is what lies beyond the edges of the first one's result.
    """
    axis, taps, border = rest.pop(0)
    last = x.ndim - 1
    own = (taps.tobytes(), border)
    if rest and {axis, rest[0][0]} == {last - 1, last} and together(x.dtype, y.dtype, taps, rest[0][1], cval):
        other = (rest[0][1].tobytes(), rest[0][2])
        if axis == last - 1:
            rest.pop(0)
            return last - 1, own, other
        if cval == 0 or not (border.constant or rest[0][2].constant):
            rest.pop(0)
            return last - 1, other, own
    return (axis, None, own) if axis == last else (axis, own, None)


def one_or_two(x: Array, axis: int, down: Packed | None, side: Packed | None, y: Array, cval: float) -> None:
    """The taps `down` an axis, those of `side` along the last one, or both; the axis is the last but one with both."""
    source, target = readable(x), writable(y)
    if down and axis < x.ndim - 2:  # the axes behind it are as one
        if not (source.flags.c_contiguous and target.flags.c_contiguous):
            source, target = np.ascontiguousarray(source), outputs.empty(y.shape, y.dtype)
        shape = (prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :]))
        seen = source.reshape(shape), target.reshape(shape)
    elif x.ndim < 2:
        seen = source[None], target[None]
    else:
        seen = source, target
    line_filter(layout_of(seen[0]), layout_of(seen[1]), down, side, cval, threads.get_num_threads()).run(*seen)
    if target is not y:
        y[...] = target


def readable(x: Array) -> Array:
    """x itself, or a copy whose rows can be read."""
    return x if ready(x) else np.array(x, x.dtype.newbyteorder("="), order="C")


def writable(y: Array) -> Array:
    """y itself, or an array for what is to be in it."""
    return y if ready(y) else outputs.empty(y.shape, y.dtype.newbyteorder("="))
