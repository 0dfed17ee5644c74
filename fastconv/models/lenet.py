"""LeNet, the course's first convolutional network."""

import numpy as np
import numpy.typing as npt

from fastconv import nn
from fastconv.nn.checks import generator
from fastconv.typing import Random

__all__ = ["lenet"]


def lenet(seed: Random = None, dtype: npt.DTypeLike = np.float32, classes: int = 10) -> nn.Sequential:
    """LeNet for images of 28x28: two convolutions, each with tanh and max pooling, and three fully connected layers.

    The first convolution pads 1 pixel on each side (2 in the course's total), so that its output stays 28x28; the
    second has no padding, and leaves 16 images of 10x10.

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
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998.

    Examples
    --------
    >>> print(lenet().summary((1, 1, 28, 28)))
    layer        output shape     parameters    FLOPs
    -------------------------------------------------
    0 Conv2d     (1, 6, 28, 28)           60   84,672
    1 Tanh       (1, 6, 28, 28)            0        0
    2 MaxPool2d  (1, 6, 14, 14)            0        0
    3 Conv2d     (1, 16, 10, 10)       2,416  480,000
    4 Tanh       (1, 16, 10, 10)           0        0
    5 MaxPool2d  (1, 16, 5, 5)             0        0
    6 Flatten    (1, 400)                  0        0
    7 Linear     (1, 120)             48,120   96,000
    8 Tanh       (1, 120)                  0        0
    9 Linear     (1, 84)              10,164   20,160
    10 Tanh      (1, 84)                   0        0
    11 Linear    (1, 10)                 850    1,680
    -------------------------------------------------
    total        (1, 10)              61,610  682,512
    """
    rng = generator(seed, "seed")
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, rng=rng, dtype=dtype),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, rng=rng, dtype=dtype),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120, rng=rng, dtype=dtype),
        nn.Tanh(),
        nn.Linear(120, 84, rng=rng, dtype=dtype),
        nn.Tanh(),
        nn.Linear(84, classes, rng=rng, dtype=dtype),
    )
