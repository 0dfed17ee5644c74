"""Convolution by Fourier transforms, whole or in blocks that overlap: `scipy.signal`'s `fftconvolve`, `oaconvolve`.

The transforms are SciPy's where it is installed, else NumPy's. Errors are relative to the largest numbers, and one that
is not finite reaches all that is transformed with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, e, log, prod
from numbers import Number
from operator import index
from typing import Any, cast

import numpy as np

from fastconv.functional import checks
from fastconv.signal import modes
from fastconv.transforms import fast_length, transforms
from fastconv.typing import Array, ArrayLike, Shape

IEEE = np.errstate(all="ignore")
BUDGET = 1 << 18  # numbers that are transformed at a time: with their spectra they stay in cache


def fftconvolve(in1: ArrayLike, in2: ArrayLike, mode: str = "full", axes: int | Sequence[int] | None = None) -> Any:
    """Convolution of arrays by Fourier transforms, which flips the second: y[p] = sum of in1[p - r] * in2[r] over r.

    Parameters
    ----------
    in1, in2 : array
        With equally many axes; beyond their ends they are 0. Integers, bool and objects are computed in float64,
        float16 in float32.
    mode : {"full", "same", "valid"}
        Which part is returned: all of it, what is centred and of in1's shape, or the sums that need no zeros (then one
        input is at least as large as the other along all of `axes`).
    axes : int or sequence of ints, optional
        Along which the inputs are convolved, by default all. Along the others they have equal extents, or one has
        extent 1 and is repeated.

    Returns
    -------
    array, floating point or complex
        One of no elements if an input has none.

    Raises
    ------
    ValueError
        If the inputs have unequal ranks, their shapes do not fit, mode is none of the words, or axes are no distinct
        axes of the inputs.

    References
    ----------
    `scipy.signal.fftconvolve`.

    Examples
    --------
    >>> fftconvolve([[1.0, 2.0, 3.0]], [[1.0, 0.5]]).round(3)
    array([[1. , 2.5, 4. , 1.5]])
    """
    x, h = modes.two(in1, in2)
    if x.ndim == h.ndim == 0:
        return x * h
    modes.of_one_rank(x, h)
    if not (x.size and h.size):
        return np.array([])
    x, h, convolved_axes = _convolved_axes(x, h, mode, axes)
    return _whole(x, h, checks.choice(mode, "mode", modes.MODES), convolved_axes)


def oaconvolve(in1: ArrayLike, in2: ArrayLike, mode: str = "full", axes: int | Sequence[int] | None = None) -> Any:
    """Convolution of two arrays, which flips the second, by Fourier transforms of blocks whose results overlap and add.

    That is faster than `fftconvolve` where one array is much longer than the other, along any axis.

    Parameters
    ----------
    in1, in2, mode, axes
        As in `fftconvolve`.

    Returns
    -------
    array, floating point or complex
        As `fftconvolve`.

    Raises
    ------
    ValueError
        As `fftconvolve`.

    References
    ----------
    `scipy.signal.oaconvolve`. Lyons, "Understanding Digital Signal Processing", 2011, section 13.10.

    Examples
    --------
    >>> oaconvolve(np.ones(1000), [1.0, 2.0, 1.0], mode="valid").round(3)[:3]
    array([4., 4., 4.])
    """
    x, h = modes.two(in1, in2)
    if x.ndim == h.ndim == 0:
        return x * h
    modes.of_one_rank(x, h)
    if not (x.size and h.size):
        return np.array([])
    x, h, convolved_axes = _convolved_axes(x, h, mode, axes)
    checks.choice(mode, "mode", modes.MODES)
    blocks = {axis: block_of(x.shape[axis], h.shape[axis]) for axis in sorted(convolved_axes)}
    if all(block.count == 1 for block in blocks.values()):
        return _whole(x, h, mode, convolved_axes)
    return _part(_added(_floats(x), _floats(h), blocks), x, h, mode, convolved_axes)


@dataclass(frozen=True)
class Block:
    """How an axis is cut: the transforms' length, the longer input's pieces, their length, what results overlap."""

    length: int
    count: int
    step: int
    overlap: int


@lru_cache(maxsize=1024)
def block_of(n: int, k: int) -> Block:
    """The blocks of an axis along which inputs have these extents; one alone where more would be more work.

    A transform of length N yields N - (K - 1) results, K being the shorter extent: N log(2 N) / (N - (K - 1)) is least
    where N = (K - 1) log(2 e N).
    """
    long, short = max(n, k), min(n, k)
    whole = Block(long + short - 1, 1, long, short - 1)
    if short == 1 or 2 * short >= long:
        return whole
    best = 8.0 * (short - 1)
    for _ in range(30):
        best = (short - 1) * log(2 * e * best)
    length = fast_length(ceil(best))
    if length >= long:
        return whole
    step = length - (short - 1)
    return Block(length, -(-long // step), step, short - 1)


def _convolved_axes(x: Array, h: Array, mode: object, axes: Any) -> tuple[Array, Array, list[int]]:
    """Both inputs, in mode "valid" the containing one first, and the axes along which there is something to add up."""
    if axes is None:
        named = list(range(x.ndim))
    else:
        try:
            named = [index(axis) for axis in cast(Any, (axes,) if isinstance(axes, Number) else axes)]
        except TypeError:
            raise ValueError(f"axes is {axes!r}: an int or a sequence of ints is accepted") from None
        named = [axis + x.ndim if axis < 0 else axis for axis in named]
        if not named or len(set(named)) != len(named) or not all(0 <= axis < x.ndim for axis in named):
            raise ValueError(
                f"axes is {axes!r}: distinct ints from {-x.ndim} to {x.ndim - 1} are accepted, at least one"
            )
    found = [axis for axis in named if x.shape[axis] != 1 and h.shape[axis] != 1]
    if not all(n == k or 1 in (n, k) for a, (n, k) in enumerate(zip(x.shape, h.shape, strict=True)) if a not in found):
        raise ValueError(
            f"axes is {axes!r}, in1 has shape {x.shape}, in2 has shape {h.shape}: equal extents along the other axes, "
            "or 1, are accepted"
        )
    return *modes.ordered(x, h, mode, found), found


def _floats(array: Array) -> Array:
    """The array in a dtype that there are transforms of."""
    if array.dtype.kind not in "fc":
        return np.asarray(array, np.float64)
    if array.dtype.itemsize == 2:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _pair(x: Array, h: Array) -> tuple[Any, Any]:
    """The transform for two arrays and its inverse."""
    if "c" in (x.dtype.kind, h.dtype.kind):
        return transforms().fftn, transforms().ifftn
    return transforms().rfftn, transforms().irfftn


@IEEE
def _whole(x: Array, h: Array, mode: str, axes: list[int]) -> Array:
    """With one transform of each input; without any where all is repeated."""
    if not axes:
        return _part(x * h, x, h, mode, axes)
    first, second = _floats(x), _floats(h)
    forward, inverse = _pair(first, second)
    radices = (3, 5, 7, 11) if "c" in (x.dtype.kind, h.dtype.kind) else (3, 5)
    lengths = [fast_length(x.shape[axis] + h.shape[axis] - 1, radices) for axis in axes]
    y = inverse(forward(first, lengths, axes) * forward(second, lengths, axes), lengths, axes)
    return _part(y, x, h, mode, axes)


@IEEE
def _added(x: Array, h: Array, blocks: dict[int, Block]) -> Array:
    """The full convolution, with some numbers behind it along the axes of blocks; some blocks at a time."""
    cut, block = next((axis, block) for axis, block in blocks.items() if block.count > 1)
    if h.shape[cut] > x.shape[cut]:
        x, h = h, x
    forward, inverse = _pair(x, h)
    places = [axis + i + 1 for i, axis in enumerate(blocks)]
    lengths = [fast_length(block.length) for block in blocks.values()]
    filters = forward(_pieces(h, x.shape, blocks), lengths, places)
    around = prod(max(n, k) for n, k in zip(x.shape, h.shape, strict=True)) // x.shape[cut]
    group = max(1, BUDGET // (around * block.length))
    y: Array | None = None
    for begin in range(0, block.count, group):
        some = blocks | {cut: replace(block, count=min(group, block.count - begin))}
        images = x[(slice(None),) * cut + (slice(begin * block.step, (begin + group) * block.step),)]
        found = inverse(forward(_pieces(images, h.shape, some), lengths, places) * filters, lengths, places)
        part = _overlapped(found, some)
        if y is None:
            extent = (block.count + 1) * block.step
            y = np.zeros((*part.shape[:cut], extent, *part.shape[cut + 1 :]), part.dtype)
        first = begin * block.step
        y[(slice(None),) * cut + (slice(first, first + part.shape[cut]),)] += part
    return cast(Array, y)


def _pieces(array: Array, other: Shape, blocks: dict[int, Block]) -> Array:
    """The array with each axis of blocks as two: (count, step) where it is longer than `other`'s, else (1, extent)."""
    shape, missing = [], []
    for axis, extent in enumerate(array.shape):
        block = blocks.get(axis)
        rows, columns = (1, extent) if block is None or extent <= other[axis] else (block.count, block.step)
        shape += [columns] if block is None else [rows, columns]
        missing.append((0, rows * columns - extent))
    return (np.pad(array, missing) if any(after for _, after in missing) else array).reshape(shape)


def _overlapped(found: Array, blocks: dict[int, Block]) -> Array:
    """The results (count, length) of each axis of blocks as one axis, a block's last ones added to the next's first."""
    for axis in reversed(blocks):
        before: tuple[Any, ...] = (slice(None),) * (axis + list(blocks).index(axis))
        block = blocks[axis]
        if block.count == 1:
            found = found[(*before, 0, slice(block.step + block.overlap))]
            continue
        shape = list(found.shape)
        shape[len(before) : len(before) + 2] = [block.count + 1, block.step]
        rows = np.zeros(shape, found.dtype)
        rows[(*before, slice(-1))] = found[(*before, slice(None), slice(block.step))]
        overhang = found[(*before, slice(None), slice(block.step, block.step + block.overlap))]
        rows[(*before, slice(1, None), slice(block.overlap))] += overhang
        shape[len(before) : len(before) + 2] = [(block.count + 1) * block.step]
        found = rows.reshape(shape)
    return found


def _part(y: Array, x: Array, h: Array, mode: str, axes: list[int]) -> Array:
    """What the mode asks for of an array that begins with the full convolution, an array of its own."""
    full = [n + k - 1 if a in axes else max(n, k) for a, (n, k) in enumerate(zip(x.shape, h.shape, strict=True))]
    shape = list(full)
    if mode == "same":
        shape = list(x.shape)
    elif mode == "valid":
        for axis in axes:
            shape[axis] = x.shape[axis] - h.shape[axis] + 1
    begin = [(f - p) // 2 for f, p in zip(full, shape, strict=True)]
    if y.shape == tuple(shape):
        return y
    return y[tuple([slice(b, b + p) for b, p in zip(begin, shape, strict=True)])].copy()
