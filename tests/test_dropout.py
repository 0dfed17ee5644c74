import numpy as np
import pytest
from forms import disguises

import fastconv.functional as F


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_kept_is_scaled(backend, rng, dtype):
    x = rng.standard_normal((20, 30)).astype(dtype) + dtype(3)
    y, mask = F.dropout(x, 0.25, rng=1, return_mask=True)
    assert y.dtype == dtype
    assert mask.dtype == bool
    assert (y[~mask] == 0).all()
    np.testing.assert_allclose(y[mask], x[mask].astype(np.float64) / 0.75, rtol=2 * np.finfo(dtype).eps)
    grad = F.dropout_input_grad(x, mask, 0.25)
    np.testing.assert_array_equal(grad, y)


def test_the_fraction_kept_is_one_minus_p():
    _, mask = F.dropout(np.ones(100_000), 0.3, rng=0, return_mask=True)
    assert abs(mask.mean() - 0.7) < 5 * np.sqrt(0.21 / 100_000)  # five standard deviations


def test_the_adjoint_is_the_gradient(backend, rng):
    x, grad = rng.standard_normal((2, 4, 5))
    y, mask = F.dropout(x, 0.4, rng=rng, return_mask=True)
    assert abs(np.sum(y * grad) - np.sum(x * F.dropout_input_grad(grad, mask, 0.4))) < 1e-12


@pytest.mark.parametrize("options", [{"p": 0.0}, {"p": 0.7, "training": False}, {"p": 1, "training": False}])
def test_p_of_zero_and_evaluation_drop_nothing(backend, rng, options):
    x = rng.standard_normal((3, 4))
    y, mask = F.dropout(x, **options, return_mask=True)
    np.testing.assert_array_equal(y, x)
    assert mask.all()
    assert not np.shares_memory(x, y)


def test_p_of_one_drops_everything(backend):
    x = np.array([1.0, np.nan, np.inf])
    y, mask = F.dropout(x, 1.0, return_mask=True)
    assert y.tolist() == [0, 0, 0]
    assert not mask.any()
    assert F.dropout_input_grad(x, mask, 1.0).tolist() == [0, 0, 0]


def test_nan_and_infinity_travel_where_they_are_kept(backend):
    x = np.array([np.nan, np.inf, -np.inf] * 10)
    y, mask = F.dropout(x, 0.5, rng=3, return_mask=True)
    np.testing.assert_array_equal(y, np.where(mask, x, 0))


def test_the_seed_fixes_what_is_dropped():
    x = np.ones(1000)
    np.testing.assert_array_equal(F.dropout(x, rng=7), F.dropout(x, rng=7))
    np.testing.assert_array_equal(F.dropout(x, rng=7), F.dropout(x, rng=np.random.default_rng(7)))
    assert (F.dropout(x, rng=7) != F.dropout(x, rng=8)).any()
    assert (F.dropout(x) != F.dropout(x)).any()
    generator = np.random.default_rng(7)
    assert (F.dropout(x, rng=generator) != F.dropout(x, rng=generator)).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask_depends_on_neither_dtype_nor_backend(backend, dtype):
    _, mask = F.dropout(np.ones(12, dtype), rng=0, return_mask=True)
    expected = np.random.default_rng(0).random(12, dtype=np.float32) >= 0.5
    np.testing.assert_array_equal(mask, expected)


def test_every_memory_layout_gives_the_same_bits(backend, rng):
    x = rng.standard_normal((3, 5))
    expected, mask = F.dropout(x, rng=0, return_mask=True)
    for kind, disguised in disguises(x).items():
        np.testing.assert_array_equal(F.dropout(disguised, rng=0), expected)
        np.testing.assert_array_equal(F.dropout_input_grad(disguised, disguises(mask)[kind]), expected)


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_arrays_of_no_number_or_one_keep_their_shape(backend, shape):
    y, mask = F.dropout(np.ones(shape), return_mask=True)
    assert y.shape == mask.shape == F.dropout_input_grad(y, mask).shape == shape


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.dropout(np.ones(3), 1.5), ValueError, "p is 1.5: a number from 0 to 1 is accepted"),
        (lambda: F.dropout(np.ones(3), -0.1), ValueError, "p is -0.1"),
        (lambda: F.dropout(np.ones(3), np.nan), ValueError, "p is nan"),
        (lambda: F.dropout(np.ones(3), "0.5"), TypeError, "p is '0.5': a real number is accepted"),
        (lambda: F.dropout(np.ones(3, int)), TypeError, "x is int64"),
        (lambda: F.dropout(np.ones(3), rng="0"), TypeError, "rng is '0': an int"),
        (lambda: F.dropout(np.ones(3), rng=True), TypeError, "rng is True"),
        (lambda: F.dropout(np.ones(3), rng=-1), ValueError, "rng is -1: a seed of at least 0"),
        (lambda: F.dropout_input_grad(np.ones(3), np.ones(3)), TypeError, "mask is float64: bool is accepted"),
        (lambda: F.dropout_input_grad(np.ones(3), np.ones(2, bool)), ValueError, r"mask has shape \(2,\): \(3,\)"),
        (lambda: F.dropout_input_grad(np.ones(3), np.ones(3, bool), 2), ValueError, "p is 2"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
