"""The corners of `scipy.signal`: arrays without elements, dtypes, fill values, words, axes, taken or refused alike."""

from decimal import Decimal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import signal as oracle
from signal_oracle import MODES, OF_ANY_RANK, outcome, same

from fastconv import signal

ZERO_SIZES = [
    [(0,), (1,), (3,)],
    [(0, 0), (0, 1), (1, 0), (1, 1), (0, 3), (2, 0), (1, 3), (2, 2), (3, 1), (2, 4)],
    [(1, 0, 2), (2, 2, 2), (0, 1, 1), (1, 1, 1), (2, 3, 1)],
]


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # SciPy's logarithm of 0
@pytest.mark.parametrize("dtype", [float, np.int8, bool])
@pytest.mark.parametrize("shapes", ZERO_SIZES, ids=["1-D", "2-D", "3-D"])
def test_arrays_without_elements_are_taken_as_scipy_takes_them(shapes, dtype, backend):
    for first in shapes:
        for second in shapes:
            x, h = np.ones(first, dtype), np.ones(second, dtype)
            for mode in MODES:
                same("fftconvolve", x, h, mode)
                same("oaconvolve", x, h, mode)
                same("choose_conv_method", x, h, mode)
                for method in ["auto", "direct"] if dtype is bool else ["auto", "direct", "fft"]:
                    same("convolve", x, h, mode, method)
                    same("correlate", x, h, mode, method)
                if len(first) == 2:
                    same("convolve2d", x, h, mode, fillvalue=2)
                    same("correlate2d", x, h, mode)
                    if x.size:  # SciPy divides by the extent
                        same("convolve2d", x, h, mode, "wrap")


@pytest.mark.parametrize("first", ["i1", "u1", "i4", "u8", "f", "d", "g", "F", "D", "e", "?", "O", "m8[s]", "U3"])
@pytest.mark.parametrize("second", ["i8", "?", "e", "f", "O"])
def test_dtypes_are_scipys(first, second, backend):
    x, h = np.array([1, 0, 1, 1]).astype(first), np.array([1, 1, 0]).astype(second)
    text = "U" in first  # objects' sums of strings depend on the order
    for mode in MODES:
        for method in ["auto", "direct", *(["fft"] if first not in "?eU3" else [])]:
            for pair in ((x, h), (h, x), (np.tile(x, (4, 1)), np.tile(h, (2, 1)))):
                same("convolve", *pair, mode, method)
                if not text:
                    same("correlate", *pair, mode, method)
        same("fftconvolve", x, h, mode)
        same("oaconvolve", np.tile(x, 50), h, mode)
    same("convolve2d", x[None], h[None])
    same("correlate2d", x[None], h[None])
    same("convolve", x[0], h[0])


@pytest.mark.parametrize(
    "shapes", [((30, 30), (20, 20)), ((9, 9), (3, 3)), ((5, 6, 7), (3, 3, 3)), ((20,), (60,)), ((3,), (4,))]
)
def test_float16_is_taken_where_scipy_transforms_it(shapes, rng):
    x, h = (rng.integers(-3, 4, shape).astype(np.float16) for shape in shapes)
    for mode in MODES:
        found, expected = (outcome(module.convolve, x, h, mode) for module in (signal, oracle))
        if isinstance(expected, Exception):
            assert type(found) is type(expected)
        else:
            assert found.dtype == expected.dtype == np.float16
            assert_allclose(found, expected, atol=1e-3, rtol=1e-3)  # half a unit in the last place of float16


FILLINGS = [
    1.5, np.float64(1.5), np.float32(1.5), 2, 300, -1, np.int64(300), True, 1j, np.array([3]), np.array([[3.0]]), [2],
    [], [1, 2], None, "a", "3", float("nan"), float("inf"), np.array(2.5), 2**70, np.array([]), np.array([1, 2]),
    Decimal(1), object(), {}, "1j", 2 + 0j,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "d", "f", "D", "F", "?", "g"])
def test_fill_values_are_converted_as_scipy_does(dtype):
    image = np.arange(12).reshape(3, 4).astype(dtype)
    for value in FILLINGS:
        found, expected = (outcome(m.convolve2d, image, image[:2, :2], fillvalue=value) for m in (signal, oracle))
        if isinstance(expected, Exception):
            assert type(found) is type(expected), (value, found)
        else:
            assert_array_equal(np.isfinite(found), np.isfinite(expected))
            assert_allclose(found[np.isfinite(found)], expected[np.isfinite(expected)], rtol=1e-6)
        same("convolve2d", image, image[:2, :2], boundary="wrap", fillvalue=value)


BAD_WORDS = ["FULL", None, 2, 0, [], ("full",), "", "x"]


@pytest.mark.parametrize("word", BAD_WORDS, ids=repr)
def test_words_that_scipy_refuses_are_refused_with_its_error(word):
    image, kernel = np.ones((3, 4)), np.ones((2, 2))
    for name in [*OF_ANY_RANK, "convolve2d", "correlate2d", "choose_conv_method"]:
        same(name, image, kernel, word)
    for name in ("convolve", "correlate"):
        same(name, image, kernel, "full", word)
        for method in ("direct", "fft"):
            same(name, image, kernel, word, method)
    same("convolve2d", image, kernel, "full", word)
    same("correlation_lags", 5, 3, word)


@pytest.mark.parametrize("word", ["fill", "pad", "wrap", "circular", "symm", "symmetric", "reflect", "nearest"])
def test_boundaries_have_scipys_names(word, backend):
    image, kernel = np.arange(12.0).reshape(3, 4), np.arange(35.0).reshape(5, 7)
    for mode in MODES:
        same("convolve2d", image, kernel[:2, :3], mode, word)
        same("correlate2d", image, kernel, mode, word)


AXES = [
    None,
    0,
    1,
    -1,
    -2,
    2,
    -3,
    (0, 1),
    (1, 0),
    (0, 0),
    (0, -2),
    [],
    (),
    1.0,
    "a",
    (0, 1.5),
    np.array([0]),
    True,
    [None],
]


@pytest.mark.parametrize("axes", AXES, ids=repr)
def test_axes_are_scipys(axes):
    x = np.arange(6.0).reshape(2, 3)
    for h in (x, x[:1], x[:, :1], np.ones((2, 2)), np.ones((1, 1)), np.ones((3, 3)), np.ones((40, 3))):
        for mode in [*MODES, "x"]:
            same("fftconvolve", x, h, mode, axes)
            same("oaconvolve", x, h, mode, axes)
            same("oaconvolve", h, x, mode, axes)


@pytest.mark.parametrize(
    "pair", [(5, 3), (3, 5), (4, 4), (7, 2), (6, 9), (0, 0), (3, 0), (5.0, 3), ("a", 3), (None, 3)]
)
def test_lags_are_scipys(pair):
    for mode in MODES:
        same("correlation_lags", *pair, mode)
