"""Drawn filters on the processor beside the reference: the script that test_filter_kernels.py runs.

    python drawn_filters.py <draws> <seed>

Image, results and workspace lie beside pages that can't be touched, and what was not written is full of NaN. Each case
is printed before it runs, so that the last line tells which one ended the process.
"""

import faulthandler
import sys
from unittest import mock

import numpy as np
from guarded import Guard, tell

import fastconv as fc
from fastconv.backends.cpu import filtering, workspace
from fastconv.backends.reference import filtering as reference
from fastconv.borders import MODES, around

DTYPES = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
LONGEST = (0, 90, 40, 9, 6)  # pixels along an axis, by the number of axes
TAPS = (0, 40, 12, 5, 3)
ROUNDINGS = 4  # units in the last place of the sum of all terms' sizes


def draw_taps(rng, count):
    """Taps along an axis: any, symmetric, antisymmetric, whole."""
    taps = rng.standard_normal(count)
    kind = rng.integers(4)
    return (taps, taps + taps[::-1], taps - taps[::-1], np.rint(2 * taps))[kind]


def draw_matrix(rng, shape):
    """A filter: any, whole, a product, with zeros, a sum of two products."""
    matrix = rng.standard_normal(shape)
    kind = rng.integers(5)
    if kind == 1:
        return np.rint(2 * matrix)
    if kind in (2, 4) and matrix.ndim == 2:
        pairs = [[draw_taps(rng, count) for count in shape] for _ in range(kind // 2)]
        return sum(np.outer(*pair) for pair in pairs)
    if kind == 3:
        matrix[rng.random(shape) < 0.5] = 0
    return matrix


def draw_image(rng, shape, dtype):
    """An image of a dtype, in any order in memory; one of floats may hold NaN or infinity."""
    x = 50 * rng.standard_normal(shape)
    x = (np.abs(x) if dtype.kind in "ub" else x).astype(dtype)
    if dtype.kind == "f" and rng.random() < 0.2:
        x[tuple(rng.integers(extent) for extent in shape)] = rng.choice([np.nan, np.inf, -np.inf])
    return x


def draw(rng):
    """An operation, its arguments but for y, the dtype of y, and how large its terms are together."""
    axes = int(rng.integers(1, 5))
    shape = tuple(rng.integers(1, LONGEST[axes], axes).tolist())
    if axes == 2 and rng.random() < 0.2:
        shape = int(rng.integers(1, 9)), int(rng.integers(200, 900))
    dtype = np.dtype(rng.choice(DTYPES if rng.random() < 0.5 else ("f4", "f8", "u1")))
    result = dtype if rng.random() < 0.5 else np.dtype(rng.choice(DTYPES))
    x, cval, mode = draw_image(rng, shape, dtype), float(rng.choice([0, 1.5, 3, -2])), str(rng.choice(MODES))

    def border(axis, count):
        return around(shape[axis], count, int(rng.integers(-(count // 2), (count - 1) // 2 + 1)), mode)

    if rng.random() < 0.5:
        weights = draw_matrix(rng, tuple(rng.integers(1, TAPS[axes], axes).tolist()))
        borders = tuple(border(axis, count) for axis, count in enumerate(weights.shape))
        leave = bool(rng.random() < 0.5)
        sizes = np.abs(weights), borders, abs(cval), leave
        return "correlate", (x, weights), (borders, cval, leave), sizes, result
    passes = []
    for axis in rng.permutation(axes)[: rng.integers(1, axes + 1)].tolist():
        taps = draw_taps(rng, int(rng.integers(1, 30 if rng.random() < 0.8 else 200)))
        passes.append((axis, taps, border(axis, taps.size)))
    sizes = [(axis, np.abs(taps), around_) for axis, taps, around_ in passes]
    return "correlate_lines", (x, passes), (cval,), (sizes, abs(cval)), result


def compute(backend, operation, x, filter_, y, rest):
    getattr(backend, operation)(x, filter_, y, *rest)


def compare(found, expected, size, name):
    """Integers are equal, floats to a few roundings; NaN and infinity are in the same places."""
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), err_msg=name)
    whole = np.isfinite(expected)
    np.testing.assert_array_equal(found[~whole], expected[~whole], err_msg=name)
    limit = ROUNDINGS * np.finfo(found.dtype).eps * size[whole]
    assert (np.abs(found[whole] - expected[whole]) <= limit).all(), name


def run(rng, side):
    """One draw."""
    operation, (x, filter_), rest, bounds, dtype = draw(rng)
    shapes = filter_.shape if operation == "correlate" else [(axis, taps.size) for axis, taps, _ in filter_]
    name = f"{side} {operation} {x.shape} {x.dtype} to {dtype}, {shapes}, {rest}"
    tell(name)
    guard = Guard(side)
    expected, size = np.empty(x.shape, dtype), np.empty(x.shape)
    with np.errstate(all="ignore"):
        compute(reference, operation, x, filter_, expected, rest)
        compute(reference, operation, np.abs(x.astype(np.float64)), bounds[0], size, bounds[1:])
    results = []
    for threads in (1, 2, 5):
        fc.set_num_threads(threads)
        y = guard.empty(x.shape, dtype)
        with mock.patch.object(workspace, "take", guard.space), mock.patch.object(workspace, "give"):
            compute(filtering, operation, guard.fixed(x), filter_, y, rest)
        results.append(y)
    compare(results[0], expected, size, name)
    for y in results[1:]:
        assert y.tobytes() == results[0].tobytes(), f"{name}: bits depend on the number of threads"


def main(draws, seed):
    faulthandler.enable()
    rng = np.random.default_rng(int(seed))
    for index in range(int(draws)):
        run(rng, ("before", "after")[index % 2])
    tell("all right")


if __name__ == "__main__":
    main(*sys.argv[1:])
