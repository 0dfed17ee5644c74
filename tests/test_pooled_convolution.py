"""Convolution with 2x2 maximum pooling on its store, and its sparse gradients, against the operations one by one.

As a script it checks all cases beside pages that can't be touched.
"""

import contextlib
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
from guarded import Guard, tell
from numpy.testing import assert_allclose, assert_array_equal
from vector_widths import each_width, needs_guards, run_script

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import machine, pooled_convolution, pooled_input_gradient, pooled_weight_gradient
from fastconv.backends.cpu.exponentials import NONE, RELU, SIGMOID, TANH
from fastconv.backends.cpu.pooled_convolution import Images, empty_codes, forward
from fastconv.backends.cpu.pooled_input_gradient import input_grad
from fastconv.backends.cpu.pooled_weight_gradient import weight_grad
from fastconv.backends.cpu.programs import Program

# Of the largest number of a result: sums of at most some thousand products of standard normals.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
ACTIVATIONS = {NONE: lambda m: m, RELU: F.relu, TANH: F.tanh, SIGMOID: F.sigmoid}
VECTOR = 64  # bytes of the widest one, which may be read behind x


@dataclass(frozen=True)
class Case:
    images: int
    channels: int
    size: tuple
    filters: int
    kernel: tuple
    padding: int = 0
    kind: int = NONE
    x_gap: int = 0  # numbers between the channels of a pixel and the next one's
    y_gap: int = 0
    border: int = 0  # pixels around y
    cache: int = 1 << 15  # bytes of the nearest cache, by which strips and blocks are chosen


LENET = Case(5, 1, (28, 28), 6, (3, 3), 1, TANH, border=2), Case(5, 6, (14, 14), 16, (5, 5), 0, TANH)
CASES = [
    *LENET,
    Case(1, 1, (2, 2), 1, (1, 1)),
    Case(4, 3, (9, 11), 40, (3, 2), 1, RELU, 1, 3, 1, cache=2048),
    Case(2, 20, (9, 8), 7, (7, 6), 3, SIGMOID, 0, 1, 0, cache=4096),
    Case(3, 13, (6, 5), 33, (2, 3), 2, NONE, 3, 0, 3),
    Case(2, 8, (7, 30), 9, (4, 1), 0, RELU, cache=2048),
    Case(17, 2, (5, 5), 12, (3, 3), 1, TANH),
    Case(3, 1, (6, 45), 4, (2, 4), 0, SIGMOID, y_gap=2, border=1),
    Case(2, 1, (9, 35), 8, (4, 5), 0, RELU),
]


def buffer(shape, border, gap, dtype, make, slack=0):
    """Images with a border and gaps in an array full of NaN."""
    n, h, w, c = shape
    pixel, lead = c + gap, 3 * (border > 0)
    row = (w + 2 * border) * pixel
    image = (h + 2 * border) * row
    array = make(lead + n * image + slack // np.dtype(dtype).itemsize, dtype)
    array[:] = np.nan
    return Images(array, shape, image, row, pixel, lead + border * (row + pixel))


def pixels(images):
    """A view (images, channels, rows, columns)."""
    item = images.array.itemsize
    strides = [item * step for step in (images.image, images.row, images.pixel, 1)]
    found = np.lib.stride_tricks.as_strided(images.array[images.first :], images.shape, strides)
    return found.transpose(0, 3, 1, 2)


class Bound:
    """A case's arrays and steps."""

    def __init__(self, case, given, dtype, make=np.empty):
        x, self.weight, self.bias, grad = (array.astype(dtype) for array in given)
        n, c, h, w = x.shape
        p, (k, _, r, s) = case.padding, self.weight.shape
        self.case, self.make = case, make
        self.x = buffer((n, h + 2 * p, w + 2 * p, c), 0, case.x_gap, dtype, make, VECTOR)
        self.gx = buffer(self.x.shape, 0, case.x_gap, dtype, make)
        pooled = n, (h + 2 * p - r + 1) // 2, (w + 2 * p - s + 1) // 2, k
        self.y = buffer(pooled, case.border, case.y_gap, dtype, make)
        self.g = buffer(pooled, case.border, case.y_gap, dtype, make)
        pixels(self.x)[:] = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        pixels(self.g)[:] = grad
        self.codes = empty_codes(self.y)
        self.grad_weight, self.grad_bias = make(self.weight.shape, dtype), make(k, dtype)
        self.steps = [
            *forward(self.x, self.weight, self.bias, self.y, self.codes, case.kind),
            *weight_grad(self.x, self.g, self.codes, self.grad_weight, self.grad_bias),
            *input_grad(self.g, self.codes, self.weight, self.gx),
        ]

    def run(self, threads):
        """All results, each computed into memory that was full of NaN."""
        for array in (self.y.array, self.gx.array, self.grad_weight, self.grad_bias):
            array[...] = np.nan
        for step in self.steps:
            Program([(step.body, step.parameters, step.tasks, 4)], 0).on(threads, *step.arrays)
        p, (h, w) = self.case.padding, self.case.size
        k = self.case.filters
        return {
            "y": pixels(self.y).copy(),
            "codes": self.codes[..., :k].transpose(0, 3, 1, 2).copy(),
            "grad_weight": self.grad_weight.copy(),
            "grad_bias": self.grad_bias.copy(),
            "grad_x": pixels(self.gx)[:, :, p : p + h, p : p + w].copy(),
        }


def drawn(case, rng):
    """x, weight, bias and the pooled pixels' gradient."""
    h, w = (size + 2 * case.padding - taps + 1 for size, taps in zip(case.size, case.kernel, strict=True))
    return (
        rng.standard_normal((case.images, case.channels, *case.size)),
        rng.standard_normal((case.filters, case.channels, *case.kernel)),
        rng.standard_normal(case.filters),
        rng.standard_normal((case.images, case.filters, h // 2, w // 2)),
    )


def one_by_one(case, x, weight, bias, grad):
    """The same results of the reference's operations."""
    with fc.use_backend("reference"):
        full = F.conv2d(x, weight, bias, padding=case.padding)
        pooled, indices = F.max_pool2d(full, 2, return_indices=True)
        spread = F.max_pool2d_input_grad(grad, indices, full.shape)
        row, column = np.divmod(indices, full.shape[3])
        return {
            "y": ACTIVATIONS[case.kind](pooled),
            "codes": row % 2 * 2 + column % 2,
            "grad_weight": F.conv2d_weight_grad(x, weight.shape, spread, padding=case.padding),
            "grad_bias": grad.sum((0, 2, 3)),
            "grad_x": F.conv2d_input_grad(x.shape, weight, spread, padding=case.padding),
        }


def bound(case, given, dtype, make=np.empty):
    """The case bound with strips and blocks as small as its cache, and many tasks however little the work."""
    modules = pooled_convolution, pooled_weight_gradient, pooled_input_gradient
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(machine, "cache_bytes", return_value=case.cache))
        for module in modules:
            stack.enter_context(mock.patch.object(module, "SMALL", 0))
        return Bound(case, given, dtype, make)


def check(case, found, expected, dtype):
    for name, wanted in expected.items():
        if name == "codes":
            assert_array_equal(found[name], wanted)
        else:
            limit = TOLERANCE[dtype] * max(1, np.abs(wanted).max())
            assert_allclose(found[name], wanted, rtol=0, atol=limit, err_msg=f"{name} of {case}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_the_same_as_one_by_one_and_the_same_bits_on_any_number_of_threads(case, dtype, rng):
    given = [array.astype(dtype).astype(np.float64) for array in drawn(case, rng)]
    steps = bound(case, given, dtype)
    once, *others = (steps.run(threads) for threads in (1, 2, 5))
    check(case, once, one_by_one(case, *given), dtype)
    for other in others:
        for name, wanted in once.items():
            assert_array_equal(other[name], wanted, name)


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_written_beside_the_pixels_of_y(case, rng):
    steps = bound(case, drawn(case, rng), np.float32)
    steps.run(2)
    written = ~np.isnan(steps.y.array)
    assert written.sum() == np.prod(steps.y.shape)
    assert np.isfinite(pixels(steps.gx)).all()  # the border too: who reads it must find numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_the_first_of_equals_wins(case, dtype, rng):
    """Sums of small whole numbers are exact, and many are equal."""
    given = [rng.integers(-1, 2, array.shape).astype(np.float64) for array in drawn(case, rng)]
    check(case, bound(case, given, dtype).run(2), one_by_one(case, *given), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_nan_and_infinity_reach_what_they_reach_one_by_one(case, dtype, rng):
    for value in (np.nan, np.inf, -np.inf):
        given = [array.astype(dtype).astype(np.float64) for array in drawn(case, rng)]
        given[0][tuple(rng.integers(0, given[0].shape))] = value
        with np.errstate(invalid="ignore"):
            expected = one_by_one(case, *given)
        found = bound(case, given, dtype).run(2)
        assert_array_equal(found["codes"], expected["codes"])
        for test in (np.isnan, np.isposinf, np.isneginf):
            assert_array_equal(test(found["y"]), test(expected["y"]))


def test_filters_without_a_bias_are_right(rng):
    given = drawn(LENET[0], rng)
    steps = bound(LENET[0], given, np.float64)
    bare = forward(steps.x, steps.weight, None, steps.y, steps.codes, TANH)
    steps.steps = [*bare, *weight_grad(steps.x, steps.g, steps.codes, steps.grad_weight, None)]
    found = steps.run(1)
    expected = one_by_one(LENET[0], given[0], given[1], None, given[3])
    assert np.isnan(found["grad_bias"]).all()
    check(LENET[0], found, {name: expected[name] for name in ("y", "codes", "grad_weight")}, np.float64)


@needs_guards
@each_width
def test_every_vector_width_is_right_beside_guard_pages(bits):
    run_script(bits, __file__)


def beside_guards():
    """What a process of its own runs: each array lies beside a page that can't be touched; a case has one dtype."""
    for seed, case in enumerate(CASES):
        dtype = (np.float32, np.float64)[seed % 2]
        given = [array.astype(dtype).astype(np.float64) for array in drawn(case, np.random.default_rng(seed))]
        expected = one_by_one(case, *given)
        for side in ("before", "after"):
            tell(f"{dtype.__name__} {case} {side}")
            steps = bound(case, given, dtype, Guard(side).empty)
            check(case, steps.run(2), expected, dtype)


if __name__ == "__main__":
    beside_guards()
    tell("all right")
