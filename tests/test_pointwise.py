"""Convolution by single taps over many pixels: right at any size and block, on any threads, and beside guard pages."""

import numpy as np
import pytest
from guarded import guarding, tell
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from plan_passes import BOUND, arrays, expected, passes
from vector_widths import each_width, needs_guards, run_script

import fastconv as fc
from fastconv.backends.cpu import algorithms, pointwise_plans, weight_plans
from fastconv.backends.cpu import convolution as cpu
from fastconv.backends.cpu.machine import Vectors, vectors
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution


@st.composite
def geometries(draw):
    """Layers of single taps: images of any rank, groups, and filters that fill no tile."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = draw(st.integers(1, 40)) * groups, draw(st.integers(1, 40)) * groups
    size = draw(st.sampled_from([(1,), (13,), (47,), (48,), (7, 15), (130,), (3, 5, 11), (29, 31)]))
    shape = draw(st.integers(1, 3)), channels, *size
    stride = tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in size)
    return convolution(shape, (filters, channels // groups, *(1,) * len(size)), stride, 0, 1, groups)


def both_passes(geometry, dtype, into=np.asarray, empty=np.empty, threads=2, block=4000):
    """Those of plans for blocks of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pointwise_plans, "BLOCK", block)
        patch.setattr(pointwise_plans, "SMALL", -1.0)
        patch.setattr(pointwise_plans, "suits", lambda sum_, *_: all(axis.step == 1 for axis in sum_.axes))
        if max(geometry.stride) > 1:  # whose pixels are only sampled where registers are few
            patch.setattr(pointwise_plans, "vectors", lambda: Vectors(vectors().bits, 16))
        planned = pointwise_plans.planned.__wrapped__
        return passes(geometry, dtype, lambda *which: planned(geometry, *which, threads), into, empty)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("block", [1, 4000, 1 << 20])
@given(geometry=geometries())
@settings(max_examples=30)
def test_it_is_the_reference(dtype, block, geometry):
    for found, wanted in zip(both_passes(geometry, dtype, block=block), expected(geometry, dtype), strict=True):
        assert_allclose(found, wanted, rtol=0, atol=BOUND[dtype] * np.abs(wanted).max())


@given(geometry=geometries())
@settings(max_examples=20)
def test_bits_depend_neither_on_threads_nor_on_blocks(geometry):
    for one, *others in zip(
        both_passes(geometry, "f4", threads=1),
        both_passes(geometry, "f4", threads=3),
        both_passes(geometry, "f4", threads=40),
        both_passes(geometry, "f4", block=1 << 20),
        strict=True,
    ):
        for other in others:
            assert_array_equal(one, other)


def touches_nothing_else(side, call, geometry, wanted):
    """Raise unless a call beside pages that can't be touched gives what is wanted."""
    with guarding(side) as guard:
        found = call(geometry, "f4", guard.fixed, guard.empty)
    assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def weight_grad(geometry, dtype, into=np.asarray, empty=np.empty, threads=2):
    """The filters' gradient, of pixels in place, or of samples."""
    x, _, grad, *_ = map(into, arrays(geometry, dtype))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weight_plans, "SMALL", -1.0)
        patch.setattr(weight_plans, "vectors", lambda: Vectors(vectors().bits, 16))
        plan = weight_plans.planned.__wrapped__(geometry, x.itemsize, threads)
        found, space = empty(geometry.weight_shape, dtype), np.empty(plan.workspace, np.uint8)
        plan.program.on(plan.threads, x, grad, None, found, space)
    return found


def weight_grad_expected(geometry, dtype):
    x, _, grad, *_ = (array.astype(np.float64) for array in arrays(geometry, dtype))
    return reference.convolution_weight_grad(x, grad, geometry)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@given(geometry=geometries())
@settings(max_examples=15)
def test_gradients_of_filters_are_the_references(dtype, geometry):
    wanted = weight_grad_expected(geometry, dtype)
    found = [weight_grad(geometry, dtype, threads=threads) for threads in (1, 2, 5)]
    assert_allclose(found[0], wanted, rtol=0, atol=BOUND[dtype] * np.abs(wanted).max())
    for other in found[1:]:
        assert_array_equal(other, found[0])


@needs_guards
@pytest.mark.parametrize("side", ["before", "after"])
@given(geometry=geometries())
@settings(max_examples=8)
def test_no_byte_outside_of_the_arrays_is_touched_by_gradients_of_filters(side, geometry):
    touches_nothing_else(side, weight_grad, geometry, weight_grad_expected(geometry, "f4"))


@st.composite
def spreading(draw):
    """Layers whose filters are as large as their strides, 2 x 2."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = draw(st.integers(1, 40)) * groups, draw(st.integers(1, 9)) * groups
    high, wide = draw(st.sampled_from([(1, 1), (3, 2), (7, 7), (1, 40), (5, 24), (11, 13)]))
    shape = draw(st.integers(1, 3)), filters, 2 * high, 2 * wide
    return convolution(shape, (channels, filters // groups, 2, 2), 2, 0, 1, groups)


def spread(geometry, dtype, into=np.asarray, empty=np.empty, threads=2, block=4000):
    """The input's gradient, with a bias for each channel."""
    _, weight, grad, _, bias = map(into, arrays(geometry, dtype))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pointwise_plans, "BLOCK", block)
        patch.setattr(pointwise_plans, "SMALL", -1.0)
        for name in ("SPREADING", "SPREADING_FEW"):
            patch.setattr(pointwise_plans, name, 1)
        patch.setattr(pointwise_plans, "suits", lambda sum_, *_: np.prod(sum_.kernel) == 1)
        y = empty(geometry.input_shape, dtype)
        assert cpu.run(pointwise_plans.planned.__wrapped__(geometry, True, y.itemsize, threads), grad, weight, bias, y)
    return y


def spread_expected(geometry, dtype):
    _, weight, grad, _, bias = (array.astype(np.float64) for array in arrays(geometry, dtype))
    return reference.convolution_input_grad(weight, grad, geometry, bias)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@given(geometry=spreading())
@settings(max_examples=30)
def test_pixels_are_spread_to_2_by_2(dtype, geometry):
    wanted = spread_expected(geometry, dtype)
    found = [
        spread(geometry, dtype, threads=threads, block=block) for threads, block in ((1, 1), (2, 4000), (3, 1 << 20))
    ]
    assert_allclose(found[0], wanted, rtol=0, atol=BOUND[dtype] * np.abs(wanted).max())
    for other in found[1:]:
        assert_array_equal(other, found[0])


@needs_guards
@pytest.mark.parametrize("side", ["before", "after"])
@given(geometry=spreading())
@settings(max_examples=15)
def test_no_byte_outside_of_the_arrays_is_touched_by_spreading(side, geometry):
    touches_nothing_else(side, spread, geometry, spread_expected(geometry, "f4"))


@needs_guards
@pytest.mark.parametrize("side", ["before", "after"])
@given(geometry=geometries())
@settings(max_examples=15)
def test_no_byte_outside_of_the_arrays_is_touched(side, geometry):
    with guarding(side) as guard:
        found = both_passes(geometry, "f4", guard.fixed, guard.empty)
    for array, wanted in zip(found, expected(geometry, "f4"), strict=True):
        assert_allclose(array, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_what_is_not_finite_reaches_what_it_meets_alone():
    geometry = convolution((2, 25, 28, 28), (17, 25, 1, 1), 1, 0, 1, 1)
    x, weight, *_ = arrays(geometry, "f4")
    x[1, 3, 2, 5], weight[16, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        y = fc.functional.conv2d(x, weight)
    wanted = np.zeros(y.shape, bool)
    wanted[1, :, 2, 5] = wanted[:, 16] = True
    assert_array_equal(~np.isfinite(y), wanted)


def test_images_of_many_pixels_are_taken_this_way():
    def plan(shape, weight, stride=1, padding=0, which="forward"):
        return algorithms.direct_plan(convolution(shape, weight, stride, padding, 1, 1), which, 4, 2)

    for which in ("forward", "input_grad"):
        assert isinstance(plan((1, 32, 28, 28), (32, 32, 1, 1), which=which), pointwise_plans.Plan)
    few = vectors().few  # then smaller images are too, more of them where filters are packed, and samples of images
    for count, which, taken in ((1, "forward", few), (1, "input_grad", False), (4, "input_grad", few)):
        found = plan((count, 32, 7, 7), (32, 32, 1, 1), which=which)
        assert isinstance(found, pointwise_plans.Plan) == taken
    assert isinstance(plan((1, 32, 56, 56), (32, 32, 1, 1), 2), pointwise_plans.Plan) == few
    for shape, weight, *more in (
        ((1, 32, 3, 3), (32, 32, 1, 1)),
        ((1, 32, 28, 28), (32, 32, 1, 1), 1, 1),
        ((1, 32, 56, 56), (32, 32, 1, 1), 2, 1),
        ((1, 32, 28, 28), (32, 32, 3, 3)),
        ((1, 32, 28, 28), (2, 32, 1, 1)),
        ((1, 3, 28, 28), (32, 3, 1, 1)),
        ((1, 2048, 28, 28), (2048, 2048, 1, 1)),
    ):
        assert not isinstance(plan(shape, weight, *more), pointwise_plans.Plan)


@each_width
def test_every_vector_width_is_right(bits):
    run_script(bits, __file__)


def check_layers():
    """Some layers on this process's vectors: right, and the same bits on one thread and two."""
    for shape, weight, groups in [
        ((2, 24, 11, 13), (20, 24, 1, 1), 1),
        ((1, 40, 48), (19, 20, 1), 1),
        ((3, 16, 9, 9), (34, 8, 1, 1), 2),
    ]:
        weight = (weight[0], shape[1] // groups, *weight[2:])
        geometry = convolution(shape, weight, 1, 0, 1, groups)
        for dtype, bound in BOUND.items():
            found, wanted = both_passes(geometry, dtype), expected(geometry, dtype)
            for array, again, right in zip(found, both_passes(geometry, dtype, threads=1), wanted, strict=True):
                assert_array_equal(array, again)
                assert np.abs(array - right).max() < bound * np.abs(right).max()


if __name__ == "__main__":
    check_layers()
    tell("all right")
