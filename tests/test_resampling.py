import numpy as np
import pytest
from forms import disguises
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F

BACKENDS = ("reference", "cpu")
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@st.composite
def cases(draw):
    """The shape of x and the options of a call, for any rank and mode."""
    rank = draw(st.sampled_from((1, 2, 3)))
    high = (14, 9, 6)[rank - 1]
    spatial = tuple(draw(st.integers(1, high)) for _ in range(rank))
    options = {"mode": draw(st.sampled_from(("nearest", LINEAR[rank])))}
    if options["mode"] != "nearest":
        options["align_corners"] = draw(st.sampled_from((None, False, True)))
    if draw(st.booleans()):
        options["size"] = tuple(draw(st.integers(1, 2 * high)) for _ in range(rank))
    else:
        options["scale_factor"] = tuple(draw(st.floats(1 / h, 3)) for h in spatial)
    return (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *spatial), options, draw(st.integers(0, 2**32 - 1))


def on(backend, function, *args, **options):
    with fc.use_backend(backend):
        return function(*args, **options)


def test_nearest_by_hand(backend):
    x = np.array([[[1.0, 2.0, 3.0]]])
    assert_array_equal(F.interpolate(x, 6), [[[1, 1, 2, 2, 3, 3]]])
    assert_array_equal(F.interpolate(x, 2), [[[1, 2]]])  # floor(0), floor(1.5)
    assert_array_equal(F.interpolate(x, 5), [[[1, 1, 2, 2, 3]]])  # floor(p * 0.6)
    image = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert_array_equal(F.interpolate(image, scale_factor=(1, 2)), [[[[1, 1, 2, 2], [3, 3, 4, 4]]]])


def test_linear_by_hand(backend):
    x = np.array([[[1.0, 3.0]]])
    assert_array_equal(F.interpolate(x, 4, mode="linear"), [[[1, 1.5, 2.5, 3]]])
    assert_array_equal(F.interpolate(x, 5, mode="linear", align_corners=True), [[[1, 1.5, 2, 2.5, 3]]])
    assert_array_equal(F.interpolate(x, 1, mode="linear"), [[[2]]])
    assert_array_equal(F.interpolate(x, 1, mode="linear", align_corners=True), [[[1]]])


def test_bilinear_by_hand(backend):
    x = np.array([[[[0.0, 4.0], [8.0, 12.0]]]])
    y = F.interpolate(x, scale_factor=2, mode="bilinear")
    assert_array_equal(y[0, 0], np.add.outer([0, 2, 6, 8], [0, 1, 3, 4]))


def test_the_scale_factor_gives_the_coordinates(backend):
    # floor(5 * 0.5) = 2 pixels, 1 / 0.5 = 2 pixels apart: not 5 / 2 as with size=2.
    x = np.arange(5.0)[None, None]
    assert_array_equal(F.interpolate(x, scale_factor=0.5, mode="linear"), [[[0.5, 2.5]]])
    assert_array_equal(F.interpolate(x, 2, mode="linear"), [[[0.75, 3.25]]])
    assert_array_equal(F.interpolate(x, scale_factor=0.4), [[[0, 2]]])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("align_corners", [False, True])
def test_linear_modes_keep_a_plane_inside(backend, rank, align_corners):
    grids = np.meshgrid(*[np.arange(4.0)] * rank, indexing="ij")
    y = F.interpolate(sum(grids)[None, None], 7, mode=LINEAR[rank], align_corners=align_corners)
    places = np.arange(7) * 0.5 if align_corners else np.clip((np.arange(7) + 0.5) * 4 / 7 - 0.5, 0, 3)
    expected = sum(np.meshgrid(*[places] * rank, indexing="ij"))
    assert_allclose(y[0, 0], expected, rtol=1e-14, atol=1e-14)  # a few roundings of numbers below 10


@given(cases())
def test_cpu_equals_reference(case):
    shape, options, seed = case
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    y, y_cpu = [on(b, F.interpolate, x, **options) for b in BACKENDS]
    assert_allclose(y_cpu, y, rtol=1e-13, atol=1e-13)  # sums of at most 8 terms of order 1
    grad = rng.standard_normal(y.shape)
    grads = [on(b, F.interpolate_input_grad, grad, shape, **options) for b in BACKENDS]
    assert_allclose(*grads, rtol=1e-12, atol=1e-12)  # of at most a few thousand


@given(cases())
def test_gradient_is_adjoint(case):
    shape, options, seed = case
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    for backend in BACKENDS:
        y = on(backend, F.interpolate, x, **options)
        grad = rng.standard_normal(y.shape)
        grad_x = on(backend, F.interpolate_input_grad, grad, shape, **options)
        assert abs((y * grad).sum() - (x * grad_x).sum()) <= 1e-12 * (1 + np.linalg.norm(y) * np.linalg.norm(grad))


@given(cases())
def test_weights_sum_to_one(case):
    shape, options, _ = case
    y = on("cpu", F.interpolate, np.ones(shape), **options)
    assert_allclose(y, np.ones(y.shape), rtol=1e-15)


def test_every_memory_layout_gives_the_same_bits_and_is_left_alone(backend, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    y = F.interpolate(x, (6, 9), mode="bilinear")
    grad_x = F.interpolate_input_grad(y, x.shape, (6, 9), mode="bilinear")
    for same in disguises(x).values():
        before = same.copy()
        assert_array_equal(F.interpolate(same, (6, 9), mode="bilinear"), y)
        assert_array_equal(same, before)
    for same in disguises(y).values():
        assert_array_equal(F.interpolate_input_grad(same, x.shape, (6, 9), mode="bilinear"), grad_x)


def test_the_result_is_a_fresh_array(backend, rng):
    x = rng.standard_normal((1, 2, 4))
    for y in (F.interpolate(x, 4), F.interpolate_input_grad(x, x.shape, 4, mode="linear")):
        assert_array_equal(y, x)
        assert not np.shares_memory(y, x)


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_zero_images_or_channels_give_as_many(backend, shape, mode):
    y = F.interpolate(np.zeros(shape), 5, mode=mode)
    assert y.shape == (*shape[:2], 5, 5)
    assert F.interpolate_input_grad(y, shape, 5, mode=mode).shape == shape


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_come_back(backend, dtype):
    x = np.array([[[1.0, 3.0]]], dtype)
    y = F.interpolate(x, 4, mode="linear")
    grad_x = F.interpolate_input_grad(y, x.shape, 4, mode="linear")
    assert y.dtype == grad_x.dtype == dtype
    assert_array_equal(y, [[[1, 1.5, 2.5, 3]]])
    assert_array_equal(grad_x, [[[1 + 1.125 + 0.625, 0.375 + 1.875 + 3]]])


def test_infinities_travel(backend):
    x = np.array([[[1.0, np.inf, 2.0, np.nan]]])
    assert_array_equal(F.interpolate(x, 8), np.repeat(x, 2, axis=-1))
    assert_array_equal(F.interpolate(x, 4, mode="linear"), x)
    y = F.interpolate(x, 8, mode="linear")
    # The first pixel is 1 * 1 + 0 * inf, which is NaN.
    assert_array_equal(y, [[[np.nan, np.inf, np.inf, np.inf, np.inf, np.nan, np.nan, np.nan]]])


def test_results_do_not_depend_on_threads(rng):
    x = rng.standard_normal((3, 5, 9, 11)).astype(np.float32)

    def call():
        y = F.interpolate(x, (13, 30), mode="bilinear")
        return [y, F.interpolate_input_grad(y, x.shape, (13, 30), mode="bilinear")]

    assert_same_on_threads(call)


X = np.zeros((1, 1, 4, 4))


@pytest.mark.parametrize(
    ("error", "match", "function"),
    [
        (TypeError, "x is int64: float32, float64 and float16", lambda: F.interpolate(np.zeros((1, 1, 4), int), 2)),
        (ValueError, r"x has 2 axes, shape \(4, 4\): mode 'nearest' accepts 3 or 4 or 5",
         lambda: F.interpolate(X[0, 0], 2)),
        (ValueError, "mode 'bilinear' accepts 4", lambda: F.interpolate(X[0], 2, mode="bilinear")),
        (ValueError, "mode is 'bicubic': one of nearest, linear, bilinear, trilinear is accepted",
         lambda: F.interpolate(X, 2, mode="bicubic")),
        (ValueError, "mode is 'area'", lambda: F.interpolate(X, 2, mode="area")),
        (ValueError, "mode is 'nearest-exact'", lambda: F.interpolate(X, 2, mode="nearest-exact")),
        (ValueError, "align_corners is True, mode 'nearest': None", lambda: F.interpolate(X, 2, align_corners=True)),
        (ValueError, "size is None, scale_factor is None: exactly one", lambda: F.interpolate(X)),
        (ValueError, "size is 2, scale_factor is 2: exactly one", lambda: F.interpolate(X, 2, 2)),
        (ValueError, "size is 0: an int of at least 1 is accepted, or 2", lambda: F.interpolate(X, 0)),
        (TypeError, "size is 2.5: an int", lambda: F.interpolate(X, 2.5)),
        (ValueError, "scale_factor is -1: a number above 0", lambda: F.interpolate(X, scale_factor=-1)),
        (ValueError, "scale_factor is nan: a number above 0", lambda: F.interpolate(X, scale_factor=float("nan"))),
        (ValueError, r"scale_factor is \(2, 2, 2\): .* or 2 of them", lambda: F.interpolate(X, None, (2, 2, 2))),
        (TypeError, "scale_factor is 'big': a number", lambda: F.interpolate(X, scale_factor="big")),
        (ValueError, "scale_factor is 0.1, x has .* at least 1 pixel", lambda: F.interpolate(X, scale_factor=0.1)),
        (ValueError, r"x has \(0, 4\) pixels: at least 1", lambda: F.interpolate(X[:, :, :0], 2)),
        (ValueError, r"grad_output has shape \(1, 1, 4, 4\): \(1, 1, 2, 2\) is accepted",
         lambda: F.interpolate_input_grad(X, X.shape, 2)),
        (ValueError, "input_size has 2 axes", lambda: F.interpolate_input_grad(X, (4, 4), 2)),
    ],
)  # fmt: skip
def test_bad_calls_are_told(error, match, function):
    with pytest.raises(error, match=match):
        function()
