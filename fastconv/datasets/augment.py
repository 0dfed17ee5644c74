"""Augmentation: images that are shifted, rotated or noisy, a new draw for each image.

Each function takes a batch and a generator, so that they compose into what `fit` takes as `augment`:

    fit(..., augment=lambda x, rng: shift(rotate(x, 10, rng), 2, rng))

Index letters: `n` image, `c` channel, `h w` pixel.
"""

import numpy as np

from fastconv.functional.checks import axes, floating, host
from fastconv.nn import checks
from fastconv.typing import Array, ArrayLike, Random

__all__ = ["noise", "rotate", "shift"]

MEANING = "(N, C, H, W)"


def shift(x: ArrayLike, pixels: int, rng: Random = None, fill: float = 0.0) -> Array:
    """Each image shifted by whole pixels, down and to the right each drawn from -pixels to pixels.

    y[n, c, h, w] = x[n, c, h - down[n], w - right[n]], and `fill` outside of x.

    Parameters
    ----------
    x : array (N, C, H, W), any numbers
    pixels : int
        The largest shift along each axis.
    rng : Generator, int or None
        Where the shifts are drawn from.
    fill : float
        What is outside of an image: black, which is 0, or -mean / std in standardised images.

    Returns
    -------
    array (N, C, H, W), dtype of x

    Raises
    ------
    TypeError, ValueError
        If x has not 4 axes, or pixels is not an int of at least 0.

    References
    ----------
    Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", 2003.

    Examples
    --------
    >>> x = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    >>> shift(x, 1, rng=2)
    array([[[[0., 0.],
             [2., 0.]]]])
    """
    images = host(x, "x")
    axes(images, 4, "x", MEANING)
    most = checks.count(pixels, "pixels", least=0)
    draw = checks.generator(rng, "rng")
    count, _, height, width = images.shape
    down, right = draw.integers(-most, most, (2, count), endpoint=True)
    framed = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), constant_values=fill)
    h = np.arange(height) + most - down[:, None]
    w = np.arange(width) + most - right[:, None]
    return _gather(framed, h[:, :, None], w[:, None, :])


def rotate(x: ArrayLike, degrees: float, rng: Random = None, fill: float = 0.0) -> Array:
    """Each image turned about its centre by an angle drawn from -degrees to degrees, bilinearly.

    y at a pixel is x at the pixel's place turned back, a mean of the four pixels around it weighted by how near they
    are, and `fill` outside of x.

    Parameters
    ----------
    x : array (N, C, H, W), float32, float64 or float16
    degrees : float
        The largest angle; positive angles turn counter-clockwise.
    rng : Generator, int or None
        Where the angles are drawn from.
    fill : float
        What is outside of an image: black, which is 0, or -mean / std in standardised images.

    Returns
    -------
    array (N, C, H, W), dtype of x

    Raises
    ------
    TypeError, ValueError
        If x is not of floats or has not 4 axes, or degrees is not a finite number of at least 0.

    References
    ----------
    Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", 2003.

    Examples
    --------
    >>> x = np.ones((2, 1, 28, 28), np.float32)
    >>> rotate(x, 15, rng=0).shape
    (2, 1, 28, 28)
    """
    images = floating(x, "x")
    axes(images, 4, "x", MEANING)
    most = checks.at_least(degrees, "degrees", 0)
    angles = checks.generator(rng, "rng").uniform(-most, most, len(images))
    return turned(images, np.deg2rad(angles), fill)


def turned(x: Array, angles: Array, fill: float) -> Array:
    """Image n turned counter-clockwise by angles[n], in radians."""
    height, width = x.shape[2:]
    down, right = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    # The frame of one pixel of `fill` is what all places further out than it are moved to.
    h = np.clip(cos * down + sin * right + (height - 1) / 2, -1, height) + 1
    w = np.clip(cos * right - sin * down + (width - 1) / 2, -1, width) + 1
    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    top, left = np.minimum(h.astype(int), height), np.minimum(w.astype(int), width)
    y = np.zeros(x.shape, np.result_type(x, np.float32))
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        near = (1 - abs(h - top - row)) * (1 - abs(w - left - column))
        y += near[:, None].astype(y.dtype) * _gather(framed, top + row, left + column)
    return y.astype(x.dtype, copy=False)


def noise(x: ArrayLike, sigma: float, rng: Random = None) -> Array:
    """x with normal noise added to each pixel: y = x + sigma * n.

    Parameters
    ----------
    x : array of any shape, float32, float64 or float16
    sigma : float
        The noise's standard deviation.
    rng : Generator, int or None
        Where the noise is drawn from.

    Returns
    -------
    array of x's shape and dtype

    Raises
    ------
    TypeError, ValueError
        If x is not of floats, or sigma is not a finite number of at least 0.

    References
    ----------
    Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008.

    Examples
    --------
    >>> noise(np.zeros(3), 0.1, rng=0).round(3)
    array([ 0.013, -0.013,  0.064])
    """
    images = floating(x, "x")
    scale = checks.at_least(sigma, "sigma", 0)
    drawn = checks.generator(rng, "rng").standard_normal(
        images.shape, np.float32 if images.itemsize < 8 else np.float64
    )
    return (images + drawn.dtype.type(scale) * drawn).astype(images.dtype, copy=False)


def _gather(x: Array, h: Array, w: Array) -> Array:
    """y[n, c, i, j] = x[n, c, h[n, i, j], w[n, i, j]]."""
    n, c = np.arange(x.shape[0])[:, None, None, None], np.arange(x.shape[1])[:, None, None]
    return np.asarray(x[n, c, h[:, None], w[:, None]])
