"""Correlation and convolution with any filter, over all axes or along one.

Letters: p output pixel, r filter tap, K the number of taps of an axis; the filter's middle is tap K // 2 + origin.
"""
# ruff: noqa: A002 - `input` is the name that SciPy's users write

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastconv import placement
from fastconv.ndimage.arguments import (
    axes_of,
    check_filter,
    check_origin,
    image_borders,
    line_border,
    one_axis,
    one_mode,
    output_array,
    place_filter,
    place_origins,
    whole_origins,
)
from fastconv.ndimage.passes import apart, check_types, constant_into, filter_lines, run
from fastconv.typing import Array

__all__ = ["convolve", "convolve1d", "correlate", "correlate1d"]

EPSILON = float(np.finfo(np.float64).eps)  # a tap of at most this size is left out, as SciPy does


def correlate(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """Cross-correlation with a filter of any shape: y[p] = sum over r of weights[r] * input[p + r - K // 2 - origin].

    Parameters
    ----------
    input : array_like
        An image of any rank: bool, integers, float32, float64 or complex. One on a GPU (of any library) is filtered
        there, but for complex ones, and so is the result.
    weights : array_like
        The filter, with as many axes as are filtered; sums are float64, or float32 where input and output are. Complex
        ones are conjugated.
    output : array, dtype or str, optional
        Where the result goes, or its type; by default the input's, complex if the filter is. Integers are the sums
        without their fraction.
    mode : str
        How the image goes on beyond its edges: 'reflect' (d c b a | a b c d | d c b a), 'constant' (`cval`), 'nearest'
        (a a a a | a b c d | d d d d), 'mirror' (d c b | a b c d | c b a), 'wrap' (a b c d | a b c d | a b c d), or
        'grid-mirror', 'grid-constant' and 'grid-wrap', their other names.
    cval : float
        The constant; complex if the input is.
    origin : int or sequence of ints
        How far the filter's middle lies beyond tap K // 2; positive numbers move the result to the right.
    axes : int, sequence of ints or None
        The axes that are filtered, all for None.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError
        If shapes, a mode or a type do not fit.
    ValueError
        If an origin puts the middle outside the filter, `axes` repeats one or leaves the image, or `output` is
        read-only.
    TypeError
        If a number is none.

    References
    ----------
    scipy.ndimage.correlate.

    Examples
    --------
    >>> correlate([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    array([[9, 8, 7],
           [6, 5, 4],
           [3, 2, 1]])
    """
    return _over_axes(input, weights, output, mode, cval, origin, axes, convolution=False)


def convolve(
    input: Any,
    weights: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """Convolution with a filter of any shape: y[p] = sum over r of weights[r] * input[p - r + K // 2 + origin].

    Parameters, returns and errors are those of `correlate`; complex weights are taken as they are, and positive
    origins move the result to the left.

    References
    ----------
    scipy.ndimage.convolve.

    Examples
    --------
    >>> convolve([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    array([[1, 2, 3],
           [4, 5, 6],
           [7, 8, 9]])
    """
    return _over_axes(input, weights, output, mode, cval, origin, axes, convolution=True)


def correlate1d(
    input: Any,
    weights: Any,
    axis: Any = -1,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
) -> Array:
    """Cross-correlation along an axis: y[p] = sum over r of weights[r] * input[p + r - K // 2 - origin].

    Parameters
    ----------
    input : array_like
        A signal, or an image of any rank: bool, integers, float32, float64 or complex.
    weights : array_like (K,)
        The filter; complex ones are conjugated.
    axis : int
        The axis along which the filter lies.
    output, mode, cval, origin
        As in `correlate`.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `correlate`, and a ValueError if there is no such axis.

    References
    ----------
    scipy.ndimage.correlate1d.

    Examples
    --------
    >>> correlate1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([ 8, 26,  8, 12,  7, 28, 36,  9])
    """
    x, weights = placement.as_array(input), placement.to_host(weights)
    if weights.dtype.kind == "c":
        weights = weights.conj()
    return _along_axis(x, weights, axis, output, mode, cval, origin)


def convolve1d(
    input: Any,
    weights: Any,
    axis: Any = -1,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
) -> Array:
    """Convolution along an axis: y[p] = sum over r of weights[r] * input[p - r + K // 2 + origin].

    Parameters, returns and errors are those of `correlate1d`; complex weights are taken as they are, and positive
    origins move the result to the left.

    References
    ----------
    scipy.ndimage.convolve1d.

    Examples
    --------
    >>> convolve1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([14, 24,  4, 13, 12, 36, 27,  0])
    """
    flipped = placement.to_host(weights)[::-1]
    origin = -origin if flipped.shape[0] % 2 else -origin - 1
    return _along_axis(placement.as_array(input), flipped, axis, output, mode, cval, origin)


def _over_axes(
    input: Any, weights: Any, output: Any, mode: Any, cval: Any, origin: Any, axes: Any, convolution: bool
) -> Array:
    x, weights = placement.as_array(input), placement.to_host(weights)
    if x.dtype.kind == "c" or weights.dtype.kind == "c":
        out = output_array(output, x, complex_output=True, callers=2)
        taps = weights.conj() if weights.dtype.kind == "c" and not convolution else weights
        into = partial(_over_axes, mode=mode, origin=origin, axes=axes, convolution=convolution)
        return _by_parts(into, x, taps, out, cval)
    where = axes_of(axes, x.ndim)
    taps = place_filter(np.asarray(weights, np.float64), where, x.ndim, "weights")
    origins = place_origins(origin, where, x.ndim)
    check_filter(taps, x.ndim, "weights")
    if convolution:
        taps = taps[(slice(None, None, -1),) * taps.ndim]
        origins = [-shift - (taps.shape[axis] + 1) % 2 for axis, shift in enumerate(origins)]
    for shift, k in zip(origins, taps.shape, strict=False):
        check_origin(shift, k)
    out = output_array(output, x)
    mode = one_mode(mode)
    value = constant_into(out, cval)
    borders = image_borders(x.shape, taps.shape, whole_origins(origins, x.ndim), mode)
    if out.size:
        check_types(x, out)
    run("correlate", x, _without_tiny(taps), out, borders, value, True)
    return out


def _without_tiny(taps: Array) -> Array:
    """The taps, contiguous, with 0 where they are tiny or NaN."""
    kept = np.abs(taps) > EPSILON
    return np.asarray(taps if np.count_nonzero(kept) == taps.size else np.where(kept, taps, 0.0), order="C")


def _along_axis(x: Array, weights: Array, axis: Any, output: Any, mode: Any, cval: Any, origin: Any) -> Array:
    if x.dtype.kind == "c" or weights.dtype.kind == "c":
        out = output_array(output, x, complex_output=True, callers=2)
        if weights.dtype.kind == "c":
            weights = weights.astype(np.complex128, copy=False)
        return _by_parts(partial(_along_axis, axis=axis, mode=mode, origin=origin), x, weights, out, cval)
    out = output_array(output, x)
    taps = np.asarray(weights, np.float64, order="C")
    if taps.ndim != 1 or not taps.size:
        raise RuntimeError(f"weights has shape {taps.shape}: one axis of at least 1 tap is accepted")
    axis = one_axis(axis, x.ndim)
    border = line_border(x, axis, taps.size, origin, mode)
    return filter_lines("correlate_lines", x, [(axis, taps, border)], out, cval)


def _by_parts(into: Callable[..., Array], x: Array, weights: Array, out: Array, cval: Any) -> Array:
    """The complex sum of products of real and imaginary parts; `into` filters real x with real weights."""
    x = apart(x, out)
    if weights.dtype.kind != "c":
        into(x.real, weights, output=out.real, cval=np.real(cval))
        into(x.imag, weights, output=out.imag, cval=np.imag(cval))
    elif x.dtype.kind != "c":
        if np.iscomplexobj(cval):
            raise ValueError(f"cval is {cval!r}: a real number is accepted for a real input")
        into(x, weights.real, output=out.real, cval=cval)
        into(x, weights.imag, output=out.imag, cval=cval)
    else:
        with np.errstate(all="ignore"):  # infinities may meet
            into(x.real, weights.real, output=out.real, cval=np.real(cval))
            out.real -= into(x.imag, weights.imag, output=None, cval=np.imag(cval))
            into(x.real, weights.imag, output=out.imag, cval=np.real(cval))
            out.imag += into(x.imag, weights.real, output=None, cval=np.imag(cval))
    return out
