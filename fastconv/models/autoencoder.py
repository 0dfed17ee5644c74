"""A convolutional autoencoder: an image as a few numbers, and back."""

import numpy as np
import numpy.typing as npt

from fastconv import nn
from fastconv.graph import Graph, Value
from fastconv.nn.checks import generator
from fastconv.nn.container import checked
from fastconv.nn.module import bind
from fastconv.typing import Array, Random

__all__ = ["Autoencoder", "autoencoder"]


class Autoencoder(nn.Module):
    """An encoder and a decoder, one after the other.

    Parameters
    ----------
    encoder : Module
        From images to latent vectors.
    decoder : Module
        And back.

    Raises
    ------
    TypeError
        If something else than a Module comes.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder = checked(encoder, "encoder")
        self.decoder = checked(decoder, "decoder")

    def encode(self, x: Array) -> Array:
        """The latent vectors of images x."""
        return self.encoder(x)

    def decode(self, z: Array) -> Array:
        """The images of latent vectors z."""
        return self.decoder(z)

    def forward(self, x: Array) -> Array:
        """decode(encode(x))."""
        return self.decode(self.encode(x))

    def bind(self, graph: Graph, x: Value) -> Value:
        """The encoder's operations, then the decoder's."""
        return bind(self.decoder, graph, bind(self.encoder, graph, x))

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x."""
        return self.encoder.backward(self.decoder.backward(grad_output))


def autoencoder(latent: int = 16, seed: Random = None, dtype: npt.DTypeLike = np.float32) -> Autoencoder:
    """An autoencoder for images of 28x28 with numbers from 0 to 1.

    Two convolutions with a stride of 2 and a linear layer bring an image to `latent` numbers; a linear layer and two
    transposed convolutions bring it back, and a sigmoid keeps it between 0 and 1.

    Parameters
    ----------
    latent : int
        Numbers that stand for an image.
    seed : int, numpy.random.Generator or None
        It fixes the first weights; None is fresh entropy.
    dtype : float32, float64 or float16
        Of the parameters, and so of the images.

    Returns
    -------
    Autoencoder
        From x (N, 1, 28, 28) to the same shape; `encode` gives (N, latent).

    Examples
    --------
    >>> model = autoencoder(latent=2, seed=0)
    >>> model.decode(np.zeros((5, 2), np.float32)).shape
    (5, 1, 28, 28)
    """
    rng = generator(seed, "seed")
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, rng=rng, dtype=dtype),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, rng=rng, dtype=dtype),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, latent, rng=rng, dtype=dtype),
    )
    decoder = nn.Sequential(
        nn.Linear(latent, 32 * 7 * 7, rng=rng, dtype=dtype),
        nn.ReLU(),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1, rng=rng, dtype=dtype),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1, rng=rng, dtype=dtype),
        nn.Sigmoid(),
    )
    return Autoencoder(encoder, decoder)
