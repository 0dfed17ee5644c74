import warnings

import numpy as np
import pytest
from differences import TOLERANCE, central_difference
from forms import FORMS, disguises
from hypothesis import given
from hypothesis import strategies as st
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F

INF, NAN = np.inf, np.nan
PAIRWISE = ["mse_loss", "l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"]
REDUCTIONS = ["mean", "sum", "none"]
reduced = pytest.mark.parametrize("reduction", REDUCTIONS)
pairwise = pytest.mark.parametrize("name", PAIRWISE)


def pair(rng, name, shape):
    """x and target, away from kinks and ends; weights where the loss takes them."""
    x, target = rng.uniform(0.05, 0.95, (2, *shape))
    x = np.where(np.abs(x - target) < 1e-3, target + 0.01, x)
    options = {} if name in {"mse_loss", "l1_loss"} else {"weight": rng.random(shape[-1:])}
    if name.endswith("logits"):
        x, options["pos_weight"] = x * 6 - 3, rng.random(shape[-1:]) * 3
    return x, target, options


def seed(rng, reduction, shape):
    return rng.standard_normal(shape) if reduction == "none" else float(rng.standard_normal())


def test_by_hand(backend):
    x, target = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [3.0, 5.0]])
    assert F.mse_loss(x, target) == 5 / 4
    assert F.mse_loss(x, target, "sum") == 5
    assert F.mse_loss(x, target, "none").tolist() == [[0, 4], [0, 1]]
    assert F.mse_loss_input_grad(None, x, target).tolist() == [[0, 1], [0, -0.5]]
    assert F.l1_loss(x, target) == 3 / 4
    assert F.l1_loss_input_grad(2, x, target, "sum").tolist() == [[0, 2], [0, -2]]
    half = np.array([0.5, 0.25])
    np.testing.assert_allclose(F.binary_cross_entropy(half, np.array([1.0, 0.0]), reduction="none"), np.log([2, 4 / 3]))
    zero = np.zeros(1)
    np.testing.assert_allclose(F.binary_cross_entropy_with_logits(zero, zero + 1, pos_weight=zero + 3), 3 * np.log(2))


def test_cross_entropy_by_hand(backend):
    x = np.log([[1.0, 2.0, 1.0], [5.0, 3.0, 2.0]])  # probabilities (0.25, 0.5, 0.25) and (0.5, 0.3, 0.2)
    target, weight = np.array([1, 2]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(F.cross_entropy(x, target, reduction="none"), np.log([2, 5]))
    np.testing.assert_allclose(F.cross_entropy(x, target), np.log(10) / 2)
    np.testing.assert_allclose(F.cross_entropy(x, target, weight), (2 * np.log(2) + 3 * np.log(5)) / 5)
    np.testing.assert_allclose(F.cross_entropy(x, target, weight, reduction="sum"), 2 * np.log(2) + 3 * np.log(5))
    np.testing.assert_allclose(F.cross_entropy(x, target, ignore_index=2), np.log(2))
    smooth = -(0.9 * np.log(0.5) + 0.1 / 3 * np.log(0.25 * 0.5 * 0.25))
    np.testing.assert_allclose(F.cross_entropy(x[0], np.array(1), label_smoothing=0.1), smooth)
    hot = np.eye(3)[target]
    np.testing.assert_allclose(F.cross_entropy(x, hot, weight), (2 * np.log(2) + 3 * np.log(5)) / 2)
    expected = [[0.125, -0.25, 0.125], [0.25, 0.15, -0.4]]
    np.testing.assert_allclose(F.cross_entropy_input_grad(None, x, target), expected, atol=1e-16)


@pairwise
@reduced
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 2)])
def test_gradient_is_the_central_difference(backend, rng, name, reduction, shape):
    x, target, options = pair(rng, name, shape)
    grad_output = seed(rng, reduction, shape)
    grad_x = getattr(F, f"{name}_input_grad")(grad_output, x, target, **options, reduction=reduction)
    loss = lambda z: getattr(F, name)(z, target, **options, reduction=reduction)  # noqa: E731
    np.testing.assert_allclose(grad_x, central_difference(loss, x, grad_output), **TOLERANCE)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 2), (1, 4, 2, 2)])
@reduced
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("weighted", "label_smoothing"), [(False, 0.0), (True, 0.0), (True, 0.2), (False, 1.0)])
def test_cross_entropys_gradient_is_the_central_difference(
    backend, rng, shape, reduction, soft, weighted, label_smoothing
):
    x, pixels = rng.standard_normal(shape), shape[:-1][:0] if len(shape) == 1 else (shape[0], *shape[2:])
    target = rng.random(shape) if soft else rng.integers(0, 4, pixels)
    options = {
        "weight": rng.random(4) + 0.1 if weighted else None,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
        "ignore_index": -100 if soft or not pixels else int(target.flat[0]),
    }
    grad_output = seed(rng, reduction, pixels)
    expected = central_difference(lambda z: F.cross_entropy(z, target, **options), x, grad_output)
    if reduction == "mean" and np.isnan(F.cross_entropy(x, target, **options)):  # every target is ignored
        expected = np.zeros(shape)
    np.testing.assert_allclose(F.cross_entropy_input_grad(grad_output, x, target, **options), expected, **TOLERANCE)


shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@pairwise
@given(shape=shapes, start=seeds, reduction=st.sampled_from(REDUCTIONS))
def test_cpu_equals_reference(name, shape, start, reduction):
    rng = np.random.default_rng(start)
    x, target, options = pair(rng, name, shape)
    grad_output, results = seed(rng, reduction, shape), []
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            loss = getattr(F, name)(x, target, **options, reduction=reduction)
            grad = getattr(F, f"{name}_input_grad")(grad_output, x, target, **options, reduction=reduction)
            results.append((loss, grad))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)  # logarithms and sums round differently


@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(0, 3)),
    start=seeds,
    reduction=st.sampled_from(REDUCTIONS),
    label_smoothing=st.sampled_from([0.0, 0.3, 1.0]),
    weighted=st.booleans(),
    soft=st.booleans(),
    infinite=st.booleans(),
)
def test_cross_entropy_on_cpu_equals_reference(shape, start, reduction, label_smoothing, weighted, soft, infinite):
    rng = np.random.default_rng(start)
    x = rng.standard_normal(shape) * 3
    x = np.where(infinite & (rng.random(shape) < 0.2), -INF, x)
    pixels = shape[0], shape[2]
    target = rng.random(shape) if soft else rng.integers(-1, shape[1], pixels)
    options = {
        "weight": rng.random(shape[1]) if weighted else None,
        "ignore_index": -1,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
    }
    grad_output, results = seed(rng, reduction, pixels), []
    for backend in ("reference", "cpu"):
        with fc.use_backend(backend):
            grad = F.cross_entropy_input_grad(grad_output, x, target, **options)
            results.append((F.cross_entropy(x, target, **options), grad))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pairwise
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_losses_and_gradients_have_the_inputs_dtype(backend, rng, name, dtype):
    x, target, options = pair(rng, name, (4, 5))
    low = [a.astype(dtype) for a in (x, target)]
    lower = {k: v.astype(dtype) for k, v in options.items()}
    loss = getattr(F, name)(*low, **lower)
    assert isinstance(loss, np.generic)
    assert loss.dtype == dtype
    # 0.05, the least probability drawn, makes the input's rounding 20 times larger
    np.testing.assert_allclose(loss, getattr(F, name)(x, target, **options), rtol=50 * np.finfo(dtype).eps)
    assert getattr(F, f"{name}_input_grad")(None, *low, **lower).dtype == dtype
    assert getattr(F, name)(*low, **lower, reduction="none").dtype == dtype


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cross_entropy_and_its_gradient_have_the_scores_dtype(backend, rng, dtype):
    x, target = rng.standard_normal((6, 4)).astype(dtype), rng.integers(0, 4, 6)
    loss = F.cross_entropy(x, target)
    assert isinstance(loss, np.generic)
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss, F.cross_entropy(x.astype(float), target), rtol=8 * np.finfo(dtype).eps)
    grad = F.cross_entropy_input_grad(dtype(1), x, target.astype(np.uint8))
    assert grad.dtype == dtype
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=8 * np.finfo(dtype).eps)


def test_nothing_overflows(backend):
    x, target = np.array([-1000.0, 1000.0, -1000.0, 1000.0]), np.array([0.0, 0.0, 1.0, 1.0])
    assert F.binary_cross_entropy_with_logits(x, target, reduction="none").tolist() == [0, 1000, 1000, 0]
    grad = F.binary_cross_entropy_with_logits_input_grad(None, x, target, reduction="sum")
    assert grad.tolist() == [0, 1, -1, 0]
    loss = F.binary_cross_entropy(np.array([0.0, 1.0, 0.0, 1.0]), target, reduction="none")
    assert loss.tolist() == [0, 100, 100, 0]
    grad = F.binary_cross_entropy_input_grad(None, np.array([0.0, 1.0]), np.array([1.0, 0.0]), reduction="sum")
    np.testing.assert_allclose(grad, [-1e12, 1e12])
    scores = np.array([[1000.0, -1000.0], [-INF, 0.0]])
    assert F.cross_entropy(scores, np.array([1, 1]), reduction="none").tolist() == [2000, 0]
    assert F.cross_entropy_input_grad(None, scores, np.array([1, 1]), reduction="sum").tolist() == [[1, -1], [0, 0]]
    assert F.mse_loss(np.full(2, 1e25, np.float32), np.zeros(2, np.float32)) == INF
    assert F.l1_loss(np.full(2, 60000, np.float16), np.zeros(2, np.float16), "sum") == INF


@pairwise
def test_nan_travels(backend, name):
    x, target = np.array([NAN, 0.5, 0.5]), np.array([0.5, NAN, 0.5])
    losses = getattr(F, name)(x, target, reduction="none")
    assert np.isnan(losses).tolist() == [True, True, False]
    assert np.isnan(getattr(F, name)(x, target))
    grads = getattr(F, f"{name}_input_grad")(None, x, target)
    assert np.isnan(grads).tolist() == [True, True, False]


def test_nan_stays_in_its_sample_of_cross_entropy(backend):
    x = np.array([[NAN, 0.0], [1.0, 0.0]])
    assert np.isnan(F.cross_entropy(x, np.array([1, 1]), reduction="none")).tolist() == [True, False]
    assert np.isnan(F.cross_entropy(x, np.array([1, 1])))
    assert np.isfinite(F.cross_entropy(x, np.array([-100, 1])))


def test_the_mean_of_nothing_is_nan(backend):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in PAIRWISE:
            assert np.isnan(getattr(F, name)(np.ones((0, 3)), np.ones((0, 3))))
            assert getattr(F, name)(np.ones((0, 3)), np.ones((0, 3)), reduction="sum") == 0
            assert getattr(F, f"{name}_input_grad")(None, np.ones((0, 3)), np.ones((0, 3))).shape == (0, 3)
        empty, none = np.ones((0, 3)), np.ones(0, int)
        assert np.isnan(F.cross_entropy(empty, none))
        assert np.isnan(F.cross_entropy(empty, empty))
        assert F.cross_entropy(empty, none, reduction="sum") == 0
        assert F.cross_entropy_input_grad(None, empty, none).shape == (0, 3)
        ignored = np.full(2, -100)
        assert np.isnan(F.cross_entropy(np.ones((2, 3)), ignored))
        assert F.cross_entropy(np.ones((2, 3)), ignored, reduction="none").tolist() == [0, 0]
        assert F.cross_entropy_input_grad(None, np.ones((2, 3)), ignored).tolist() == [[0] * 3] * 2


def test_gradients_are_proportional_to_grad_output(backend):
    x, target = np.array([1.0, 2.0]), np.zeros(2)
    one = F.mse_loss_input_grad(None, x, target)
    for number in (1, 1.0, np.float32(1), np.array(1.0)):
        np.testing.assert_array_equal(F.mse_loss_input_grad(number, x, target), one)
    np.testing.assert_array_equal(F.mse_loss_input_grad(-3.0, x, target), -3 * one)


def test_every_memory_layout_gives_the_same_bits(backend, rng):
    x, target, options = pair(rng, "binary_cross_entropy_with_logits", (3, 4))
    classes = rng.integers(0, 4, (3, 5))
    scores = rng.standard_normal((3, 4, 5))
    expected = (
        F.binary_cross_entropy_with_logits_input_grad(None, x, target, **options),
        F.cross_entropy_input_grad(None, scores, classes),
    )
    for kind in FORMS:
        strange = {key: disguises(value)[kind] for key, value in options.items()}
        a, b, c, d = (disguises(array)[kind] for array in (x, target, scores, classes))
        found = (
            F.binary_cross_entropy_with_logits_input_grad(None, a, b, **strange),
            F.cross_entropy_input_grad(None, c, d),
        )
        for value, exact in zip(found, expected, strict=True):
            np.testing.assert_array_equal(value, exact)


def test_results_do_not_depend_on_threads(rng):
    x, target = rng.standard_normal((2, 70, 1000)).astype(np.float32)
    classes = rng.integers(0, 70, 1000)
    assert_same_on_threads(lambda: [F.mse_loss(x, target), F.l1_loss(x, target), F.cross_entropy(x.T, classes)])


X, T, CLASSES = np.full((2, 3), 0.5), np.full((2, 3), 0.5), np.array([0, 2])
PROBABILITY = F.binary_cross_entropy


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.cross_entropy(X, np.array([0, 3])),
            ValueError,
            "target has the label 3: 0 to 2 is accepted, or the",
        ),
        (lambda: F.cross_entropy(X, np.array([0, -1])), ValueError, "target has the label -1"),
        (lambda: F.cross_entropy_input_grad(None, X, np.array([0, 9])), ValueError, "target has the label 9"),
        (
            lambda: F.cross_entropy(X, np.array([0.0, 1.0])),
            TypeError,
            r"target is float64 of shape \(2,\): integers of",
        ),
        (lambda: F.cross_entropy(X, np.array([True, False])), TypeError, "target is bool: integers are accepted"),
        (lambda: F.cross_entropy(X, np.ones((2, 3), int)), TypeError, r"target is int64 of x's shape \(2, 3\)"),
        (lambda: F.cross_entropy(X, T.astype(np.float32)), TypeError, "target is float32, x is float64"),
        (lambda: F.cross_entropy(X, np.array([0, 1, 2])), ValueError, r"target has shape \(3,\): \(2,\) is accepted"),
        (lambda: F.cross_entropy(X, T, ignore_index=1), ValueError, "ignore_index is 1: with probabilities"),
        (lambda: F.cross_entropy(X, CLASSES, ignore_index=1.5), TypeError, "ignore_index is 1.5"),
        (lambda: F.cross_entropy(X, CLASSES, np.ones(2)), ValueError, r"weight has shape \(2,\): \(3,\) is accepted"),
        (
            lambda: F.cross_entropy(X, CLASSES, label_smoothing=1.5),
            ValueError,
            "label_smoothing is 1.5: a number from 0",
        ),
        (lambda: F.cross_entropy(X, CLASSES, reduction="avg"), ValueError, "reduction is 'avg': one of 'none', 'mean'"),
        (lambda: F.cross_entropy(np.float64(1), np.array(0)), ValueError, "x is one number"),
        (lambda: F.mse_loss(X, T[0]), ValueError, r"target has shape \(3,\): \(2, 3\) is accepted"),
        (lambda: F.l1_loss(X, T.astype(np.float16)), TypeError, "target is float16, x is float64"),
        (lambda: F.mse_loss(X, T, reduction=None), ValueError, "reduction is None"),
        (
            lambda: F.mse_loss_input_grad(None, X, T, "none"),
            ValueError,
            r"grad_output is None: .* \(2, 3\) is accepted",
        ),
        (lambda: F.mse_loss_input_grad(X, X, T), ValueError, r"grad_output has shape \(2, 3\): \(\) is accepted"),
        (lambda: F.mse_loss_input_grad("1", X, T), TypeError, "grad_output is <U1"),
        (lambda: F.mse_loss_input_grad(X[0], X, T, "none"), ValueError, r"grad_output has shape \(3,\): \(2, 3\)"),
        (lambda: F.l1_loss_input_grad(X.astype("f"), X, T, "none"), TypeError, "grad_output is float32, x is float64"),
        (lambda: PROBABILITY(X + 1, T), ValueError, "x has the value 1.5: 0 to 1 is accepted"),
        (lambda: PROBABILITY(X, T - 1), ValueError, "target has the value -0.5: 0 to 1 is accepted"),
        (lambda: PROBABILITY(X, T, np.ones(2)), ValueError, r"weight has shape \(2,\): \(2, 3\) is accepted, or what"),
        (
            lambda: F.binary_cross_entropy_with_logits(X, T, pos_weight=np.ones((4, 2, 3))),
            ValueError,
            r"pos_weight has shape \(4, 2, 3\)",
        ),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
