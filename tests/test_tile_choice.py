"""Which register tile is chosen: one that fills the units for multiply-adds, and repeats the least of all else."""

import pytest

from fastconv.backends.cpu import machine, tile_choice
from fastconv.backends.cpu.machine import Vectors
from fastconv.geometry import convolution

CACHE = {1: 1 << 15, 2: 1 << 20, 3: 1 << 25}
WIDE = Vectors(512, 32)
ONE, TWO = "znver4", "sapphirerapids"  # processors with so many multiply-adds of 512 bits a cycle


@pytest.fixture(autouse=True)
def caches(monkeypatch):
    monkeypatch.setattr(tile_choice, "cache_bytes", lambda level, default: CACHE[level])


@pytest.fixture
def on(monkeypatch):
    return lambda name: monkeypatch.setattr(machine, "processor", lambda: name)


def chosen(shape, weight, item=4, registers=WIDE, backward=False):
    sum_ = tile_choice.described(convolution(shape, weight, 1, weight[-1] // 2, 1, 1), backward, item)
    found = tile_choice.best_tile(sum_, registers.lanes(item), registers)
    return found.kind, found.rows, found.vectors


def test_half_the_vectors_a_cycle_are_those_of_512_bits_alone(on):
    on(ONE)
    assert WIDE.units == 1
    assert Vectors(256, 16).units == Vectors(128, 32).units == 2
    on(TWO)
    assert WIDE.units == 2


@pytest.mark.parametrize("item", [4, 8])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("channels", "side"), [(256, 14), (128, 28), (64, 56)])
def test_wide_layers_take_one_row_of_filters(channels, side, backward, item, on):
    """A single unit passes loads by, so one vector of filters is enough, whose weights fit a cache in larger cuts."""
    layer = (1, channels, side, side), (channels, channels, 3, 3), item, WIDE, backward
    on(TWO)
    assert chosen(*layer) == ("filters", 1, 2)
    on(ONE)
    assert chosen(*layer) == ("filters", 1, 1)


@pytest.mark.parametrize("name", [ONE, TWO])
def test_a_strip_that_no_near_cache_holds_is_met_by_as_few_panels_as_can_be(name, on):
    on(name)
    assert chosen((1, 512, 28, 28), (512, 512, 3, 3)) == ("filters", 1, 2)
    assert chosen((1, 512, 14, 14), (512, 512, 3, 3), 8) == ("filters", 1, 2)


@pytest.mark.parametrize("name", [ONE, TWO])
def test_few_filters_of_wide_images_have_pixels_in_the_lanes(name, on):
    on(name)
    assert chosen((4, 16, 24, 240), (32, 16, 3, 3))[0] == "pixels"
    assert chosen((1, 190, 64, 64), (8, 190, 5, 5))[0] == "pixels"


@pytest.mark.parametrize("name", [ONE, TWO])
def test_tiles_that_leave_more_rows_of_padding_out_take_fewer_cycles(name, on):
    on(name)
    sum_ = tile_choice.described(convolution((1, 64, 12, 12), (64, 64, 7, 7), 1, 3, 1, 1), False, 4)
    tiles = {(t.rows, t.columns, t.vectors): t for t in tile_choice.filter_tiles(sum_, 16, WIDE)}
    one, two = tiles[1, 12, 1], tiles[2, 6, 1]
    assert one.parts["multiply-adds"] < two.parts["multiply-adds"]
    assert one.cycles < two.cycles
