"""The course's filters, as arrays: what `conv2d`, `ndimage` and `signal` are given.

They are written for convolution, which flips them: the derivative filter is [1, 0, -1], so that a rising signal has a
positive derivative. For cross-correlation (`functional.conv2d`) flip them first.
"""

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from fastconv.typing import Array

__all__ = [
    "box_kernel",
    "derivative_kernel",
    "gaussian_kernel",
    "gaussian_kernel1d",
    "laplace_kernel",
    "prewitt_kernel",
    "sobel_kernel",
]


def gaussian_kernel1d(size: int, sigma: float, normalize: bool = False) -> Array:
    """The normal density at the integers around 0: exp(-i² / (2 sigma²)) / (sigma sqrt(2 pi)).

    Parameters
    ----------
    size : int
        The number of taps; an even size puts them at the half integers.
    sigma : float
        The standard deviation, in pixels.
    normalize : bool
        Divide by the sum, so that a constant signal stays what it is; the density's own sum is a little less than 1.

    Returns
    -------
    array (size,), float64

    Raises
    ------
    ValueError
        If size is below 1, or sigma is not a positive number.
    TypeError
        If size is no int.

    Examples
    --------
    >>> gaussian_kernel1d(3, 1.0).round(4)
    array([0.242 , 0.3989, 0.242 ])
    """
    taps, deviation = _length(size), float(sigma)
    if not (deviation > 0 and np.isfinite(deviation)):
        raise ValueError(f"sigma is {sigma!r}: a positive number of pixels is accepted")
    place = np.arange(taps) - (taps - 1) / 2
    density: Array = np.exp(-0.5 * (place / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    return density / density.sum() if normalize else density


def gaussian_kernel(size: int | Sequence[int], sigma: float | Sequence[float], normalize: bool = False) -> Array:
    """The bivariate normal density at the integers around (0, 0); it is the outer product of two 1-D ones.

    Parameters
    ----------
    size : int or (int, int)
        Taps along rows and columns.
    sigma : float or (float, float)
        The standard deviation along each, in pixels.
    normalize : bool
        Divide by the sum, so that a constant image stays what it is.

    Returns
    -------
    array (size, size), float64

    Raises
    ------
    ValueError, TypeError
        As `gaussian_kernel1d`, and if size or sigma has not one or two entries.

    Examples
    --------
    >>> gaussian_kernel(23, 3.8).shape
    (23, 23)
    """
    rows, columns = (gaussian_kernel1d(n, s, normalize) for n, s in zip(_two(size), _two(sigma), strict=True))
    return np.outer(rows, columns)


def derivative_kernel() -> Array:
    """The central difference [1, 0, -1], for convolution; it is twice the derivative.

    Examples
    --------
    >>> derivative_kernel()
    array([ 1.,  0., -1.])
    """
    return np.array([1.0, 0.0, -1.0])


def sobel_kernel(axis: int = 0) -> Array:
    """Sobel's filter, for convolution: the difference [1, 0, -1] along `axis`, smoothed by [1, 2, 1] along the other.

    Parameters
    ----------
    axis : {0, 1}
        0 differentiates down the rows (it answers to horizontal edges), 1 along the columns.

    Returns
    -------
    array (3, 3), float64

    References
    ----------
    Sobel, Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.

    Examples
    --------
    >>> sobel_kernel(axis=1)
    array([[ 1.,  0., -1.],
           [ 2.,  0., -2.],
           [ 1.,  0., -1.]])
    """
    return _difference(axis, np.array([1.0, 2.0, 1.0]))


def prewitt_kernel(axis: int = 0) -> Array:
    """Prewitt's filter, for convolution: the difference [1, 0, -1] along `axis`, summed over three neighbours.

    Examples
    --------
    >>> prewitt_kernel(axis=0)
    array([[ 1.,  1.,  1.],
           [ 0.,  0.,  0.],
           [-1., -1., -1.]])
    """
    return _difference(axis, np.ones(3))


def laplace_kernel() -> Array:
    """The sum of the second differences along both axes.

    Examples
    --------
    >>> laplace_kernel()
    array([[ 0.,  1.,  0.],
           [ 1., -4.,  1.],
           [ 0.,  1.,  0.]])
    """
    return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def box_kernel(size: int | Sequence[int]) -> Array:
    """The mean over a window of `size` pixels, an int or (rows, columns).

    Examples
    --------
    >>> box_kernel(2)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    rows, columns = (_length(n) for n in _two(size))
    return np.full((rows, columns), 1 / (rows * columns))


def _difference(axis: int, smoothing: Array) -> Array:
    if axis not in (0, 1, -1, -2):
        raise ValueError(f"axis is {axis!r}: 0 (rows) and 1 (columns) are accepted")
    along_rows = np.outer(derivative_kernel(), smoothing)
    return along_rows if axis in (0, -2) else np.ascontiguousarray(along_rows.T)


def _length(size: Any) -> int:
    try:
        taps = index(size)
    except TypeError:
        raise TypeError(f"size is {size!r}: an int is accepted") from None
    if taps < 1:
        raise ValueError(f"size is {size!r}: an int of at least 1 is accepted")
    return taps


def _two(value: Any) -> Sequence[Any]:
    """`value` for rows and columns."""
    pair = tuple(value) if np.ndim(value) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{value!r} has {len(pair)} entries: one number or two are accepted")
    return pair
