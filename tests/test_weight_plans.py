"""Plans of the weights' gradient: blocks and chunks by the shape alone, parts whose strips and sums stay in cache."""

import pytest

from fastconv.backends.cpu import weight_plans
from fastconv.backends.cpu.layout import Strip
from fastconv.backends.cpu.machine import vectors
from fastconv.geometry import convolution

CACHE = {1: 1 << 15, 2: 1 << 20, 3: 1 << 25}
LAYERS = {
    "strided": ((16, 512, 14, 14), (512, 512, 3, 3), 2, 1),
    "one image": ((1, 512, 14, 14), (512, 512, 3, 3), 1, 1),
    "few weights": ((16, 64, 56, 56), (64, 64, 3, 3), 1, 1),
    "large filters": ((8, 256, 20, 84), (512, 256, 5, 5), 2, 2),
    "no images": ((0, 64, 9, 9), (64, 64, 3, 3), 1, 1),
}


@pytest.fixture(autouse=True)
def caches(monkeypatch):
    monkeypatch.setattr(weight_plans, "cache_bytes", lambda level, default: CACHE[level])


def layout(name, threads):
    shape, weight, stride, padding = LAYERS[name]
    return weight_plans.laid_out(convolution(shape, weight, stride, padding, 1, 1), 4, threads)


@pytest.mark.parametrize("name", LAYERS)
def test_what_decides_the_bits_does_not_depend_on_threads(name):
    found = {(a.rows, a.columns, a.chunks, a.form) for a in (layout(name, threads) for threads in (1, 2, 3, 16))}
    assert len(found) == 1


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "no images"])
def test_the_strip_of_a_part_stays_in_cache(name, threads):
    found = layout(name, threads)
    strip = Strip.of(found.axes, found.rows, found.columns, 4)
    assert strip.channel * -(-found.channels // found.parts) <= CACHE[2] // 2
    assert found.parts >= min(found.least_parts, found.channels // weight_plans.FEWEST)


@pytest.mark.skipif(vectors().few, reason="of narrow vectors there are more panels, and fewer parts of the channels")
def test_a_block_has_whole_images_where_a_part_of_the_channels_fits():
    found = layout("strided", 2)
    assert (found.rows, found.columns) == (7, 7)
    assert found.parts * found.shares >= found.near > found.panels
    single = layout("one image", 2)
    assert (single.rows, single.columns, single.chunks) == (14, 14, 1)
    assert single.parts * single.shares < single.near
