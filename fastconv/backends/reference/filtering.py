"""Filters of signals and images of any rank, as the formulas say: x is padded, then seen through the filter's taps.

Sums are float64, in the order of SciPy's own, so that what is stored as integers is the same to the last bit.

Index letters: `p` output pixel, `r` filter tap.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastconv.borders import CONSTANT, Border
from fastconv.typing import Array, Shape

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
EPSILON = float(np.finfo(np.float64).eps)
Pass = tuple[int, Array, Border]  # an axis, the taps along it, and its border
Passes = Sequence[tuple[int, int, Border]]  # of each the axis, the window's size, and the axis's border


def empty(shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An uninitialised array for a result."""
    return np.empty(shape, dtype)


@IEEE
def correlate(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float, skip_zeros: bool) -> None:
    """y[p] = sum over r of weights[r] * padded_x[p + r], in C order of the taps.

    With `skip_zeros` a tap of 0 is left out, so that NaN and infinity do not reach over it.
    """
    image = _padded(x.astype(np.float64), borders, cval)
    sums = np.zeros(y.shape)
    for tap, window in _windows(image, y.shape, weights.shape):
        if weights[tap] != 0 or not skip_zeros:
            sums += weights[tap] * window
    y[...] = _stored(sums, y.dtype)


def plan(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float) -> dict[str, Any]:
    """What carries out `correlate` of such arrays, whose numbers do not matter, with this filter."""
    return {"algorithm": "reference"}


@IEEE
def correlate_lines(x: Array, passes: Sequence[Pass], y: Array, cval: float) -> None:
    """1-D correlations along axes, one after the other; what each gives is held in y's dtype."""
    for axis, taps, border in passes:
        lines = _padded_lines(x, axis, border, cval)
        window = [lines[..., r : r + y.shape[axis]] for r in range(taps.size)]
        middle, sign = taps.size // 2, _symmetry(taps)
        if sign:
            sums = window[middle] * taps[middle]
            for r in range(middle):
                sums += (window[r] + sign * window[taps.size - 1 - r]) * taps[r]
        else:
            sums = window[-1] * taps[-1]
            for r in range(taps.size - 1):
                sums += window[r] * taps[r]
        np.moveaxis(y, axis, -1)[...] = _stored(sums, y.dtype)
        x = y


@IEEE
def uniform_lines(x: Array, passes: Passes, y: Array, cval: float) -> None:
    """Moving means along axes: a running sum of `size` pixels that each pixel enters and leaves, divided by `size`."""
    for axis, size, border in passes:
        lines = _padded_lines(x, axis, border, cval)
        first = np.add.accumulate(lines[..., :size], axis=-1)[..., -1:] + 0.0
        changes = lines[..., size:] - lines[..., : lines.shape[-1] - size]
        sums = np.add.accumulate(np.concatenate([first, changes], axis=-1), axis=-1)
        np.moveaxis(y, axis, -1)[...] = _stored(sums / size, y.dtype)
        x = y


@IEEE
def extreme_lines(x: Array, passes: Passes, y: Array, cval: float, minimum: bool) -> None:
    """Moving minima or maxima along axes, compared as float64."""
    for axis, size, border in passes:
        lines = _padded_lines(x, axis, border, cval)
        lines = -lines if minimum else lines
        best = np.maximum.reduce([lines[..., r : r + y.shape[axis]] for r in range(size)])
        for place in np.argwhere(np.isnan(lines).any(axis=-1)):
            best[tuple(place)] = _maxima(lines[tuple(place)].tolist(), size)
        np.moveaxis(y, axis, -1)[...] = _stored(-best if minimum else best, y.dtype)
        x = y


@IEEE
def extreme(x: Array, footprint: Array, y: Array, borders: tuple[Border, ...], cval: float, minimum: bool) -> None:
    """y[p] = the least or greatest padded_x[p + r] of the taps r in the footprint, in C order.

    `cval` is what it is in x's dtype. NaN stays where it comes first, and nothing is less or greater than a later one.
    """
    x = x.view(np.uint8) if x.dtype == bool else x
    value = float(_stored(np.array(cval), x.dtype))
    found = _windows(_padded(x.astype(np.float64), borders, value), y.shape, footprint.shape)
    first, *others = [window for tap, window in found if footprint[tap]]
    best = first.copy()
    for window in others:
        np.copyto(best, window, where=window < best if minimum else window > best)
    y[...] = _stored(best, y.dtype)


def correlate_modular(x: Array, weights: Array, y: Array, borders: tuple[Border, ...]) -> None:
    """y[p] = sum over r of weights[r] * padded_x[p + r] modulo 2^64, of int64; beyond the edges is 0."""
    y[...] = 0
    for tap, window in _windows(_padded(x, borders, 0), y.shape, weights.shape):
        y += weights[tap] * window


def _maxima(line: list[float], size: int) -> list[float]:
    """Moving maxima of numbers and NaN, which is neither less nor greater: the order of comparisons decides.

    The numbers that may still become the greatest wait in a queue, with their places. One that enters removes those
    that it is not less than, from behind or all at once; NaN removes none, and shields what is before it from behind.
    """
    waiting: deque[tuple[float, int]] = deque()
    found = []
    for i, number in enumerate(line):
        if waiting and waiting[0][1] == i - size:
            waiting.popleft()
        if waiting and number >= waiting[0][0]:
            waiting.clear()
        while waiting and number >= waiting[-1][0]:
            waiting.pop()
        waiting.append((number, i))
        found.append(waiting[0][0])
    return found[size - 1 :]


def _padded(x: Array, borders: Sequence[Border], value: float) -> Array:
    """x with its borders, an array of its own."""
    for axis, border in enumerate(borders):
        x = x.take(border.places, axis)
        x[(slice(None),) * axis + (border.places == CONSTANT,)] = value
    return x


def _padded_lines(x: Array, axis: int, border: Border, cval: float) -> Array:
    """x as float64 with a border along one axis, which comes last."""
    lines = np.moveaxis(x, axis, -1).astype(np.float64)
    return _padded(lines, [*(Border(extent, 0, 0) for extent in lines.shape[:-1]), border], cval)


def _windows(image: Array, shape: Shape, taps: Shape) -> Iterator[tuple[Shape, Array]]:
    """Each tap r, with the pixels of a padded image under it."""
    for tap in np.ndindex(taps):
        yield tap, image[tuple(slice(r, r + p) for r, p in zip(tap, shape, strict=True))]


def _symmetry(taps: Array) -> int:
    """1 where an odd number of taps is symmetric, -1 where it is antisymmetric, 0 elsewhere."""
    if taps.size % 2:
        half = taps.size // 2
        before, after = taps[:half], taps[half + 1 :][::-1]
        if (np.abs(after - before) <= EPSILON).all():
            return 1
        if (np.abs(after + before) <= EPSILON).all():
            return -1
    return 0


def _stored(sums: Array, dtype: np.dtype[Any]) -> Array:
    """float64 as C stores it: integers lose their fraction, and those of unsigned types wrap around.

    Numbers beyond int32 (for types of up to 16 bits and int32) or int64 become its least number first, as on x86.
    """
    if dtype.kind == "f":
        return sums.astype(dtype)
    if dtype.kind == "b":
        truth: Array = _stored(sums, np.dtype(np.uint8)) != 0
        return truth
    if dtype == np.uint64:
        size = np.abs(sums)
        upper = size >= 2.0**63
        whole = _held(np.where(upper, size - 2.0**63, size), 2.0**63).astype(np.uint64)
        whole ^= upper.astype(np.uint64) << np.uint64(63)
        return np.where(sums > -1, whole, -whole)
    return _held(sums, 2.0**31 if dtype.itemsize < 4 or dtype == np.int32 else 2.0**63).astype(dtype)


def _held(numbers: Array, limit: float) -> Array:
    """float64 truncated to int64, and -limit for what is not from -limit to below limit."""
    whole = np.trunc(numbers)
    found: Array = np.where((whole >= -limit) & (whole < limit), whole, -limit).astype(np.int64)
    return found
