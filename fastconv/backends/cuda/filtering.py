"""Filters of signals and images of any rank on the GPU, from arrays of either side into arrays of either side.

Passes along an axis are tiles of taps where floats come of them, and a thread for each output where integers do, whose
sums have SciPy's order. Letters: p output pixel, r filter tap, K the number of taps of an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isnan, prod
from typing import Any

import numpy as np

from fastconv.backends.cuda import array, filter_lines, filter_planes
from fastconv.backends.cuda.array import DeviceArray, from_host
from fastconv.backends.cuda.filter_grids import grid
from fastconv.backends.cuda.filter_storage import DOUBLE, SINGLE, summed
from fastconv.backends.cuda.launching import blocks_for
from fastconv.backends.cuda.sweeps import MOST, sweep
from fastconv.backends.cuda.tables import kept
from fastconv.borders import Border
from fastconv.typing import Array, Shape

Pass = tuple[int, Array, Border]  # an axis, the taps along it, and its border
Passes = Sequence[tuple[int, int, Border]]  # of each the axis, the window's size, and the axis's border
EPSILON = float(np.finfo(np.float64).eps)
LARGEST = 1e30  # of a tap that float32 sums are taken of
NARROW = 16  # numbers behind an axis, from which on a pass along it is tiles
WAITING = 1 << 14  # lines that have a queue of their own


def empty(shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An uninitialised array of the host's for a result."""
    return np.empty(shape, dtype)


def correlate(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float, skip_zeros: bool) -> None:
    """y[p] = sum over r of weights[r] * padded_x[p + r], in C order of the taps.

    With `skip_zeros` a tap of 0 is left out, so that NaN and infinity do not reach over it.
    """
    _write(x, y, lambda source, target: _dense(source, weights, target, borders, cval, skip_zeros))


def plan(x: Array, weights: Array, y: Array, borders: tuple[Border, ...], cval: float) -> dict[str, Any]:
    """What carries out `correlate` of such arrays, whose numbers do not matter, with this filter."""
    return {"algorithm": "direct"}


def correlate_lines(x: Array, passes: Sequence[Pass], y: Array, cval: float) -> None:
    """1-D correlations along axes, one after the other; what each gives is held in y's dtype."""

    def compute(source: DeviceArray, target: DeviceArray) -> None:
        for came, (axis, taps, border), goes in _steps(source, passes, target):
            _correlate_line(came, axis, taps, border, goes, cval)

    _write(x, y, compute)


def uniform_lines(x: Array, passes: Passes, y: Array, cval: float) -> None:
    """Moving means along axes: a running sum of `size` pixels that each pixel enters and leaves, divided by `size`."""

    def compute(source: DeviceArray, target: DeviceArray) -> None:
        for came, (axis, size, border), goes in _steps(source, passes, target):
            outer, _, _, inner = line = _line(came, axis, goes)
            kernel = filter_lines.running_means(goes.dtype)
            sweep(kernel, outer * inner, came, goes, kept(border.places), *line[1:], size, np.float64(cval))

    _write(x, y, compute)


def extreme_lines(x: Array, passes: Passes, y: Array, cval: float, minimum: bool) -> None:
    """Moving minima or maxima along axes, compared as float64."""

    def compute(source: DeviceArray, target: DeviceArray) -> None:
        for came, (axis, size, border), goes in _steps(source, passes, target):
            held = summed(came.dtype, goes.dtype)
            outer, _, _, inner = line = _line(came, axis, goes)
            numbers = kept(border.places), *line[1:], size, held.type(cval)
            sweep(filter_lines.moving_extremes(held, goes.dtype, minimum), goes.size, came, goes, *numbers)
            if came.dtype.kind == "f" or isnan(cval):
                lines = outer * inner
                kernel = filter_lines.unordered_extremes(held, goes.dtype, minimum)
                most = min(MOST, blocks_for(min(lines, WAITING), kernel.block))
                queue = array.empty((most * kernel.block, size), np.int64)
                sweep(kernel, lines, came, goes, queue, *numbers, most=most)

    _write(x, y, compute)


def extreme(x: Array, footprint: Array, y: Array, borders: tuple[Border, ...], cval: float, minimum: bool) -> None:
    """y[p] = the least or greatest padded_x[p + r] of the taps r in the footprint, in C order.

    `cval` is what it is in x's dtype. NaN stays where it comes first, and nothing is less or greater than a later one.
    """

    def compute(source: DeviceArray, target: DeviceArray) -> None:
        places, held = grid(borders, footprint.shape), SINGLE if source.dtype == SINGLE else DOUBLE
        e, r, s = np.nonzero(footprint.reshape(places.taps))
        planes, starts, _, rows, columns = places.tables
        tables = kept(places.shifts[e]), kept(r), kept(s), planes, starts, rows, columns
        kernel, sizes = filter_planes.extremes(source.dtype, held, target.dtype, minimum), (places.size, places.shape)
        sweep(kernel, target.size, source, target, *tables, *sizes, e.size, held.type(cval))

    _write(x, y, compute)


def correlate_modular(x: Array, weights: Array, y: Array, borders: tuple[Border, ...]) -> None:
    """y[p] = sum over r of weights[r] * padded_x[p + r] modulo 2^64, of int64; beyond the edges is 0."""

    def compute(source: DeviceArray, target: DeviceArray) -> None:
        places = grid(borders, weights.shape)
        arrays = source, kept(np.ascontiguousarray(weights, np.int64)), target, *places.tables
        sweep(filter_planes.modular(), target.size, *arrays, places.size, places.shape, places.taps)

    _write(x, y, compute)


def _write(x: Array | DeviceArray, y: Array | DeviceArray, compute: Callable[[DeviceArray, DeviceArray], None]) -> None:
    """Compute from x into y, from and into copies on the device where they are the host's."""
    source = x if isinstance(x, DeviceArray) else from_host(x)
    if isinstance(y, DeviceArray):
        compute(source, y)
        y.bounds = None
    else:
        target = array.empty(y.shape, y.dtype)
        compute(source, target)
        y[...] = target.to_host()


def _steps(x: DeviceArray, passes: Sequence[Any], y: DeviceArray) -> Iterator[tuple[DeviceArray, Any, DeviceArray]]:
    """Each pass, with the array that it reads and the one that it writes, which is y for the last one."""
    for step, what in enumerate(passes):
        target = y if step == len(passes) - 1 else array.empty(y.shape, y.dtype)
        yield x, what, target
        x = target


def _line(x: DeviceArray, axis: int, y: DeviceArray) -> Shape:
    """Lines before an axis, its pixels in x and in y, and numbers behind it."""
    return prod(x.shape[:axis]), x.shape[axis], y.shape[axis], prod(x.shape[axis + 1 :])


def _dense(
    x: DeviceArray, weights: Array, y: DeviceArray, borders: tuple[Border, ...], cval: float, skip_zeros: bool
) -> None:
    """Tiles of taps."""
    held = _sums(x, weights, y)
    places = grid(borders, weights.shape)
    tile = filter_planes.tile_for(places.shape)
    blocks, kernel = tile.blocks(places.shape), filter_planes.correlated(held, y.dtype, skip_zeros, tile)
    sizes = places.size, places.shape, places.taps, tile.chunk(places.taps), blocks
    kernel(prod(blocks), x, _taps(weights, held), y, *places.tables, *sizes, held.type(cval))


def _correlate_line(x: DeviceArray, axis: int, taps: Array, border: Border, y: DeviceArray, cval: float) -> None:
    """A pass along an axis."""
    sign = _symmetry(taps)
    outer, *_, inner = line = _line(x, axis, y)
    if y.dtype.kind != "f" or 1 < inner < NARROW:
        held = _sums(x, taps, y)
        kernel = filter_lines.correlated_lines(held, y.dtype, sign)
        arrays = x, _taps(taps, held), y, kept(border.places)
        sweep(kernel, y.size, *arrays, *line[1:], taps.size, held.type(cval))
        return
    if sign:  # the second half is the first one's, to the last bit
        half = taps.size // 2
        taps = np.concatenate([taps[: half + 1], sign * taps[:half][::-1]])
    borders: tuple[Border, ...] = Border(outer, 0, 0), border
    weights = taps[None]
    if inner > 1:
        borders, weights = (*borders, Border(inner, 0, 0)), weights[..., None]
    shape = tuple([each.extent for each in borders])
    goes = y.reshape(outer, y.shape[axis], *shape[2:])
    _dense(x.reshape(shape), weights, goes, borders, cval, False)


def _sums(x: DeviceArray, weights: Array, y: DeviceArray) -> np.dtype[Any]:
    """The dtype of sums: float32 only of taps that it holds."""
    held = summed(x.dtype, y.dtype)
    return held if held == DOUBLE or np.abs(weights).max() < LARGEST else DOUBLE


def _taps(weights: Array, held: np.dtype[Any]) -> DeviceArray:
    """The taps, of which none becomes 0 by rounding: it would be left out, or make NaN of infinity."""
    numbers = weights.astype(held)
    if held == SINGLE:
        lost = (numbers == 0) & (weights != 0)
        numbers = np.where(lost, np.copysign(np.finfo(held).smallest_subnormal, weights), numbers).astype(held)
    return kept(np.ascontiguousarray(numbers))


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
