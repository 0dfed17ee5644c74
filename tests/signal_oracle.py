"""Calls of `fastconv.signal` beside the same calls of `scipy.signal`."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from scipy import signal as oracle

from fastconv import signal

MODES = ["full", "same", "valid"]
OF_ANY_RANK = ["convolve", "correlate", "fftconvolve", "oaconvolve"]


def outcome(function, *arguments, **options):
    """What a call returns, or its error."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)
    except Exception as error:
        return error


def same(name, *arguments, **options):
    """The call gives what SciPy's does: an equal array of the same dtype, or an error of the same type."""
    found, expected = (outcome(getattr(module, name), *arguments, **options) for module in (signal, oracle))
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"{name}{arguments}: {found}, SciPy {expected!r}"
        assert isinstance(expected, type(found)), f"{name}{arguments}: {found!r}, SciPy {expected!r}"
        return
    assert not isinstance(found, Exception), f"{name}{arguments}, {options}: {found!r}, SciPy {expected}"
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    assert type(found) is type(expected)
    if np.asarray(expected).dtype.kind in "fc":
        assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    else:
        assert_array_equal(found, expected)
