"""A small U-Net: images in, images out (the course's "Capas Concatenadas")."""

import numpy as np
import numpy.typing as npt

from fastconv import nn
from fastconv.nn.checks import generator
from fastconv.typing import Random

__all__ = ["unet"]


def unet(seed: Random = None, dtype: npt.DTypeLike = np.float32) -> nn.Sequential:
    """A U-Net for images of 28x28, such as to take noise away: 16, 32 and 64 channels at 28x28, 14x14 and 7x7 pixels.

    On the way down max pooling halves the image, so that the filters see more of it; on the way up a transposed
    convolution doubles it. What was there before the halving is concatenated, so that no detail is lost. The last layer
    has no activation: images of any range of numbers are accepted.

    Parameters
    ----------
    seed : int, numpy.random.Generator or None
        It fixes the first weights; None is fresh entropy.
    dtype : float32, float64 or float16
        Of the parameters, and so of the images.

    Returns
    -------
    Sequential
        From x (N, 1, 28, 28) to the same shape.

    References
    ----------
    Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.

    Examples
    --------
    >>> unet().output_shape((8, 1, 28, 28))
    (8, 1, 28, 28)
    """
    rng = generator(seed, "seed")

    def filters(channels: int, count: int) -> nn.Sequential:
        convolution = nn.Conv2d(channels, count, 3, padding=1, rng=rng, dtype=dtype, init="he_normal")
        return nn.Sequential(convolution, nn.ReLU())

    def beside(channels: int, *inner: nn.Module) -> nn.Concat:
        """x beside what is made of it at half the size: 2 * channels in all."""
        half = nn.Sequential(nn.MaxPool2d(2), *inner)
        half.append(nn.ConvTranspose2d(2 * channels, channels, 2, stride=2, rng=rng, dtype=dtype, init="he_normal"))
        return nn.Concat(nn.Identity(), half)

    return nn.Sequential(
        filters(1, 16),
        beside(16, filters(16, 32), beside(32, filters(32, 64)), filters(64, 32)),
        filters(32, 16),
        nn.Conv2d(16, 1, 1, rng=rng, dtype=dtype),
    )
