"""Thousands of calls of `ndimage`, drawn at random: what SciPy returns, and the types of the errors that it raises."""

import numpy as np
import pytest
from conftest import SIMULATED
from image_calls import REAL, SUMS, draw
from scipy import ndimage as scipy_ndimage
from spoiled_calls import spoil

from fastconv import ndimage
from fastconv.ndimage.gaussian import gaussian_taps

ULPS = 4  # of the output's type, scaled by the sum of |weights| |pixels|: rounding, in float32 where all is


def same(call):
    """Raise unless fastconv does what SciPy does."""
    expected, found = call.run(scipy_ndimage), call.run(ndimage)
    try:
        if isinstance(expected, Exception):
            assert type(found) is type(expected), f"{found!r}, not {expected!r}"
        else:
            assert not isinstance(found, Exception), f"{found!r}, where SciPy raises nothing"
            same_result(call, found, expected)
    except AssertionError as error:
        error.add_note(f"in {call}")
        raise


def same_result(call, found, expected):
    (y, output, x, told), (scipy_y, _, scipy_x, scipy_told) = found, expected
    assert y is output or not isinstance(output, np.ndarray)
    assert (y.dtype, y.shape, told) == (scipy_y.dtype, scipy_y.shape, scipy_told)
    if y.dtype.kind in "fc" and y.size:
        # Of a product of complex numbers, SciPy has two of four terms in the image's type.
        coarse = [x.dtype] if all(map(np.iscomplexobj, call.arguments[:2])) and len(call.arguments) > 1 else []
        limit = ULPS * max(np.finfo(dtype).eps for dtype in [y.dtype, *coarse]) * scale(call)
        with np.errstate(invalid="ignore"):
            difference = np.abs(y.astype(complex) - scipy_y.astype(complex))
        alike = (difference <= limit) | (y == scipy_y) | (np.isnan(y) & np.isnan(scipy_y))
        assert alike.all(), f"{difference.max() / limit * ULPS} ulps"
    else:
        np.testing.assert_array_equal(y, truths(scipy_y))
    if not call.in_place:
        np.testing.assert_array_equal(x, scipy_x)


def truths(array):
    """`array`, and of bool each number that is not 0 as True: SciPy's hold other bytes, too."""
    return array.view(np.uint8) != 0 if array.dtype == bool else array


def scale(call):
    """The largest |pixel|, also of those beyond the edges, times the sum of the |weights| of all passes."""
    x, cval = np.asarray(call.arguments[0]), call.options.get("cval", 0.0)
    seen = isinstance(cval, float | complex) and np.isfinite(cval) and "constant" in str(call.options.get("mode"))
    return max(np.abs(x.astype(complex)).max(), abs(cval) if seen else 0.0) * gain(call, x.ndim)


def gain(call, rank):
    what = call.arguments[1] if len(call.arguments) > 1 else None
    if call.name.startswith(("correlate", "convolve")):
        return np.abs(np.asarray(what).astype(complex)).sum()
    if call.name.startswith("gaussian"):
        order = {"gaussian_laplace": 2, "gaussian_gradient_magnitude": 1}.get(call.name, call.options.get("order", 0))
        orders = {0, *np.ravel(order).tolist()}
        sigmas = np.ravel(what).tolist() * (1 if np.ndim(what) or call.name.endswith("1d") else rank)
        each = [
            max(np.abs(gaussian_taps(s, int(o), 4.0, None)).sum() for o in orders)
            for s in sigmas
            if isinstance(s, float) and s > 0
        ]
        return np.prod(each) * (rank if call.name in SUMS else 1)
    return {"laplace": 4 * rank, "sobel": 2.0 * 4 ** (rank - 1), "prewitt": 2.0 * 3 ** (rank - 1)}.get(call.name, 1)


def draws(backend):
    """Calls of a test: a simulated GPU takes its time."""
    return 8 if backend == "cuda" and SIMULATED else 150


def types(backend):
    """The types that thousands of draws have: on the cpu, where each pair of them is compiled, only some."""
    return ["u1", "f4", "f8"] if backend == "cpu" else REAL


@pytest.mark.parametrize("seed", range(20))
def test_drawn_calls_are_scipys(seed, backend):
    rng = np.random.default_rng([1, seed])
    for _ in range(draws(backend)):
        same(draw(rng, types(backend)))


@pytest.mark.parametrize("seed", range(20))
def test_spoiled_calls_raise_what_scipy_raises(seed, backend):
    rng = np.random.default_rng([2, seed])
    for _ in range(draws(backend)):
        same(spoil(rng, draw(rng, types(backend))))


def test_drawn_calls_of_all_types_are_scipys(backend):
    rng = np.random.default_rng(3)
    for _ in range(min(40, draws(backend))):
        same(draw(rng))
