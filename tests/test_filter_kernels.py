"""Filters on the processor: every width of vectors, algorithms that are found from the filter, memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from vector_widths import each_width, needs_guards, run_script

import fastconv as fc
from fastconv import filters, ndimage
from fastconv.backends.cpu.filter_rank import factors, products, whole_bits

DRAWS = 40


@needs_guards
@each_width
def test_drawn_filters_are_the_references_on_any_number_of_threads_and_touch_no_page_beside(bits):
    run_script(bits, Path(__file__).with_name("drawn_filters.py"), DRAWS, bits)


def algorithm(shape, weights, dtype="float32", **options):
    return fc.explain("correlate", shape, weights, dtype=dtype, **options).algorithm


def test_a_matrix_is_what_its_numbers_are(rng):
    gaussian = filters.gaussian_kernel(23, 3.8)
    assert algorithm((300, 300), gaussian) == "down and across, 1 pair of columns and rows"
    assert algorithm((300, 300), gaussian.astype(np.float32)) == "down and across, 1 pair of columns and rows"
    pair = np.outer(rng.standard_normal(21), rng.standard_normal(21)) + np.outer(np.ones(21), rng.standard_normal(21))
    assert algorithm((300, 300), pair) == "down and across, 2 pairs of columns and rows"
    assert algorithm((300, 300), rng.standard_normal((23, 23))) == "dense"
    assert algorithm((300, 300), filters.gaussian_kernel(3, 1)) == "dense"  # two stages would take longer
    assert algorithm((300, 300), rng.standard_normal((99, 99))) == "fft"
    quick = "down and across, 1 pair of columns and rows, what is in doubt term by term"
    assert algorithm((300, 300), gaussian, "uint8") == quick
    assert algorithm((300, 300), gaussian, output="uint8") == "term by term, in float64"
    assert algorithm((300, 300), filters.sobel_kernel(0), "uint8", output="int16") == "dense"
    assert algorithm((300, 300), np.zeros((3, 3))) == "zeros"
    apart = np.zeros((31, 31))
    apart[::5, ::5] = rng.standard_normal((7, 7))
    assert algorithm((300, 300), apart) == "term by term"
    assert algorithm((300,), np.ones(5)) == "along rows"
    assert algorithm((30, 30, 30), np.ones((9, 9, 9))) == "along 3 axes, one after the other"
    assert algorithm((30, 30, 30), rng.standard_normal((3, 3, 3))) == "dense"
    assert algorithm((300, 300), np.ones((5, 1))) == "down columns"


def test_zeros_around_a_filter_are_left_out(rng):
    x, inner = rng.standard_normal((40, 50)), rng.standard_normal((3, 2))
    padded = np.pad(inner, ((4, 1), (0, 5)))
    with fc.use_backend("reference"):
        expected = ndimage.correlate(x, padded, mode="constant", cval=2.0)
    assert_allclose(ndimage.correlate(x, padded, mode="constant", cval=2.0), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [30, 120])
def test_taps_that_lie_apart_sum_right(rng, dtype, count):
    x, weights = rng.random((50, 200)).astype(dtype), np.zeros((2, 21, 33))
    weights.flat[rng.permutation(weights.size)[:count]] = rng.random(count)
    weights[0, 0, 0] = weights[1, -1, -1] = 1
    x = np.stack([x, x[::-1], x[:, ::-1]])
    x[1, 20, 30] = np.inf
    with fc.use_backend("reference"):
        expected = ndimage.correlate(x.astype(np.float64), weights, mode="constant", cval=1.0)
    roundings = 4 if dtype == "float32" else 16  # the oracle's own sums round in float64, too
    y = ndimage.correlate(x, weights, mode="constant", cval=1.0)
    assert_allclose(y, expected, rtol=roundings * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("taps", [(5, 7, 6), (9, 1, 9), (1, 9, 9), (9, 9, 1), (3, 2, 3, 4)])
def test_a_volumes_filter_that_is_a_product_of_lines_is_found_and_right(rng, dtype, taps):
    lines = [rng.uniform(0.1, 1, count) for count in taps]
    weights = lines[0]
    for line in lines[1:]:
        weights = np.multiply.outer(weights, line)
    found = factors(weights, False)
    assert [line.shape for line in found] == [(count,) for count in taps]
    x = rng.random((7, 6, 11, 12)[-len(taps) :]).astype(dtype)
    for mode, cval in (("reflect", 0.0), ("constant", 0.0), ("constant", 1.5), ("wrap", 2.0)):
        with fc.use_backend("reference"):
            expected = ndimage.correlate(x.astype(np.float64), weights, mode=mode, cval=cval)
        y = ndimage.correlate(x, weights, mode=mode, cval=cval)
        assert_allclose(y, expected, rtol=16 * np.finfo(dtype).eps)  # the oracle's own sums round in float64, too
    assert factors(weights + rng.random(taps), False) == []


def test_products_meet_every_tap_to_its_own_last_place(rng):
    column, row = rng.standard_normal(15), 10.0 ** rng.uniform(-12, 0, 17)
    (pair,) = products(np.outer(column, row), False)
    assert_allclose(np.outer(*pair), np.outer(column, row), rtol=1e-15)
    assert products(rng.standard_normal((9, 9)), True) == []
    assert products(np.outer(column, row) + 1e-14 * rng.standard_normal((15, 17)), False) == []


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32"])
@pytest.mark.parametrize("kind", ["any", "a product", "a rounded product", "zeros", "negative"])
def test_integers_are_exact_however_close_to_a_whole_number_they_are(rng, dtype, kind):
    weights = rng.random((7, 9))
    if "product" in kind:
        weights = np.outer(weights[:, 0], weights[0])
    weights[rng.random(weights.shape) < 0.3] *= {"zeros": 0, "negative": -1}.get(kind, 1)
    weights /= abs(weights.sum())  # the mean of pixels that are alike is a whole number, but for rounding
    if kind == "a rounded product":
        weights = weights.astype(np.float32).astype(np.float64)
    x = rng.integers(0, 120, (40, 300)).astype(dtype)
    x[:10], x[:, :60], x[20:, 100:200] = 100, 0, 17
    for mode, cval in (("reflect", 0.0), ("constant", 3.0), ("constant", 1.5)):
        with fc.use_backend("reference"):
            expected = ndimage.correlate(x, weights, mode=mode, cval=cval)
            blurred = ndimage.gaussian_filter(x, (2, 1.5), mode=mode, cval=cval)
        assert_array_equal(ndimage.correlate(x, weights, mode=mode, cval=cval), expected)
        assert_array_equal(ndimage.gaussian_filter(x, (2, 1.5), mode=mode, cval=cval), blurred)


def test_the_bits_of_whole_sums():
    assert whole_bits(np.array([1.0, -2, 1]), 255) == 10
    assert whole_bits(np.array([0.25, 0.5]), 255) <= 10
    assert whole_bits(np.array([0.1]), 255) > 53
    assert whole_bits(np.array([np.nan]), 1) > 53


@pytest.mark.parametrize("taps", [99, 70])
@pytest.mark.parametrize("mode", ["reflect", "constant", "wrap"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_filters_by_fourier_transforms_are_right(rng, taps, mode, dtype):
    x, weights = rng.standard_normal((311, 297)).astype(dtype), rng.standard_normal((taps, taps - 5))
    assert algorithm(x.shape, weights, dtype, mode=mode) == "fft"
    y = ndimage.correlate(x, weights, mode=mode, cval=1.5, origin=(3, -4))
    # A sum of the filter's rows, each directly, is the same.
    parts = []
    for r in range(taps):
        single = np.zeros((taps, taps - 5))
        single[r] = weights[r]
        parts.append(ndimage.correlate(x.astype(np.float64), single, mode=mode, cval=1.5, origin=(3, -4)))
    sizes = ndimage.correlate(np.abs(x).astype(np.float64), np.abs(weights), mode=mode, cval=1.5, origin=(3, -4))
    assert (np.abs(y - np.sum(parts, axis=0)) <= 4 * np.finfo(dtype).eps * sizes).all()


def test_not_a_number_reaches_no_further_by_a_fourier_transform(rng):
    x, weights = rng.standard_normal((300, 300)).astype(np.float32), rng.standard_normal((99, 99))
    x[150, 160] = np.nan
    y = ndimage.correlate(x, weights)
    expected = np.zeros((300, 300), bool)
    expected[101:200, 111:210] = True
    assert_array_equal(np.isnan(y), expected)


def test_a_sum_of_a_thousand_terms_is_as_right_as_its_dtype():
    x = np.random.default_rng(3).random((64, 200), np.float32)  # all of one sign: roundings gather
    weights = np.random.default_rng(4).random((31, 33))
    with fc.use_backend("reference"):
        expected = ndimage.correlate(x.astype(np.float64), weights)
    error = np.abs(ndimage.correlate(x, weights) - expected) / expected
    assert error.max() < 4 * np.finfo(np.float32).eps


def test_an_image_needs_little_beside_itself_and_its_result():
    """The system's count of the greatest memory, in a process of its own."""
    code = """
import resource
import numpy as np
from fastconv import ndimage
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small = np.ones((200, 200), np.float32)
weights = np.random.default_rng(0).standard_normal((9, 9))
ndimage.gaussian_filter(small, 2), ndimage.correlate(small, weights)
x = np.ones((6000, 6000), np.float32)
before = peak()
y = ndimage.gaussian_filter(x, 2)
ndimage.correlate(x, weights, output=y)
print((peak() - before) / (x.nbytes + y.nbytes))
"""
    pytest.importorskip("resource")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert float(run.stdout) < 0.8  # of both: the result is half, x was there before
