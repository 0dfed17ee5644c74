"""Stores and loads of some lanes of a vector, with registers for masks and without."""

import numpy as np
import pytest
from llvmlite import ir
from numba import njit

from fastconv.backends.cpu import masks, vectors
from fastconv.backends.cpu.machine import Vectors

LANES = 8
KINDS = {"i1": ir.IntType(8), "i4": ir.IntType(32), "i8": ir.IntType(64), "f4": ir.FloatType(), "f8": ir.DoubleType()}


def copier(kind, mask, outside=None):
    """A function that copies the lanes of a mask, made from a number, from one address to another."""
    vector = ir.VectorType(KINDS[kind], LANES)

    @vectors.instruction(2)
    def copy(e, source, target, number):
        chosen = mask(e, number)
        rest = ir.Constant(vector, [outside or 0] * LANES)
        if outside is None:
            value = e.b.load(e.element(source, 0, vector), align=1)
            e.masked_store(value, chosen, target)
        else:
            e.b.store(e.masked_load(chosen, source, 0, rest), e.element(target, 0, vector), align=1)

    @njit
    def run(source, target, number):
        copy(4, 8, source, target, number)

    return run


def bits(e, number):
    """The mask whose lane k is bit k."""
    return e.b.bitcast(e.b.trunc(number, ir.IntType(LANES)), ir.VectorType(ir.IntType(1), LANES))


MASKS = {"first": lambda e, n: e.first(n), "leading": lambda e, n: e.leading(n)}


@pytest.fixture(params=[256, 512], ids=["without registers", "with registers"])
def width(request, monkeypatch):
    monkeypatch.setattr(masks, "vectors", lambda: Vectors(request.param, 16))


def arrays(kind):
    source = np.arange(1, LANES + 1).astype(kind)
    return source, np.full(LANES + 2, -1).astype(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MASKS)
def test_the_first_lanes_are_stored_and_nothing_else(width, kind, name):
    run = copier(kind, MASKS[name])
    for count in range(LANES + 1):
        source, target = arrays(kind)
        run(source.ctypes.data, target[1:].ctypes.data, count)
        np.testing.assert_array_equal(target[1 : 1 + count], source[:count])
        assert set(target[1 + count :]) == set(target[:1]) == {target.dtype.type(-1)}


@pytest.mark.parametrize("kind", ["f4", "i1"])
def test_any_lanes_are_stored_and_nothing_else(width, kind):
    run = copier(kind, bits)
    for number in range(1 << LANES):
        source, target = arrays(kind)
        run(source.ctypes.data, target[1:].ctypes.data, number)
        chosen = (number >> np.arange(LANES)) & 1 == 1
        np.testing.assert_array_equal(target[1:-1], np.where(chosen, source, target.dtype.type(-1)))


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_that_are_not_loaded_are_those_of_another_vector(width, kind):
    run = copier(kind, MASKS["leading"], outside=7)
    for count in range(LANES + 1):
        source, target = arrays(kind)
        run(source.ctypes.data, target[1:].ctypes.data, count)
        np.testing.assert_array_equal(target[1:-1], [*source[:count], *[7] * (LANES - count)])


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_that_are_known_are_stored_and_nothing_else(width, kind):
    for wanted in (0, 1, 0b1000_0000, 0b0011_1110, 0b1010_0101, 0b1110_1111, 0b1111_1111, 0b0001_1111, 0b0000_1111):
        lanes = [bool(wanted >> lane & 1) for lane in range(LANES)]
        run = copier(kind, lambda e, _, lanes=lanes: ir.Constant(ir.VectorType(ir.IntType(1), LANES), lanes))
        source, target = arrays(kind)
        run(source.ctypes.data, target[1:].ctypes.data, 0)
        assert target.tolist() == [-1, *[k + 1 if lanes[k] else -1 for k in range(LANES)], -1]
