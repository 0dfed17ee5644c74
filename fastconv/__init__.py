"""Convolution of signals and images, and the layers of convolutional networks, in pure Python compiled by Numba."""

from fastconv import functional
from fastconv.backends import backend_name, use_backend
from fastconv.errors import BackendUnavailableError
from fastconv.threads import get_num_threads, set_num_threads

__all__ = [
    "BackendUnavailableError",
    "backend_name",
    "functional",
    "get_num_threads",
    "set_num_threads",
    "use_backend",
]
