"""How each model is trained unless told otherwise: its data, loss, optimizer and learning rate."""

from collections.abc import Callable
from dataclasses import dataclass

from fastconv import datasets, models, optim
from fastconv.datasets import Dataset
from fastconv.nn import Module, Parameter

SIGMA = 0.3  # standard deviation of the noise that the U-Net is to remove, of pixels from 0 to 1


@dataclass(frozen=True)
class Recipe:
    """A model and its set-up.

    Attributes
    ----------
    build : callable
        The model from (seed, number of classes).
    loss : str
    optimizer : callable
        The optimizer from (parameters, learning rate).
    lr : float
    normalize : str
        As `datasets.load` takes it.
    task : callable
        The data set that is learnt from the one that was loaded, and the seed.
    metric : {"accuracy", "mse"}
    epochs, batch_size : int
    cosine : bool
        Whether the learning rate falls to 0 along half a cosine.
    """

    build: Callable[[int, int], Module]
    loss: str
    optimizer: Callable[[list[Parameter], float], optim.Optimizer]
    lr: float
    normalize: str
    task: Callable[[Dataset, int], Dataset]
    metric: str
    epochs: int = 10
    batch_size: int = 64
    cosine: bool = False


def _momentum(parameters: list[Parameter], lr: float) -> optim.Optimizer:
    return optim.SGD(parameters, lr, momentum=0.9)


RECIPES = {
    "lenet": Recipe(
        build=lambda seed, classes: models.lenet(seed=seed, classes=classes),
        loss="cross_entropy",
        optimizer=_momentum,
        lr=0.02,
        normalize="standard",
        task=lambda data, seed: data,
        metric="accuracy",
    ),
    "autoencoder": Recipe(
        build=lambda seed, classes: models.autoencoder(latent=16, seed=seed),
        loss="mse",
        optimizer=optim.Adam,
        lr=2e-3,
        normalize="unit",
        task=lambda data, seed: datasets.reconstruction(data),
        metric="mse",
    ),
    "residual": Recipe(
        build=lambda seed, classes: models.residual_net(seed=seed, classes=classes),
        loss="cross_entropy",
        optimizer=optim.Adam,
        lr=2e-3,
        normalize="standard",
        task=lambda data, seed: data,
        metric="accuracy",
        epochs=8,
        cosine=True,
    ),
    "unet": Recipe(
        build=lambda seed, classes: models.unet(seed=seed),
        loss="mse",
        optimizer=optim.Adam,
        lr=2e-3,
        normalize="unit",
        task=lambda data, seed: datasets.denoising(data, SIGMA, seed),
        metric="mse",
        epochs=3,
    ),
}
