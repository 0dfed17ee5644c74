from unittest import mock

import numpy as np
import pytest
from forms import FORMS, disguises
from hypothesis import given
from hypothesis import strategies as st
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import linear

ONE = np.ones


def test_by_hand(backend):
    x, weight = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert F.linear(x, weight).tolist() == [[21, 42, 63], [10, 20, 30]]
    assert F.linear(x, weight, np.array([0.5, 0.0, -0.5])).tolist() == [[21.5, 42, 62.5], [10.5, 20, 29.5]]
    grad = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    assert F.linear_input_grad(weight, grad).tolist() == [[4, 40], [4, 40]]
    assert F.linear_weight_grad(x, grad).tolist() == [[1, 2], [0, 2], [1, 2]]
    assert F.linear_bias_grad(grad).tolist() == [1, 2, 1]


sizes = st.tuples(st.lists(st.integers(0, 4), max_size=3).map(tuple), st.integers(0, 40), st.integers(0, 40))


def drawn(size, seed):
    lead, features, outputs = size
    rng = np.random.default_rng(seed)
    shapes = (*lead, features), (outputs, features), (outputs,), (*lead, outputs)
    return [rng.standard_normal(shape) for shape in shapes]


@given(sizes, st.integers(0, 2**32 - 1))
def test_cpu_equals_reference(size, seed):
    x, weight, bias, grad = drawn(size, seed)
    results = []
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            results.append(
                [
                    F.linear(x, weight, bias),
                    F.linear(x, weight),
                    F.linear_input_grad(weight, grad),
                    F.linear_weight_grad(x, grad),
                    F.linear_bias_grad(grad),
                ]
            )
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)  # sums of up to 64 terms in another order


@pytest.mark.parametrize("name", ["reference", "cpu"])
@given(sizes, st.integers(0, 2**32 - 1))
def test_gradients_are_adjoint(name, size, seed):
    """<linear(x, w), g> = <x, input_grad> = <w, weight_grad>, and <b, bias_grad> is the bias's part of it."""
    x, weight, bias, grad = drawn(size, seed)
    with fc.use_backend(name):
        product = np.sum(F.linear(x, weight) * grad)
        scale = 1e-12 * max(1.0, np.sqrt(np.sum(x**2) * np.sum(weight**2) * np.sum(grad**2)))
        assert abs(product - np.sum(x * F.linear_input_grad(weight, grad))) <= scale
        assert abs(product - np.sum(weight * F.linear_weight_grad(x, grad))) <= scale
        whole = np.sum(F.linear(x, weight, bias) * grad)
        assert abs(whole - product - np.sum(bias * F.linear_bias_grad(grad))) <= scale * 10


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lower_precisions_are_right_to_rounding(backend, dtype):
    x, weight, bias, grad = (a.astype(dtype) for a in drawn(((5, 3), 37, 19), 1))
    exact = [a.astype(np.float64) for a in (x, weight, bias, grad)]
    for function, arguments in [
        (F.linear, (0, 1, 2)),
        (F.linear_input_grad, (1, 3)),
        (F.linear_weight_grad, (0, 3)),
        (F.linear_bias_grad, (3,)),
    ]:
        found = function(*[(x, weight, bias, grad)[i] for i in arguments])
        expected = function(*[exact[i] for i in arguments])
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=32 * np.finfo(dtype).eps)  # values up to about 20


def test_every_memory_layout_gives_the_same(backend):
    x, weight, _, grad = drawn(((6,), 9, 7), 3)
    expected = F.linear(x, weight), F.linear_input_grad(weight, grad), F.linear_weight_grad(x, grad)
    for kind in FORMS:
        a, w, g = (disguises(array)[kind] for array in (x, weight, grad))
        found = F.linear(a, w), F.linear_input_grad(w, g), F.linear_weight_grad(a, g)
        for value, exact in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, exact, rtol=1e-14, atol=1e-14)  # NumPy's product may sum in another order


@pytest.mark.parametrize("rows", [1, 4, 8, 33])
def test_sums_of_nothing_are_the_bias_or_zeros(backend, rows):
    bias = np.array([1.0, -2.0, 3.0])
    np.testing.assert_array_equal(F.linear(ONE((rows, 0)), ONE((3, 0)), bias), np.tile(bias, (rows, 1)))
    np.testing.assert_array_equal(F.linear(ONE((rows, 0)), ONE((3, 0))), np.zeros((rows, 3)))
    np.testing.assert_array_equal(F.linear_input_grad(ONE((0, 5)), ONE((rows, 0))), np.zeros((rows, 5)))
    np.testing.assert_array_equal(F.linear_weight_grad(ONE((0, rows)), ONE((0, 3))), np.zeros((3, rows)))


def test_nan_and_infinity_travel(backend):
    x = np.array([[np.inf, 1.0], [np.nan, 1.0]])
    y = F.linear(x, np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]))
    np.testing.assert_array_equal(y, [[np.nan, np.inf, -np.inf], [np.nan, np.nan, np.nan]])


@pytest.fixture
def far():
    """All matrices are computed with as those that stay in no near cache, and by threads."""

    def clear():
        for plan in (linear.forward, linear.input_grad, linear.weight_grad):
            plan.cache_clear()

    clear()
    with mock.patch.object(linear, "stays", return_value=0), mock.patch.object(linear, "SMALL", -1):
        yield
    clear()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "features", "outputs"),
    # few rows and many; columns of part of a vector, of a panel and of strips; sums of blocks and of what is left
    [(1, 5, 7), (2, 333, 8), (3, 50, 141), (4, 1030, 300), (5, 97, 300), (13, 301, 137), (37, 1, 9), (150, 1100, 21)],
)
def test_far_matrices(far, rows, features, outputs, dtype):
    x, weight, bias, grad = (array.astype(dtype) for array in drawn(((rows,), features, outputs), rows))
    found = {
        "linear": F.linear(x, weight, bias),
        "input_grad": F.linear_input_grad(weight, grad),
        "weight_grad": F.linear_weight_grad(x, grad),
    }
    x, weight, bias, grad = (array.astype(np.float64) for array in (x, weight, bias, grad))
    expected = {"linear": x @ weight.T + bias, "input_grad": grad @ weight, "weight_grad": grad.T @ x}
    for name, array in found.items():
        # sums of up to 1,100 terms of about 1, in another order
        limit = 50 * np.finfo(dtype).eps * np.abs(expected[name]).max()
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=limit, err_msg=name)


def test_nan_and_infinity_travel_from_far(far):
    weight, grad = np.ones((19, 40)), np.zeros((2, 19))
    weight[17, 3], weight[2, 39], grad[1, 5] = np.inf, np.nan, np.inf
    expected = np.einsum("no,oc->noc", grad, weight).sum(1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(F.linear_input_grad(weight, grad), expected)
        many = np.repeat(grad, 4, axis=0)
        np.testing.assert_array_equal(F.linear_input_grad(weight, many), np.repeat(expected, 4, axis=0))


def test_results_of_far_matrices_do_not_depend_on_threads(far):
    x, weight, _, grad = drawn(((6,), 1500, 145), 5)
    assert_same_on_threads(
        lambda: [
            F.linear_input_grad(weight, grad),
            F.linear_weight_grad(x, grad),
            F.linear_input_grad(weight, grad[:3]),
        ]
    )


def test_results_do_not_depend_on_threads():
    x, weight, _, grad = drawn(((33,), 1500, 45), 5)
    assert_same_on_threads(
        lambda: [F.linear(x, weight), F.linear_input_grad(weight, grad), F.linear_weight_grad(x, grad)]
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.linear(ONE((2, 3)), ONE((4, 5))),
            ValueError,
            r"x has shape \(2, 3\): 5 along the last axis, weight",
        ),
        (lambda: F.linear(ONE((2, 3)), ONE(3)), ValueError, "weight has 1 axes"),
        (lambda: F.linear(ONE((2, 3)), ONE((4, 3)), ONE(3)), ValueError, r"bias has shape \(3,\): \(4,\) is accepted"),
        (lambda: F.linear(ONE(()), ONE((4, 3))), ValueError, "x is one number"),
        (lambda: F.linear(ONE((2, 3)), ONE((4, 3), np.float32)), TypeError, "weight is float32, x is float64"),
        (lambda: F.linear(ONE((2, 3), int), ONE((4, 3))), TypeError, "x is int64"),
        (lambda: F.linear_input_grad(ONE((4, 3)), ONE((2, 3))), ValueError, r"grad_output has shape \(2, 3\): 4 along"),
        (
            lambda: F.linear_weight_grad(ONE((2, 3)), ONE((3, 4))),
            ValueError,
            r"grad_output has shape \(3, 4\): \(2, 4\)",
        ),
        (lambda: F.linear_bias_grad(ONE(())), ValueError, "grad_output is one number"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
