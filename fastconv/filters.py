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
    "gabor_kernel",
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
    taps, deviation = _length(size), _positive(sigma, "sigma")
    density: Array = np.exp(-0.5 * (_places(taps) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
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


def gabor_kernel(
    size: int | Sequence[int],
    sigma: float,
    wavelength: float,
    orientation: float,
    aspect: float = 1.0,
    phase: float = 0.0,
) -> Array:
    """Gabor's filter, for convolution: a wave under a Gaussian.

    exp(-(u² + aspect² v²) / (2 sigma²)) cos(2 pi u / wavelength + phase). At column x and row y,
    counted from the middle, u = x cos(orientation) + y sin(orientation) runs along the wave, and
    v = y cos(orientation) - x sin(orientation) along its crests.

    Parameters
    ----------
    size : int or (int, int)
        Taps along rows and columns; an even size puts them at the half integers.
    sigma : float
        The Gaussian's standard deviation along the wave, in pixels.
    wavelength : float
        From crest to crest, in pixels.
    orientation : float
        The angle, in radians, from the columns' direction to the wave's, towards the rows' (down).
    aspect : float
        How much longer the Gaussian is along the wave than along its crests.
    phase : float
        In radians: 0 is even, with a crest in the middle, and pi / 2 odd.

    Returns
    -------
    array (size, size), float64

    Raises
    ------
    ValueError, TypeError
        If a size is no int of at least 1, sigma, wavelength or aspect no positive number, or an angle is not finite.

    References
    ----------
    Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
    two-dimensional visual cortical filters", 1985. OpenCV's `getGaborKernel` gives the same filter for
    cross-correlation, which is this one flipped.

    Examples
    --------
    >>> gabor_kernel((1, 5), sigma=2.0, wavelength=4.0, orientation=0.0).round(2)
    array([[-0.61,  0.  ,  1.  ,  0.  , -0.61]])
    """
    y, x = (_places(_length(n)) for n in _two(size))
    deviation, period = _positive(sigma, "sigma"), _positive(wavelength, "wavelength")
    angles = float(orientation), float(phase)
    if not np.isfinite(angles).all():
        raise ValueError(f"orientation is {orientation!r}, phase {phase!r}: finite angles in radians are accepted")
    cosine, sine = np.cos(angles[0]), np.sin(angles[0])
    along = x * cosine + y[:, None] * sine
    across = (y[:, None] * cosine - x * sine) * _positive(aspect, "aspect", "")
    envelope = np.exp(-(along**2 + across**2) / (2 * deviation**2))
    kernel: Array = envelope * np.cos(2 * np.pi / period * along + angles[1])
    return kernel


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


def _places(taps: int) -> Array:
    """Where the taps of an axis are, from their middle."""
    return np.arange(taps) - (taps - 1) / 2


def _positive(value: Any, name: str, unit: str = " of pixels") -> float:
    number = float(value)
    if not (number > 0 and np.isfinite(number)):
        raise ValueError(f"{name} is {value!r}: a positive number{unit} is accepted")
    return number


def _two(value: Any) -> Sequence[Any]:
    """`value` for rows and columns."""
    pair = tuple(value) if np.ndim(value) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{value!r} has {len(pair)} entries: one number or two are accepted")
    return pair
