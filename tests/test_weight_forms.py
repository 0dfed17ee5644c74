"""Tiles of the weights' gradient: which taps they sum over which pixels, and that all of them find the same sums."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plan_passes import arrays

from fastconv.backends.cpu import axes, convolution, weight_plans
from fastconv.backends.cpu.machine import vectors
from fastconv.backends.cpu.weight_forms import Form, Forms, kinds, unit
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution as geometry_of

LAYERS = {
    "one image": ((1, 40, 9, 10), (33, 40, 3, 3), 1, 1, 1),
    "stride": ((9, 20, 10, 12), (33, 20, 5, 3), 2, (2, 1), 1),
    "dilation": ((8, 24, 9, 9), (48, 24, 3, 3), 1, (4, 0), (4, 1)),
    "taps that see nothing": ((2, 24, 6, 9), (40, 24, 3, 3), 1, (5, 9), (1, 9)),
    "volumes": ((4, 16, 3, 6, 6), (32, 16, 3, 5, 5), 1, (1, 2, 2), 1),
    "groups": ((3, 48, 7, 7), (64, 24, 5, 5), 1, 2, 1),
    "blocks of rows and columns": ((1, 20, 9, 700), (24, 20, 3, 3), 1, 1, 1),
    "no padding": ((2, 20, 9, 9), (24, 20, 3, 3), 1, 0, 1),
}
TILES = [(3, 1, 2), (2, 3, 1)]  # starts, columns and vectors: of single taps, and of three that are neighbours


def layer(name):
    shape, weight, stride, padding, dilation = LAYERS[name]
    return geometry_of(shape, weight, stride, padding, dilation, shape[1] // weight[1])


def forms(geometry, item):
    channels, filters = geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups
    return Forms(tuple(axes.forward(geometry)), channels, filters, item, vectors())


@pytest.mark.parametrize("apart", [0, 2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_a_kind_has_the_pixels_in_which_its_taps_meet_no_padding(name, apart):
    along = axes.forward(layer(name))
    taps = list(product(*(a.phases[0] for a in along)))
    found = kinds(along, apart)
    assert sorted(number for kind in found for number in kind.taps) == list(range(len(taps)))
    for kind in found:
        for number in kind.taps:
            for axis, (a, (_, shift), (begin, end)) in enumerate(zip(along, taps[number], kind.pixels, strict=True)):
                seen = [i for i in range(a.count) if axis >= apart or 0 <= i * a.step + shift < a.source]
                assert list(range(begin, end)) == seen


def test_layers_without_padding_have_one_kind():
    found = forms(layer("no padding"), 4).with_filters()
    assert {form.apart for form in found} == {0}


@pytest.mark.parametrize(("starts", "each", "channels"), [(6, 9, 2), (8, 1, 8), (4, 3, 4), (1, 5, 1), (6, 3, 2)])
def test_a_unit_of_channels_fills_whole_tiles(starts, each, channels):
    form = Form("filters", starts, 1, 1, 1, 0, 0.0)
    (kind,) = kinds(axes.forward(geometry_of((1, 1, 20), (1, 1, each), 1, 0, 1, 1)), 0)
    assert unit(form, [kind]) == channels


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", LAYERS)
def test_all_ways_to_tell_taps_apart_find_the_same_sums(name, dtype):
    geometry = layer(name)
    x, _, grad, *_ = arrays(geometry, dtype)
    wanted = reference.convolution_weight_grad(x.astype(np.float64), grad.astype(np.float64), geometry)
    bound, seen = (4e-6 if dtype == "f4" else 1e-14) * np.abs(wanted).max(), set()
    for form in forms(geometry, x.itemsize).with_filters():
        if (form.starts, form.columns, form.vectors) not in TILES:
            continue
        for leaves_out in (True, False):
            layout = weight_plans.Layout(geometry, x.itemsize, vectors(), 2, form, leaves_out=leaves_out)
            plan, found = layout.plan(), np.empty(geometry.weight_shape, dtype)
            assert plan.finite_only == (leaves_out and form.apart > 0)
            assert convolution.run(plan, x, grad, None, found)
            assert_allclose(found, wanted, rtol=0, atol=bound)
            seen.add(form.apart)
    assert seen == {"no padding": {0}, "dilation": {0, 2}}.get(name, {0, 2, 3})


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_that_are_not_finite_meet_the_padding_too(name, value):
    geometry = layer(name)
    x, _, grad, *_ = arrays(geometry, "f4")
    grad[0, 1].flat[0] = grad[-1, -1].flat[-1] = grad[0, 0].flat[grad[0, 0].size // 2] = value
    found = convolution.convolution_weight_grad(x, grad, geometry, "direct")
    with np.errstate(invalid="ignore"):
        wanted = reference.convolution_weight_grad(x, grad, geometry)
    for of in (np.isnan, np.isposinf, np.isneginf):
        assert_array_equal(of(found), of(wanted))


@pytest.mark.parametrize(
    ("shape", "weight", "kind"),
    [
        ((1, 64, 28, 28), (64, 64, 3, 3), "filters"),
        ((4, 16, 32, 32), (3, 16, 3, 3), "pixels"),
        ((1, 10, 13), (177, 10, 4), "filters"),  # to add the lanes of so many sums up would take longer
    ],
)
def test_lanes_have_filters_unless_these_are_few(shape, weight, kind):
    geometry = geometry_of(shape, weight, 1, weight[-1] // 2, 1, 1)
    assert weight_plans.laid_out(geometry, 4, 1).form.kind == kind


def test_a_strip_that_fits_no_cache_is_cut_into_parts():
    geometry = geometry_of((24, 130, 6, 30, 10), (2, 130, 3, 3, 3), 2, 1, 1, 1)
    for threads in (1, 2):
        found = weight_plans.laid_out(geometry, 4, threads)
        assert found.parts >= found.least_parts
