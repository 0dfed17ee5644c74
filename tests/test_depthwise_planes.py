"""Depthwise layers that are filtered plane by plane: right at any border, block and tile, and beside guard pages."""

import numpy as np
import pytest
from guarded import guarding, tell
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from plan_passes import BOUND, arrays, expected, passes
from vector_widths import each_width, needs_guards, run_script

from fastconv.backends.cpu import convolution as cpu
from fastconv.backends.cpu import depthwise_plans, machine
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution


@st.composite
def geometries(draw):
    """Depthwise layers: any borders, also those that crop, strides of 1 and 2, and columns of taps apart."""
    channels, dilation = draw(st.integers(2, 9)), (1, draw(st.sampled_from([1, 1, 2, 3])))
    kernel = draw(st.sampled_from([(3, 3), (3, 3), (7, 1), (3, 2), (2, 4), (7, 5), (2, 6)]))  # few to compile
    stride = draw(st.sampled_from([1, 1, (1, 2), (2, 1), 2]))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in range(2))
    size = tuple(max(1, span - sum(p) + draw(st.integers(0, 40))) for span, p in zip(spans, padding, strict=True))
    return convolution(
        (draw(st.integers(1, 2)), channels, *size), (channels, 1, *kernel), stride, padding, dilation, channels
    )


def backward(geometry):
    """Whether input gradients go plane by plane too, of any width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise_plans, "NARROW", 1 << 30)
        return max(geometry.stride) == 1 or depthwise_plans.Layout(geometry, True, 4, 1, 2).by_phases


def by_planes(geometry, dtype, into=np.asarray, empty=np.empty, threads=2, tall=2):
    """Those of plans that go plane by plane."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise_plans, "SMALL", -1.0)
        patch.setattr(depthwise_plans, "TALL", tall)  # few tiles to compile
        patch.setattr(depthwise_plans, "LOW", min(tall, depthwise_plans.LOW))

        def planned(back, item):
            layout = depthwise_plans.Layout(geometry, back, item, threads, 2)
            return layout.joined() if back and max(geometry.stride) > 1 else layout.planes()

        return passes(geometry, dtype, planned, into, empty, backward(geometry))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@given(geometry=geometries())
@settings(max_examples=60)
def test_planes_are_the_reference(dtype, geometry):
    for found, wanted in zip(by_planes(geometry, dtype), expected(geometry, dtype, backward(geometry)), strict=True):
        assert_allclose(found, wanted, rtol=0, atol=BOUND[dtype] * np.abs(wanted).max())


@pytest.mark.parametrize("kernel", [(3, 3), (2, 2)])
def test_every_second_pixel_of_rows_of_any_width(kernel):
    for wide in range(3, 2 * machine.vectors().lanes(4) + 4):
        geometry = convolution((1, 3, 7, wide), (3, 1, *kernel), 2, 1, 1, 3)
        for found, wanted in zip(by_planes(geometry, "f4"), expected(geometry, "f4", backward(geometry)), strict=True):
            assert_allclose(found, wanted, rtol=0, atol=BOUND["f4"] * np.abs(wanted).max())


@given(geometry=geometries())
@settings(max_examples=20)
def test_bits_depend_neither_on_threads_nor_on_blocks(geometry):
    for one, *others in zip(*(by_planes(geometry, "f4", threads=threads) for threads in (1, 3, 40)), strict=True):
        for other in others:
            assert_array_equal(one, other)


@needs_guards
@pytest.mark.parametrize("side", ["before", "after"])
@given(geometry=geometries())
@settings(max_examples=15)
def test_no_byte_outside_of_the_arrays_is_touched(side, geometry):
    with guarding(side) as guard:
        found = by_planes(geometry, "f4", guard.fixed, guard.empty)
    for array, wanted in zip(found, expected(geometry, "f4", backward(geometry)), strict=True):
        assert_allclose(array, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_rows_that_fill_vectors_are_filtered_by_planes():
    lanes = machine.vectors().lanes(4)
    for stride, wide, planes in ((1, lanes, True), (2, 2 * lanes, True), (1, max(1, lanes // 4), False)):
        geometry = convolution((1, 8, 9, wide), (8, 1, 3, 3), stride, 1, 1, 8)
        for backward in (False, True):
            layout = depthwise_plans.Layout(geometry, backward, 4, 1, 2)
            phases = backward and stride > 1
            assert (layout.by_planes, layout.by_phases) == (planes and not phases, planes and phases)
    for stride, dilation in ((3, 1), (1, 2)):
        geometry = convolution((1, 8, 40, 40), (8, 1, 3, 3), stride, 2, dilation, 8)
        for backward in (False, True):
            layout = depthwise_plans.Layout(geometry, backward, 4, 1, 2)
            assert (layout.by_planes, layout.by_phases) == (False, False)


@pytest.mark.parametrize("stride", [1, 2])
def test_weights_that_are_not_finite_reach_what_they_meet(stride):
    geometry = convolution((1, 3, 20, 20), (3, 1, 3, 3), stride, 1, 1, 3)
    x, weight, grad, *_ = arrays(geometry, "f4")
    weight[1, 0, 0, 2] = np.inf
    with np.errstate(all="ignore"):
        wanted = reference.convolution_input_grad(weight, grad, geometry)
        assert_allclose(cpu.convolution_input_grad(weight, grad, geometry), wanted, rtol=1e-4, atol=1e-5)
        assert_allclose(
            cpu.convolution(x, weight, None, geometry),
            reference.convolution(x, weight, None, geometry),
            rtol=1e-4,
            atol=1e-5,
        )


@each_width
def test_every_vector_width_is_right(bits):
    run_script(bits, __file__)


def check_layers():
    """Some layers on this process's vectors: right, and the same bits on one thread and two."""
    for size, kernel, padding, stride in [
        ((13, 37), (3, 3), 1, 1),
        ((13, 37), (3, 3), 1, 2),
        ((30, 8), (5, 2), ((1, 2), (0, 3)), 1),
        ((9, 70), (7, 5), 3, (1, 2)),
        ((14, 14), (3, 3), 1, 2),
        ((33, 71), (5, 6), 2, (2, 1)),
    ]:
        geometry = convolution((2, 7, *size), (7, 1, *kernel), stride, padding, 1, 7)
        for dtype, bound in BOUND.items():
            found, wanted = by_planes(geometry, dtype, tall=8), expected(geometry, dtype, backward(geometry))
            for array, again, right in zip(found, by_planes(geometry, dtype, threads=1, tall=8), wanted, strict=True):
                assert_array_equal(array, again)
                assert np.abs(array - right).max() < bound * np.abs(right).max()


if __name__ == "__main__":
    check_layers()
    tell("all right")
