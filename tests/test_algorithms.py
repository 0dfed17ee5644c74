"""The choice of the algorithm, and where results go."""

import importlib

import numpy as np
import pytest
from hypothesis import assume, given
from numpy.testing import assert_array_equal
from shapes import convolutions, transposed_convolutions
from thread_counts import assert_same_on_threads

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import fourier

X, W, G = np.ones((2, 3, 6, 5), np.float32), np.ones((4, 3, 3, 3), np.float32), np.ones((2, 4, 4, 3), np.float32)
CALLS = {
    "conv2d": (X, W),
    "conv2d_input_grad": (X.shape, W, G),
    "conv2d_weight_grad": (X, W.shape, G),
    "conv_transpose2d": (G, W),
    "conv_transpose2d_input_grad": (G.shape, W, X),
    "conv_transpose2d_weight_grad": (G, W.shape, X),
}


@pytest.fixture(params=CALLS)
def call(request):
    """An operation, with arguments."""
    return lambda **options: getattr(F, request.param)(*CALLS[request.param], **options)


@pytest.fixture
def preference():
    """Sets the process's algorithm, and puts it back."""
    yield fc.set_algorithm
    fc.set_algorithm("auto")


def passes(case, name, dtype=np.float64):
    """An operation's three passes over a drawn case, as functions of further options."""
    forward, options = getattr(F, f"{name}{case.rank}d"), case.options
    channels = case.weight_shape[0] if name == "conv" else case.weight_shape[1] * options["groups"]
    x, weight, bias = case.arrays(case.x_shape, case.weight_shape, (channels,), dtype=dtype)
    try:
        shape = forward(x, weight, bias, **options).shape
    except ValueError as error:
        assume("the output's size would be" not in str(error))
        raise
    (grad,) = case.arrays(shape, dtype=dtype)
    input_grad, weight_grad = (getattr(F, f"{name}{case.rank}d_{which}_grad") for which in ("input", "weight"))
    return [
        lambda **more: forward(x, weight, bias, **options, **more),
        lambda **more: input_grad(x.shape, weight, grad, **options, **more),
        lambda **more: weight_grad(x, weight.shape, grad, **options, **more),
    ]


def all_passes(case, name, dtype=np.float64, **more):
    """What they give."""
    return [function(**more) for function in passes(case, name, dtype)]


@given(convolutions())
def test_out_gets_the_result(case):
    for name in ("reference", "cpu"):
        with fc.use_backend(name):
            for function in passes(case, "conv"):
                expected = function()
                out = np.full(expected.shape, np.nan, expected.dtype)
                assert function(out=out) is out
                assert_array_equal(out, expected)


@given(transposed_convolutions())
def test_out_gets_the_result_of_transposed_convolution(case):
    for name in ("reference", "cpu"):
        with fc.use_backend(name):
            for function in passes(case, "conv_transpose"):
                expected = function()
                out = np.full(expected.shape, np.nan, expected.dtype)
                assert function(out=out) is out
                assert_array_equal(out, expected)


def test_out_without_a_batch_axis_and_in_float16(backend, rng):
    x, weight = rng.standard_normal((3, 6, 5)).astype("f2"), rng.standard_normal((4, 3, 3, 3)).astype("f2")
    y, grad = np.empty((4, 4, 3), "f2"), np.empty(x.shape, "f2")
    assert F.conv2d(x, weight, out=y) is y
    assert_array_equal(y, F.conv2d(x, weight))
    assert F.conv2d_input_grad(x.shape, weight, y, out=grad) is grad
    assert_array_equal(grad, F.conv2d_input_grad(x.shape, weight, y))


def test_weights_that_are_not_finite_reach_out_too(rng):
    weight, grad = W.copy(), rng.standard_normal(G.shape, np.float32)
    weight[1, 1, 1, 1] = np.inf
    out = np.empty_like(X)
    assert F.conv2d_input_grad(X.shape, weight, grad, padding=0, out=out) is out
    assert_array_equal(out, F.conv2d_input_grad(X.shape, weight, grad))
    assert np.isfinite(out[:, 0]).all()


def test_an_empty_sum_clears_out(backend):
    out = np.ones_like(W)
    assert F.conv2d_weight_grad(X[:0], W.shape, G[:0], out=out) is out
    assert not out.any()


READ_ONLY = np.empty_like(G)
READ_ONLY.flags.writeable = False
UNALIGNED = np.frombuffer(bytearray(G.nbytes + 1), np.float32, offset=1).reshape(G.shape)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([1.0], TypeError, "out is list: a NumPy array is accepted"),
        (G.astype(np.float64), TypeError, "out is float64: float32 is accepted"),
        (G.astype(G.dtype.newbyteorder()), TypeError, "out is >f4: float32 is accepted"),
        (G[:1], ValueError, r"out has shape \(1, 4, 4, 3\): \(2, 4, 4, 3\) is accepted"),
        (G.swapaxes(2, 3), ValueError, "out has shape"),
        (np.asfortranarray(G), ValueError, "out has strides .*: a C-contiguous and aligned array is accepted"),
        (UNALIGNED, ValueError, "out has strides"),
        (READ_ONLY, ValueError, "out is read-only: a writeable array is accepted"),
    ],
)
def test_an_out_that_can_not_hold_the_result_is_told(backend, out, error, message):
    with pytest.raises(error, match=message):
        F.conv2d(X, W, out=out)


def test_an_out_that_is_an_input_is_told(backend):
    memory = np.ones(100, np.float32)
    x, weight = memory[:64].reshape(1, 1, 8, 8), memory[64:65].reshape(1, 1, 1, 1)
    bias = memory[99:]
    for begin, named in ((0, "x"), (1, "x"), (36, "x")):
        with pytest.raises(ValueError, match=f"out overlaps {named} in memory: an array of its own is accepted"):
            F.conv2d(x, weight, out=memory[begin : begin + 64].reshape(x.shape))
    with pytest.raises(ValueError, match="out overlaps bias"):
        F.conv2d(x.copy(), weight.copy(), bias, padding=1, out=memory[:100].reshape(1, 1, 10, 10))
    strided = np.ones((1, 1, 8, 16), np.float32)[..., ::2]
    with pytest.raises(ValueError, match="out overlaps grad_output"):
        F.conv2d_input_grad(x.shape, weight, strided, out=strided.base[0, 0, :4].reshape(x.shape))
    assert memory.all()


def test_out_may_lie_between_an_inputs_pixels(backend):
    both = np.ones((2, 3, 6, 5), np.float32)
    x, out = both[:, :1][:1], both[0, 1:2][None]
    F.conv2d(x, np.full((1, 1, 1, 1), 2, np.float32), out=out)
    assert_array_equal(both[0, :, 0, 0], [1, 2, 1])


def test_every_algorithm_can_be_asked_for(backend, call):
    expected = call()
    others = ("fft", "winograd")
    if backend == "cuda":
        for name in others:
            with pytest.raises(ValueError, match=f"algorithm is '{name}': .*direct"):
                call(algorithm=name)
        others = ()
    for name in ("auto", "direct", *others):
        # Sums of ones: a hundred roundings of the largest number at most.
        np.testing.assert_allclose(call(algorithm=name), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["fast", None, 1, "Direct"])
def test_an_unknown_algorithm_is_told(backend, call, name):
    with pytest.raises(ValueError, match=f"algorithm is {name!r}: one of 'auto', 'direct', 'winograd', 'fft'"):
        call(algorithm=name)
    with pytest.raises(ValueError, match=f"algorithm is {name!r}: one of"):
        fc.set_algorithm(name)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((X, W), {"stride": 2}),
        ((X, W), {"dilation": (1, 2)}),
        ((X, np.ones((4, 3, 3, 1), np.float32)), {}),
        ((X.astype(float), W.astype(float)), {}),
    ],
)
def test_an_algorithm_that_can_not_compute_a_call_is_told(backend, args, options, preference):
    message = "algorithm is 'winograd', with .*: 2-D, 3 x 3 taps, stride 1, dilation 1 and float32 is accepted"
    with pytest.raises(ValueError, match=message):
        F.conv2d(*args, **options, algorithm="winograd")
    expected = F.conv2d(*args, **options, algorithm="direct")
    preference("winograd")
    assert_array_equal(F.conv2d(*args, **options), expected)


def test_the_preference_is_what_was_set(preference):
    assert fc.get_algorithm() == "auto"
    assert preference("fft") is None
    assert fc.get_algorithm() == "fft"
    preference("auto")
    assert fc.get_algorithm() == "auto"


def test_the_preference_computes_where_a_call_asks_for_none(preference, call):
    preference("direct")
    assert_array_equal(call(), call(algorithm="direct"))
    preference("fft")
    assert_array_equal(call(), call(algorithm="fft"))


def assert_close(found, expected, bound):
    """Errors of transforms are relative to the largest number."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= bound * np.abs(expected).max(initial=1)


@given(convolutions())
def test_fft_equals_the_reference(case):
    with fc.use_backend("reference"):
        expected = all_passes(case, "conv")
    for found, wanted in zip(all_passes(case, "conv", algorithm="fft"), expected, strict=True):
        assert_close(found, wanted, 1e-12)


@given(transposed_convolutions())
def test_fft_equals_the_reference_of_transposed_convolution(case):
    with fc.use_backend("reference"):
        expected = all_passes(case, "conv_transpose")
    for found, wanted in zip(all_passes(case, "conv_transpose", algorithm="fft"), expected, strict=True):
        assert_close(found, wanted, 1e-12)


@given(convolutions())
def test_fft_in_float32_is_right_to_rounding(case):
    found, wanted = all_passes(case, "conv", np.float32, algorithm="fft"), all_passes(case, "conv", np.float32)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float32
        assert_close(one, other, 1e-5)


@pytest.mark.parametrize("library", ["numpy.fft", "scipy.fft"])
@pytest.mark.parametrize("budget", [1, 3000, 30_000])
def test_fft_in_blocks_is_the_direct_sum(budget, library, rng, monkeypatch):
    pytest.importorskip(library)
    x, weight = rng.standard_normal((3, 8, 9, 10)), rng.standard_normal((12, 2, 3, 4))
    y = F.conv2d(x, weight, padding=1, groups=4)
    monkeypatch.setattr(fourier, "BUDGET", budget)
    monkeypatch.setattr(fourier, "transforms", lambda: importlib.import_module(library))
    fourier.planned.cache_clear()
    options = {"padding": 1, "groups": 4}
    found = F.conv2d(x, weight, **options, algorithm="fft")
    assert_close(found, y, 1e-12)
    grad_x = F.conv2d_input_grad(x.shape, weight, y, **options, algorithm="fft")
    assert_close(grad_x, F.conv2d_input_grad(x.shape, weight, y, **options), 1e-12)
    grad_weight = F.conv2d_weight_grad(x, weight.shape, y, **options, algorithm="fft")
    assert_close(grad_weight, F.conv2d_weight_grad(x, weight.shape, y, **options), 1e-12)
    fourier.planned.cache_clear()


def test_fft_of_a_filter_as_large_as_the_image_is_right(rng):
    x, weight = rng.standard_normal((1, 2, 60, 70), np.float32), rng.standard_normal((3, 2, 60, 70), np.float32)
    with fc.use_backend("reference"):
        expected = F.conv2d(x.astype(float), weight.astype(float), padding=20)
    assert_close(F.conv2d(x, weight, padding=20, algorithm="fft"), expected, 1e-5)


@pytest.mark.parametrize(
    ("name", "value"), [("fft", np.nan), ("fft", np.inf), ("fft", 3e38), ("winograd", np.nan), ("winograd", np.inf)]
)
@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("operation", CALLS)
def test_what_transforms_would_spread_goes_the_direct_way(name, operation, where, value):
    """Neither NaN nor infinity, nor numbers whose sums overflow, reach more than in a direct sum."""
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in CALLS[operation]]
    [a for a in args if isinstance(a, np.ndarray)][where].flat[7] = value
    function = getattr(F, operation)
    found, expected = function(*args, algorithm=name), function(*args, algorithm="direct")
    assert_array_equal(np.isfinite(found), np.isfinite(expected))
    assert_array_equal(np.isnan(found), np.isnan(expected))


def test_fft_has_the_same_bits_on_any_number_of_threads(call):
    assert_same_on_threads(lambda: [call(algorithm="fft")])
