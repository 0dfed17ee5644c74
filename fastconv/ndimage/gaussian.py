"""The Gaussian filter and its derivatives: one pass along each axis."""
# ruff: noqa: A002 - `input` is the name that SciPy's users write

from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np

from fastconv import placement
from fastconv.ndimage.arguments import axes_of, line_border, one_axis, output_array, per_axis
from fastconv.ndimage.derivatives import generic_gradient_magnitude, generic_laplace
from fastconv.ndimage.passes import filter_lines
from fastconv.typing import Array, Shape

__all__ = ["gaussian_filter", "gaussian_filter1d", "gaussian_gradient_magnitude", "gaussian_laplace"]

LONG = 1 << 12  # filters that reach so far are not kept for later calls
NARROWEST = 1e-15  # an axis with a standard deviation of at most this is not filtered


def gaussian_filter1d(
    input: Any,
    sigma: Any,
    axis: Any = -1,
    order: Any = 0,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    truncate: Any = 4.0,
    *,
    radius: Any = None,
) -> Array:
    """Convolution along an axis with a Gaussian exp(-r² / (2 sigma²)), its taps' sum 1, or with its derivative.

    Parameters
    ----------
    input : array_like
        A signal, or an image of any rank: bool, integers, float32, float64 or complex.
    sigma : float
        The standard deviation, in pixels.
    axis : int
        The axis that is filtered.
    order : int
        Which derivative of the Gaussian; 0 is the Gaussian itself.
    output, mode, cval
        As in `correlate`.
    truncate : float
        How many standard deviations the filter reaches on either side.
    radius : int, optional
        How many pixels it reaches; `truncate` is not looked at then.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `correlate1d`, and a ValueError if radius or order is negative.
    ZeroDivisionError
        If sigma is 0.

    References
    ----------
    scipy.ndimage.gaussian_filter1d.

    Examples
    --------
    >>> gaussian_filter1d([1.0, 2.0, 3.0, 4.0, 5.0], 1).round(3)
    array([1.427, 2.068, 3.   , 3.932, 4.573])
    """
    taps = gaussian_taps(sigma, order, truncate, radius)
    x = placement.as_array(input)
    complex_output = x.dtype.kind == "c"
    out = output_array(output, x, complex_output)
    axis = one_axis(axis, x.ndim)
    passes = [(axis, taps, line_border(x, axis, taps.size, 0, mode))]
    return filter_lines("correlate_lines", x, passes, out, cval)


def gaussian_filter(
    input: Any,
    sigma: Any,
    order: Any = 0,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    truncate: Any = 4.0,
    *,
    radius: Any = None,
    axes: Any = None,
) -> Array:
    """Convolution with a Gaussian, or with derivatives of it: `gaussian_filter1d` along one axis after the other.

    Parameters
    ----------
    input : array_like
        An image of any rank: bool, integers, float32, float64 or complex.
    sigma, order, mode, radius : one value, or a sequence with one for each axis that is filtered
        As in `gaussian_filter1d`; an axis with a sigma of 0 is left as it is.
    output, cval
        As in `correlate`; what an axis gives is held in the output's type.
    truncate : float
        How many standard deviations the filter reaches on either side.
    axes : int, sequence of ints or None
        The axes that are filtered, all for None.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `gaussian_filter1d`, and a RuntimeError if a sequence has not one entry for each axis.

    References
    ----------
    scipy.ndimage.gaussian_filter.

    Examples
    --------
    >>> gaussian_filter(np.array([[0, 0, 0], [0, 100, 0], [0, 0, 0]]), 0.5)
    array([[ 1,  7,  1],
           [ 8, 61,  8],
           [ 1,  7,  1]])
    """
    x = placement.as_array(input)
    out = output_array(output, x)
    passes = _passes(x, axes_of(axes, x.ndim), sigma, order, mode, truncate, radius)
    return filter_lines("correlate_lines", x, passes, out, cval)


def gaussian_laplace(
    input: Any,
    sigma: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
    **kwargs: Any,
) -> Array:
    """Convolution with the Laplacian of a Gaussian: the sum of the second derivatives along the axes.

    Parameters
    ----------
    input, sigma, output, mode, cval, axes
        As in `gaussian_filter`.
    **kwargs
        `truncate` and `radius`, as in `gaussian_filter`.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `gaussian_filter`.

    References
    ----------
    scipy.ndimage.gaussian_laplace.

    Examples
    --------
    >>> gaussian_laplace(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), 1.0).round(3)
    array([ 0.197,  0.002, -0.399,  0.002,  0.197])
    """
    x = placement.as_array(input)
    where = axes_of(axes, x.ndim)
    sigmas = per_axis(sigma, len(where), "sigma")
    if len(where) < x.ndim:  # a sigma of 0 for the axes that are not filtered
        everywhere = [0] * x.ndim
        for axis, deviation in zip(where, sigmas, strict=True):
            everywhere[axis] = deviation
        sigmas = everywhere
    return generic_laplace(x, _derivative(2), output, mode, cval, (sigmas,), kwargs, axes=where)


def gaussian_gradient_magnitude(
    input: Any,
    sigma: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
    **kwargs: Any,
) -> Array:
    """The length of the gradient that convolution with a Gaussian's first derivatives gives.

    Parameters
    ----------
    input, output, mode, cval, axes
        As in `gaussian_filter`.
    sigma : float or sequence of floats
        The standard deviation; a sequence has one for each axis of the image.
    **kwargs
        `truncate` and `radius`, as in `gaussian_filter`.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `gaussian_filter`.

    References
    ----------
    scipy.ndimage.gaussian_gradient_magnitude.

    Examples
    --------
    >>> gaussian_gradient_magnitude(np.array([0.0, 0.0, 1.0, 1.0]), 0.5).round(3)
    array([0.002, 0.428, 0.428, 0.002])
    """
    return generic_gradient_magnitude(input, _derivative(1), output, mode, cval, (sigma,), kwargs, axes=axes)


def _passes(x: Array, axes: Shape, sigma: Any, order: Any, mode: Any, truncate: Any, radius: Any) -> list[Any]:
    """The passes of `gaussian_filter`."""
    count, passes = len(axes), []
    orders, sigmas = per_axis(order, count, "order"), per_axis(sigma, count, "sigma")
    modes, radii = per_axis(mode, count, "mode"), per_axis(radius, count, "radius")
    for axis, times, deviation, beyond, reach in zip(axes, orders, sigmas, modes, radii, strict=True):
        if deviation > NARROWEST:
            taps = gaussian_taps(deviation, times, truncate, reach)
            place = one_axis(axis, x.ndim)
            passes.append((place, taps, line_border(x, place, taps.size, 0, beyond)))
    return passes


def gaussian_taps(sigma: Any, order: Any, truncate: Any, radius: Any) -> Array:
    """The filter of a pass, for cross-correlation: (2 * radius + 1,) float64, contiguous."""
    reach = int(truncate * float(sigma) + 0.5)
    if radius is not None:
        reach = radius
    if not isinstance(reach, Integral) or reach < 0:
        raise ValueError(f"radius is {reach!r}: an int of at least 0 is accepted")
    if isinstance(sigma, int | float) and type(order) is int and type(reach) is int and reach < LONG:
        return _kept(sigma, order, reach)
    return _density(sigma, order, reach)


def _density(sigma: Any, order: Any, radius: Any) -> Array:
    """The normal density g at the integers, or the derivative q(r) * g(r) of some order, from right to left.

    A derivative of q(r) * g(r) is (q'(r) - q(r) * r / sigma²) * g(r): on the polynomial's coefficients, a matrix.
    """
    if order < 0:
        raise ValueError(f"order is {order!r}: an int of at least 0 is accepted")
    variance = sigma * sigma
    place = np.arange(-radius, radius + 1)
    density = np.exp(-0.5 / variance * place**2)
    density = density / density.sum()
    if order != 0:
        powers = np.arange(order + 1)
        derivative = np.diag(powers[1:], 1) + np.diag(np.ones(order) / -variance, -1)
        polynomial = np.zeros(order + 1)
        polynomial[0] = 1
        for _ in range(order):
            polynomial = derivative.dot(polynomial)
        density = (place[:, None] ** powers).dot(polynomial) * density
    return np.ascontiguousarray(density[::-1], np.float64)


@lru_cache(maxsize=64)
def _kept(sigma: float, order: int, radius: int) -> Array:
    taps = _density(sigma, order, radius)
    taps.flags.writeable = False
    return taps


def _derivative(times: int) -> Any:
    """Of an image, along an axis, as the generic functions call it."""

    def derivative(x: Array, axis: int, output: Any, mode: Any, cval: Any, sigma: Any, **options: Any) -> Array:
        order = [0] * x.ndim
        order[axis] = times
        return gaussian_filter(x, sigma, order, output, mode, cval, **options)

    return derivative
