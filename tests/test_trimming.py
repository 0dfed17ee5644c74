"""Convolutions of which most outputs see only padding: right, and the same where weights are not finite."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu.trimming import trimmed
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


@pytest.mark.parametrize(("padding", "found"), [(3, (2, 5)), (1, (1, 4)), (0, None)])
def test_what_sees_the_input_is_found(padding, found):
    inner = trimmed(convolution((1, 4, 7, 7), (4, 4, 1, 1), 2, padding, 1, 1))
    if found is None:
        assert inner is None
    else:
        assert inner[1][2:] == (slice(*found), slice(*found))
        assert inner[0].output_size == (3, 3)
        assert inner[0].padding == ((-1, -1), (-1, -1))
