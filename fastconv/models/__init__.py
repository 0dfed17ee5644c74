"""Networks that are ready to be trained, each for images (N, 1, 28, 28)."""

from fastconv.models.autoencoder import Autoencoder, autoencoder
from fastconv.models.lenet import lenet
from fastconv.models.residual_net import residual_net
from fastconv.models.unet import unet

__all__ = ["Autoencoder", "autoencoder", "lenet", "residual_net", "unet"]
