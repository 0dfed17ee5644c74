"""Sets of labelled images, in the package, from files or from the network, and what training does to them."""

from fastconv.datasets import augment
from fastconv.datasets.dataset import Dataset, Split, denoising, reconstruction
from fastconv.datasets.sources import load

__all__ = ["Dataset", "Split", "augment", "denoising", "load", "reconstruction"]
