import numpy as np
import pytest
from forms import disguises
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal
from shapes import convolutions
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F


def call(name, rank, *args, **options):
    return getattr(F, name.format(rank))(*args, **options)


def on(backend, function):
    with fc.use_backend(backend):
        return function()


def test_one_channel_by_hand(backend):
    x = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 1.0, 1.0]])[None, None]
    weight = np.array([[1.0, 0.0], [-1.0, 2.0]])[None, None]
    assert_array_equal(F.conv2d(x, weight)[0, 0], [[1 + 2, 2 - 1 + 6], [-2 + 2, 1 - 1 + 2]])


def test_the_course_smooths_a_step(backend):
    step = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])[None, None]
    smooth = F.conv1d(step, np.array([0.25, 0.5, 0.25])[None, None], padding="same")
    assert_array_equal(smooth[0, 0], [0, 0, 0.25, 0.75, 1, 0.75])


def test_the_filter_is_not_flipped(backend):
    impulse = np.array([0.0, 0.0, 1.0, 0.0, 0.0])[None, None]
    assert_array_equal(F.conv1d(impulse, np.array([1.0, 2.0, 3.0])[None, None])[0, 0], [3, 2, 1])


def test_stride_dilation_and_bias_by_hand(backend):
    x, weight = np.arange(8.0)[None, None], np.array([1.0, 10.0])[None, None]
    y = F.conv1d(x, weight, np.array([100.0]), stride=2, dilation=3)
    assert_array_equal(y[0, 0], [100 + 30, 100 + 2 + 50, 100 + 4 + 70])


def test_groups_keep_channels_apart(backend, rng):
    x, weight = rng.standard_normal((2, 4, 5, 6)), rng.standard_normal((6, 2, 3, 3))
    halves = [F.conv2d(x[:, 2 * g : 2 * g + 2], weight[3 * g : 3 * g + 3]) for g in range(2)]
    assert_allclose(F.conv2d(x, weight, groups=2), np.concatenate(halves, axis=1), rtol=1e-12)


@given(convolutions())
def test_cpu_equals_reference(case):
    x, weight, bias = case.arrays(case.x_shape, case.weight_shape, case.weight_shape[:1])
    y = on("reference", lambda: call("conv{}d", case.rank, x, weight, bias, **case.options))
    (grad,) = case.arrays(y.shape)
    calls = {
        "conv{}d": (x, weight, bias),
        "conv{}d_input_grad": (x.shape, weight, grad),
        "conv{}d_weight_grad": (x, weight.shape, grad),
    }
    for name, args in calls.items():
        expected = on("reference", lambda: call(name, case.rank, *args, **case.options))  # noqa: B023
        found = on("cpu", lambda: call(name, case.rank, *args, **case.options))  # noqa: B023
        # At most a few hundred terms of standard normals: 1e-12 is hundreds of roundings.
        assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    bias_grads = [on(b, lambda: call("conv{}d_bias_grad", case.rank, grad)) for b in ("reference", "cpu")]
    assert_allclose(*bias_grads, rtol=1e-12, atol=1e-12)


@given(convolutions())
def test_gradients_are_adjoint(case):
    x, weight = case.arrays(case.x_shape, case.weight_shape)
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            y = call("conv{}d", case.rank, x, weight, **case.options)
            (grad,) = case.arrays(y.shape)
            grad_x = call("conv{}d_input_grad", case.rank, x.shape, weight, grad, **case.options)
            grad_weight = call("conv{}d_weight_grad", case.rank, x, weight.shape, grad, **case.options)
        scale = 1 + np.linalg.norm(y) * np.linalg.norm(grad)
        assert abs((y * grad).sum() - (x * grad_x).sum()) <= 1e-12 * scale
        assert abs((y * grad).sum() - (weight * grad_weight).sum()) <= 1e-12 * scale


@given(convolutions())
def test_float32_is_right_to_rounding(case):
    x, weight = case.arrays(case.x_shape, case.weight_shape, dtype=np.float32)
    y = call("conv{}d", case.rank, x, weight, **case.options)
    assert y.dtype == np.float32
    wide = x.astype(np.float64), weight.astype(np.float64)
    expected = on("reference", lambda: call("conv{}d", case.rank, *wide, **case.options))
    assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * abs(expected).max(initial=1))


@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_bias_grad"])
def test_bits_do_not_depend_on_threads(operation, rng):
    x, weight = rng.standard_normal((5, 7, 13, 11), np.float32), rng.standard_normal((9, 7, 3, 3), np.float32)
    grad = F.conv2d(x, weight, padding=1)
    args = {
        "conv2d": (x, weight),
        "conv2d_input_grad": (x.shape, weight, grad),
        "conv2d_weight_grad": (x, weight.shape, grad),
        "conv2d_bias_grad": (grad,),
    }[operation]
    options = {} if operation == "conv2d_bias_grad" else {"padding": 1}
    assert_same_on_threads(lambda: [getattr(F, operation)(*args, **options)], (1, 2, None))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "weight", "grad"])
def test_nan_and_infinity_reach_what_they_reach_in_the_reference(where, value, rng):
    arrays = {"x": (1, 2, 6, 7), "weight": (3, 2, 3, 2), "grad": (1, 3, 3, 3)}
    arrays = {name: rng.standard_normal(shape) for name, shape in arrays.items()}
    arrays[where].flat[5] = value
    x, weight, grad = arrays.values()
    options = {"stride": 2, "padding": ((1, 0), (0, 0))}
    for function in (
        lambda: F.conv2d(x, weight, **options),
        lambda: F.conv2d_input_grad(x.shape, weight, grad, **options),
        lambda: F.conv2d_weight_grad(x, weight.shape, grad, **options),
    ):
        assert_allclose(on("cpu", function), on("reference", function), rtol=1e-12, equal_nan=True)


def test_inputs_of_every_layout_are_taken_and_left_alone(backend, rng):
    x, weight = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 3))
    expected = F.conv2d(x, weight)
    backwards = np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1]
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.float64, offset=1).reshape(x.shape)
    for form in (*disguises(x).values(), backwards, unaligned, x.tolist()):
        before = np.array(form)
        assert_array_equal(F.conv2d(form, weight), expected)
        assert_array_equal(np.array(form), before)


def test_sums_of_nothing_are_the_bias(backend):
    weight = np.ones((4, 3, 3, 3))
    assert F.conv2d(np.ones((0, 3, 5, 5)), weight).shape == (0, 4, 3, 3)
    assert F.conv2d(np.ones((2, 3, 5, 5)), np.ones((0, 3, 3, 3))).shape == (2, 0, 3, 3)
    assert_array_equal(F.conv2d_weight_grad(np.ones((0, 3, 5, 5)), weight.shape, np.ones((0, 4, 3, 3))), 0 * weight)
    no_channels = F.conv2d(np.ones((2, 0, 5, 5)), np.ones((4, 0, 3, 3)), np.arange(4.0))
    assert_array_equal(no_channels[1, :, 0, 0], [0, 1, 2, 3])


def test_float16_is_computed_in_float32(backend, rng):
    x, weight = rng.standard_normal((2, 64, 8, 8)).astype(np.float16), rng.standard_normal((2, 64, 3, 3)).astype("f2")
    y = F.conv2d(x, weight)
    assert y.dtype == np.float16
    assert_array_equal(y, F.conv2d(x.astype(np.float32), weight.astype(np.float32)).astype(np.float16))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_batch_axis_may_be_left_out(backend, rank, rng):
    x, weight = rng.standard_normal((3, 5, 6, 7)[: rank + 1]), rng.standard_normal((2, 3, 2, 3, 2)[: rank + 2])
    y = call("conv{}d", rank, x, weight)
    assert_array_equal(y, call("conv{}d", rank, x[None], weight)[0])
    grad_x = call("conv{}d_input_grad", rank, x.shape, weight, y)
    assert_array_equal(grad_x, call("conv{}d_input_grad", rank, (1, *x.shape), weight, y[None])[0])


def test_no_result_is_a_view_of_an_input(backend):
    x = np.ones((1, 1, 3, 3))
    for y in (F.conv2d(x, np.ones((1, 1, 1, 1))), F.conv2d_input_grad(x.shape, np.ones((1, 1, 1, 1)), x)):
        assert not np.shares_memory(x, y)


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((6, 1, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((X, np.ones((6, 3, 5, 5), "f4")), {}, ValueError, r"weight has 3 input channels, x has 1: shapes \(6, 3, 5"),
        ((X[0, 0], W), {}, ValueError, r"x has 2 axes, shape \(28, 28\): 4 .* are accepted"),
        ((X, W[0]), {}, ValueError, r"weight has 3 axes, shape \(1, 5, 5\): 4"),
        ((X, W, np.ones(5, "f4")), {}, ValueError, r"bias has shape \(5,\): \(6,\) is accepted"),
        ((X.astype(int), W), {}, TypeError, "x is int64: float32, float64 and float16 are accepted"),
        ((X.astype(complex), W), {}, TypeError, "x is complex128"),
        ((None, W), {}, TypeError, "x is None: an array of float32, float64 or float16 is accepted"),
        ((X, None), {}, TypeError, "weight is None: an array"),
        ((X, W.astype(float)), {}, TypeError, "weight is float64, x is float32: one dtype for both"),
        ((X, W), {"stride": 0}, ValueError, "stride is 0: an int of at least 1 is accepted, or 2 of them"),
        ((X, W), {"stride": (1, 2, 3)}, ValueError, r"stride is \(1, 2, 3\)"),
        ((X, W), {"stride": 1.5}, TypeError, "stride is 1.5: an int is accepted"),
        ((X, W), {"stride": True}, TypeError, "stride is True"),
        ((X, W), {"stride": "same"}, ValueError, "stride is 'same'"),
        ((X, W), {"dilation": -1}, ValueError, "dilation is -1: an int of at least 1"),
        ((X, W), {"padding": -1}, ValueError, "padding is -1: 'valid' and 'same' are accepted, and ints of at least 0"),
        ((X, W), {"padding": "full"}, ValueError, "padding is 'full'"),
        ((X, W), {"padding": ((1, 2, 3), 1)}, ValueError, "padding is"),
        ((X, W), {"padding": None}, TypeError, "padding is None"),
        ((X, W), {"groups": 0}, ValueError, "groups is 0: an int of at least 1"),
        ((X, W), {"groups": 4}, ValueError, "groups is 4, the channels are 1 in and 6 out: a common divisor"),
        (
            (X, np.ones((6, 1, 30, 5), "f4")),
            {},
            ValueError,
            "the filter covers 30 pixels along spatial axis 0, x has 28",
        ),
        ((X, np.ones((6, 1, 0, 5), "f4")), {}, ValueError, "the filter's size is"),
    ],
)
def test_bad_calls_are_told(backend, args, options, error, message):
    with pytest.raises(error, match=message):
        F.conv2d(*args, **options)


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (F.conv2d_input_grad, ((8, 1, 28, 28), W, np.ones((8, 6, 23, 24), "f4")), r"grad_output has shape .*24, 24\)"),
        (F.conv2d_input_grad, ((1, 28, 28), W, np.ones((8, 6, 24, 24), "f4")), "input_size is"),
        (F.conv2d_input_grad, ((8, 1, 28, -1), W, np.ones((8, 6, 24, 24), "f4")), "input_size is"),
        (F.conv2d_weight_grad, (X, (6, 1, 5), np.ones((8, 6, 24, 24), "f4")), "weight_size is"),
        (F.conv2d_weight_grad, (X, W.shape, np.ones((7, 6, 24, 24), "f4")), "grad_output has shape"),
        (F.conv2d_bias_grad, (np.ones(6, "f4"),), "grad_output has 1 axes"),
    ],
)
def test_bad_gradient_calls_are_told(backend, function, args, message):
    with pytest.raises(ValueError, match=message):
        function(*args)


def test_a_wrong_option_is_told_even_after_an_equal_right_one():
    F.conv2d(X, W, stride=1, padding=(1, 1))
    with pytest.raises(TypeError, match=r"stride is 1\.0"):
        F.conv2d(X, W, stride=1.0)
    with pytest.raises(TypeError, match=r"padding is 1\.0"):
        F.conv2d(X, W, padding=(1.0, 1))
