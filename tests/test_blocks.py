"""How sums are shared out: what a task goes through again and again stays in a cache, or is less than its weights."""

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastconv.backends.cpu import blocks, plans, pointwise_plans, tile_choice
from fastconv.backends.cpu import convolution as cpu
from fastconv.backends.cpu.machine import LINE, vectors
from fastconv.backends.reference import convolution as reference
from fastconv.geometry import convolution

CACHE = {1: 1 << 15, 2: 1 << 20, 3: 1 << 25}


@pytest.fixture(autouse=True)
def caches(monkeypatch):
    for module in (blocks, tile_choice):
        monkeypatch.setattr(module, "cache_bytes", lambda level, default: CACHE[level])


def layout(shape, weight, threads, item=4, backward=False, choice=tile_choice.best_tile):
    sum_ = tile_choice.described(convolution(shape, weight, 1, weight[-1] // 2, 1, 1), backward, item)
    lanes = vectors().lanes(item)
    return plans.Layout(sum_, choice(sum_, lanes, vectors()), lanes, threads)


def pixels_tile(sum_, lanes, registers):
    return min(tile_choice.pixel_tiles(sum_, lanes, registers), key=lambda tile: tile.cycles)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("shape", [(1, 512, 14, 14), (1, 512, 28, 28)])
def test_weights_that_are_more_than_the_strip_are_met_once(shape, backward, threads):
    found = layout(shape, (512, 512, 3, 3), threads, 8, backward)
    assert (found.row_blocks, found.column_blocks) == (1, 1)
    assert found.shares % threads == 0
    whole = found.footprint(*shape[2:])
    assert CACHE[2] < whole < min(blocks.WHOLE * CACHE[2], found.sum.weights)


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("shape", [(1, 64, 224, 224), (4, 64, 112, 112), (1, 128, 112, 112)])
def test_strips_that_are_more_than_the_weights_stay_in_cache(shape, threads):
    found = layout(shape, (64, shape[1], 3, 3), threads)
    assert found.footprint(found.rows, found.columns) <= CACHE[2]
    assert found.row_blocks > 1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_results_of_small_layers_leave_room_for_their_pixels(threads):
    found = layout((1, 16, 96, 96), (16, 16, 3, 3), threads, choice=pixels_tile)
    assert found.panels > 1
    assert CACHE[1] < found.footprint(found.rows, found.columns) <= CACHE[2] // 8


def test_blocks_of_other_sizes_are_no_more_work_than_all():
    """One thread has all the work however it is cut: more only of what each block costs."""
    found = layout((1, 128, 56, 56), (256, 128, 3, 3), 1)
    even, uneven = (found.slowest(1, down, 1, 1) for down in (8, 9))
    assert 0 < uneven - even < 0.01 * even


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_channels_of_few_filters_are_fetched_ahead(dtype, threads, rng, monkeypatch):
    shape, weight = (3, 70, 24, 25), (6, 70, 1, 1)
    geometry = convolution(shape, weight, 1, 0, 1, 1)
    monkeypatch.setitem(CACHE, 2, 1 << 14)
    monkeypatch.setattr(blocks, "SMALL", -1.0)
    monkeypatch.setattr(plans, "best_tile", pixels_tile)
    x, weights = rng.standard_normal(shape).astype(dtype), rng.standard_normal(weight).astype(dtype)
    found = []
    for followed in (blocks.FOLLOWED, 1 << 30):
        monkeypatch.setattr(blocks, "FOLLOWED", followed)
        plans.planned.cache_clear()
        plan = plans.planned(geometry, False, x.itemsize, threads)
        assert plan.looks_ahead == (followed < 70)
        found.append(cpu.convolution(x, weights, None, geometry, "direct"))
    plans.planned.cache_clear()
    assert_array_equal(*found)
    wanted = reference.convolution(x.astype("f8"), weights.astype("f8"), None, geometry)
    assert_allclose(found[0], wanted, rtol=0, atol=1e-4 if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("share", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("tile", [(8, 3), (8, 1), (4, 3), (12, 1), (6, 2)])
def test_the_tiles_of_a_share_fetch_all_lines_of_a_row(tile, share):
    filters, many = tile
    for width in (16, 32, 64):
        lines = pointwise_plans.fetched(tile, share * filters, width)
        assert lines * share * LINE >= many * width
        assert (lines - 1) * share * LINE < -(-many * width // LINE) * LINE
