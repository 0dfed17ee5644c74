import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

import fastconv as fc
from fastconv import template as templates
from fastconv.template import METHODS, find_template, match_template

BACKENDS = ("reference", "cpu")
NORMED = [method for method in METHODS if method.endswith("normed")]
SINGLE, DOUBLE = 1e-5, 1e-11  # of the largest score: what float32's sums of some hundred terms keep, and float64's
X = np.zeros((4, 5))


def oracle(method, image, template, mask=None):
    """The definitions, in float64: means first, then differences and products of what is left."""
    image, template = (np.atleast_3d(np.asarray(array, np.float64)) for array in (image, template))
    weights = np.ones(template.shape) if mask is None else np.asarray(mask, np.float64)
    weights = np.broadcast_to(weights if weights.ndim == 3 else weights[..., None], template.shape).transpose(2, 0, 1)
    windows, template = sliding_window_view(image, template.shape[:2], axis=(0, 1)), template.transpose(2, 0, 1)
    with np.errstate(all="ignore"):
        if method.startswith("ccoeff"):
            total = weights.sum(axis=(1, 2), keepdims=True)
            windows = windows - (windows * weights).sum(axis=(3, 4), keepdims=True) / total
            template = template - (template * weights).sum(axis=(1, 2), keepdims=True) / total
        windows, template = windows * weights, template * weights
        top = np.square(windows - template) if method.startswith("sqdiff") else windows * template
        scores = top.sum(axis=(2, 3, 4))
        if method.endswith("normed"):
            norm = np.sqrt(np.square(windows).sum(axis=(2, 3, 4)) * np.square(template).sum())
            scores = np.where(norm == 0, float(method == "sqdiff_normed"), scores / norm)
            if method == "sqdiff_normed" and mask is None:
                scores = np.minimum(scores, 1)
    return scores


def assert_close(found, expected, tolerance):
    limit = tolerance * np.abs(expected[np.isfinite(expected)]).max(initial=1e-300)
    assert_allclose(found, expected, rtol=0, atol=limit)


def on(backend, *args, **options):
    with fc.use_backend(backend):
        return match_template(*args, **options)


@st.composite
def cases(draw):
    """An image, a template no larger, and a mask or none."""
    high, wide, channels = draw(st.integers(2, 6)), draw(st.integers(1, 9)), draw(st.sampled_from((0, 1, 2, 3)))
    shape = high + draw(st.integers(0, 9)), wide + draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tail = (channels,) if channels else ()
    dtype = draw(st.sampled_from(("f4", "f4", "f8", "u1", "u2", "i2", "i4", "f2", ">f4")))
    image = (rng.random((*shape, *tail)) * 200 + draw(st.sampled_from((-100, 0, 40)))).astype(dtype.replace("u", "i"))
    template = (rng.random((high, wide, *tail)) * 200).astype(draw(st.sampled_from(("f4", "f8", "u1"))))
    mask = draw(st.sampled_from((None, None, "binary", "weights", "channels")))
    if mask == "binary":
        mask = rng.random((high, wide)) < 0.7
    elif mask is not None:
        mask = rng.random((high, wide, *tail) if mask == "channels" else (high, wide))
    if mask is not None:
        mask[0, 0] = mask[-1, -1] = 1
    return np.abs(image).astype(dtype) if dtype[0] == "u" else image.astype(dtype), template, mask


def test_by_hand(backend):
    image = np.array([[1.0, 2, 0], [3, 4, 0]])
    template = np.array([[1.0, 2], [3, 4]])
    assert_array_equal(match_template(image, template, "ccorr"), [[30, 14]])
    assert_array_equal(match_template(image, template, "sqdiff"), [[0, 22]])
    assert_allclose(match_template(image, template, "ccorr_normed"), [[1, 14 / np.sqrt(30 * 20)]], rtol=1e-15)
    assert_allclose(match_template(image, template, "sqdiff_normed"), [[0, 22 / np.sqrt(30 * 20)]], rtol=1e-15)
    assert_array_equal(match_template(image, template, "ccoeff"), [[5, -1]])
    assert_allclose(match_template(image, template), [[1, -1 / np.sqrt(5 * 11)]], rtol=1e-15)
    masked = match_template(image, template, "sqdiff", mask=[[0, 1], [0, 1]])
    assert_array_equal(masked, [[0, 20]])


@pytest.mark.parametrize("method", METHODS)
@given(cases())
def test_scores_are_those_of_the_formulas(method, case):
    image, template, mask = case
    expected = oracle(method, image, template, mask)
    for backend in BACKENDS:
        found = on(backend, image, template, method, mask=mask)
        assert found.dtype == (np.float64 if image.dtype == np.float64 else np.float32)
        assert_close(found, expected, DOUBLE if image.dtype == np.float64 else SINGLE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "size"),
    [((150, 1100), (70, 31)), ((90, 600, 3), (5, 64, 3)), ((40, 30), (40, 30)), ((140, 3), (66, 3)), ((3, 1300), (1, 2))],
)
def test_scores_of_many_blocks(method, shape, size, rng):
    image, template = rng.random(shape), rng.random(size)
    for dtype, tolerance in ((np.float32, SINGLE), (np.float64, DOUBLE)):
        x = image.astype(dtype)
        assert_close(on("cpu", x, template, method), on("cpu", x.astype(np.float64), template, method), tolerance)
    rows, columns = (slice(None, None, 1 + extent // 40) for extent in shape[:2])
    found = on("cpu", image, template, method)
    windows = sliding_window_view(image, size[:2], axis=(0, 1))[rows, columns]
    for window, score in zip(windows.reshape(-1, *windows.shape[2:]), found[rows, columns].reshape(-1), strict=True):
        seen = window if image.ndim == 2 else window.transpose(1, 2, 0)
        assert_close(score, oracle(method, seen, template)[0, 0], 1e-9)
