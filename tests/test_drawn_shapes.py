"""Shapes that nobody chose: right, the same bits on any number of threads, NaN and infinity where they belong."""

import numpy as np
import pytest
from drawn import arrays, calls, draw, few_tiles
from numpy.testing import assert_allclose, assert_array_equal
from shapes import Case

import fastconv as fc
import fastconv.functional as F
from fastconv import geometry
from fastconv.backends.cpu import plans, weight_plans

SHAPES = 300
THREADS = 1, 2, 5  # their number decides blocks even where there are fewer processors
# Of the largest number of a result: sums of at most some thousand products of standard normals.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


@pytest.fixture(autouse=True)
def default_threads():
    yield
    fc.set_num_threads(None)


def results(case, given, threads=None):
    """Every pass's result on the cpu, or on the reference for None threads, by name."""
    fc.set_num_threads(threads)
    with fc.use_backend("cpu" if threads else "reference"):
        return {name: function() for name, function in calls(case, *given, lambda array: array).items()}


def test_all_passes_are_right_and_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(31)
    with few_tiles(31):
        for _ in range(SHAPES):
            case = draw(rng)
            single = arrays(case, np.float32)
            double = [array.astype(np.float64) for array in single]
            expected = results(case, double)
            for given in (single, double):
                dtype = given[0].dtype
                once, *others = (results(case, given, threads) for threads in THREADS)
                for name, wanted in expected.items():
                    limit = TOLERANCE[dtype.type] * np.abs(wanted).max(initial=0)
                    assert once[name].dtype == dtype
                    assert_allclose(once[name], wanted, rtol=0, atol=limit, err_msg=f"{name} of {case}")
                    for other in others:
                        assert_array_equal(once[name], other[name], f"{name} of {case}")


@pytest.mark.parametrize(("channels", "side"), [(3, 100), (16, 112), (32, 56)])
def test_large_layers_of_few_channels_have_the_same_bits_on_any_number_of_threads(channels, side, rng):
    """A depthwise layer's gradients sum over blocks of rows, of which a call with few channels has several."""
    x, grad = rng.standard_normal((2, 1, channels, side, side)).astype(np.float32)
    weight = rng.standard_normal((channels, 1, 3, 3)).astype(np.float32)
    found = []
    for threads in (1, 2, 3, 5, 8):
        fc.set_num_threads(threads)
        found.append(
            (
                F.conv2d(x, weight, None, 1, 1, 1, channels),
                F.conv2d_input_grad(x.shape, weight, grad, 1, 1, 1, channels),
                F.conv2d_weight_grad(x, weight.shape, grad, 1, 1, 1, channels),
            )
        )
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_nan_and_infinity_reach_what_they_reach_in_the_reference(seed):
    rng = np.random.default_rng(seed)
    with few_tiles(seed):
        for _ in range(30):
            case = draw(rng)
            for where in range(5):
                given = arrays(case, np.float32 if seed % 2 else np.float64)
                for value in rng.choice([np.nan, np.inf, -np.inf], rng.integers(1, 3)):
                    place(value, given[where], rng)
                expected = results(case, [array.astype(np.float64) for array in given])
                for name, found in results(case, given, 2).items():
                    message = f"{name} of {case}, argument {where}"
                    for test in (np.isnan, np.isposinf, np.isneginf):
                        assert_array_equal(test(found), test(expected[name]), message)


@pytest.mark.parametrize("algorithm", ["auto", "winograd", "fft"])
@pytest.mark.parametrize("huge", ["x", "weight", "grad"])
def test_numbers_that_are_nearly_infinite_make_none_that_are(huge, algorithm, rng):
    shapes = {"x": (1, 32, 28, 28), "weight": (32, 32, 3, 3), "grad": (1, 32, 28, 28)}
    given = {name: rng.choice([-1e-3, 1e-3], shape) * (1e41 if name == huge else 1) for name, shape in shapes.items()}
    x, weight, grad = (array.astype(np.float32) for array in given.values())
    passes = [
        lambda **more: F.conv2d(x, weight, padding=1, **more),
        lambda **more: F.conv2d_input_grad(x.shape, weight, grad, padding=1, **more),
        lambda **more: F.conv2d_weight_grad(x, weight.shape, grad, padding=1, **more),
    ]
    for function in passes:
        expected = function(algorithm="direct")
        assert np.isfinite(expected).all()
        assert_allclose(function(algorithm=algorithm), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def place(value, array, rng):
    """Put a value into an array: at an end of each axis, or anywhere."""
    if array.size:
        array[tuple(int(rng.choice([0, n - 1, rng.integers(n)])) for n in array.shape)] = value


@pytest.mark.parametrize("rank", [1, 2])
def test_strips_of_a_large_dilation_leave_out_what_no_tap_meets(rank):
    pixels, far = {1: (2_000_000, 500_000), 2: (512, 128)}[rank]
    shapes = (1, 1, *[pixels] * rank), (1, 1, *[3] * rank)
    shape = geometry.convolution(*shapes, stride=1, padding=far, dilation=far, groups=1)
    near = geometry.convolution(*shapes, stride=1, padding=1, dilation=1, groups=1)
    for plan in (lambda g: plans.planned(g, False, 4, 1), lambda g: plans.planned(g, True, 4, 1),
                 lambda g: weight_plans.planned(g, 4, 1)):  # fmt: skip
        assert plan(shape).workspace <= 3**rank * plan(near).workspace  # a block of pixels for each tap


@pytest.mark.parametrize("stride", [1, 2])
def test_images_of_a_task_share_weights(stride):
    options = {"stride": (stride, stride), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    case = Case(2, (8, 24, 9, 9), (40, 24, 3, 3), options, 5)
    shape = geometry.convolution(case.x_shape, case.weight_shape, **case.options)
    found = [plans.planned(shape, backward, 4, 1) for backward in (False, True)]
    assert all(plan.tasks < case.x_shape[0] for plan in found)
    single = arrays(case, np.float32)
    expected = results(case, [array.astype(np.float64) for array in single])
    once, twice = (results(case, single, threads) for threads in (1, 2))
    for name, wanted in expected.items():
        assert_allclose(once[name], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(), err_msg=name)
        assert_array_equal(once[name], twice[name], name)
