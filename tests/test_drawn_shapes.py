"""Shapes that nobody chose: right, the same bits on any number of threads, NaN and infinity where they belong."""

import numpy as np
import pytest
from drawn import arrays, calls, draw, few_tiles
from numpy.testing import assert_allclose, assert_array_equal

import fastconv as fc

SHAPES = 300
# Of the largest number of a result: sums of at most some thousand products of standard normals.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


@pytest.fixture(autouse=True)
def default_threads():
    yield
    fc.set_num_threads(None)


def results(case, given, threads=None):
    """Every pass's result on the cpu, or on the reference for None threads, by name."""
    fc.set_num_threads(threads)
    with fc.use_backend("cpu" if threads else "reference"):
        return {name: function() for name, function in calls(case, *given, lambda array: array).items()}


def test_all_passes_are_right_and_the_same_bits_on_one_thread_and_two():
    rng = np.random.default_rng(31)
    with few_tiles(31):
        for _ in range(SHAPES):
            case = draw(rng)
            single = arrays(case, np.float32)
            double = [array.astype(np.float64) for array in single]
            expected = results(case, double)
            for given in (single, double):
                dtype = given[0].dtype
                once, twice, again = (results(case, given, threads) for threads in (1, 2, 2))
                for name, wanted in expected.items():
                    limit = TOLERANCE[dtype.type] * np.abs(wanted).max(initial=0)
                    assert once[name].dtype == dtype
                    assert_allclose(once[name], wanted, rtol=0, atol=limit, err_msg=f"{name} of {case}")
                    for other in (twice, again):
                        assert_array_equal(once[name], other[name], f"{name} of {case}")


@pytest.mark.parametrize("seed", range(3))
def test_nan_and_infinity_reach_what_they_reach_in_the_reference(seed):
    rng = np.random.default_rng(seed)
    with few_tiles(seed):
        for _ in range(30):
            case = draw(rng)
            for where in range(5):
                given = arrays(case, np.float32 if seed % 2 else np.float64)
                for value in rng.choice([np.nan, np.inf, -np.inf], rng.integers(1, 3)):
                    place(value, given[where], rng)
                expected = results(case, [array.astype(np.float64) for array in given])
                for name, found in results(case, given, 2).items():
                    message = f"{name} of {case}, argument {where}"
                    for test in (np.isnan, np.isposinf, np.isneginf):
                        assert_array_equal(test(found), test(expected[name]), message)


def place(value, array, rng):
    """Put a value into an array: at an end of each axis, or anywhere."""
    if array.size:
        array[tuple(int(rng.choice([0, n - 1, rng.integers(n)])) for n in array.shape)] = value
