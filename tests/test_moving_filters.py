"""Moving extremes and means, extremes under a footprint and modular sums, on every backend: SciPy's to the last bit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage
from thread_counts import assert_same_on_threads

import fastconv as fc
from fastconv import backends
from fastconv.borders import MODES, Border, around

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
CONSTANTS = [0.0, 1.0, 3.0, -2.0, 300.0, 0.5, -7.25, 1e10, -1e10, np.nan, np.inf]
# Extents of images of rank 1, 2, ...: enough for several tasks, blocks and squares of each, or few.
SMALL, LARGE = (40, 24, 9, 5), (700, 110, 30, 12)
BLOCKS, IN_BLOCK = 12, 100


def numbers(rng, shape, dtype, special):
    """Pixels, among which are a dtype's limits, or (`special`) NaN and infinities."""
    if dtype == "?":
        return rng.random(shape) < 0.5
    if dtype[0] != "f":
        limits = np.iinfo(dtype)
        low, high = (limits.min, limits.max) if rng.random() < 0.5 else (max(limits.min, -50), 50)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    x = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 10)).astype(dtype)
    if special:
        for value, share in ((np.nan, 6), (np.inf, 9), (-np.inf, 9)):
            x.flat[rng.integers(0, x.size, max(1, x.size // share))] = value
    return x


def laid_out(rng, x):
    """The same numbers in other memory, half of the time."""
    wide = np.repeat(x, 2, axis=-1)
    forms = [np.asfortranarray(x), np.flip(np.flip(x).copy()), wide[..., ::2], x.copy(), x.copy(), x.copy()]
    return forms[rng.integers(len(forms))]


def images(rng, most_axes, special):
    """An image, read-only, and an array of its shape and some dtype for the result."""
    rank = rng.integers(1, most_axes + 1)
    extents = SMALL if rng.random() < 0.9 else LARGE
    shape = tuple(map(int, rng.integers(1, extents[rank - 1] + 1, rank)))
    dtype = str(rng.choice(DTYPES))
    result = dtype if rng.random() < 0.5 else str(rng.choice(DTYPES))
    x = laid_out(rng, numbers(rng, shape, dtype, special))
    x.flags.writeable = False
    return x, laid_out(rng, np.zeros(shape, result))


def constant(rng):
    return float(rng.choice(CONSTANTS)) if rng.random() < 0.5 else 0.0


def centre(rng, size):
    """An origin."""
    return int(rng.integers(-(size // 2), size - size // 2))


def as_scipy(backend, passes, y):
    """Whether a result is SciPy's: its booleans are any bytes from one pass to the next, the reference's are not."""
    return backend == "cpu" or y.dtype != bool or len(passes) == 1


def lines_drawn(seed):
    """What a filter of lines takes, without its name: image, passes, result; and SciPy's arguments for each pass."""
    rng = np.random.default_rng(seed)
    x, y = images(rng, 3, special=rng.random() < 0.3)
    axes = [int(axis) for axis in rng.permutation(x.ndim)[: rng.integers(1, x.ndim + 1)]]
    sizes = [int(rng.integers(1, 12 if rng.random() < 0.9 else 60)) for _ in axes]
    calls = [(size, axis, str(rng.choice(MODES)), centre(rng, size)) for size, axis in zip(sizes, axes, strict=True)]
    passes = [(axis, size, around(x.shape[axis], size, origin, mode)) for size, axis, mode, origin in calls]
    return x, passes, y, calls, constant(rng), bool(rng.integers(2))


def scipy_lines(function, x, y, calls, cval):
    y = np.zeros(y.shape, y.dtype)
    for size, axis, mode, origin in calls:
        function(x, size, axis, y, mode, cval, origin)
        x = y
    return y


@pytest.mark.parametrize("block", range(BLOCKS))
def test_extremes_of_lines_are_scipys(backend, block):
    for seed in range(block * IN_BLOCK, (block + 1) * IN_BLOCK):
        x, passes, y, calls, cval, minimum = lines_drawn(seed)
        if not as_scipy(backend, passes, y):
            continue
        backends.module("filtering").extreme_lines(x, passes, y, cval, minimum)
        function = ndimage.minimum_filter1d if minimum else ndimage.maximum_filter1d
        expected = scipy_lines(function, x, y, calls, cval)
        assert_array_equal(y, expected, f"seed {seed}: {x.dtype}, {calls}, {cval}", strict=True)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_means_of_lines_are_scipys(backend, block):
    for seed in range(block * IN_BLOCK, (block + 1) * IN_BLOCK):
        x, passes, y, calls, cval, _ = lines_drawn(seed)
        if not as_scipy(backend, passes, y):
            continue
        backends.module("filtering").uniform_lines(x, passes, y, cval)
        expected = scipy_lines(ndimage.uniform_filter1d, x, y, calls, cval)
        assert_array_equal(y, expected, f"seed {seed}: {x.dtype}, {calls}, {cval}", strict=True)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_extremes_under_a_footprint_are_scipys(backend, block):
    for seed in range(block * IN_BLOCK, (block + 1) * IN_BLOCK):
        rng = np.random.default_rng(seed)
        x, y = images(rng, 4, special=rng.random() < 0.3)
        box = tuple(map(int, rng.integers(1, (20, 9, 5, 4)[x.ndim - 1], x.ndim)))
        footprint = rng.random((1, *box))[0] < rng.random()
        if not footprint.any() or footprint.all():  # of which SciPy makes errors, and filters of lines
            continue
        origins, mode = [centre(rng, size) for size in box], str(rng.choice(MODES))
        borders = tuple(around(*of_axis, mode) for of_axis in zip(x.shape, box, origins, strict=True))
        cval, minimum, expected = constant(rng), bool(rng.integers(2)), np.zeros(y.shape, y.dtype)
        backends.module("filtering").extreme(x, footprint, y, borders, cval, minimum)
        function = ndimage.minimum_filter if minimum else ndimage.maximum_filter
        function(x, footprint=footprint, output=expected, mode=mode, cval=cval, origin=origins)
        assert_array_equal(y, expected, f"seed {seed}: {x.dtype}, {box}, {mode}, {cval}", strict=True)


def test_modular_sums_are_numpys(backend):
    for seed in range(400):
        rng = np.random.default_rng(seed)
        rank = rng.integers(1, 5)
        box = rng.integers(1, (20, 9, 5, 4)[rank - 1], rank)
        before, after, shape = rng.integers(0, box), rng.integers(0, box), box + rng.integers(0, SMALL[rank - 1], rank)
        weights = numbers(rng, box, "i8", False) * (rng.random(box) < 0.8)
        x = laid_out(rng, numbers(rng, shape, "i8", False))
        borders = tuple(Border(*map(int, of_axis)) for of_axis in zip(shape, before, after, strict=True))
        y = laid_out(rng, np.zeros(shape + before + after - box + 1, np.int64))
        backends.module("filtering").correlate_modular(x, weights, y, borders)
        padded = np.pad(x, list(zip(before, after, strict=True)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(box))
        expected = np.tensordot(windows.view(np.uint64), weights.view(np.uint64), rank).view(np.int64)
        assert_array_equal(y, expected, f"seed {seed}", strict=True)


def test_by_hand(backend):
    filtering, x = backends.module("filtering"), np.array([2, 8, 0, 4, 1, 9, 9, 0])
    passes, y = [(0, 3, around(8, 3, 0, "reflect"))], np.empty(8, np.int64)
    filtering.extreme_lines(x, passes, y, 0.0, True)
    assert_array_equal(y, [2, 0, 0, 0, 1, 1, 0, 0])
    filtering.uniform_lines(x, passes, y, 0.0)
    assert_array_equal(y, [4, 3, 4, 1, 4, 6, 6, 3])
    filtering.extreme(x, np.array([True, False, True]), y, (around(8, 3, 0, "constant"),), 7.0, False)
    assert_array_equal(y, [8, 2, 8, 1, 9, 9, 9, 9])
    filtering.correlate_modular(x, np.array([2**62, 1]), y[:7], (Border(8, 0, 0),))
    assert_array_equal(y[:7], [8 - 2**63, 0, 4, 1, 9 + 2**62, 9 + 2**62, 2**62])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test_extremes_after_a_pass_that_changes_nothing_are_scipys(backend, dtype):
    """NaN, and int64 that float64 does not hold, count from the second pass on, too."""
    rng = np.random.default_rng(3)
    x = numbers(rng, (30, 40), dtype, True) if dtype != "i8" else rng.integers(2**60, 2**60 + 99, (30, 40))
    calls, y = [(1, 0, "nearest", 0), (5, 1, "mirror", 1)], np.empty_like(x)
    passes = [(axis, size, around(x.shape[axis], size, origin, mode)) for size, axis, mode, origin in calls]
    backends.module("filtering").extreme_lines(x, passes, y, 0.0, True)
    assert_array_equal(y, scipy_lines(ndimage.minimum_filter1d, x, y, calls, 0.0))


@pytest.mark.parametrize("size", [3, 15, 64, 101, 1000])
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_quotients_are_exact(dtype, size):
    """Of means in vectors, which are no quotients of the processor's, whatever their size and the sum's."""
    rng = np.random.default_rng(size)
    scale = 1 if dtype == "u1" else 10.0 ** rng.integers(-20, 20, (60, 1))
    x = (rng.integers(0, 256, (60, 3000)) * scale).astype(dtype)
    y = np.empty_like(x)
    backends.load("cpu")
    with fc.use_backend("cpu"):
        backends.module("filtering").uniform_lines(x, [(1, size, around(3000, size, 0, "wrap"))], y, 0.0)
    assert_array_equal(y, ndimage.uniform_filter1d(x, size, mode="wrap"))


@pytest.mark.parametrize("dtype", ["u1", "f4", "i8"])
def test_results_do_not_depend_on_threads(dtype):
    rng = np.random.default_rng(7)
    x, footprint = numbers(rng, (150, 170), dtype, False), rng.random((5, 7)) < 0.5
    assert_same_on_threads(lambda: all_of(x, footprint))


def all_of(x, footprint):
    """What each filter makes of an image."""
    filtering, ys = backends.module("filtering"), [np.empty_like(x) for _ in range(3)]
    passes = [(axis, 9, around(extent, 9, 0, "mirror")) for axis, extent in enumerate(x.shape)]
    borders = tuple(around(extent, taps, 0, "wrap") for extent, taps in zip(x.shape, footprint.shape, strict=True))
    filtering.extreme_lines(x, passes, ys[0], 0.0, False)
    filtering.uniform_lines(x, passes, ys[1], 0.0)
    filtering.extreme(x, footprint, ys[2], borders, 0.0, True)
    if x.dtype == np.int64:
        ys.append(np.empty_like(x))
        filtering.correlate_modular(x, footprint.astype(np.int64), ys[3], borders)
    return ys
