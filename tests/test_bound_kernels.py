"""Activations, losses and optimizers as steps: what the unbound functions give, to the last bit, however it is run."""

import math
from itertools import chain, pairwise
from unittest import mock

import numpy as np
import pytest
from guarded import Guard
from numpy.testing import assert_allclose, assert_array_equal
from steps import run_ranges
from vector_widths import needs_guards

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import activation, exponentials, loss_steps, machine, optimizer, optimizer_steps
from fastconv.backends.cpu.branches import add
from fastconv.backends.cpu.elementwise import SLOW, Mapping
from fastconv.backends.cpu.exponentials import NONE, RELU, SIGMOID, TANH
from fastconv.backends.cpu.machine import WIDTHS, Vectors

INF, NAN = np.inf, np.nan
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
widths = pytest.mark.parametrize("bits", WIDTHS)


@pytest.fixture(autouse=True)
def cpu():
    with fc.use_backend("cpu"):
        yield


def forced(bits):
    """Steps that are made within are for registers of so many bits; what is not bound keeps the machine's own."""
    return mock.patch.object(machine, "vectors", return_value=Vectors(bits, 32 if bits == 512 else 16))


def run(*steps, pieces=1):
    """Run steps in order; the tasks of each in so many ranges, the last one first."""
    for step in steps:
        edges = np.linspace(0, step.tasks, min(pieces, step.tasks) + 1).astype(int)
        run_ranges(step, reversed(list(pairwise(edges))))


def patterns(dtype, count=500_009):
    """Numbers at equal distances among all bit patterns."""
    size = np.dtype(dtype).itemsize
    return (np.arange(count, dtype=np.uint64) * np.uint64(2 ** (8 * size) // count)).astype(f"u{size}").view(dtype)


@dtypes
@pytest.mark.parametrize(
    ("formula", "exact", "usable", "limits"),
    [
        (exponentials.exponential, np.exp, lambda x: x == x, (2, 1)),
        (exponentials.less_one, np.expm1, lambda x: x <= 0, (2, 1)),
        (exponentials.logarithm, np.log, lambda x: x == x, (2, 1)),
        (exponentials.logarithm_of_more, np.log1p, lambda x: (x >= -1) & (x < 1e30), (2, 2)),
    ],
)
def test_errors_are_a_unit_or_two_in_the_last_place(formula, exact, usable, limits, dtype, rng):
    if dtype == np.float64 and np.finfo(np.longdouble).eps > 2.0**-60:
        pytest.skip("no numbers that are more exact than float64")
    near_one = 1 + rng.uniform(-1, 1, 100_003) * 2.0 ** -rng.integers(0, 30, 100_003)
    x = np.concatenate([patterns(dtype), rng.uniform(-30, 30, 100_003).astype(dtype), near_one.astype(dtype)])
    x = x[usable(x)]
    y = Mapping(formula, 0, SLOW, "tested")(x)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64 if dtype == np.float32 else np.longdouble))
        nearest = expected.astype(dtype)
        finite = np.isfinite(nearest)
        distance = np.abs(y - expected)[finite] / np.spacing(np.abs(nearest[finite]))
    assert distance.max() <= limits[dtype == np.float64]
    assert_array_equal(y[~finite], nearest[~finite])


@dtypes
def test_ends_of_exponential_and_logarithm(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    exponential, logarithm = (Mapping(f, 0, SLOW, "f") for f in (exponentials.exponential, exponentials.logarithm))
    assert_array_equal(
        exponential(np.array([0, -0.0, -INF, INF, NAN, -2000, 2000], dtype)), [1, 1, 0, INF, NAN, 0, INF]
    )
    assert_array_equal(
        logarithm(np.array([1, 0, -0.0, -1, INF, -INF, NAN], dtype)), [0, -INF, -INF, NAN, INF, NAN, NAN]
    )
    assert_allclose(logarithm(np.array([tiny], dtype)), math.log2(tiny) * math.log(2), rtol=1e-6)


@dtypes
@widths
@pytest.mark.parametrize(("kind", "name"), [(RELU, "relu"), (TANH, "tanh"), (SIGMOID, "sigmoid")])
def test_activations_and_slopes_are_the_functions(dtype, bits, kind, name, rng):
    x = rng.standard_normal((3, 5, 1001)).astype(dtype) * 3
    x[0, 0, :5] = NAN, INF, -INF, 0, -0.0
    grad, y = rng.standard_normal(x.shape).astype(dtype), np.empty_like(x)
    grad_x = np.empty_like(x)
    with forced(bits):
        forward, backward = activation.activate(kind, x, y, 0), activation.apply_slope(kind, grad, y, grad_x, 3)
        in_place = activation.apply_slope(kind, grad, y, grad, 0), activation.activate(kind, x, x, 3)
    run(forward)
    assert_array_equal(y, getattr(F, name)(x))
    run(backward, pieces=2)
    assert_array_equal(grad_x, getattr(F, f"{name}_input_grad")(grad, y))
    run(*in_place, pieces=3)
    assert_array_equal(grad, grad_x)
    assert_array_equal(x, y)


@pytest.mark.parametrize("images", [0, 1, 4])
@pytest.mark.parametrize("rest", [0, 1, 17, 4096, 4097, 9000])
def test_tasks_are_images_or_pieces_of_them(images, rest, rng):
    x = rng.standard_normal((max(images, 1), rest))
    y = np.full_like(x, NAN)
    step = activation.activate(NONE, x, y, images)
    assert step.images == images
    assert step.tasks % max(images, 1) == 0
    run(step, pieces=7)
    assert_array_equal(x, y)
    run(add(x, y, y, images), pieces=7)
    assert_array_equal(2 * x, y)


@dtypes
@widths
@pytest.mark.parametrize("shape", [(1, 10), (64, 10), (3, 1), (17, 33), (9, 1000)])
def test_cross_entropy_is_the_functions(dtype, bits, shape, rng):
    x, labels = rng.standard_normal(shape).astype(dtype) * 4, rng.integers(0, shape[1], shape[0])
    labels[shape[0] // 2 :: 5] = -100 if shape[0] > 1 else 0
    loss, grad = np.full(1, NAN, dtype), np.full(shape, NAN, dtype)
    with forced(bits):
        steps = loss_steps.cross_entropy(x, labels, loss, grad)
    run(*steps, pieces=3)
    if bits == machine.vectors().bits:
        assert loss[0] == F.cross_entropy(x, labels)
        assert_array_equal(grad, F.cross_entropy_input_grad(None, x, labels))
    with fc.use_backend("reference"):
        exact = x.astype(np.float64)
        # the loss is a few roundings of the largest score, each share a few of itself
        assert_allclose(loss[0], F.cross_entropy(exact, labels), rtol=4 * np.finfo(dtype).eps)
        expected = F.cross_entropy_input_grad(None, exact, labels)
        assert_allclose(grad, expected, rtol=0, atol=8 * np.finfo(dtype).eps / shape[0])


@dtypes
def test_cross_entropy_of_infinities_by_hand(dtype):
    x = np.array([[0, -INF, 0], [-INF, 5, -INF], [1000, -1000, -1000]], dtype)
    loss, grad = np.empty(1, dtype), np.empty_like(x)
    run(*loss_steps.cross_entropy(x, np.array([0, 1, 1]), loss, grad))
    assert_allclose(loss, [(np.log(2) + 2000) / 3], rtol=1e-6)
    assert_allclose(3 * grad, [[-0.5, 0, 0.5], [0, 0, 0], [1, -1, 0]], rtol=1e-6)
    x[0, 1] = NAN
    run(*loss_steps.cross_entropy(x, np.array([0, 1, 1]), loss, grad))
    assert_array_equal(np.isnan(grad), [[True] * 3, [False] * 3, [False] * 3])
    assert np.isnan(loss[0])


def test_labels_are_checked():
    flag = np.full(1, 7)
    for labels, wrong in (([0, 9, -100, 3], 0), ([0, 10], 1), ([-1, 3], 1), ([], 0)):
        run(loss_steps.check_labels(np.array(labels, np.int64), 10, flag))
        assert flag[0] == wrong


@dtypes
@widths
def test_probabilities_are_checked(dtype, bits):
    for place, value, wrong in ((0, 0.5, 0), (3, NAN, 0), (36, 1.0, 0), (36, 1.1, 1), (0, -1e-9, 1)):
        array, flag = np.full(37, 0.5, dtype), np.zeros(1, np.int64)
        array[place] = value
        with forced(bits):
            step = loss_steps.check_probabilities(array, flag)
        run(step)
        assert flag[0] == wrong


@dtypes
@widths
@pytest.mark.parametrize(
    ("step", "name"),
    [
        (loss_steps.mse, "mse_loss"),
        (loss_steps.l1, "l1_loss"),
        (loss_steps.binary_cross_entropy, "binary_cross_entropy"),
        (loss_steps.binary_cross_entropy_with_logits, "binary_cross_entropy_with_logits"),
    ],
)
def test_losses_of_pairs_are_the_functions(dtype, bits, step, name, rng):
    for shape in ((1,), (3, 5), (7, 1801)):
        x, target = rng.uniform(0, 1, (2, *shape)).astype(dtype)
        x.flat[0] = target.flat[0]
        loss, grad = np.full(1, NAN, dtype), np.full(shape, NAN, dtype)
        with forced(bits):
            steps = step(x, target, loss, grad)
        run(*steps, pieces=3)
        assert_array_equal(grad, getattr(F, f"{name}_input_grad")(None, x, target))
        if bits == machine.vectors().bits:
            assert loss[0] == getattr(F, name)(x, target)
        with fc.use_backend("reference"):
            expected = getattr(F, name)(x.astype(np.float64), target.astype(np.float64))
        # near 0 log(1 + x) keeps the absolute error of its argument
        assert_allclose(loss[0], expected, rtol=16 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


SIZES = [(3, 1, 2), (0,), (9000,), (1,), (4096,), (17, 5)]


def parameters(rng, dtype, kinds):
    return [[rng.random(shape).astype(dtype) for shape in SIZES] for _ in range(kinds)]


@dtypes
@widths
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("flag", [False, True])
def test_sgd_of_all_parameters_is_that_of_each(dtype, bits, momentum, decay, flag, rng):
    data, grads, velocities = parameters(rng, dtype, 3)
    expected = [[array.copy() for array in arrays] for arrays in (data, velocities)]
    numbers = np.empty(optimizer_steps.SGD_NUMBERS, dtype)
    with forced(bits):
        steps = optimizer_steps.sgd(data, grads, velocities if momentum else [None] * len(data), numbers)
    for first in (True, False):
        options = 0.05, momentum, 0.2, decay, flag, first
        numbers[:] = optimizer_steps.sgd_numbers(*options)
        run(*steps, pieces=3)
        for one, grad, velocity in zip(expected[0], grads, expected[1], strict=True):
            optimizer.sgd(one, grad, velocity, *options)
    for one, two in zip(chain(*expected), data + velocities, strict=True):
        assert_array_equal(one, two)


@dtypes
@widths
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_of_all_parameters_is_that_of_each(dtype, bits, decoupled, rng):
    data, grads, means, squares = parameters(rng, dtype, 4)
    expected = [[array.copy() for array in arrays] for arrays in (data, means, squares)]
    numbers = np.empty(optimizer_steps.ADAM_NUMBERS, dtype)
    with forced(bits):
        steps = optimizer_steps.adam(data, grads, means, squares, numbers)
    for count in (1, 2):
        options = count, 0.01, 0.9, 0.99, 1e-8, 0.1, decoupled
        numbers[:] = optimizer_steps.adam_numbers(*options)
        run(*steps, pieces=3)
        for one, grad, mean, square in zip(expected[0], grads, *expected[1:], strict=True):
            optimizer.adam(one, grad, mean, square, *options)
    for one, two in zip(chain(*expected), data + means + squares, strict=True):
        assert_array_equal(one, two)


def test_parameters_without_numbers_need_no_steps():
    empty = [np.empty(0)]
    assert optimizer_steps.sgd(empty, empty, [None], np.empty(optimizer_steps.SGD_NUMBERS)) == []


@needs_guards
@dtypes
@widths
@pytest.mark.parametrize("side", ["before", "after"])
def test_nothing_beside_the_arrays_is_touched(dtype, bits, side, rng):
    guard = Guard(side)
    for size in (1, 5, 16, 35):
        x, grad = (guard.fixed(rng.uniform(0, 1, size).astype(dtype)) for _ in range(2))
        y, moved, velocity = (guard.empty(size, dtype) for _ in range(3))
        y[:] = moved[:] = velocity[:] = 0
        numbers = guard.fixed(np.array([0.1, 0.9, 1, 0, 0, 0], dtype))
        labels, loss = guard.fixed(np.array([size - 1])), guard.empty(1, dtype)
        with forced(bits):
            steps = [
                activation.activate(TANH, x, y, 0),
                activation.apply_slope(TANH, grad, x, y, 0),
                *optimizer_steps.sgd([moved], [grad], [velocity], numbers),
                *loss_steps.binary_cross_entropy_with_logits(x, grad, loss, y),
                *loss_steps.cross_entropy(x.reshape(1, -1), labels, loss, y.reshape(1, -1)),
            ]
        run(*steps)
        assert np.isfinite(loss[0])
