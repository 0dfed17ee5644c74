import numpy as np
import pytest
from conftest import SIMULATED
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


@given(cases())
def test_scores_are_those_of_the_formulas(case):
    image, template, mask = case
    for method in METHODS:
        expected = oracle(method, image, template, mask)
        for backend in BACKENDS:
            found = on(backend, image, template, method, mask=mask)
            assert found.dtype == (np.float64 if image.dtype == np.float64 else np.float32)
            assert_close(found, expected, DOUBLE if image.dtype == np.float64 else SINGLE)


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("space", [1, 1 << 10, 1 << 20])
def test_blocks_of_any_size(rows, space, monkeypatch, rng):
    monkeypatch.setattr("fastconv.backends.cpu.template.ROWS", rows)
    monkeypatch.setattr("fastconv.backends.cpu.template.SPACE", space)
    for shape, size in (((40, 90), (9, 6)), ((12, 25, 3), (3, 7, 3)), ((30, 20), (30, 3)), ((2, 70), (1, 37))):
        image, template = rng.random(shape), rng.random(size)
        for method in METHODS:
            assert_close(on("cpu", image, template, method), oracle(method, image, template), DOUBLE)


@pytest.mark.parametrize("method", METHODS)
def test_large_templates(method, rng):
    image, template = rng.random((150, 1100), np.float32), rng.random((70, 31))
    found = on("cpu", image, template, method)
    places = [(p, q) for p in (0, 1, 63, 64, 80) for q in (0, 5, 511, 512, 1069)]
    expected = [oracle(method, image[p : p + 70, q : q + 31], template)[0, 0] for p, q in places]
    assert_close(np.array([found[place] for place in places]), np.array(expected), SINGLE)


HARD = np.random.default_rng(5).standard_normal((60, 90))
SPLIT = np.where(np.arange(90) < 45, 0.0, 1.0)
FAINT = np.where(np.arange(90) < 60, 0.7 + 1e-5 * HARD, (HARD > 0) * 1.0)
EDGE = np.linspace(0, 1, 16).round() + 0.01 * HARD[:16, :16]


@pytest.mark.parametrize("method", ["sqdiff", "ccoeff", "ccoeff_normed"])
@pytest.mark.parametrize("large", [1, 1 << 16])
@pytest.mark.parametrize(
    ("image", "template"),
    [
        ((1e4 + HARD).astype(np.float32), (1e4 + HARD[20:36, 30:46]).astype(np.float32)),
        ((1e4 + HARD).astype(np.float32), HARD[20:36, 30:46]),
        ((1e4 * SPLIT + HARD).astype(np.float32), EDGE),
        ((300 * SPLIT + 0.2 * HARD).astype(np.float32), EDGE),
        ((np.linspace(0, 1e4, 90) + HARD).astype(np.float32), EDGE),
        (FAINT.astype(np.float32), EDGE),
        (FAINT, EDGE),
        (1e8 + HARD, 1e8 + HARD[20:36, 30:46]),
        ((6e4 + HARD).round().astype(np.uint16), (6e4 + HARD[20:36, 30:46]).round().astype(np.uint16)),
        ((1e9 + 50 * HARD).round().astype(np.int32), (1e9 + 50 * HARD[20:36, 30:46]).round().astype(np.int32)),
    ],
    ids=["mean", "mean of one", "halves", "faint halves", "ramp", "faint", "faint double", "double", "uint16", "int32"],
)
def test_contrast_survives_brightness(backend, method, large, image, template, monkeypatch):
    if backend == "cuda" and SIMULATED:  # it takes its time: less of the image, with the template in it
        image = image[16:40, 24:64]
    monkeypatch.setattr(templates, "LARGE", large)  # windows of little contrast are met at once, or one by one
    assert_close(match_template(image, template, method), oracle(method, image, template), SINGLE)


@pytest.mark.parametrize("scale", [1e-25, 1e-18, 1e17])
def test_numbers_whose_squares_float32_does_not_hold(backend, scale, rng):
    image = (scale * rng.standard_normal((20, 30))).astype(np.float32)
    template = rng.random((4, 5))
    for method in ("ccoeff_normed", "ccorr_normed"):
        assert_close(match_template(image, template, method), oracle(method, image, template), SINGLE)
    template *= scale
    if scale > 1:
        assert_close(match_template(image, template, "sqdiff_normed"), oracle("sqdiff_normed", image, template), SINGLE)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("mask", [None, np.ones((3, 4)), np.full((3, 4), 0.3)])
def test_what_has_no_contrast_scores_0(backend, dtype, mask, rng):
    image = (rng.random((20, 40)) * 200).astype(dtype)
    image[:, 10:30] = 77 if dtype == np.uint8 else 0.3
    image[5:15, 12:25] = 0
    template = (rng.random((3, 4)) * 200).astype(dtype)
    flat = np.ptp(sliding_window_view(image, (3, 4)), axis=(2, 3)) == 0
    dark = sliding_window_view(image, (3, 4)).max(axis=(2, 3)) == 0
    scores = {method: match_template(image, template, method, mask) for method in METHODS}
    assert_array_equal(scores["ccoeff_normed"] == 0, flat)
    assert_array_equal(scores["ccorr_normed"] == 0, dark)
    assert (scores["sqdiff_normed"][dark] == 1).all()
    for none in (np.full((3, 4), 77.7, dtype), np.zeros((3, 4), dtype)):
        assert_array_equal(match_template(image, none, "ccoeff_normed", mask), np.zeros((18, 37)))
    assert_array_equal(match_template(image, none, "ccorr_normed", mask), np.zeros((18, 37)))
    assert_array_equal(match_template(image, none, "sqdiff_normed", mask), np.ones((18, 37)))


def test_a_mask_of_nothing(backend, rng):
    image = rng.random((5, 6))
    for method in METHODS:
        scores = match_template(image, np.full((2, 3), np.nan), method, np.zeros((2, 3)))
        assert_array_equal(scores, np.full((4, 4), float(method == "sqdiff_normed")))


@pytest.mark.parametrize("method", NORMED)
def test_no_score_is_beyond_1(backend, method, rng):
    base = rng.random((16, 34) if backend == "cuda" and SIMULATED else (40, 50))
    for image in (base, 1e4 + base, base * SPLIT[20 : 20 + base.shape[1]], 1e-3 * base, 255 * base):
        for dtype in (np.float32, np.float64):
            seen = image.astype(dtype)
            for template in (seen[5:13, 20:30], -seen[5:13, 20:30], 3 * seen[5:13, 20:30]):
                scores = match_template(seen, template, method)
                assert np.isfinite(scores).all()
                assert np.abs(scores).max() <= 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_stay_in_their_windows(backend, method, dtype, rng):
    image, template = rng.random((30, 40)), rng.random((5, 6))
    clean = match_template(image.astype(dtype), template, method)
    for value in (np.nan, np.inf, -np.inf):
        image[11, 17] = value
        scores = match_template(image.astype(dtype), template, method)
        reached = np.zeros(clean.shape, bool)
        reached[7:12, 12:18] = True
        assert not np.isfinite(scores[reached]).any()
        assert_allclose(scores[~reached], clean[~reached], rtol=SINGLE, atol=SINGLE)
        if method == "sqdiff" and not np.isnan(value):
            assert (scores[reached] == np.inf).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_leaves_nan_out(backend, method, rng):
    image, template, mask = rng.random((30, 40)), rng.random((5, 6)), np.ones((5, 6), bool)
    mask[1, 2] = False
    clean = match_template(image, template, method, mask)
    template[1, 2] = np.nan
    image[11, 17] = np.inf
    scores = match_template(image, template, method, mask)
    assert np.isfinite(scores[10, 15])
    assert not np.isfinite(scores[10, 14])
    kept = np.isfinite(scores)
    assert kept.sum() == kept.size - 29
    assert_allclose(scores[kept], clean[kept], rtol=1e-9, atol=1e-9)


def test_strips_under_a_mask(backend, monkeypatch, rng):
    image, template, mask = rng.random((30, 20)), rng.random((5, 6)), rng.random((5, 6))
    for method in METHODS:
        whole = match_template(image, template, method, mask)
        with monkeypatch.context() as patch:
            patch.setattr(templates, "STRIP", 60)
            assert_allclose(match_template(image, template, method, mask), whole, rtol=1e-12, atol=1e-12)


def test_any_memory_and_no_writing(backend, rng):
    image, template, mask = rng.random((20, 30, 3)), rng.random((4, 5, 3)), rng.random((4, 5))
    forms = (
        np.asfortranarray,
        lambda array: np.ascontiguousarray(np.flip(array))[(slice(None, None, -1),) * array.ndim],
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        lambda array: array.astype(array.dtype.newbyteorder()),
        lambda array: array.tolist(),
    )
    for method in METHODS:
        for weights in (None, mask):
            scores = match_template(image, template, method, weights)
            for form in forms:
                given = [form(array) for array in (image, template)]
                for array in given:
                    if isinstance(array, np.ndarray):
                        array.flags.writeable = False
                assert_array_equal(match_template(*given, method, weights), scores)
            assert not np.shares_memory(scores, image)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_nothing(dtype, rng):
    image, template = rng.random((300, 700)).astype(dtype), rng.random((20, 9))
    image[100:200, 100:300] = 0.7 + 1e-6 * image[100:200, 100:300]
    for method in METHODS:
        found = []
        for threads in (1, 2, 3):
            fc.set_num_threads(threads)
            try:
                found.append(on("cpu", image, template, method))
            finally:
                fc.set_num_threads(None)
        assert_array_equal(found[0], found[1])
        assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("masked", [None, np.uint8, np.float32])
def test_values_are_opencvs(backend, method, dtype, channels, masked, rng):
    cv2 = pytest.importorskip("cv2")
    image = (rng.random((40, 50, channels)) * 255).astype(dtype).squeeze()
    template = image[10:18, 20:31].copy()
    mask = None if masked is None else (rng.random((8, 11)) * 2).astype(masked)
    expected = cv2.matchTemplate(image, template, getattr(cv2, f"TM_{method.upper()}"), mask=mask)
    assert_close(match_template(image, template, method, mask), expected, 1e-3)  # OpenCV's own error


def test_the_template_is_found(backend, rng):
    image = rng.random((40, 50), np.float32)
    for method in METHODS:
        places, scores = find_template(image, image[12:20, 31:40], method)
        if method != "ccorr":  # which bright windows win
            assert_array_equal(places, [[12, 31]])
            assert scores[0] == pytest.approx(oracle(method, image, image[12:20, 31:40])[12, 31], abs=1e-4)
    assert places.dtype == np.int64
    assert scores.dtype == np.float32


def brute(scores, distance, least):
    """Every place that is the best of those nearer than a distance along both axes, the best first."""
    found = []
    for p, q in np.ndindex(scores.shape):
        around = scores[max(p - distance[0] + 1, 0) : p + distance[0], max(q - distance[1] + 1, 0) : q + distance[1]]
        if scores[p, q] >= max(least, around.max()):
            found.append((-scores[p, q], p, q))
    return [list(place[1:]) for place in sorted(found)]


@pytest.mark.parametrize("method", ["ccoeff", "sqdiff"])
@pytest.mark.parametrize("min_distance", [None, 1, 4, (2, 90)])
def test_the_best_places_first_and_none_too_near(backend, method, min_distance, rng):
    image, template = rng.random((50, 60)), rng.random((5, 8))
    scores = match_template(image, template, method) * (-1 if method == "sqdiff" else 1)
    distance = {None: (3, 5), 1: (1, 1), 4: (4, 4)}.get(min_distance, min_distance)
    median = float(np.median(scores))
    expected = brute(scores, distance, median)
    options = {"method": method, "min_distance": min_distance}
    for count in (None, 1, 2, 7):
        places, found = find_template(image, template, count=count, **options)
        shown = expected[:count] if count else brute(scores, distance, -np.inf)
        assert_array_equal(places[: len(shown)], shown)
        assert_array_equal(np.abs(found), np.abs(scores[tuple(places.T)]))
    threshold = -median if method == "sqdiff" else median
    places, found = find_template(image, template, count=None, threshold=threshold, **options)
    assert_array_equal(places, expected)
    assert (found <= threshold if method == "sqdiff" else found >= threshold).all()


def test_no_place_is_good_enough(backend, rng):
    image = rng.random((20, 30))
    for count in (1, 3, None):
        for method, threshold in (("ccoeff_normed", 1.1), ("sqdiff", 1e-9)):
            places, scores = find_template(image, rng.random((4, 5)), method, count, threshold)
            assert places.shape == (0, 2)
            assert scores.shape == (0,)


def test_of_equal_places_the_first_counts(backend):
    image = np.tile(np.array([[1.0, 0, 0, 0]]), (4, 5))
    found, scores = find_template(image, [[1, 0], [1, 0]], "sqdiff", count=None, threshold=0, min_distance=(2, 1))
    assert_array_equal(found, [[p, q] for p in (0, 2) for q in range(0, 20, 4)])
    assert_array_equal(scores, np.zeros(10))
    assert_array_equal(
        find_template(np.zeros((5, 7)), np.ones((2, 2)), count=None, min_distance=3)[0][:2], [[0, 0], [0, 3]]
    )


def test_nan_is_nobodys_best(backend, rng):
    image = rng.random((20, 30))
    template = image[3:8, 4:10].copy()
    image[12:, :] = np.nan
    for count in (1, 5, None):
        places, scores = find_template(image, template, count=count)
        assert_array_equal(places[0], [3, 4])
        assert np.isfinite(scores).all()
    assert find_template(np.full((20, 30), np.nan), template)[0].shape == (0, 2)
    assert find_template(np.full((20, 30), np.nan), template, count=None)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: match_template(X, X[:2, :2], "ssim"), ValueError, "method is 'ssim': one of 'sqdiff', .* is accepted"),
        (lambda: match_template(X, X[:2, :2], 5), ValueError, "method is 5: one of"),
        (lambda: match_template(X + 1j, X[:2]), TypeError, "image is complex128: bool, integers, float16, float32"),
        (lambda: match_template(X, X.astype(str)), TypeError, "template is <U32: bool, integers"),
        (lambda: match_template(X[0], X[0]), ValueError, r"image has 1 axes, shape \(5,\): 2 .* or 3"),
        (lambda: match_template(X, X[None, None]), ValueError, "template has 4 axes"),
        (lambda: match_template(X, X[:0]), ValueError, r"template has shape \(0, 5\): at least 1 pixel"),
        (lambda: match_template(X[:, :0], X), ValueError, r"image has shape \(4, 0\): at least 1 pixel"),
        (lambda: match_template(X, X[..., None]), ValueError, "image has shape .* template .* the same axes"),
        (lambda: match_template(np.zeros((4, 5, 3)), np.zeros((2, 2, 1))), ValueError, "the same axes and channels"),
        (lambda: match_template(X[:3], X), ValueError, r"template has shape \(4, 5\), image \(3, 5\): a template no"),
        (lambda: match_template(X, X[:2, :2] + np.nan), ValueError, "template holds NaN or infinity: finite pixels"),
        (lambda: match_template(X, X[:2, :2], mask=X[:2]), ValueError, r"mask has shape \(2, 5\): \(2, 2\) is acc"),
        (lambda: match_template(X, X[:2, :2], mask=X[:2, :2] - 1), ValueError, "mask holds -1.0 to -1.0: finite"),
        (lambda: match_template(X, X[:2, :2], mask=X[:2, :2] + np.inf), ValueError, "mask holds inf to inf: finite"),
        (lambda: match_template(X, X[:2, :2], mask=X[:2, :2] + 1j), TypeError, "mask is complex128: bool"),
        (lambda: find_template(X, X[:2, :2], "ssim"), ValueError, "method is 'ssim'"),
        (lambda: find_template(X, X[:2, :2], count=0), ValueError, "count is 0: an int of at least 1 is accepted"),
        (lambda: find_template(X, X[:2, :2], count=1.5), TypeError, "count is 1.5: an int is accepted"),
        (lambda: find_template(X, X[:2, :2], threshold="high"), TypeError, "threshold is 'high': a real number"),
        (lambda: find_template(X, X[:2, :2], min_distance=0), ValueError, "min_distance is 0: an int of at least 1"),
        (lambda: find_template(X, X[:2, :2], min_distance=(1, 2, 3)), ValueError, "min_distance is .1, 2, 3.: an int"),
    ],
)  # fmt: skip
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
