"""Taps that meet padding alone, in rows or in pixels, are left out: sums are the same, and so is what is not finite."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plan_passes import arrays

import fastconv as fc
from fastconv.backends.cpu import convolution as cpu
from fastconv.backends.cpu import left_out, plans
from fastconv.backends.cpu.axes import Axis
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution

LAYERS = {
    "5x5 on 7x7": ((4, 40, 7, 7), (64, 40, 5, 5), 1, 2),
    "stride": ((9, 40, 10, 12), (33, 40, 5, 3), 2, (2, 1)),
    "dilation": ((8, 24, 9, 9), (48, 24, 3, 3), (1, 1), (4, 0)),
    "rows that see nothing": ((8, 24, 6, 9), (48, 24, 3, 3), 1, (5, 1)),
    "volumes": ((4, 16, 3, 6, 6), (32, 16, 3, 5, 5), 1, (1, 2, 2)),
    "groups": ((8, 48, 7, 7), (64, 24, 5, 5), 1, 2),
    "pixels of rows": ((2, 64, 14, 14), (64, 64, 3, 3), 1, 1),
    "two tiles in a row": ((1, 64, 12, 28), (32, 64, 3, 5), 1, (1, 2)),
}


def layer(name):
    shape, weight, stride, padding = LAYERS[name]
    dilation = (4, 1) if name == "dilation" else 1
    return convolution(shape, weight, stride, padding, dilation, shape[1] // weight[1])


@pytest.mark.parametrize("name", LAYERS)
def test_these_layers_leave_rows_out(name):
    assert plans.planned(layer(name), False, 4, 1).finite_only
    assert not plans.planned(layer(name), False, 4, 1, leaves_out=False).finite_only


def test_taps_are_told_apart_by_the_pixels_that_they_miss():
    axis = Axis(14, 14, 1, (((0, -2), (1, -1), (2, 0), (3, 1)),))
    assert_array_equal(left_out.kinds_of(axis, axis.phases[0]), [0, 0, 1, 2])
    strided = Axis(14, 7, 2, (((0, -1), (1, 0), (2, 1)),))
    assert_array_equal(left_out.kinds_of(strided, strided.phases[0]), [0, 1, 1])
    narrow = Axis(1, 1, 1, (((0, -1), (1, 0), (2, 1)),))
    assert_array_equal(left_out.kinds_of(narrow, narrow.phases[0]), [0, 1, 2])


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_of_tiles_sums_the_taps_that_see_a_pixel_in_it(rows):
    high = Axis(5, 5, 1, (((0, -1), (1, 0), (2, 1)),))
    shifts, kinds = np.tile([-1, -1, 0, 1], 3), np.repeat([0, 1, 2], 4)
    found = left_out.ranges(high, rows, shifts, kinds, 3)
    for top, row in enumerate(found):
        for kind, (first, end) in enumerate(row):
            seen = [any(0 <= top + i + shift < 5 for i in range(rows)) for shift in shifts]
            wanted = [k for k in range(12) if kinds[k] == kind and seen[k]]
            assert list(range(first, end)) == wanted


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", LAYERS)
def test_sums_are_those_of_all_taps(name, dtype):
    geometry = layer(name)
    x, weight, grad, *_ = arrays(geometry, dtype)
    wide = [array.astype(np.float64) for array in (x, weight, grad)]
    bound = 2e-6 if dtype == "f4" else 1e-14
    for found, wanted in (
        (cpu.convolution(x, weight, None, geometry, "direct"), reference.convolution(*wide[:2], None, geometry)),
        (
            cpu.convolution_input_grad(weight, grad, geometry, None, "direct"),
            reference.convolution_input_grad(*wide[1:], geometry),
        ),
    ):
        assert_allclose(found, wanted, rtol=0, atol=bound * np.abs(wanted).max())


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("name", LAYERS)
def test_weights_that_are_not_finite_meet_the_padding_too(name, value):
    geometry = layer(name)
    x, weight, *_ = arrays(geometry, "f4")
    weight[1, 0].flat[0] = value
    with np.errstate(invalid="ignore"):
        found, wanted = cpu.convolution(x, weight, None, geometry), reference.convolution(x, weight, None, geometry)
    for of in (np.isnan, np.isposinf, np.isneginf):
        assert_array_equal(of(found), of(wanted))
    finite = np.isfinite(wanted)
    assert_allclose(found[finite], wanted[finite], rtol=0, atol=1e-5 * np.abs(wanted[finite]).max())


def test_bits_do_not_depend_on_threads():
    geometry = layer("5x5 on 7x7")
    x, weight, *_ = arrays(geometry, "f4")
    before, found = fc.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            fc.set_num_threads(count)
            found.append(cpu.convolution(x, weight, None, geometry))
    finally:
        fc.set_num_threads(before)
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("step", [1, 2])
def test_tiles_see_the_part_of_the_taps_that_is_not_left_out(rows, step):
    high = Axis(9, -(-9 // step), step, (((0, -2), (1, -1), (2, 0), (3, 1)),))
    shifts = np.array([-2, -1, 0, 1])
    bounds = left_out.ranges(high, rows, shifts, np.zeros(4, np.int64), 1)[:, 0]
    tops = [min(top, high.count - rows) for top in range(0, high.count, rows)]
    seen = sum(bounds[top, 1] - bounds[top, 0] for top in tops)
    assert high.unseen(rows) == pytest.approx(1 - seen / (4 * len(tops)))
