"""Direct sums of products for arrays of every dtype, as cross-correlations that the active backend computes.

y[p] = sum over r of taps[r] * padded_x[p + r]: real numbers of up to 64 bits in one pass of the backend, complex ones
as passes over their parts, integers exactly (modulo 2^64 where float64 would round), long doubles by NumPy.
"""

from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from fastconv import backends
from fastconv.borders import CONSTANT, Border
from fastconv.signal import modes
from fastconv.typing import Array, Shape

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
SHORT, WORD = np.dtype(np.int32), np.dtype(np.int64)
PARTS: dict[np.dtype[Any], np.dtype[Any]] = {np.dtype(np.complex64): SINGLE, np.dtype(np.complex128): DOUBLE}
LONG = (np.dtype(np.longdouble), np.dtype(np.clongdouble))
EXACT = 2.0**52  # integers below are exact in float64, and so are sums of so many of their products


def common(x: Array, h: Array) -> np.dtype[Any]:
    """The dtype of sums of products; that of objects where there is none, such as of times and fractions."""
    try:
        return np.promote_types(x.dtype, h.dtype)
    except TypeError:
        return np.dtype(object)


def supported(dtype: np.dtype[Any]) -> bool:
    """Whether `correlated` computes results of this dtype: those that SciPy has sums of for any number of axes."""
    return dtype.kind in "iu" or dtype in (SINGLE, DOUBLE) or dtype in PARTS or dtype in LONG


def convolved(x: Array, h: Array, begin: Shape, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """The full convolution of two arrays with zeros around them, from `begin` on, of this shape and dtype.

    The one with fewer elements is the filter where no NaN and no infinity can tell: in SciPy h is, so that its every
    tap is a term of every sum, be it of zeros.
    """
    if h.size > x.size and modes.finite(x, h):
        x, h = h, x
    return correlated(x, h[(slice(None, None, -1),) * h.ndim], begin, shape, dtype)


def correlated(
    x: Array, taps: Array, begin: Shape, shape: Shape, dtype: np.dtype[Any], mode: str = "constant", fill: Any = 0
) -> Array:
    """y[p] = sum over r of taps[r] * padded_x[p + r], from `begin` of the full cross-correlation on.

    `mode` and `fill`, a number of the result's dtype, tell what lies beyond x's edges.
    """
    borders, seen = _borders(x.shape, taps.shape, begin, shape, mode)
    x = native(x if seen is None else x[seen])
    if dtype.kind in "iu":
        return _integers(x, taps, borders, shape, dtype, fill)
    if dtype in LONG:
        return _plain(x, taps, borders, shape, dtype, fill)
    if dtype in PARTS:
        return _complex(x, taps, borders, shape, dtype, fill)
    return _real(x, _weights(taps), borders, shape, dtype, float(fill))


@lru_cache(maxsize=1024)
def _borders(
    n: Shape, k: Shape, begin: Shape, shape: Shape, mode: str
) -> tuple[tuple[Border, ...], tuple[slice, ...] | None]:
    """The borders that the output's sums reach into, and which of x's elements they do where those are not all."""
    borders, seen = [], []
    for extent, taps, first, count in zip(n, k, begin, shape, strict=True):
        before = taps - 1 - first
        after = count - extent + first
        seen.append(slice(max(0, -before), extent + min(0, after)))
        borders.append(Border(extent + min(0, before) + min(0, after), max(0, before), max(0, after), mode))
    whole = all(extent == border.extent for extent, border in zip(n, borders, strict=True))
    return tuple(borders), None if whole else tuple(seen)


def native(array: Array) -> Array:
    """The array as the processor reads it: aligned, its bytes in order."""
    if array.flags.aligned and array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _weights(taps: Array) -> Array:
    return np.ascontiguousarray(taps, DOUBLE)


def _real(
    x: Array, weights: Array, borders: tuple[Border, ...], shape: Shape, dtype: np.dtype[Any], fill: float
) -> Array:
    """One pass of the backend. float32 comes of float32; whatever else there is, it converts as it reads."""
    if dtype == SINGLE or (x.dtype.itemsize == 2 and x.dtype.kind == "f"):
        x = x.astype(SINGLE, copy=False)
    filtering = backends.module("filtering")
    y: Array = filtering.empty(shape, dtype)
    filtering.correlate(x, weights, y, borders, fill, skip_zeros=False)
    return y


def _integers(
    x: Array, taps: Array, borders: tuple[Border, ...], shape: Shape, dtype: np.dtype[Any], fill: Any
) -> Array:
    """Sums of integers as C's are: exact, then cut to the result's bits."""
    weights, edge = _weights(taps), abs(int(fill))
    total = float(np.abs(weights).sum())
    bound = total * max(_limits(x.dtype)[0], edge)
    if bound >= EXACT:
        bound = total * float(max(-int(x.min()), int(x.max()), edge))
    if bound < EXACT:
        held = dtype if bound <= _limits(dtype)[1] else SHORT if bound < 2**31 else WORD
        y = _real(x, weights, borders, shape, held, float(fill))
        return y if held is dtype else y.astype(dtype)
    if fill:
        x = _padded(x.astype(WORD), borders, np.array(fill).astype(WORD))
        borders = tuple([Border(extent, 0, 0) for extent in x.shape])
    y = np.empty(shape, WORD)
    numbers, factors = x.astype(WORD, copy=False), np.ascontiguousarray(taps, WORD)
    backends.module("filtering").correlate_modular(numbers, factors, y, borders)
    return y.astype(dtype, copy=False)


@lru_cache(maxsize=64)
def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The largest absolute value, and the largest value, of an integer or a bool of this dtype."""
    if dtype.kind == "b":
        return 1.0, 1.0
    info = np.iinfo(dtype)
    return float(max(-info.min, info.max)), float(info.max)


def _complex(
    x: Array, taps: Array, borders: tuple[Border, ...], shape: Shape, dtype: np.dtype[Any], fill: Any
) -> Array:
    """Real passes over the parts: two if x or the taps are real, else four.

    C has no such shortcut: it multiplies by an imaginary part of 0 too, which tells where the other is not finite.
    """
    part, real, imaginary = PARTS[dtype], float(fill.real), float(fill.imag)
    if x.dtype.kind != "c" and (imaginary or not modes.finite(taps)):
        x = x.astype(dtype)
    if taps.dtype.kind != "c" and not (modes.finite(x) and isfinite(real) and isfinite(imaginary)):
        taps = taps.astype(dtype)
    y: Array = np.empty(shape, dtype)
    weights = _weights(taps.real)
    y.real = _real(x.real, weights, borders, shape, part, real)
    if x.dtype.kind == "c":
        y.imag = _real(x.imag, weights, borders, shape, part, imaginary)
    else:
        y.imag = 0
    if taps.dtype.kind == "c":
        weights = _weights(taps.imag)
        y.imag += _real(x.real, weights, borders, shape, part, real)
        if x.dtype.kind == "c":
            y.real -= _real(x.imag, weights, borders, shape, part, imaginary)
    return y


def _plain(x: Array, taps: Array, borders: tuple[Border, ...], shape: Shape, dtype: np.dtype[Any], fill: Any) -> Array:
    """One tap at a time, for numbers that no backend knows."""
    image, y = _padded(x.astype(dtype), borders, fill), np.zeros(shape, dtype)
    with np.errstate(all="ignore"):
        for tap in np.ndindex(taps.shape):
            y += taps[tap] * image[tuple([slice(r, r + p) for r, p in zip(tap, shape, strict=True)])]
    return y


def _padded(x: Array, borders: tuple[Border, ...], fill: Any) -> Array:
    """x with its borders."""
    for axis, border in enumerate(borders):
        x = x.take(border.places, axis)
        x[(slice(None),) * axis + (border.places == CONSTANT,)] = fill
    return x
