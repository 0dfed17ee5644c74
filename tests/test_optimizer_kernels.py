import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thread_counts import assert_same_on_threads

import fastconv as fc
from fastconv import backends


def sgd(parameter, grad, velocity, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, first=True):
    update = backends.module("optimizer").sgd
    update(parameter, grad, velocity, lr, momentum, dampening, weight_decay, nesterov, first)


def adam(
    parameter, grad, mean, square, step=1, lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False
):
    update = backends.module("optimizer").adam
    update(parameter, grad, mean, square, step, lr, *betas, eps, weight_decay, decoupled)


def test_sgd_by_hand(backend):
    parameter, velocity = np.array([1.0, 2.0]), np.full(2, 7.0)
    sgd(parameter, np.array([1.0, -2.0]), velocity)
    np.testing.assert_allclose(parameter, [0.9, 2.2], rtol=1e-15)
    assert velocity.tolist() == [7, 7]  # untouched without momentum


def test_momentum_by_hand(backend):
    parameter, velocity = np.array([1.0]), np.array([7.0])
    options = {"lr": 0.5, "momentum": 0.5, "dampening": 0.75}
    sgd(parameter, np.array([2.0]), velocity, **options, first=True)  # the first velocity is the gradient itself
    assert (velocity[0], parameter[0]) == (2, 0)
    sgd(parameter, np.array([4.0]), velocity, **options, first=False)
    assert (velocity[0], parameter[0]) == (2, -1)  # 0.5 * 2 + 0.25 * 4


def test_nesterov_and_decay_by_hand(backend):
    parameter, velocity = np.array([2.0]), np.array([4.0])
    options = {"lr": 0.5, "momentum": 0.5, "weight_decay": 0.25, "nesterov": True}
    sgd(parameter, np.array([1.5]), velocity, **options, first=False)
    assert velocity[0] == 4  # 0.5 * 4 + (1.5 + 0.25 * 2)
    assert parameter[0] == 0  # 2 - 0.5 * (2 + 0.5 * 4)


@pytest.mark.parametrize("grad", [3.0, -1e-3])
def test_the_first_step_of_adam_has_the_length_of_the_rate(backend, grad):
    parameter, mean, square = np.array([1.0]), np.zeros(1), np.zeros(1)
    adam(parameter, np.array([grad]), mean, square, eps=0.0)
    np.testing.assert_allclose(parameter, 1 - 0.1 * np.sign(grad), rtol=1e-14)
    np.testing.assert_allclose(mean, 0.1 * grad, rtol=1e-14)
    np.testing.assert_allclose(square, 0.001 * grad**2, rtol=1e-12)


def test_adam_by_hand(backend):
    parameter, mean, square = np.array([1.0]), np.array([1.0]), np.array([4.0])
    adam(parameter, np.array([2.0]), mean, square, step=2, betas=(0.5, 0.75), eps=1.0, lr=1.0)
    assert (mean[0], square[0]) == (1.5, 4.0)
    np.testing.assert_allclose(parameter, 1 - (1.5 / 0.75) / (np.sqrt(4 / 0.4375) + 1), rtol=1e-14)


def test_decay_inside_the_gradient_and_decoupled(backend):
    inside, outside = np.array([10.0]), np.array([10.0])
    adam(inside, np.zeros(1), np.zeros(1), np.zeros(1), weight_decay=0.5)
    np.testing.assert_allclose(inside, 9.9, rtol=1e-9)  # a step of the rate, whatever the size
    adam(outside, np.zeros(1), np.zeros(1), np.zeros(1), weight_decay=0.5, decoupled=True)
    np.testing.assert_allclose(outside, 10 * (1 - 0.1 * 0.5), rtol=1e-15)


@given(
    size=st.sampled_from([0, 1, 5, 5000]),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.1]),
    flag=st.booleans(),
    start=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cpu_is_the_reference(dtype, size, momentum, decay, flag, start):
    results = []
    for backend in ("reference", "cpu"):
        rng = np.random.default_rng(start)
        parameter, velocity, mean, square = rng.random((4, size)).astype(dtype)
        with fc.use_backend(backend):
            for step in range(1, 4):
                grad = rng.standard_normal(size).astype(dtype)
                kept = grad.copy()
                sgd(parameter, grad, velocity, 0.05, momentum, 0.1, decay, flag, step == 1)
                adam(parameter, grad, mean, square, step, 0.05, weight_decay=decay, decoupled=flag)
                np.testing.assert_array_equal(grad, kept)
        results.append((parameter, velocity, mean, square))
    for expected, found in zip(*results, strict=True):
        assert found.dtype == dtype
        # a few roundings of numbers about 1 in each of six updates
        np.testing.assert_allclose(found, expected, rtol=0, atol=64 * np.finfo(dtype).eps)


def test_any_shape_is_updated_in_place(backend, rng):
    parameter, grad = rng.standard_normal((2, 3, 4, 5))
    expected = parameter - 0.1 * grad
    sgd(parameter, grad, np.zeros_like(parameter))
    np.testing.assert_allclose(parameter, expected, rtol=1e-15)


def test_without_decay_an_infinite_parameter_stays(backend):
    parameter = np.array([np.inf, 1.0])
    sgd(parameter, np.array([1.0, np.nan]), np.zeros(2))
    np.testing.assert_array_equal(parameter, [np.inf, np.nan])
    adam(parameter, np.array([1.0, 1.0]), np.zeros(2), np.zeros(2))
    np.testing.assert_array_equal(parameter, [np.inf, np.nan])


def test_results_do_not_depend_on_threads(rng):
    parameter, grad = rng.standard_normal((2, 120_001)).astype(np.float32)

    def call():
        moved, moments = parameter.copy(), np.zeros((2, parameter.size), np.float32)
        adam(moved, grad, *moments, weight_decay=0.1)
        sgd(moved, grad, moments[0], momentum=0.9, first=False)
        return [moved, *moments]

    assert_same_on_threads(call)
