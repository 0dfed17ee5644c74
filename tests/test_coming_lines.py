"""Lines that tiles fetch: all that the next strip's copy reads, once each, and none after it; sums are the same."""

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal
from plan_passes import expected, passes

from fastconv.backends.cpu import blocks, plans, tile_choice, weight_plans
from fastconv.backends.cpu import convolution as cpu
from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.coming_lines import coming_lines, expect_strip
from fastconv.backends.cpu.layout import Strip
from fastconv.backends.cpu.machine import LINE, vectors
from fastconv.backends.cpu.native import address
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution

CACHE = 1 << 14  # bytes of the last one, so that small layers come from memory
LAYERS = {
    "samples": ((3, 80, 20, 20), (64, 80, 1, 1), 2, 0),
    "rows and padding": ((2, 33, 17, 18), (64, 33, 3, 3), 2, 1),
    "columns alone": ((4, 40, 9, 21), (32, 40, 1, 5), (1, 3), 0),
    "signals": ((3, 64, 200), (64, 64, 4), 4, (2,)),
    "groups": ((4, 64, 15, 15), (64, 32, 3, 3), 2, 1),
    "dilation": ((2, 32, 19, 19), (32, 32, 3, 3), 3, 1),
}


def layer(name):
    shape, weight, stride, padding = LAYERS[name]
    return convolution(shape, weight, stride, padding, 2 if name == "dilation" else 1, shape[1] // weight[1])


def planned(name, threads, far, item=4, backward=False):
    """The direct plan, of filters in the lanes, where all but tiny sources come from memory, or none does."""

    def best_tile(*given):
        return min(tile_choice.filter_tiles(*given), key=lambda tile: tile.cycles)

    with pytest.MonkeyPatch.context() as patch:
        found = blocks.cache_bytes
        last = CACHE if far else 1 << 40
        patch.setattr(blocks, "cache_bytes", lambda level, *size: last if level == 3 else found(level, *size))
        patch.setattr(blocks, "SMALL", -1.0)
        patch.setattr(blocks, "STRIP", CACHE)
        patch.setattr(plans, "best_tile", best_tile)
        return plans.planned.__wrapped__(layer(name), backward, item, threads)


@njit
def fetched(item, plan, job, source, channels, rows, steps, found):
    """The addresses that tiles of so many steps fetch, each tile's behind the one before."""
    expect_strip(item, plan, job, source, channels, rows)
    count = 0
    for some in steps:
        first, last, step = coming_lines(job, some)
        if step:
            while first <= last:
                found[count] = first
                count += 1
                first += step
    return count


@pytest.mark.parametrize("name", LAYERS)
def test_each_line_of_a_strip_is_fetched_once(name, rng):
    geometry, item = layer(name), 4
    axes = plans.described(geometry, False, item).axes
    rows = min(3, axes[1].count)
    strip = Strip.of(axes, rows, axes[2].count, item)
    words, job = np.zeros(s.PLACES, np.int64), np.zeros(s.JOB_BYTES // 8, np.int64)
    channels, channel = 7, axes[1].source * axes[2].source * item
    for place, value in (strip.words() | strip.coming_words(True) | {s.CHANNEL_BYTES: channel}).items():
        words[place] = value
    steps, found = rng.integers(0, 12, 4000), np.zeros(8000, np.int64)
    source = 1 << 20
    count = fetched(item, address(words), address(job), source, channels, rows, steps, found)
    lines = found[:count]
    assert len(set(lines)) == count
    assert fetched(item, address(words), address(job), 0, channels, rows, steps, found) == 0
    _, high, wide = strip.axes
    if high.apart or wide.apart:
        return  # whose rows are not one behind the other
    wanted = set()
    for i in range(rows):
        for shift in high.shifts:
            row = source + ((i * high.step + shift) * wide.source + wide.shifts[0]) * item
            for place in range(row, row + (axes[2].count - 1) * wide.step * item, LINE):
                wanted |= {c * channel + place for c in range(channels)}
    spans = np.array(sorted(set(lines)))
    for place in wanted:  # within a line of what is fetched
        nearest = spans[max(0, np.searchsorted(spans, place, "right") - 1)]
        assert 0 <= place - nearest < LINE


@pytest.mark.skipif(vectors().few, reason="tiles of few registers fetch nothing")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", LAYERS)
def test_sums_are_the_same(name, dtype):
    geometry, item = layer(name), np.dtype(dtype).itemsize
    assert planned(name, 1, True, item).looks_ahead
    assert not planned(name, 1, False, item).looks_ahead
    (right,) = expected(geometry, dtype, backward=False)
    found = [
        passes(geometry, dtype, lambda back, item, way=way: planned(name, *way, item), backward=False)[0]
        for way in ((1, False), (1, True), (2, True), (5, True))
    ]
    for other in found[1:]:
        assert_array_equal(found[0], other)
    assert np.abs(found[0] - right).max() < (1e-5 if dtype == "f4" else 1e-13) * np.abs(right).max()


@pytest.mark.skipif(vectors().few, reason="tiles of few registers fetch nothing")
def test_who_looks_ahead():
    assert not planned("samples", 1, True, backward=True).looks_ahead  # whose source is not sampled
    near, far = (1, 64, 56, 56), (64, 64, 112, 112)
    for shape, wanted in ((near, False), (far, True)):
        plan = plans.planned(convolution(shape, (64, 64, 3, 3), 2, 1, 1, 1), False, 4, 1)
        assert plan.looks_ahead == wanted
    weights = weight_plans.planned(convolution(near, (64, 64, 3, 3), 2, 1, 1, 1), 4, 1)
    assert weights.looks_ahead


@pytest.mark.parametrize("shape", [(1, 70, 7, 7), (3, 70, 7, 7), (40, 6, 24, 24), (0, 6, 24, 24)])
def test_weights_begin_with_the_first_block_and_end_with_the_last(shape, rng):
    geometry = convolution(shape, (40, shape[1], 3, 3), 1, 1, 1, 1)
    x, grad = (rng.standard_normal(of) for of in (geometry.input_shape, geometry.output_shape))
    wanted = reference.convolution_weight_grad(x, grad, geometry)
    assert_allclose(cpu.convolution_weight_grad(x, grad, geometry, "direct"), wanted, rtol=0, atol=1e-11)
