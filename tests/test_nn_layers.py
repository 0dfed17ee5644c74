"""Layers: what each computes, its shape and cost without computing, its repr, and what it says to bad arguments."""

import numpy as np
import pytest
from layers import LAYERS, MODELS
from numpy.testing import assert_allclose, assert_array_equal

import fastconv.functional as F
from fastconv import nn


@pytest.mark.parametrize("case", LAYERS + MODELS, ids=str)
def test_output_shape_is_that_of_forward(case, backend):
    layer = case.make()
    y = layer(case.x())
    assert y.dtype == np.float64
    if case.name == "Conv2d-one-image":
        assert y.shape == layer.output_shape((1, *case.x_shape))[1:]
    else:
        assert y.shape == layer.output_shape(case.x_shape)
        assert layer.flops(case.x_shape) >= 0


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_float32_stays_float32(case, backend):
    layer = case.make()
    for parameter in layer.parameters():
        parameter.data = parameter.data.astype(np.float32)
    for _, module in layer.named_modules():
        for name in module.buffers[:2]:
            if getattr(module, name) is not None:
                setattr(module, name, getattr(module, name).astype(np.float32))
    x = case.x().astype(np.float32)
    y = layer(x)
    assert y.dtype == np.float32
    assert layer.backward(np.ones_like(y)).dtype == np.float32
    assert all(parameter.grad.dtype == np.float32 for parameter in layer.parameters())


@pytest.mark.parametrize("case", LAYERS + MODELS, ids=str)
def test_evaluation_keeps_nothing(case, backend):
    layer, x = case.make(), case.x()
    layer(x)
    layer.eval()
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    assert not any(module._kept for _, module in layer.named_modules())
    with pytest.raises(RuntimeError, match=r"in evaluation forward keeps nothing for backward: call train\(\)"):
        layer.backward(np.ones_like(y))


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_backward_needs_a_forward_for_each(case, backend):
    layer, x = case.make(), case.x()
    grad_output = np.ones_like(layer(x))
    layer.backward(grad_output)
    with pytest.raises(RuntimeError, match="needs a forward in training mode before it, one for each call"):
        layer.backward(grad_output)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(1, 6, 3, padding=1), "Conv2d(1, 6, kernel_size=(3, 3), padding=1)"),
        (
            nn.Conv2d(4, 8, (3, 5), (2, 1), "same", 2, 4, False),
            "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 1), padding='same', dilation=(2, 2), groups=4, bias=False)",
        ),
        (
            nn.ConvTranspose1d(2, 3, 3, 2, 1, 1),
            "ConvTranspose1d(2, 3, kernel_size=(3,), stride=(2,), padding=1, output_padding=(1,))",
        ),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=(2, 2))"),
        (nn.MaxPool2d(3, 2, ceil_mode=True), "MaxPool2d(kernel_size=(3, 3), stride=(2, 2), ceil_mode=True)"),
        (nn.AvgPool1d(2, count_include_pad=False), "AvgPool1d(kernel_size=(2,), count_include_pad=False)"),
        (nn.Linear(3, 2, bias=False), "Linear(3, 2, bias=False)"),
        (nn.BatchNorm2d(4, momentum=None), "BatchNorm2d(4, momentum=None)"),
        (nn.Dropout(), "Dropout(p=0.5)"),
        (nn.Flatten(), "Flatten()"),
        (nn.Unflatten(1, [2, -1]), "Unflatten(dim=1, unflattened_size=(2, -1))"),
        (nn.Upsample(scale_factor=2), "Upsample(scale_factor=2.0, mode='nearest')"),
        (nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.Tanh(), "Tanh()"),
        (nn.Sequential(nn.Tanh(), nn.Linear(2, 1)), "Sequential(\n  (0): Tanh()\n  (1): Linear(2, 1)\n)"),
        (nn.Residual(nn.Tanh()), "Residual(\n  (branch): Tanh()\n)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_reprs_say_what_is_not_the_default(layer, text):
    assert repr(layer) == text


def test_layers_are_their_operations(backend, rng):
    x = rng.standard_normal((2, 4, 6, 6))
    convolution = nn.Conv2d(4, 6, 3, 2, ((1, 0), (2, 1)), 1, 2, dtype=np.float64)
    weight, bias = convolution.weight.data, convolution.bias.data
    assert_array_equal(convolution(x), F.conv2d(x, weight, bias, 2, ((1, 0), (2, 1)), 1, 2))
    transposed = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, True, 2, dtype=np.float64)
    weight, bias = transposed.weight.data, transposed.bias.data
    assert_array_equal(transposed(x), F.conv_transpose2d(x, weight, bias, 2, 1, 1, 2, 2))
    assert_array_equal(nn.MaxPool2d(3, 2, 1)(x), F.max_pool2d(x, 3, 2, 1))
    assert_array_equal(nn.AvgPool2d(3, 2, 1, True, False, 5)(x), F.avg_pool2d(x, 3, 2, 1, True, False, 5))
    assert_array_equal(nn.Upsample(scale_factor=2)(x), F.interpolate(x, scale_factor=2))
    y, indices = nn.MaxPool2d(2, return_indices=True).eval()(x)
    for mine, operations in zip((y, indices), F.max_pool2d(x, 2, return_indices=True), strict=True):
        assert_array_equal(mine, operations)
    assert_allclose(nn.Sequential(nn.Flatten(), nn.Softmax(1))(x).sum(axis=1), 1)


def test_dropout_drops_a_part_in_training_and_nothing_in_evaluation(backend):
    layer, x = nn.Dropout(0.25, rng=0), np.ones((100, 100))
    y = layer(x)
    assert set(np.unique(y)) == {0.0, 4 / 3}
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.022)  # 5 standard errors
    assert_array_equal(layer.backward(x), y)
    assert not np.array_equal(layer(x), y)
    assert_array_equal(layer.eval()(x), x)
    assert_array_equal(nn.Dropout(0.25, rng=0)(x), y)


def test_batch_norm_follows_the_running_statistics(backend):
    layer, x = nn.BatchNorm1d(1, dtype=np.float64), np.array([[1.0], [3.0]])
    running_mean = layer.running_mean
    assert_allclose(layer(x), [[-1], [1]], rtol=1e-5)  # off by eps
    assert_allclose(layer.running_mean, [0.2])  # 0.9 * 0 + 0.1 * 2
    assert_allclose(layer.running_var, [1.1])  # 0.9 * 1 + 0.1 * 2, the unbiased variance
    assert layer.num_batches_tracked == 1
    assert layer.running_mean is running_mean
    assert_allclose(layer.eval()(x), (x - 0.2) / np.sqrt(1.1 + 1e-5))
    assert layer.num_batches_tracked == 1


def test_batch_norm_without_momentum_is_the_mean_over_batches(backend):
    layer = nn.BatchNorm1d(1, momentum=None, dtype=np.float64)
    for mean in (1.0, 2.0, 6.0):
        layer(np.array([[mean - 1], [mean + 1]]))
    assert_allclose(layer.running_mean, [3])
    assert_allclose(layer.running_var, [2])


def test_sequential_is_a_sequence():
    first, second, third = nn.Tanh(), nn.ReLU(), nn.Sigmoid()
    network = nn.Sequential(first, second).append(third)
    assert len(network) == 3
    assert list(network) == [first, second, third]
    assert network[-1] is third
    assert list(network[1:]) == [second, third]
    with pytest.raises(IndexError):
        network[3]


def test_skips_by_hand(backend):
    x = np.array([[1.0, -2.0]])
    skip = nn.Residual(nn.LeakyReLU(0.5))
    assert_array_equal(skip(x), [[2, -3]])
    assert_array_equal(skip.backward(np.array([[1.0, 1.0]])), [[2, 1.5]])
    beside = nn.Concat(nn.Identity(), nn.LeakyReLU(0.5))
    assert_array_equal(beside(x), [[1, -2, 1, -1]])
    assert_array_equal(beside.backward(np.array([[1.0, 1.0, 2.0, 2.0]])), [[3, 2]])


BAD = [
    (lambda: nn.Conv2d(0, 6, 3), ValueError, "in_channels is 0: an int of at least 1 is accepted"),
    (lambda: nn.Conv2d(1, 6.0, 3), TypeError, r"out_channels is 6\.0: an int"),
    (lambda: nn.Conv2d(True, 6, 3), TypeError, "in_channels is True: an int"),
    (lambda: nn.Conv2d(1, 6, 0), ValueError, "kernel_size is 0: an int of at least 1 is accepted, or 2 of them"),
    (lambda: nn.Conv2d(1, 6, (3, 3, 3)), ValueError, r"kernel_size is \(3, 3, 3\)"),
    (lambda: nn.Conv2d(1, 6, 3, stride=0), ValueError, "stride is 0"),
    (lambda: nn.Conv2d(1, 6, 3, padding=-1), ValueError, "padding is -1"),
    (lambda: nn.Conv2d(1, 6, 3, padding="full"), ValueError, "padding is 'full'"),
    (lambda: nn.Conv2d(1, 6, 3, padding=0.5), TypeError, r"padding is 0\.5"),
    (lambda: nn.Conv2d(1, 6, 3, dilation=0), ValueError, "dilation is 0"),
    (
        lambda: nn.Conv2d(4, 6, 3, groups=4),
        ValueError,
        "groups is 4, the channels are 4 in and 6 out: a common divisor",
    ),
    (lambda: nn.Conv2d(4, 6, 3, bias=0), TypeError, "bias is 0: True and False are accepted"),
    (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 2), ValueError, "output_padding is 2: less than the larger of stride"),
    (lambda: nn.MaxPool2d(2, padding=2), ValueError, "the window covers 2 pixels: less than the window"),
    (lambda: nn.MaxPool1d("2"), ValueError, "kernel_size is '2'"),
    (lambda: nn.MaxPool2d(2, ceil_mode=1), TypeError, "ceil_mode is 1"),
    (lambda: nn.AvgPool2d(2, divisor_override=0), ValueError, "divisor_override is 0"),
    (lambda: nn.Linear(-1, 2), ValueError, "in_features is -1"),
    (lambda: nn.BatchNorm2d(0), ValueError, "num_features is 0"),
    (lambda: nn.BatchNorm2d(2, eps=-1), ValueError, "eps is -1: a number of at least 0"),
    (lambda: nn.BatchNorm2d(2, momentum=2), ValueError, "momentum is 2: a number from 0 to 1"),
    (lambda: nn.Dropout(1.5), ValueError, r"p is 1\.5: a number from 0 to 1"),
    (lambda: nn.Dropout("half"), TypeError, "p is 'half'"),
    (lambda: nn.Dropout(rng=1.5), TypeError, r"rng is 1\.5"),
    (lambda: nn.Flatten(0.5), TypeError, r"start_dim is 0\.5"),
    (lambda: nn.Flatten(2)(np.zeros((2, 3))), ValueError, "start_dim is 2 and end_dim -1"),
    (lambda: nn.Unflatten(1, 4), TypeError, "unflattened_size is 4"),
    (lambda: nn.Unflatten(1, (0, 2)), ValueError, r"unflattened_size is \(0, 2\)"),
    (lambda: nn.Unflatten(1, (-1, -1)), ValueError, r"unflattened_size is \(-1, -1\)"),
    (lambda: nn.Unflatten(1, (2, 3))(np.zeros((1, 7))), ValueError, "x has 7 numbers along axis 1"),
    (lambda: nn.Unflatten(3, (2, 3))(np.zeros((1, 6))), ValueError, "dim is 3: one of x's 2 axes"),
    (lambda: nn.Upsample(), ValueError, "size is None and scale_factor None: exactly one"),
    (lambda: nn.Upsample(0), ValueError, "size is 0"),
    (lambda: nn.Upsample(scale_factor=0), ValueError, "scale_factor is 0"),
    (lambda: nn.Upsample(2, mode="cubic"), ValueError, "mode is 'cubic': one of 'nearest', 'linear'"),
    (lambda: nn.Upsample(2, align_corners=True), ValueError, "align_corners is True: None is accepted"),
    (lambda: nn.LeakyReLU("0.1"), TypeError, r"negative_slope is '0\.1'"),
    (lambda: nn.GELU("erf"), ValueError, "approximate is 'erf': one of 'none', 'tanh'"),
    (lambda: nn.Softmax(1.0), TypeError, r"dim is 1\.0"),
    (lambda: nn.Sequential(nn.Tanh(), np.tanh), TypeError, r"layers\[1\] is <ufunc 'tanh'>: a Module is accepted"),
    (lambda: nn.Concat(), ValueError, "branches is empty"),
    (lambda: nn.Residual(np.tanh), TypeError, "branch is <ufunc 'tanh'>: a Module is accepted"),
    (lambda: nn.Residual(nn.Tanh(), 3), TypeError, "shortcut is 3: a Module is accepted"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[f"{i}: {row[2]}" for i, row in enumerate(BAD)])
def test_bad_arguments_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_bad_inputs_are_told(backend):
    with pytest.raises(ValueError, match="weight has 1 input channels, x has 3"):
        nn.Conv2d(1, 6, 3)(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(TypeError, match="weight is float32, x is float64"):
        nn.Conv2d(1, 6, 3)(np.zeros((1, 1, 8, 8)))
    with pytest.raises(ValueError, match=r"x has shape \(2, 4\): 4 axes are accepted, 3 channels"):
        nn.BatchNorm2d(3)(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"the branch gives shape \(2, 3\), the shortcut \(2, 4\)"):
        nn.Residual(nn.Linear(4, 3))(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="shapes that differ in the channels alone are accepted"):
        nn.Concat(nn.Identity(), nn.MaxPool2d(2))(np.zeros((1, 1, 4, 4)))
    concat, flatten = nn.Concat(nn.Identity(), nn.Tanh()), nn.Flatten()
    concat(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"grad_output has shape \(1, 3\): 4 channels are accepted"):
        concat.backward(np.zeros((1, 3)))
    flatten(np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match=r"grad_output has shape \(2, 2\): \(1, 4\) is accepted"):
        flatten.backward(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2d(1, 6, 3), (1, 28, 28), r"input_shape is \(1, 28, 28\): 4 axes \(N, C and 2 spatial\)"),
        (nn.Conv2d(1, 6, 3), (1, 2, 28, 28), "of 2 channels: 1 are accepted"),
        (nn.Conv2d(1, 6, 3), (1, 1, 2, 2), "the filter covers 3 pixels"),
        (nn.ConvTranspose2d(2, 6, 3), (1, 1, 2, 2), "of 1 channels: 2 are accepted"),
        (nn.MaxPool2d(2), (1, 1, 4), "4 axes"),
        (nn.Linear(3, 2), (1, 4), "of 4 features: 3 are accepted"),
        (nn.BatchNorm1d(3), (1, 4), "2 or 3 axes are accepted, 3 channels"),
        (nn.Upsample(2, mode="bilinear"), (1, 1, 4), "4 axes are accepted in mode 'bilinear'"),
        (nn.Upsample((2, 2)), (1, 1, 4), r"size is \(2, 2\)"),
        (nn.Tanh(), (1, -1), "a sequence of ints of at least 0"),
    ],
    ids=lambda value: repr(value),
)
def test_bad_shapes_are_told_without_computing(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(shape)
