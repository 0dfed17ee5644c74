import numpy as np
import pytest
from differences import TOLERANCE, central_difference
from forms import FORMS, disguises
from hypothesis import assume, given
from hypothesis import strategies as st
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F

SHAPES = [(4, 3), (2, 3, 2), (2, 2, 2, 2), (1, 2, 2, 1, 3)]
EXACT = 1e-300  # an eps that is above 0 and adds nothing


def arguments(rng, shape):
    channels = shape[1]
    x, grad = rng.standard_normal((2, *shape)) * 2 + 1
    return x, grad, rng.standard_normal(channels), rng.random(channels) + 0.5, *rng.standard_normal((2, channels))


def test_by_hand(backend):
    x = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]])
    y, statistics = F.batch_norm(
        x,
        np.array([1.0, 1.0]),
        np.array([2.0, 2.0]),
        np.array([2.0, 1.0]),
        np.array([0.0, 10.0]),
        training=True,
        momentum=0.25,
        eps=EXACT,
        return_statistics=True,
    )
    assert statistics.mean.tolist() == [3, 2]
    np.testing.assert_allclose(statistics.var, [8 / 3, 8])
    np.testing.assert_allclose(y[:, 0], 2 * np.array([-2, 0, 2]) / np.sqrt(8 / 3))
    np.testing.assert_allclose(y[:, 1], 10 + np.array([-2, -2, 4]) / np.sqrt(8))
    np.testing.assert_allclose(statistics.running_mean, [1.5, 1.25])
    np.testing.assert_allclose(statistics.running_var, [0.75 * 2 + 0.25 * 4, 0.75 * 2 + 0.25 * 12])  # unbiased


def test_outside_of_training_by_hand(backend):
    x = np.array([[1.0], [9.0]])
    y, statistics = F.batch_norm(x, np.array([5.0]), np.array([3.0]), eps=1.0, return_statistics=True)
    assert y.tolist() == [[-2], [2]]
    assert [a.tolist() for a in statistics] == [[5], [3], [5], [3]]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_trained_batch_has_mean_0_and_variance_1(backend, rng, shape):
    y = F.batch_norm(arguments(rng, shape)[0], None, None, training=True, eps=1e-12)
    others = (0, *range(2, len(shape)))
    np.testing.assert_allclose(y.mean(axis=others), 0, atol=1e-13)
    np.testing.assert_allclose(y.var(axis=others), 1, rtol=1e-10)


def test_without_running_values_the_batchs_are_used(backend, rng):
    x, *_ = arguments(rng, (4, 3))
    y, statistics = F.batch_norm(x, None, None, training=True, return_statistics=True)
    np.testing.assert_allclose(statistics.mean, x.mean(axis=0), rtol=1e-13)
    assert statistics.running_mean is None
    assert statistics.running_var is None
    np.testing.assert_array_equal(y, F.batch_norm(x, None, None, training=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_central_differences(backend, rng, shape, training):
    x, grad, mean, var, weight, bias = arguments(rng, shape)
    call = lambda x, weight, bias: F.batch_norm(x, mean, var, weight, bias, training, eps=0.1)  # noqa: E731
    _, used = F.batch_norm(x, mean, var, weight, bias, training, eps=0.1, return_statistics=True)
    grad_x = F.batch_norm_input_grad(grad, x, used.mean, used.var, weight, training, eps=0.1)
    np.testing.assert_allclose(grad_x, central_difference(lambda z: call(z, weight, bias), x, grad), **TOLERANCE)
    grad_weight = F.batch_norm_weight_grad(grad, x, used.mean, used.var, eps=0.1)
    np.testing.assert_allclose(grad_weight, central_difference(lambda w: call(x, w, bias), weight, grad), **TOLERANCE)
    expected = central_difference(lambda b: call(x, weight, b), bias, grad)
    np.testing.assert_allclose(F.batch_norm_bias_grad(grad), expected, **TOLERANCE)


@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(1, 3)),
    training=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_cpu_equals_reference(shape, training, affine, seed):
    assume(not (training and shape[0] * shape[2] * shape[3] == 1))
    x, grad, mean, var, weight, bias = arguments(np.random.default_rng(seed), shape)
    weight, bias = (weight, bias) if affine else (None, None)
    results = []
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            y, used = F.batch_norm(x, mean, var, weight, bias, training, eps=0.01, return_statistics=True)
            grad_x = F.batch_norm_input_grad(grad, x, used.mean, used.var, weight, training, eps=0.01)
            grad_weight = F.batch_norm_weight_grad(grad, x, used.mean, used.var, eps=0.01)
            results.append([y, *used, grad_x, grad_weight, F.batch_norm_bias_grad(grad)])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)  # 1 / sqrt(eps) times rounding


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("training", [False, True])
def test_lower_precisions_are_right_to_rounding(backend, rng, dtype, training):
    x, grad, mean, var, weight, bias = (a.astype(dtype) for a in arguments(rng, (8, 3, 4)))
    exact = [a.astype(np.float64) for a in (x, mean, var, weight, bias)]
    y, used = F.batch_norm(x, mean, var, weight, bias, training, return_statistics=True)
    expected, expected_used = F.batch_norm(*exact, training, return_statistics=True)
    for found, right in zip((y, *used), (expected, *expected_used), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, right, rtol=0, atol=40 * np.finfo(dtype).eps)  # values up to about 10
    assert F.batch_norm_input_grad(grad, x, used.mean, used.var, weight, training).dtype == dtype


def test_inputs_are_left_alone_in_any_memory_layout(backend, rng):
    x, grad, mean, var, weight, bias = arguments(rng, (3, 4, 5))
    expected = F.batch_norm(x, mean, var, weight, bias, True)
    _, used = F.batch_norm(x, mean, var, training=True, return_statistics=True)
    expected_grad = F.batch_norm_input_grad(grad, x, used.mean, used.var, weight, True)
    for kind in FORMS:
        given_ = [disguises(a)[kind] for a in (x, mean, var, weight, bias)]
        kept = [a.copy() for a in given_]
        np.testing.assert_array_equal(F.batch_norm(*given_, training=True), expected)
        found = F.batch_norm_input_grad(disguises(grad)[kind], given_[0], used.mean, used.var, given_[3], True)
        np.testing.assert_array_equal(found, expected_grad)
        for array, before in zip(given_, kept, strict=True):
            np.testing.assert_array_equal(array, before)


def test_the_statistics_share_no_memory_with_the_arguments(backend, rng):
    x, _, mean, var, *_ = arguments(rng, (3, 4))
    _, used = F.batch_norm(x, mean, var, return_statistics=True)
    assert not any(np.shares_memory(a, b) for a in used for b in (mean, var))


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (2, 0)])
def test_an_empty_batch_leaves_the_running_values(backend, shape):
    mean, var = np.full(shape[1], 2.0), np.full(shape[1], 3.0)
    y, used = F.batch_norm(np.zeros(shape), mean, var, training=True, return_statistics=True)
    assert y.shape == shape
    np.testing.assert_array_equal(used.running_mean, mean)
    np.testing.assert_array_equal(used.running_var, var)
    grad = F.batch_norm_input_grad(y, y, mean, var, training=True)
    assert grad.shape == shape


def test_nan_stays_in_its_channel(backend, rng):
    x = rng.standard_normal((4, 2))
    x[1, 0] = np.nan
    y = F.batch_norm(x, None, None, training=True)
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1]).all()
    y = F.batch_norm(x, np.zeros(2), np.ones(2))
    assert np.isnan(y).sum() == 1
    x[1, 0] = np.inf  # outside of training the gradient does not depend on x
    assert np.isfinite(F.batch_norm_input_grad(np.ones((4, 2)), x, np.zeros(2), np.ones(2))).all()


def test_results_do_not_depend_on_threads(rng):
    x, grad, mean, var, weight, _ = (a.astype(np.float32) for a in arguments(rng, (6, 5, 700)))

    def call():
        y, used = F.batch_norm(x, mean, var, weight, training=True, return_statistics=True)
        return [y, *used, F.batch_norm_input_grad(grad, x, used.mean, used.var, weight, True)]

    assert_same_on_threads(call)


X, C3 = np.ones((2, 3)), np.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.batch_norm(np.ones((1, 3)), C3, C3, training=True),
            ValueError,
            "Expected more than 1 value per chan",
        ),
        (lambda: F.batch_norm(X, None, None), ValueError, "running_mean is None outside of training"),
        (lambda: F.batch_norm(X, C3, None, training=True), ValueError, "one of running_mean and running_var is None"),
        (lambda: F.batch_norm(C3, C3, C3), ValueError, r"x has 1 axes, shape \(3,\): at least 2"),
        (lambda: F.batch_norm(X, np.ones(2), C3), ValueError, r"running_mean has shape \(2,\): \(3,\) is accepted"),
        (lambda: F.batch_norm(X, C3, C3, np.ones((3, 1))), ValueError, r"weight has shape \(3, 1\)"),
        (lambda: F.batch_norm(X, C3, C3, bias=C3.astype(np.float32)), TypeError, "bias is float32, x is float64"),
        (lambda: F.batch_norm(X, C3, C3, training=True, eps=0), ValueError, "eps is 0.0: a number above 0"),
        (lambda: F.batch_norm(X, C3, C3, momentum=None), TypeError, "momentum is None"),
        (lambda: F.batch_norm_input_grad(C3, X, C3, C3), ValueError, r"grad_output has shape \(3,\): \(2, 3\)"),
        (lambda: F.batch_norm_input_grad(X, X, C3, np.ones(2)), ValueError, r"var has shape \(2,\)"),
        (lambda: F.batch_norm_weight_grad(X, X, np.ones(2), C3), ValueError, r"mean has shape \(2,\)"),
        (lambda: F.batch_norm_bias_grad(C3), ValueError, "grad_output has 1 axes"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
