"""Convolution of signals and images, and the layers of convolutional networks, in pure Python compiled by Numba."""

from fastconv import datasets, filters, functional, geometry, models, ndimage, nn, optim, plot, signal, training
from fastconv.algorithms import get_algorithm, set_algorithm
from fastconv.backends import backend_name, clear_cache, use_backend
from fastconv.errors import BackendUnavailableError
from fastconv.explanation import explain
from fastconv.placement import to_device, to_host, use_stream
from fastconv.precision import get_precision, set_precision
from fastconv.template import find_template, match_template
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
    "find_template",
    "functional",
    "geometry",
    "get_algorithm",
    "get_num_threads",
    "get_precision",
    "match_template",
    "models",
    "ndimage",
    "nn",
    "optim",
    "plot",
    "set_algorithm",
    "set_num_threads",
    "set_precision",
    "signal",
    "to_device",
    "to_host",
    "training",
    "use_backend",
    "use_stream",
]
