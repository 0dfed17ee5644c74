"""Filters of images of any rank: the names, arguments and results of `scipy.ndimage`.

`convolve` flips the filter, `correlate` does not. Beyond its edges an image goes on as `mode` says (see
`fastconv.borders`), and integer output is float64 without its fraction, as SciPy's.
"""

from fastconv.ndimage.correlation import convolve, convolve1d, correlate, correlate1d
from fastconv.ndimage.derivatives import generic_gradient_magnitude, generic_laplace, laplace, prewitt, sobel
from fastconv.ndimage.extremes import maximum_filter, maximum_filter1d, minimum_filter, minimum_filter1d
from fastconv.ndimage.gaussian import (
    gaussian_filter,
    gaussian_filter1d,
    gaussian_gradient_magnitude,
    gaussian_laplace,
)
from fastconv.ndimage.uniform import uniform_filter, uniform_filter1d

__all__ = [
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "generic_gradient_magnitude",
    "generic_laplace",
    "laplace",
    "maximum_filter",
    "maximum_filter1d",
    "minimum_filter",
    "minimum_filter1d",
    "prewitt",
    "sobel",
    "uniform_filter",
    "uniform_filter1d",
]
