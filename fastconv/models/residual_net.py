"""ResNet-8: a small network of residual blocks (the course's "Saltos")."""

import numpy as np
import numpy.typing as npt

from fastconv import nn
from fastconv.nn.checks import generator
from fastconv.typing import Random

__all__ = ["residual_net"]


def residual_net(seed: Random = None, dtype: npt.DTypeLike = np.float32, classes: int = 10) -> nn.Sequential:
    """The ResNet-8 of MLPerf Tiny, for images of 28x28 with one channel.

    A convolution, three residual blocks of 16, 32 and 64 filters, the mean of each channel, a linear layer. A block is
    two convolutions 3x3 with batch normalisation, and x is added before the last relu; where the block halves the
    image, a convolution 1x1 with a stride of 2 brings x to the same shape.

    Parameters
    ----------
    seed : int, numpy.random.Generator or None
        It fixes the first weights; None is fresh entropy.
    dtype : float32, float64 or float16
        Of the parameters, and so of the images.
    classes : int
        How many numbers come out: the logits, for `functional.cross_entropy`.

    Returns
    -------
    Sequential
        From x (N, 1, 28, 28) to (N, classes).

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016; Banbury et al., "MLPerf Tiny benchmark",
    2021.

    Examples
    --------
    >>> residual_net().output_shape((8, 1, 28, 28))
    (8, 10)
    """
    rng = generator(seed, "seed")
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False, rng=rng, dtype=dtype, init="he_normal"),
        nn.BatchNorm2d(16, dtype=dtype),
        nn.ReLU(),
        *_block(16, 16, 1, rng, dtype),
        *_block(16, 32, 2, rng, dtype),
        *_block(32, 64, 2, rng, dtype),
        nn.AvgPool2d(7),
        nn.Flatten(),
        nn.Linear(64, classes, rng=rng, dtype=dtype),
    )


def _block(
    channels: int, filters: int, stride: int, rng: np.random.Generator, dtype: npt.DTypeLike
) -> tuple[nn.Residual, nn.ReLU]:
    """relu(branch(x) + shortcut(x)). The convolutions need no bias: batch normalisation has one."""
    branch = nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False, rng=rng, dtype=dtype, init="he_normal"),
        nn.BatchNorm2d(filters, dtype=dtype),
        nn.ReLU(),
        nn.Conv2d(filters, filters, 3, padding=1, bias=False, rng=rng, dtype=dtype, init="he_normal"),
        nn.BatchNorm2d(filters, dtype=dtype),
    )
    if stride == 1:
        return nn.Residual(branch), nn.ReLU()
    shortcut = nn.Conv2d(channels, filters, 1, stride, rng=rng, dtype=dtype, init="he_normal")
    return nn.Residual(branch, shortcut), nn.ReLU()
