import warnings

import numpy as np
import pytest
from differences import TOLERANCE, central_difference
from forms import disguises
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F

INF, NAN = np.inf, np.nan
# name, options, and whether the gradient takes the output
ELEMENTWISE = [
    ("tanh", {}, True),
    ("sigmoid", {}, True),
    ("relu", {}, False),
    ("leaky_relu", {}, False),
    ("leaky_relu", {"negative_slope": 0.3}, False),
    ("elu", {}, False),
    ("elu", {"alpha": 0.7}, False),
    ("gelu", {}, False),
    ("gelu", {"approximate": "tanh"}, False),
    ("softplus", {}, False),
    ("softplus", {"beta": 2.5, "threshold": 3.0}, False),
]
ALONG = [("softmax", {"dim": 1}, True), ("log_softmax", {"dim": 1}, True), ("softmax", {"dim": -1}, True)]
ALL = ELEMENTWISE + ALONG
ids = [name + "".join(f",{k}={v}" for k, v in options.items()) for name, options, _ in ALL]
each = pytest.mark.parametrize(("name", "options", "from_output"), ALL, ids=ids)
special = st.sampled_from([0.0, -0.0, INF, -INF, NAN, 1000.0, -1000.0, 1e-8, 20.0])
arrays = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5, min_side=0), elements=st.floats(-30, 30) | special
)


def both(name, options, from_output, x, grad_output):
    """The activation of x and its gradient."""
    y = getattr(F, name)(x, **options)
    return y, getattr(F, f"{name}_input_grad")(grad_output, y if from_output else x, **options)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (lambda x: F.relu(x), [0, 0, 0, 2, INF, NAN]),
        (lambda x: F.leaky_relu(x, 0.5), [-INF, -0.5, 0, 2, INF, NAN]),
        (lambda x: F.elu(x, 2.0), [-2, 2 * np.expm1(-1), 0, 2, INF, NAN]),
        (lambda x: F.tanh(x), [-1, np.tanh(-1), 0, np.tanh(2), 1, NAN]),
        (lambda x: F.sigmoid(x), [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1, NAN]),
        (lambda x: F.softplus(x), [0, np.log1p(np.exp(-1)), np.log(2), np.log1p(np.exp(2)), INF, NAN]),
        (lambda x: F.gelu(x)[1:4], [-0.15865525393145707, 0, 1.9544997361036416]),  # from tables of the normal
    ],
)
def test_by_hand(backend, y, expected):
    np.testing.assert_allclose(y(np.array([-INF, -1, 0, 2, INF, NAN])), expected, rtol=1e-14, atol=1e-15)


def test_softmax_by_hand(backend):
    x = np.log([[1.0, 2.0, 1.0], [5.0, 3.0, 2.0]])
    np.testing.assert_allclose(F.softmax(x, 1), [[0.25, 0.5, 0.25], [0.5, 0.3, 0.2]], rtol=1e-14)
    np.testing.assert_allclose(F.log_softmax(x, 1), np.log([[0.25, 0.5, 0.25], [0.5, 0.3, 0.2]]), rtol=1e-14)
    np.testing.assert_allclose(F.softmax(x, 0), [[1 / 6, 0.4, 1 / 3], [5 / 6, 0.6, 2 / 3]], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows(backend, dtype):
    x = np.array([-1e30, -1000, 1000, 1e30], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert F.sigmoid(x).tolist() == [0, 0, 1, 1]
        assert F.softplus(x).tolist() == [0, 0, 1000, dtype(1e30)]
        assert F.softplus(x, threshold=1e9).tolist() == [0, 0, 1000, dtype(1e30)]
        assert F.softplus_input_grad(np.ones(4, dtype), x, threshold=1e9).tolist() == [0, 0, 1, 1]
        assert F.softmax(x).tolist() == [0, 0, 0, 1]
        assert F.log_softmax(x[1:3]).tolist() == [-2000, 0]


def test_softmax_of_infinities_is_a_limit_or_nan(backend):
    x = np.array([[-INF, 0, 0], [-INF, -INF, -INF], [INF, 0, 1], [NAN, 0, 1]])
    y = F.softmax(x, 1)
    assert y[0].tolist() == [0, 0.5, 0.5]
    assert np.isnan(y[1:]).all()
    assert F.log_softmax(x, 1)[0].tolist() == [-INF, -np.log(2), -np.log(2)]
    assert np.isnan(F.log_softmax(x, 1)[1:]).all()


def test_softplus_is_x_beyond_the_threshold(backend):
    assert F.softplus(np.array([3.0]), beta=2.0, threshold=5.0).tolist() == [3.0]
    assert F.softplus(np.array([2.5]), beta=2.0, threshold=5.0)[0] > 2.5


@pytest.mark.parametrize(("shape", "dim"), [((), 0), ((3,), 0), ((3, 4), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)])
def test_the_default_axis_is_pytorchs(backend, rng, shape, dim):
    x = rng.standard_normal(shape)
    np.testing.assert_array_equal(F.softmax(x), F.softmax(x, dim))
    np.testing.assert_array_equal(F.log_softmax(x), F.log_softmax(x, dim))
    np.testing.assert_array_equal(F.softmax_input_grad(x, x), F.softmax_input_grad(x, x, dim))
    np.testing.assert_allclose(F.softmax(x, dim).sum(axis=dim if shape else None), 1, rtol=1e-14)


@each
def test_gradient_is_the_central_difference(backend, rng, name, options, from_output):
    x = rng.standard_normal((2, 3, 2)) * 2
    x[np.abs(x) < 1e-3] = 1.0  # away from kinks
    grad_output = rng.standard_normal(x.shape)
    _, grad_x = both(name, options, from_output, x, grad_output)
    expected = central_difference(lambda z: getattr(F, name)(z, **options), x, grad_output)
    np.testing.assert_allclose(grad_x, expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "slopes"), [("relu", [0, 0, 1]), ("leaky_relu", [0.01, 0.01, 1]), ("elu", [np.exp(-2), 1, 1])]
)
def test_slopes_at_the_kink(backend, name, slopes):
    x = np.array([-2.0, 0.0, 2.0])
    np.testing.assert_allclose(getattr(F, f"{name}_input_grad")(np.ones(3), x), slopes, rtol=1e-15)


@each
@given(x=arrays, seed=st.integers(0, 2**32 - 1))
def test_cpu_equals_reference(name, options, from_output, x, seed):
    grad_output = np.random.default_rng(seed).standard_normal(x.shape)
    results = []
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            results.append(both(name, options, from_output, x, grad_output))
    for expected, found in zip(*results, strict=True):
        # the C library's functions and NumPy's differ by a few units in the last place, sums by their order
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@each
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lower_precisions_are_right_to_rounding(backend, rng, name, options, from_output, dtype):
    x = rng.standard_normal((3, 4, 2)).astype(dtype)
    grad_output = rng.standard_normal(x.shape).astype(dtype)
    found = both(name, options, from_output, x, grad_output)
    expected = both(name, options, from_output, x.astype(np.float64), grad_output.astype(np.float64))
    for value, exact in zip(found, expected, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, exact, rtol=0, atol=8 * np.finfo(dtype).eps)  # values of about 1


@each
def test_every_memory_layout_gives_the_same_bits_and_is_left_alone(backend, rng, name, options, from_output):
    x, grad_output = rng.standard_normal((2, 3, 4, 5))[:, :, 0], rng.standard_normal((2, 3, 5))
    expected = both(name, options, from_output, x.copy(), grad_output)
    for disguised in disguises(x).values():
        kept = disguised.copy()
        for value, exact in zip(both(name, options, from_output, disguised, grad_output), expected, strict=True):
            np.testing.assert_array_equal(value, exact)
        np.testing.assert_array_equal(disguised, kept)


@each
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
def test_arrays_without_numbers_give_arrays_without_numbers(backend, name, options, from_output, shape):
    x = np.zeros(shape)
    assert [value.shape for value in both(name, options, from_output, x, x)] == [shape, shape]


def test_one_number_is_an_array_without_axes(backend):
    y = F.tanh(np.float64(0.5))
    assert y.shape == ()
    np.testing.assert_allclose(y, np.tanh(0.5), rtol=1e-15)


def test_results_do_not_depend_on_threads(rng):
    x = rng.standard_normal((7, 11, 301)).astype(np.float32)
    assert_same_on_threads(lambda: [F.tanh(x), F.softmax(x, 1), F.log_softmax(x, 2), F.softmax_input_grad(x, x, 0)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.tanh(np.arange(3)), TypeError, "x is int64: float32, float64 and float16 are accepted"),
        (
            lambda: F.relu_input_grad(np.ones(3), np.ones(3, np.float32)),
            TypeError,
            "x is float32, grad_output is float",
        ),
        (lambda: F.relu_input_grad(np.ones(3), np.ones(4)), ValueError, r"grad_output has shape \(3,\): \(4,\) is"),
        (lambda: F.leaky_relu(np.ones(3), "0.1"), TypeError, "negative_slope is '0.1': a real number is accepted"),
        (lambda: F.elu(np.ones(3), True), TypeError, "alpha is True"),
        (lambda: F.softplus(np.ones(3), beta=None), TypeError, "beta is None"),
        (lambda: F.gelu(np.ones(3), "erf"), ValueError, "approximate is 'erf': one of 'none', 'tanh' is accepted"),
        (lambda: F.softmax(np.ones((3, 2)), 2), ValueError, "dim is 2: an int from -2 to 1 is accepted"),
        (lambda: F.softmax(np.ones((3, 2)), 0.0), TypeError, "dim is 0.0"),
        (lambda: F.log_softmax_input_grad(np.ones(3), np.ones(2), 0), ValueError, r"grad_output has shape \(3,\)"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


def bits(count, dtype):
    """Numbers at equal distances among all bit patterns, with the special ones."""
    size = np.dtype(dtype).itemsize
    patterns = np.arange(count, dtype=np.uint64) * np.uint64(2 ** (8 * size) // count)
    return np.concatenate([patterns.astype(f"u{size}").view(dtype), np.array([0.0, -0.0, INF, -INF, NAN], dtype)])


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 2), (np.float64, 1)])
@pytest.mark.parametrize(
    ("name", "exact"),
    [("tanh", np.tanh), ("sigmoid", lambda x: np.where(x > 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x))))],
)
def test_errors_are_a_unit_or_two_in_the_last_place(name, exact, dtype, limit, rng):
    if dtype == np.float64 and np.finfo(np.longdouble).eps > 2.0**-60:
        pytest.skip("no numbers that are more exact than float64")
    x = np.concatenate([bits(999_983, dtype), rng.standard_normal(200_003).astype(dtype) * 8])
    with fc.use_backend("cpu"):
        y = getattr(F, name)(x)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.float64 if dtype == np.float32 else np.longdouble))
        place = np.spacing(np.abs(expected.astype(dtype)))
        assert_array_equal(np.isnan(y), np.isnan(x))
        assert np.nanmax(np.abs(y - expected) / place) <= limit
    assert_array_equal(np.signbit(y[~np.isnan(x)]), np.signbit(expected[~np.isnan(x)]))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "elu", "relu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_result_does_not_depend_on_where_its_number_stands(name, dtype):
    x = bits(10_007, dtype)
    with fc.use_backend("cpu"):
        y = getattr(F, name)(x)
        for start in (1, 3, 9_990):
            assert_array_equal(getattr(F, name)(x[start:].copy()), y[start:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_slope_of_zero_stops_any_gradient(backend, dtype):
    x, grad = np.array([-1.0, 0.0, -0.0, -INF, NAN, 1.0], dtype), np.array([INF, NAN, -1.0, 1.0, 3.0, -INF], dtype)
    assert_array_equal(F.relu_input_grad(grad, x), np.array([0, 0, 0, 0, 3, -INF], dtype))
