import numpy as np
import pytest
from hypothesis import assume, given
from numpy.testing import assert_allclose, assert_array_equal
from shapes import transposed_convolutions

import fastconv as fc
import fastconv.functional as F


def call(name, case, *args):
    try:
        return getattr(F, name.format(case.rank))(*args, **case.options)
    except ValueError as error:
        assume("the output's size would be" not in str(error))
        raise


def test_the_course_example(backend):
    x, weight = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[9.0, 8.0], [7.0, 6.0]])
    y = F.conv_transpose2d(x[None, None], weight[None, None])
    assert_array_equal(y[0, 0], [[0, 9, 8], [18, 50, 30], [14, 33, 18]])


def test_the_course_example_with_a_stride_does_not_overlap(backend):
    x, weight = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[9.0, 8.0], [7.0, 6.0]])
    assert_array_equal(F.conv_transpose2d(x[None, None], weight[None, None], stride=2)[0, 0], np.kron(x, weight))


def test_padding_crops_and_output_padding_adds(backend):
    x, weight, bias = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0, 100.0]]]), np.array([0.5])
    assert_array_equal(F.conv_transpose1d(x, weight, stride=2)[0, 0], [1, 10, 102, 20, 200])
    assert_array_equal(F.conv_transpose1d(x, weight, stride=2, padding=1)[0, 0], [10, 102, 20])
    assert_array_equal(F.conv_transpose1d(x, weight, stride=2, padding=((2, 0),))[0, 0], [102, 20, 200])
    assert_array_equal(F.conv_transpose1d(x, weight, bias, 2, 1, 1)[0, 0], [10.5, 102.5, 20.5, 200.5])
    assert_array_equal(F.conv_transpose1d(x, weight, bias, 4, 0, 1)[0, 0, 3:], [0.5, 2.5, 20.5, 200.5, 0.5])
    assert F.conv_transpose1d(x, weight, stride=4, padding="same").shape == (1, 1, 8)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_same_is_the_transpose_of_a_same_convolution(backend, rank, rng):
    x, weight = rng.standard_normal((2, 3, 4, 3, 2)[: rank + 2]), rng.standard_normal((3, 2, 3, 4, 2)[: rank + 2])
    y = getattr(F, f"conv_transpose{rank}d")(x, weight, stride=2, padding="same")
    assert y.shape[2:] == tuple(2 * h for h in x.shape[2:])
    conv = getattr(F, f"conv{rank}d_input_grad")(y.shape, weight, x, stride=2, padding="same")
    assert_allclose(y, conv, rtol=1e-12, atol=1e-12)


@given(transposed_convolutions())
def test_cpu_equals_reference_and_gradients_are_adjoint(case):
    x, weight = case.arrays(case.x_shape, case.weight_shape)
    (bias,) = case.arrays((case.weight_shape[1] * case.options["groups"],))
    results = []
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            y = call("conv_transpose{}d", case, x, weight, bias)
            linear = call("conv_transpose{}d", case, x, weight)
            (grad,) = case.arrays(y.shape)
            grad_x = call("conv_transpose{}d_input_grad", case, x.shape, weight, grad)
            grad_weight = call("conv_transpose{}d_weight_grad", case, x, weight.shape, grad)
            grad_bias = getattr(F, f"conv_transpose{case.rank}d_bias_grad")(grad)
        scale = 1 + np.linalg.norm(linear) * np.linalg.norm(grad)
        assert abs((linear * grad).sum() - (x * grad_x).sum()) <= 1e-12 * scale
        assert abs((linear * grad).sum() - (weight * grad_weight).sum()) <= 1e-12 * scale
        assert_allclose(grad_bias, grad.sum(axis=(0, *range(2, grad.ndim))), rtol=1e-12, atol=1e-12)
        results.append((y, grad_x, grad_weight))
    for found, expected in zip(*results, strict=True):
        assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(transposed_convolutions())
def test_the_output_size_is_the_courses_formula(case):
    options = dict(case.options)
    assume(isinstance(options["padding"], int))
    x, weight = case.arrays(case.x_shape, case.weight_shape)
    y = call("conv_transpose{}d", case, x, weight)
    axes = zip(
        case.x_shape[2:], case.weight_shape[2:], options["stride"], options["dilation"], options["output_padding"],
        strict=True,
    )  # fmt: skip
    p = options["padding"]
    assert y.shape[2:] == tuple((h - 1) * s - 2 * p + d * (k - 1) + 1 + extra for h, k, s, d, extra in axes)


X, W = np.ones((2, 3, 4, 4), np.float32), np.ones((3, 5, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((X, W.swapaxes(0, 1)), {}, ValueError, "weight has 5 input channels, x has 3: shapes"),
        ((X, W), {"output_padding": 1}, ValueError, r"output_padding is \(1, 1\), stride \(1, 1\)"),
        ((X, W), {"output_padding": -1}, ValueError, "output_padding is -1: an int of at least 0"),
        ((X, W), {"padding": 4}, ValueError, r"the output's size would be \(-2, -2\)"),
        ((X, W), {"groups": 2}, ValueError, "groups is 2"),
        ((X, W, np.ones(3, "f4")), {}, ValueError, r"bias has shape \(3,\): \(5,\) is accepted"),
        ((X.astype(int), W), {}, TypeError, "x is int64"),
        ((X, W), {"dilation": 0}, ValueError, "dilation is 0"),
    ],
)
def test_bad_calls_are_told(backend, args, options, error, message):
    with pytest.raises(error, match=message):
        F.conv_transpose2d(*args, **options)


def test_bad_gradient_calls_are_told(backend):
    with pytest.raises(ValueError, match=r"grad_output has shape .*: \(2, 5, 6, 6\) is accepted"):
        F.conv_transpose2d_input_grad(X.shape, W, np.ones((2, 5, 6, 5), np.float32))
    with pytest.raises(ValueError, match="weight_size is"):
        F.conv_transpose2d_weight_grad(X, (3, 5, 3), np.ones((2, 5, 6, 6), np.float32))
    with pytest.raises(ValueError, match="input_size is"):
        F.conv_transpose2d_input_grad((3, 4, 4), W, np.ones((2, 5, 6, 6), np.float32))
