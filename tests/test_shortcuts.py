"""Convolutions that are less than they look: most outputs see only padding, or there is one output alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu.shortcuts import is_product, trimmed
from fastconv.geometry import convolution


@st.composite
def layers(draw):
    """An input, a weight and options of wide borders."""
    rank = draw(st.integers(1, 3))
    several = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    kernel, stride, dilation, size = several(1, 3), several(1, 3), several(1, 2), several(1, 6)
    padding = tuple(zip(several(0, 9), several(0, 9), strict=True))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(max(h, span - sum(p)) for h, span, p in zip(size, spans, padding, strict=True))
    groups = draw(st.sampled_from([1, 3]))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (2, 3, *size), (6, 3 // groups, *kernel), options


def both(x, weight, bias, options):
    """A layer by the processor's kernels and by the reference."""
    call = getattr(F, f"conv{x.ndim - 2}d")
    with np.errstate(all="ignore"), fc.use_backend("reference"):
        wanted = call(x, weight, bias, **options)
    with fc.use_backend("cpu"):
        return call(x, weight, bias, **options), wanted


@given(layer=layers(), seed=st.integers(0, 9), where=st.integers(0, 1 << 20))
@settings(max_examples=150)
def test_wide_borders_are_the_reference(layer, seed, where):
    x_shape, weight_shape, options = layer
    rng = np.random.default_rng(seed)
    x, weight, bias = rng.standard_normal(x_shape), rng.standard_normal(weight_shape), rng.standard_normal(6)
    for start in (None, bias):
        assert_allclose(*both(x, weight, start, options), rtol=0, atol=1e-12)
    for array, value in ((x, np.nan), (weight, np.inf)):
        array.reshape(-1)[where % array.size] = value
        assert_allclose(*both(x, weight, bias, options), rtol=0, atol=1e-12)


@given(layer=layers(), seed=st.integers(0, 9), where=st.integers(0, 1 << 20))
@settings(max_examples=150)
def test_gradients_of_wide_borders_are_the_reference(layer, seed, where):
    x_shape, weight_shape, options = layer
    rng, rank = np.random.default_rng(seed), len(x_shape) - 2
    input_grad, weight_grad = (getattr(F, f"conv{rank}d_{which}_grad") for which in ("input", "weight"))
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
    with fc.use_backend("reference"):
        shape = getattr(F, f"conv{rank}d")(x, weight, **options).shape
    for value, spoilt in ((0.5, "grad"), (np.nan, "grad"), (np.inf, "grad"), (np.inf, "x"), (np.nan, "weight")):
        given = {"x": x.copy(), "weight": weight.copy(), "grad": rng.standard_normal(shape)}
        given[spoilt].reshape(-1)[where % given[spoilt].size] = value
        calls = (
            lambda given=given: input_grad(x_shape, given["weight"], given["grad"], **options),
            lambda given=given: weight_grad(given["x"], weight_shape, given["grad"], **options),
        )
        for call in calls:
            with np.errstate(all="ignore"), fc.use_backend("reference"):
                wanted = call()
            with fc.use_backend("cpu"):
                assert_allclose(call(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("padding", "found"), [(3, (2, 5)), (1, (1, 4)), (0, None)])
def test_what_sees_the_input_is_found(padding, found):
    inner = trimmed(convolution((1, 4, 7, 7), (4, 4, 1, 1), 2, padding, 1, 1))
    if found is None:
        assert inner is None
    else:
        assert inner[1][2:] == (slice(*found), slice(*found))
        assert inner[0].output_size == (3, 3)
        assert inner[0].padding == ((-1, -1), (-1, -1))


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("size", [(7,), (4, 5), (2, 3, 2), (1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_filters_as_large_as_the_images_are_the_reference(batch, size, dtype, rng):
    rank, bound = len(size), {"rtol": 0, "atol": 1e-4 if dtype == np.float32 else 1e-12}
    x, weight = rng.standard_normal((batch, 6, *size)), rng.standard_normal((10, 6, *size))
    grad, bias, back_bias = rng.standard_normal((batch, 10, *(1,) * rank)), rng.standard_normal(10), rng.random(6)
    passes = {
        "": lambda x, weight, grad, bias, back, **out: getattr(F, f"conv{rank}d")(x, weight, bias, **out),
        "input": lambda x, weight, grad, bias, back, **out: getattr(F, f"conv{rank}d_input_grad")(
            x.shape, weight, grad, **out
        ),
        "weight": lambda x, weight, grad, bias, back, **out: getattr(F, f"conv{rank}d_weight_grad")(
            x, weight.shape, grad, **out
        ),
        "transposed": lambda x, weight, grad, bias, back, **out: getattr(F, f"conv_transpose{rank}d")(
            grad, weight, back, **out
        ),
    }
    assert is_product(convolution(x.shape, weight.shape, 1, 0, 1, 1))
    for call in passes.values():
        with fc.use_backend("reference"):
            wanted = call(x, weight, grad, bias, back_bias)
        arrays = [array.astype(dtype) for array in (x, weight, grad, bias, back_bias)]
        with fc.use_backend("cpu"):
            found = call(*arrays)
            out = np.empty(wanted.shape, dtype)
            assert call(*arrays, out=out) is out
        assert found.shape == wanted.shape
        assert_allclose(found, wanted, **bound)
        assert_allclose(out, wanted, **bound)


@pytest.mark.parametrize("operation", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"])
def test_products_are_explained(operation):
    found = fc.explain(operation, (16, 6, 4, 4), (10, 6, 4, 4), measure=True)
    assert "product" in found.tile
    assert found.measured > 0


def test_a_bound_network_takes_layers_that_are_less_than_they_look(rng):
    model = fc.nn.Sequential(fc.nn.Conv2d(2, 3, 1, stride=2, padding=3), fc.nn.ReLU(), fc.nn.Conv2d(3, 4, 7))
    x = rng.standard_normal((5, 2, 7, 7)).astype(np.float32)
    model.eval()
    with fc.use_backend("reference"):
        wanted = model(x)
    assert_allclose(model(x), wanted, rtol=0, atol=1e-4)
