"""Convolution and cross-correlation of signals and images: the names, arguments and results of `scipy.signal`.

`convolve`, `convolve2d`, `fftconvolve` and `oaconvolve` are true convolution, which flips the filter; `correlate` and
`correlate2d` are cross-correlation, which conjugates it. Direct sums run on the active backend.
"""

from fastconv.signal.convolution import convolve, correlate, correlation_lags
from fastconv.signal.fourier import fftconvolve, oaconvolve
from fastconv.signal.images import convolve2d, correlate2d
from fastconv.signal.method import choose_conv_method

__all__ = [
    "choose_conv_method",
    "convolve",
    "convolve2d",
    "correlate",
    "correlate2d",
    "correlation_lags",
    "fftconvolve",
    "oaconvolve",
]
