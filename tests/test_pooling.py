from dataclasses import dataclass

import numpy as np
import pytest
from forms import disguises
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F

BACKENDS = ("reference", "cpu")
IMAGE = np.array([[1.0, 2.0, 5.0, 3.0], [4.0, 0.0, 1.0, 5.0]])


@dataclass(frozen=True)
class Case:
    """One pooling: the shape of x, the window, and the options that max and average pooling share."""

    rank: int
    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    options: dict
    dilation: tuple[int, ...]
    seed: int

    def x(self):
        return np.random.default_rng(self.seed).standard_normal(self.shape)


@st.composite
def cases(draw, overlap=True):
    """Any rank, stride, form of padding, dilation and rounding; with `overlap` False no two windows share a pixel."""
    rank = draw(st.sampled_from((1, 2, 3)))
    per_axis = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    kernel = per_axis(1, 4 if rank < 3 else 3)
    stride = per_axis(1, 4) if overlap else tuple(k + e for k, e in zip(kernel, per_axis(0, 1), strict=True))
    pairs = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    padding = draw(st.sampled_from((0, pairs, tuple(min(pair) for pair in pairs), "same", "valid")))
    size = tuple(k + e for k, e in zip(kernel, per_axis(0, 8 if rank < 3 else 3), strict=True))
    options = {"stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}
    channels = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    return Case(rank, (*channels, *size), kernel, options, per_axis(1, 2), draw(st.integers(0, 2**32 - 1)))


def call(name, rank, *args, **options):
    return getattr(F, name.format(rank))(*args, **options)


def on(backend, name, rank, *args, **options):
    with fc.use_backend(backend):
        return call(name, rank, *args, **options)


def test_max_by_hand(backend):
    y, indices = F.max_pool2d(IMAGE[None, None], 2, return_indices=True)
    assert_array_equal(y, [[[[4, 5]]]])
    assert_array_equal(indices, [[[[4, 2]]]])  # of the two fives the first
    assert indices.dtype == np.int64
    assert_array_equal(F.max_pool2d(IMAGE[None], (1, 2), stride=1), [[[2, 5, 5], [4, 1, 5]]])


def test_overlapping_windows_add_up(backend):
    x = np.array([[1.0, 9.0, 2.0, 3.0]])
    y, indices = F.max_pool1d(x, 2, stride=1, return_indices=True)
    assert_array_equal(y, [[9, 9, 3]])
    assert_array_equal(indices, [[1, 1, 3]])
    assert_array_equal(F.max_pool1d_input_grad(np.array([[1.0, 10.0, 100.0]]), indices, (1, 4)), [[0, 11, 0, 100]])


def test_padding_counts_as_minus_infinity(backend):
    x = np.array([[-3.0, -1.0, -2.0]])
    assert_array_equal(F.max_pool1d(x, 2, stride=1, padding=1), [[-3, -1, -1, -2]])
    assert_array_equal(F.max_pool1d(x, 2, stride=1, padding=((0, 1),)), [[-1, -1, -2]])
    assert_array_equal(F.max_pool1d(x, 2, stride=1, padding="same"), [[-1, -1, -2]])
    assert_array_equal(F.max_pool1d(x, 2, stride=1, padding="valid"), [[-1, -1]])


def test_ceil_mode_overhangs(backend):
    x = np.arange(5.0)[None]
    assert_array_equal(F.max_pool1d(x, 2), [[1, 3]])
    assert_array_equal(F.max_pool1d(x, 2, ceil_mode=True), [[1, 3, 4]])
    assert_array_equal(F.max_pool1d(x, 1, stride=3, ceil_mode=True), [[0, 3]])  # the third would begin after x
    assert_array_equal(F.max_pool1d(x[:, :2], 3, stride=2, ceil_mode=True), [[1]])


def test_dilation_takes_every_other_pixel(backend):
    y, indices = F.max_pool1d(np.array([[1.0, 9.0, 2.0, 3.0]]), 2, stride=1, dilation=2, return_indices=True)
    assert_array_equal(y, [[2, 9]])
    assert_array_equal(indices, [[2, 1]])


def test_the_first_nan_wins(backend):
    y, indices = F.max_pool1d(np.array([[np.inf, np.nan, 5.0, np.nan, 7.0, 1.0]]), 5, stride=1, return_indices=True)
    assert_array_equal(y, [[np.nan, np.nan]])
    assert_array_equal(indices, [[1, 1]])


def test_all_minus_infinity_gives_the_first_pixel_inside(backend):
    x = np.full((1, 1, 2, 2), -np.inf)
    y, indices = F.max_pool2d(x, 2, stride=1, padding=1, return_indices=True)
    assert_array_equal(y, np.full((1, 1, 3, 3), -np.inf))
    assert_array_equal(indices[0, 0], [[0, 0, 1], [0, 0, 1], [2, 2, 3]])


def test_a_window_that_sees_no_pixel_receives_no_gradient(backend):
    y, indices = F.max_pool1d(np.array([[5.0]]), 2, padding=1, dilation=2, return_indices=True)
    assert_array_equal(y, [[-np.inf]])
    assert_array_equal(indices, [[-1]])
    assert_array_equal(F.max_pool1d_input_grad(np.array([[3.0]]), indices, (1, 1)), [[0]])


def test_average_by_hand(backend):
    assert_array_equal(F.avg_pool2d(IMAGE[None, None], 2), [[[[1.75, 3.5]]]])
    x = np.array([[2.0, 4.0, 6.0]])
    assert_array_equal(F.avg_pool1d(x, 2, 1, 1), [[1, 3, 5, 3]])
    assert_array_equal(F.avg_pool1d(x, 2, 1, 1, count_include_pad=False), [[2, 3, 5, 6]])
    assert_array_equal(F.avg_pool1d(x, 2, ceil_mode=True), [[3, 6]])  # the overhang is not counted
    assert_array_equal(F.avg_pool1d(x, 2, 2, ((0, 1),)), [[3, 3]])  # the padding is
    assert_array_equal(F.avg_pool2d(IMAGE[None, None], 2, divisor_override=-1), [[[[-7, -14]]]])
    assert_array_equal(F.avg_pool1d_input_grad(np.array([[2.0, 4.0]]), (1, 3), 2, 1), [[1, 3, 2]])


def test_unpooling_puts_the_largest_back(backend):
    y, indices = F.max_pool2d(IMAGE[None, None], 2, return_indices=True)
    back = [[[[0, 0, 5, 0], [4, 0, 0, 0]]]]
    assert_array_equal(F.max_unpool2d(y, indices, 2), back)
    assert_array_equal(F.max_unpool2d(y, indices, 2, padding="same"), back)
    assert_array_equal(F.max_unpool2d_input_grad(IMAGE[None, None], indices), y)


def test_of_equal_indices_the_last_holds(backend):
    x, indices = np.array([[1.0, 2.0, 3.0]]), np.array([[1, 1, 0]])
    assert_array_equal(F.max_unpool1d(x, indices, 2, 1), [[3, 2, 0, 0]])
    assert_array_equal(F.max_unpool1d_input_grad(np.array([[5.0, 6.0, 7.0, 8.0]]), indices), [[0, 6, 5]])


@pytest.mark.parametrize("size", [(5,), (2, 5), 5])
def test_unpooling_fills_the_size_that_is_given(backend, size):
    x = np.array([[1.0, 3.0], [2.0, 0.0]])
    y = F.max_unpool1d(x, np.array([[1, 4], [0, 2]]), 2, output_size=size)
    assert_array_equal(y, [[0, 1, 0, 0, 3], [2, 0, 0, 0, 0]])


@given(cases(), st.booleans(), st.sampled_from((None, -3, 7)))
def test_cpu_equals_reference(case, count_include_pad, divisor):
    x, rank, kernel = case.x(), case.rank, case.kernel
    options = {"dilation": case.dilation if case.options["padding"] == "same" else 1, **case.options}
    (y, indices), (y_cpu, indices_cpu) = [
        on(b, "max_pool{}d", rank, x, kernel, **options, return_indices=True) for b in BACKENDS
    ]
    assert_array_equal(y_cpu, y)
    assert_array_equal(indices_cpu, indices)
    # A sum of at most 64 standard normals: 1e-13 is hundreds of roundings.
    tolerance = {"rtol": 1e-13, "atol": 1e-13}
    grads = [on(b, "max_pool{}d_input_grad", rank, y, indices, x.shape) for b in BACKENDS]
    assert_allclose(*grads, **tolerance)

    average = {**case.options, "count_include_pad": count_include_pad}
    average |= {} if rank == 1 else {"divisor_override": divisor}
    means = [on(b, "avg_pool{}d", rank, x, kernel, **average) for b in BACKENDS]
    assert_allclose(*means, **tolerance)
    grads = [on(b, "avg_pool{}d_input_grad", rank, means[0], x.shape, kernel, **average) for b in BACKENDS]
    assert_allclose(*grads, **tolerance)


@given(cases(), st.booleans())
def test_average_gradient_is_adjoint(case, count_include_pad):
    x, options = case.x(), {**case.options, "count_include_pad": count_include_pad}
    for backend in BACKENDS:
        y = on(backend, "avg_pool{}d", case.rank, x, case.kernel, **options)
        grad = np.random.default_rng(case.seed + 1).standard_normal(y.shape)
        grad_x = on(backend, "avg_pool{}d_input_grad", case.rank, grad, x.shape, case.kernel, **options)
        assert abs((y * grad).sum() - (x * grad_x).sum()) <= 1e-12 * (1 + np.linalg.norm(y) * np.linalg.norm(grad))


@given(cases())
def test_max_gradient_is_the_central_difference(case):
    # A permutation: pixels differ by at least 1, so that a step of 1/4 changes no winner.
    rng = np.random.default_rng(case.seed)
    x = rng.permutation(np.arange(float(np.prod(case.shape)))).reshape(case.shape)
    step = np.zeros(x.shape)
    step[rng.random(x.shape) < 0.3] = 0.25
    for backend in BACKENDS:
        pool = lambda x: on(backend, "max_pool{}d", case.rank, x, case.kernel, **case.options)  # noqa: B023, E731
        y, indices = on(backend, "max_pool{}d", case.rank, x, case.kernel, **case.options, return_indices=True)
        grad = rng.integers(-4, 5, y.shape).astype(float)
        grad_x = on(backend, "max_pool{}d_input_grad", case.rank, grad, indices, x.shape)
        difference = (grad * (pool(x + step) - pool(x - step))).sum() / 0.5
        assert (grad_x * step).sum() / 0.25 == difference  # small multiples of 1/4: nothing is rounded


@given(cases(overlap=False))
def test_unpooling_is_the_way_back(case):
    x, rank = case.x(), case.rank
    args = {key: case.options[key] for key in ("stride", "padding")}
    y, indices = on("reference", "max_pool{}d", rank, x, case.kernel, **args, return_indices=True)
    backs = [on(b, "max_unpool{}d", rank, y, indices, case.kernel, **args, output_size=x.shape) for b in BACKENDS]
    for back in backs:
        assert_array_equal(on("cpu", "max_pool{}d_input_grad", rank, y, indices, x.shape), back)
        assert np.count_nonzero(back) == y.size
    for backend in BACKENDS:
        grad = np.random.default_rng(case.seed + 1).standard_normal(x.shape)
        grad_y = on(backend, "max_unpool{}d_input_grad", rank, grad, indices)
        assert abs((backs[0] * grad).sum() - (y * grad_y).sum()) <= 1e-12 * (1 + np.linalg.norm(y) ** 2 + grad.size)


@given(cases(), st.integers(0, 2**32 - 1))
def test_repeated_indices_unpool_alike_on_both_backends(case, seed):
    rng, size = np.random.default_rng(seed), case.shape[2:]
    indices = rng.integers(0, max(1, np.prod(size) // 2), case.shape)
    x, grad = case.x(), rng.standard_normal(case.shape)
    options = {"kernel_size": 1, "stride": 1}
    assert_array_equal(*[on(b, "max_unpool{}d", case.rank, x, indices, **options) for b in BACKENDS])
    y, grad_x = [on("cpu", name, case.rank, *args, **more) for name, args, more in (
        ("max_unpool{}d", (x, indices), options), ("max_unpool{}d_input_grad", (grad, indices), {}))]  # fmt: skip
    assert_array_equal(on("reference", "max_unpool{}d_input_grad", case.rank, grad, indices), grad_x)
    assert abs((y * grad).sum() - (x * grad_x).sum()) <= 1e-12 * (1 + grad.size)


def test_every_memory_layout_gives_the_same_bits_and_is_left_alone(backend, rng):
    x = rng.standard_normal((2, 3, 6, 6))
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    grad = F.max_pool2d_input_grad(y, indices, x.shape)
    for same in disguises(x).values():
        before = same.copy()
        assert_array_equal(F.max_pool2d(same, 2), y)
        assert_array_equal(F.avg_pool2d(same, 2), F.avg_pool2d(x, 2))
        assert_array_equal(F.max_unpool2d_input_grad(same, indices), y)
        assert_array_equal(same, before)
    for kind, same_y in disguises(y).items():
        same_indices = disguises(indices)[kind]
        assert_array_equal(F.max_pool2d_input_grad(same_y, same_indices, x.shape), grad)
        assert_array_equal(F.max_unpool2d(same_y, same_indices, 2), grad)


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 0, 4, 4), (0, 4, 4)])
def test_zero_images_or_channels_give_as_many(backend, shape):
    x = np.zeros(shape, np.float32)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    assert y.shape == indices.shape == (*shape[:-2], 2, 2)
    assert F.max_pool2d_input_grad(y, indices, shape).shape == shape
    assert F.avg_pool2d(x, 2).shape == y.shape
    assert F.avg_pool2d_input_grad(y, shape, 2).shape == shape
    assert F.max_unpool2d(y, indices, 2).shape == shape
    assert F.max_unpool2d_input_grad(x, indices).shape == y.shape


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_come_back(backend, rng, dtype):
    x = rng.integers(-8, 9, (2, 3, 8)).astype(dtype)
    y, indices = F.max_pool1d(x, 2, return_indices=True)
    results = {
        "max_pool1d": (y, F.max_pool1d(x.astype(np.float64), 2)),
        "max_pool1d_input_grad": (F.max_pool1d_input_grad(y, indices, x.shape), F.max_unpool1d(y, indices, 2)),
        "avg_pool1d": (F.avg_pool1d(x, 2), (x[..., ::2] + x[..., 1::2]) / 2),
        "avg_pool1d_input_grad": (F.avg_pool1d_input_grad(y, x.shape, 2), np.repeat(y, 2, axis=-1) / 2),
        "max_unpool1d_input_grad": (F.max_unpool1d_input_grad(x, indices), y),
    }
    for name, (found, expected) in results.items():
        assert found.dtype == dtype, name
        assert_array_equal(found, expected, name)


def test_infinities_travel(backend):
    x = np.array([[np.inf, 1.0, -np.inf, np.inf, np.nan, 2.0]])
    assert_array_equal(F.avg_pool1d(x, 2), [[np.inf, np.nan, np.nan]])
    assert_array_equal(F.avg_pool1d_input_grad(x, (1, 12), 2), np.repeat(x / 2, 2, axis=-1))


def test_results_do_not_depend_on_threads(rng):
    x = rng.standard_normal((3, 5, 17, 19)).astype(np.float32)

    def call():
        y, indices = F.max_pool2d(x, 3, 2, return_indices=True)
        grads = F.max_pool2d_input_grad(y, indices, x.shape), F.avg_pool2d_input_grad(y, x.shape, 3, 2)
        return [y, indices, *grads, F.avg_pool2d(x, 3, 2)]

    assert_same_on_threads(call)


X = np.zeros((2, 3, 4, 4))
Y = np.zeros((2, 3, 2, 2))
PLACES = np.zeros((2, 3, 2, 2), int)


@pytest.mark.parametrize(
    ("error", "match", "function"),
    [
        (TypeError, "x is int64: float32, float64 and float16 are accepted", lambda: F.max_pool2d(PLACES, 2)),
        (ValueError, r"x has 2 axes, shape \(4, 4\): 4 .* are accepted, or 3", lambda: F.max_pool2d(X[0, 0], 2)),
        (ValueError, r"x has \(0, 4\) pixels: at least 1", lambda: F.max_pool2d(X[:, :, :0], 2, padding=1)),
        (ValueError, "kernel_size is 0: an int of at least 1", lambda: F.max_pool2d(X, 0)),
        (ValueError, "stride is 0: an int of at least 1", lambda: F.avg_pool2d(X, 2, 0)),
        (TypeError, "kernel_size is 2.0: an int is accepted", lambda: F.avg_pool2d(X, 2.0)),
        (ValueError, "padding is 'full': 'valid' and 'same'", lambda: F.max_pool2d(X, 2, padding="full")),
        (ValueError, r"padding is .* the window covers 2 pixels: less", lambda: F.avg_pool2d(X, 2, padding=2)),
        (ValueError, "covers 5 pixels along spatial axis 0, x has 4", lambda: F.max_pool2d(X, 5)),
        (ValueError, "covers 9 pixels along spatial axis 0, x has 4", lambda: F.max_pool2d(X, 9, 2, ceil_mode=True)),
        (ValueError, "divisor_override is 0: an int other than 0", lambda: F.avg_pool2d(X, 2, divisor_override=0)),
        (TypeError, "divisor_override is 1.5: an int", lambda: F.avg_pool2d(X, 2, divisor_override=1.5)),
        (ValueError, r"grad_output has shape \(2, 3, 2, 2\): \(2, 3, 3, 3\) is accepted",
         lambda: F.avg_pool2d_input_grad(Y, X.shape, 2, 1)),
        (ValueError, r"indices has shape \(2, 2, 2\): \(2, 3, 2, 2\) is accepted",
         lambda: F.max_pool2d_input_grad(Y, PLACES[:, 0], X.shape)),
        (TypeError, "indices is float64: integers are accepted", lambda: F.max_pool2d_input_grad(Y, Y, X.shape)),
        (ValueError, "indices holds 16: -1 to 15 are accepted",
         lambda: F.max_pool2d_input_grad(Y, PLACES + 16, X.shape)),
        (ValueError, "indices holds -2: -1 to 15", lambda: F.max_pool2d_input_grad(Y, PLACES - 2, X.shape)),
        (ValueError, r"input_size is \(4, 4\), grad_output has shape \(2, 3, 2, 2\): x's shape",
         lambda: F.max_pool2d_input_grad(Y, PLACES, (4, 4))),
        (ValueError, r"input_size is \(2, 1, 4, 4\)", lambda: F.avg_pool2d_input_grad(Y, (2, 1, 4, 4), 2)),
        (ValueError, "indices holds -1: 0 to 15 are accepted", lambda: F.max_unpool2d(Y, PLACES - 1, 2)),
        (ValueError, "indices holds 16: 0 to 15 are accepted", lambda: F.max_unpool2d(Y, PLACES + 16, 2)),
        (ValueError, r"output_size is \(6, 4\): sizes less than a stride, \(2, 2\), from \(4, 4\)",
         lambda: F.max_unpool2d(Y, PLACES, 2, output_size=(6, 4))),
        (ValueError, r"output_size is \(2, 1, 4, 4\), x has shape \(2, 3, 2, 2\): 2 ints",
         lambda: F.max_unpool2d(Y, PLACES, 2, output_size=(2, 1, 4, 4))),
        (ValueError, r"the output's size would be \(0, 0\)", lambda: F.max_unpool2d(Y, PLACES, 2, 2, 2)),
        (ValueError, "indices holds 16: 0 to 15", lambda: F.max_unpool2d_input_grad(X, PLACES + 16)),
        (ValueError, r"indices has shape \(2, 2, 2\), grad_output \(2, 3, 4, 4\): the shape of x",
         lambda: F.max_unpool2d_input_grad(X, PLACES[:, 0])),
    ],
)  # fmt: skip
def test_bad_calls_are_told(error, match, function):
    with pytest.raises(error, match=match):
        function()
