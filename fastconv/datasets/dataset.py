"""A data set: images to learn from and images to test with, and the targets that a task gives them."""

from dataclasses import dataclass, replace

import numpy as np

from fastconv.datasets.augment import noise
from fastconv.nn import checks
from fastconv.typing import Array, Random


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their targets, one for each.

    Attributes
    ----------
    x : array (N, 1, H, W)
        float32, or uint8 where the pixels were left as they are.
    y : array (N,) of int64, or images (N, 1, H, W)
        Classes, or what a network is to make of x.
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"x has {len(self.x)} images, y {len(self.y)} targets: as many of both are accepted")

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split and a test split.

    Attributes
    ----------
    name : str
    train, test : Split
    classes : tuple of str
        The classes' names; class i of `y` is `classes[i]`.
    mean, std : float
        x * std + mean are the pixels, from 0 (black) to 1 (white).
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: float
    std: float

    def pixels(self, x: Array) -> Array:
        """The pixels of normalised images (N, 1, H, W), from 0 to 1, as (N, H, W)."""
        return np.clip(x[:, 0] * self.std + self.mean, 0, 1)


def normalized(
    name: str, train: tuple[Array, Array], test: tuple[Array, Array], classes: tuple[str, ...], normalize: str | None
) -> Dataset:
    """A data set of uint8 images (N, H, W) and labels (N,), the pixels normalised."""
    mean, std = {"standard": _moments(train[0]), "unit": (0.0, 1.0), None: (0.0, 1 / 255)}[normalize]
    dtype = np.uint8 if normalize is None else np.float32
    values = np.arange(256) if normalize is None else (np.arange(256) / 255 - mean) / std
    table: Array = values.astype(dtype)
    learnt, held_out = (Split(table[images][:, None], labels.astype(np.int64)) for images, labels in (train, test))
    return Dataset(name, learnt, held_out, classes, mean, std)


def _moments(images: Array) -> tuple[float, float]:
    """Mean and standard deviation of pixel / 255, exactly, from how often each of the 256 values comes."""
    counts = np.bincount(images.ravel(), minlength=256) / images.size
    pixels = np.arange(256) / 255
    mean = float((counts * pixels).sum())
    return mean, float(np.sqrt((counts * (pixels - mean) ** 2).sum())) or 1.0


def reconstruction(data: Dataset) -> Dataset:
    """The same images with themselves as targets: what an autoencoder learns.

    Parameters
    ----------
    data : Dataset

    Returns
    -------
    Dataset

    Examples
    --------
    >>> import fastconv as fc
    >>> data = reconstruction(fc.datasets.load("mnist5k", normalize="unit"))
    >>> data.train.y is data.train.x
    True
    """
    return replace(data, train=Split(data.train.x, data.train.x), test=Split(data.test.x, data.test.x))


def denoising(data: Dataset, sigma: float, seed: Random = 0) -> Dataset:
    """Noisy images with the clean ones as targets: x = y + sigma * n, n normal, drawn once for the whole set.

    Parameters
    ----------
    data : Dataset
        Its x in floats.
    sigma : float
        Standard deviation of the noise, in x's scale.
    seed : int, Generator or None
        The same seed gives the same noise; the test split's is never the training split's.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError
        If data has raw pixels.
    ValueError
        If sigma is below 0.

    References
    ----------
    Vincent et al., "Extracting and composing robust features with denoising autoencoders", 2008.

    Examples
    --------
    >>> import fastconv as fc
    >>> data = denoising(fc.datasets.load("mnist5k", normalize="unit"), sigma=0.3)
    >>> round(float(((data.test.x - data.test.y) ** 2).mean()), 3)
    0.09
    """
    rng = checks.generator(seed, "seed")
    train, test = (Split(noise(split.x, sigma, rng), split.x) for split in (data.train, data.test))
    return replace(data, train=train, test=test)
