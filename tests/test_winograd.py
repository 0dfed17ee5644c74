"""Winograd's convolution against the reference in float64; as a script, some layers on this process's vectors."""

import numpy as np
import pytest
from guarded import Guard, tell
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from vector_widths import each_width, needs_guards, run_script

from fastconv.backends.cpu import finite, winograd, winograd_plans
from fastconv.backends.cpu.winograd_slots import cover
from fastconv.backends.cpu.winograd_transforms import matrices
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution

# Rounding errors of F(4 x 4), relative to the largest output, grow with the root of the channels: 1e-5 is twice what
# 512 channels show. F(2 x 2) errs like a direct sum.
BOUND = {4: 1e-5, 2: 2e-6}


@st.composite
def geometries(draw):
    """Convolutions of 3 x 3 with channels that fill no vector, any padding, and images down to a pixel."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels, filters = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    padding = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in range(2))
    size = tuple(max(3 - sum(p), draw(st.integers(1, 22)), 1) for p in padding)
    x = (draw(st.integers(1, 3)), channels * groups, *size)
    return convolution(x, (filters * groups, channels, 3, 3), 1, padding, 1, groups)


def arrays(geometry, seed=0):
    rng = np.random.default_rng(seed)
    shapes = geometry.input_shape, geometry.weight_shape, geometry.output_shape
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def biases(geometry):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(count, np.float32) for count in (geometry.out_channels, geometry.in_channels)]


def all_passes(geometry, m, threads):
    x, weight, grad = arrays(geometry)
    bias, back_bias = biases(geometry)
    y, grad_x, grad_weight = (np.full_like(a, np.nan) for a in (grad, x, weight))
    winograd.forward(x, weight, bias, y, geometry, threads, m)
    winograd.input_grad(weight, grad, back_bias, grad_x, geometry, threads, m)
    winograd.weight_grad(x, grad, grad_weight, geometry, threads)
    return y, grad_x, grad_weight


def expected(geometry):
    x, weight, grad = (a.astype(np.float64) for a in arrays(geometry))
    bias, back_bias = biases(geometry)
    return (
        reference.convolution(x, weight, bias, geometry),
        reference.convolution_input_grad(weight, grad, geometry, back_bias),
        reference.convolution_weight_grad(x, grad, geometry),
    )


def errors(found, wanted):
    return [np.abs(f - w).max() / np.abs(w).max() for f, w in zip(found, wanted, strict=True)]


@pytest.mark.parametrize("m", [2, 4])
@given(geometry=geometries())
def test_every_pass_is_the_reference(m, geometry):
    worst = errors(all_passes(geometry, m, 2), expected(geometry))
    assert max(worst[:2]) < BOUND[m]
    assert worst[2] < BOUND[4]


@pytest.mark.parametrize("m", [2, 4])
@given(geometry=geometries())
def test_one_thread_and_two_give_the_same_bits(m, geometry):
    for one, two in zip(all_passes(geometry, m, 1), all_passes(geometry, m, 2), strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("side", "m", "r"), [(6, m, 3) for m in (1, 2, 3, 4)] + [(6, 3, r) for r in (1, 2, 3)] + [(4, 1, 3)]
)
def test_lesser_tiles_share_the_filters_of_whole_ones(side, m, r):
    """A^T [(G g) * (B^T d)] is the correlation; taps have the first ones of the numbers that whole tiles' have."""
    output, weight, values = matrices(side, m, r)
    taps, data = np.arange(1.0, r + 1) ** 2, np.cos(np.arange(m + r - 1))
    assert_allclose(output @ (weight @ taps * (values @ data)), np.correlate(data, taps), rtol=1e-13, atol=1e-13)
    if r == 3:
        assert_array_equal(weight, matrices(side, side - 2, 3)[1][: m + 2])
    if m == 3:
        assert_array_equal(output, matrices(side, 3, side - 2)[0][:, : r + 2])


def test_lesser_tiles_have_fewer_products():
    assert cover(1, (14, 14), 4).products(4) == (3 * 6 + 4) ** 2
    assert cover(2, (12, 13), 4).products(4) == 2 * 3 * 6 * (3 * 6 + 3)
    assert cover(1, (4, 4 * 60 - 1), 4).products(4) == 6 * 6 * 60  # a row in several runs has whole ones alone


# More tiles than a block holds, several runs in a row, more channels and filters than a block, many parts.
LARGE = [
    ((2, 64, 40, 40), 64, 1),
    ((1, 70, 9, 230), 100, ((0, 1), (2, 0))),
    ((9, 130, 14, 14), 33, 1),
    ((1, 300, 5, 6), 150, 2),
]


@pytest.mark.parametrize(("shape", "filters", "padding"), LARGE)
def test_layers_of_many_blocks_are_right_on_any_number_of_threads(shape, filters, padding):
    geometry = convolution(shape, (filters, shape[1], 3, 3), 1, padding, 1, 1)
    found = all_passes(geometry, 4, 2)
    assert max(errors(found, expected(geometry))) < BOUND[4]
    for one, two in zip(all_passes(geometry, 4, 1), found, strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("resident", [1e-5, 0.05])
@pytest.mark.parametrize(("shape", "filters", "padding"), LARGE)
def test_products_in_parts_have_the_same_bits(shape, filters, padding, resident, monkeypatch):
    geometry = convolution(shape, (filters, shape[1], 3, 3), 1, padding, 1, 1)
    whole = all_passes(geometry, 4, 1)
    for name, value in {"RESIDENT": resident, "TILES": 1, "FEW": 8, "MANY": 30, "ROOM": 1 << 20}.items():
        monkeypatch.setattr(winograd_plans, name, value)
    winograd_plans.plan.cache_clear()
    try:
        for threads in (1, 2, 3):
            assert winograd_plans.plan(winograd_plans.problem(geometry, False), threads, 4, False).sizes.parts > 1
            for one, other in zip(whole, all_passes(geometry, 4, threads), strict=True):
                assert_array_equal(one, other)
    finally:
        winograd_plans.plan.cache_clear()


def test_an_impulse_shows_the_filter():
    geometry = convolution((1, 1, 5, 5), (1, 1, 3, 3), 1, 1, 1, 1)
    x, weight, y = (
        np.zeros((1, 1, 5, 5), np.float32),
        np.arange(9, dtype=np.float32),
        np.empty((1, 1, 5, 5), np.float32),
    )
    x[0, 0, 2, 2] = 1
    winograd.forward(x, weight.reshape(1, 1, 3, 3), None, y, geometry, 1, 2)
    assert_array_equal(y[0, 0, 1:4, 1:4], weight[::-1].reshape(3, 3))


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("shape", [(2, 40, 12, 12), (8, 20, 30, 30)])
def test_kept_filters_change_no_bit(m, shape):
    geometry = convolution(shape, (50, shape[1], 3, 3), 1, 1, 1, 1)
    x, weight, grad = arrays(geometry)
    bias, back_bias = biases(geometry)
    y, grad_x, _ = all_passes(geometry, m, 2)
    kept, kept_turned = (winograd.transformed(weight, geometry, 2, m, turned) for turned in (False, True))
    found, found_x = np.empty_like(y), np.empty_like(grad_x)
    winograd.forward(x, kept, bias, found, geometry, 2)
    winograd.input_grad(kept_turned, grad, back_bias, found_x, geometry, 2)
    assert_array_equal(found, y)
    assert_array_equal(found_x, grad_x)
    with pytest.raises(ValueError, match="turned=True: False is accepted"):
        winograd.forward(x, kept_turned, bias, found, geometry, 2)


@given(size=st.integers(1, 200_000), place=st.integers(0, 199_999), value=st.sampled_from([np.inf, -np.inf, np.nan]))
@settings(max_examples=15)
def test_one_number_that_is_not_finite_is_found(size, place, value):
    for dtype in (np.float32, np.float64):
        array = np.full(size, 2.0**48 if dtype is np.float32 else np.finfo(dtype).max, dtype)
        assert finite.all_finite(array, 2)
        array[place % size] = value
        assert not finite.all_finite(array, 2)


@given(
    geometry=geometries(),
    m=st.sampled_from([4, 2]),
    place=st.integers(0, 2**20),
    value=st.sampled_from([np.inf, -np.inf, np.nan]),
    where=st.integers(0, 2),
)
@settings(max_examples=60)
def test_results_are_finite_or_said_not_to_be(geometry, m, place, value, where):
    """Wherever a number that is not finite reaches the direct sum it is told of; what is called finite is right."""
    operands = arrays(geometry)
    operands[where].flat[place % operands[where].size] = value
    x, weight, grad = operands
    calls = (
        (winograd.forward, reference.convolution, (x, weight, None), grad, (m,)),
        (winograd.input_grad, lambda w, g, _, geometry: reference.convolution_input_grad(w, g, geometry),
         (weight, grad, None), x, (m,)),
        (winograd.weight_grad, reference.convolution_weight_grad, (x, grad), weight, ()),
    )  # fmt: skip
    for call, formula, args, like, more in calls:
        result = np.zeros_like(like)
        done = call(*args, result, geometry, 2, *more)
        with np.errstate(invalid="ignore"):
            known = formula(*(None if a is None else a.astype(np.float64) for a in args), geometry)
        if done:
            assert np.isfinite(known).all()
            assert abs(result - known).max() <= BOUND[m] * max(1, abs(known).max())


def test_cost_grows_with_the_work():
    small, large = (convolution((n, 64, 28, 28), (64, 64, 3, 3), 1, 1, 1, 1) for n in (1, 16))
    for operation in ("forward", "input_grad", "weight_grad"):
        assert 0 < winograd.cost(small, operation) < winograd.cost(large, operation)
    assert winograd.cost(small, "forward", kept=True) < winograd.cost(small, "forward")


@needs_guards
@pytest.mark.parametrize("side", ["before", "after"])
@given(geometry=geometries())
@settings(max_examples=15)
def test_no_byte_outside_of_the_arrays_is_touched(side, geometry):
    guard = Guard(side)
    x, weight, grad, bias, back_bias = map(guard.fixed, (*arrays(geometry), *biases(geometry)))
    y, grad_x, grad_weight = (guard.empty(array.shape, array.dtype) for array in (grad, x, weight))
    for m in (2, 4):
        winograd.forward(x, weight, bias, y, geometry, 2, m)
        winograd.input_grad(weight, grad, back_bias, grad_x, geometry, 2, m)
    winograd.weight_grad(x, grad, grad_weight, geometry, 2)
    assert finite.all_finite(x, 2)


def test_long_sums_of_four_by_four_are_not_accurate():
    deep = convolution((1, 4096, 7, 7), (8, 4096, 3, 3), 1, 1, 1, 1)
    assert not winograd.accurate(deep, "forward")
    assert winograd.accurate(deep, "forward", 2)
    assert winograd.accurate(deep, "input_grad")
    assert winograd.accurate(deep, "weight_grad")


@each_width
def test_every_vector_width_is_right(bits):
    run_script(bits, __file__)


def check_layers():
    """Every pass of some layers on this process's vectors: right, and the same bits on one thread and two."""
    for shape, filters, groups, m in [
        ((2, 21, 13, 17), 37, 1, 4),
        ((1, 10, 9, 9), 12, 2, 2),
        ((5, 70, 14, 30), 66, 1, 4),
    ]:
        geometry = convolution(shape, (filters, shape[1] // groups, 3, 3), 1, ((1, 2), (0, 1)), 1, groups)
        found = all_passes(geometry, m, 2)
        assert max(errors(found, expected(geometry))) < BOUND[4]
        for array, again in zip(found, all_passes(geometry, m, 1), strict=True):
            assert_array_equal(array, again)


if __name__ == "__main__":
    check_layers()
    tell("all right")
