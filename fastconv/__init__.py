"""Convolution of signals and images, and the layers of convolutional networks, in pure Python compiled by Numba."""

from fastconv import datasets, filters, functional, geometry, models, nn, optim, training
from fastconv.algorithms import get_algorithm, set_algorithm
from fastconv.backends import backend_name, clear_cache, use_backend
from fastconv.errors import BackendUnavailableError
from fastconv.explanation import explain
from fastconv.threads import get_num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailableError",
    "__version__",
    "backend_name",
    "clear_cache",
    "datasets",
    "explain",
    "filters",
    "functional",
    "geometry",
    "get_algorithm",
    "get_num_threads",
    "models",
    "nn",
    "optim",
    "set_algorithm",
    "set_num_threads",
    "training",
    "use_backend",
]
