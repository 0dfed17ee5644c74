"""`fastconv.signal`: examples worked by hand, integers, layouts, what comes to the backend, transforms, the method."""

import inspect
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import forms
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import signal as oracle
from signal_oracle import MODES, OF_ANY_RANK, same

from fastconv import signal
from fastconv.signal import fourier, sums

NAMES = [*signal.__all__]


def test_a_moving_difference_by_hand(backend):
    ramp = [0, 1, 4, 9, 16]
    assert_array_equal(signal.convolve(ramp, [1, -1]), [0, 1, 3, 5, 7, -16])
    assert_array_equal(signal.convolve(ramp, [1, -1], "same"), [0, 1, 3, 5, 7])
    assert_array_equal(signal.convolve(ramp, [1, -1], "valid"), [1, 3, 5, 7])
    assert_array_equal(signal.convolve([1, -1], ramp, "valid"), [1, 3, 5, 7])
    assert_array_equal(signal.convolve([1, -1], ramp, "same"), [3, 5])
    assert_array_equal(signal.correlate(ramp, [1, -1], "valid"), [-1, -3, -5, -7])


def test_images_by_hand(backend):
    image = np.array([[1, 2], [3, 4]])
    assert_array_equal(signal.convolve2d(image, [[1, 10]]), [[1, 12, 20], [3, 34, 40]])
    assert_array_equal(signal.correlate2d(image, [[1, 10]]), [[10, 21, 2], [30, 43, 4]])
    assert_array_equal(signal.convolve2d(image, [[1, 10]], "same", "wrap"), [[21, 12], [43, 34]])
    assert_array_equal(signal.convolve2d(image, [[1, 10]], "same", "symm"), [[11, 12], [33, 34]])
    assert_array_equal(signal.convolve2d(image, [[1, 10]], "same", fillvalue=7), [[71, 12], [73, 34]])


def test_correlation_conjugates_and_convolution_does_not(backend):
    assert_array_equal(signal.correlate([1j], [1j]), [1])
    assert_array_equal(signal.convolve([1j], [1j]), [-1])
    assert_array_equal(signal.correlate2d([[1j]], [[1j]]), [[1]])
    assert_array_equal(signal.convolve2d([[1j]], [[1j]]), [[-1]])
    assert signal.correlate(2, 1j) == -2j
    assert signal.convolve(2, 1j) == 2j


@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_scipys(name):
    found, expected = (inspect.signature(getattr(module, name)).parameters for module in (signal, oracle))
    assert list(found) == list(expected)
    assert [p.default for p in found.values()] == [p.default for p in expected.values()]
    assert [p.kind for p in found.values()] == [p.kind for p in expected.values()]


def test_the_public_names_are_documented():
    assert all(getattr(signal, name).__doc__.count("Examples") for name in NAMES)


@pytest.mark.parametrize(("dtype", "product"), [("i1", -128), ("u1", 128), ("i2", 640), ("u4", 640), ("i8", 640)])
def test_integers_wrap_around_as_their_dtype_does(dtype, product, backend):
    x = np.array([64, 64], dtype)
    found = signal.convolve2d([x], np.array([[5, 5]], dtype))
    assert_array_equal(found, np.array([[320, 640, 320]]).astype(dtype))
    assert found[0, 1] == product


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_that_float64_would_round_are_exact(dtype, boundary, backend):
    x = np.array([[2**53 + 1, 2**62 + 3, 5], [7, 2**53 + 5, 1]], dtype)
    h = np.array([[3, 1], [2**40 + 1, 1]], dtype)
    for mode in MODES:
        same("convolve2d", x, h, mode, boundary, 2**60 + 1)
        same("correlate2d", x, h, mode, boundary, 3)
    same("convolve", x, h)
    same("convolve", x[0], h[1])
    assert signal.convolve(np.array([2**53 + 1], dtype), np.array([1], dtype))[0] == 2**53 + 1


def test_what_is_not_finite_stays_where_it_belongs(backend):
    x, h = np.ones(9), np.array([0.0, 1.0, 2.0])
    x[4] = np.nan
    assert_array_equal(np.isnan(signal.convolve(x, h)), np.isin(np.arange(11), [4, 5, 6]))
    assert_array_equal(np.isnan(signal.convolve(h, x, "same")), np.isin(np.arange(3), [0, 1, 2]))
    x[4] = np.inf
    assert_array_equal(signal.convolve(np.ones(4), [1.0, np.inf, 1.0], "same"), [np.inf] * 4)
    assert_array_equal(signal.convolve(x, np.ones(2), "valid"), [2, 2, 2, np.inf, np.inf, 2, 2, 2])


def test_transforms_warn_of_what_is_not_finite():
    x = np.ones(50)
    x[3] = np.nan
    with pytest.warns(RuntimeWarning, match="method='direct'"):
        found = signal.convolve(x, np.ones(3), method="fft")
    assert np.isnan(found).all()
    with pytest.warns(RuntimeWarning, match="NaN or infinity"):
        signal.correlate(x, np.ones(3), method="fft")


def test_objects_are_multiplied_and_added_by_their_own_rules():
    x = np.array([Decimal("0.1"), Decimal(3), Decimal(5)])
    assert_array_equal(signal.convolve(x, x[:2]), oracle.convolve(x, x[:2]))
    assert signal.convolve(x, x[:2])[0] == Decimal("0.01")
    thirds = np.array([Fraction(1, 3), Fraction(2, 3)])
    assert_array_equal(signal.correlate(thirds, thirds), [Fraction(2, 9), Fraction(5, 9), Fraction(2, 9)])
    same("fftconvolve", x, x[:2])


def test_lags_say_what_an_entry_of_correlate_means(rng):
    x = rng.standard_normal(301)  # of an even number SciPy's lags are one off in mode "same"
    delayed = np.concatenate([np.zeros(17), x])
    for mode in ("full", "same"):
        lags = signal.correlation_lags(delayed.size, x.size, mode)
        assert lags[np.argmax(signal.correlate(delayed, x, mode))] == 17


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: signal.convolve([1.0], [[1.0]]), ValueError, r"in1 has shape \(1,\), in2 has shape \(1, 1\): equally"),
        (lambda: signal.convolve([1.0], [1.0], "all"), ValueError, "mode is 'all': one of 'full', 'same', 'valid'"),
        (lambda: signal.correlate([1.0], [1.0], []), TypeError, r"mode is \[\]: one of 'full', 'same', 'valid'"),
        (lambda: signal.convolve([1.0], [1.0], method="sum"), ValueError, "method is 'sum': one of 'auto', 'direct'"),
        (
            lambda: signal.convolve(np.ones((2, 3)), np.ones((3, 2)), "valid"),
            ValueError,
            "mode is 'valid', .* as large",
        ),
        (lambda: signal.convolve([], [1.0]), ValueError, "at least one element"),
        (
            lambda: signal.convolve(np.ones((2, 2)), np.ones((0, 2))),
            ValueError,
            "mode is 'full', .*at least one element",
        ),
        (lambda: signal.convolve([], [1.0], method="fft"), IndexError, "at least one element"),
        (lambda: signal.convolve([[True]], [[True]]), ValueError, "in1 is bool, in2 is bool, with 2 axes: integers"),
        (lambda: signal.convolve2d([1.0], [1.0]), ValueError, "two axes each"),
        (lambda: signal.convolve2d([[True]], [[True]]), ValueError, "in1 is bool, in2 is bool: integers"),
        (lambda: signal.convolve2d([[1]], [[1]], boundary="mirror"), ValueError, "boundary is 'mirror': one of 'fill'"),
        (lambda: signal.convolve2d([[1]], [[1]], fillvalue=1j), ValueError, "fillvalue is 1j: one number that int64"),
        (lambda: signal.convolve2d(np.ones((0, 1)), [[1.0]], boundary="wrap"), ValueError, "at least one element"),
        (lambda: signal.fftconvolve([1.0], [1.0], axes=1), ValueError, "axes is 1: distinct ints from -1 to 0"),
        (lambda: signal.fftconvolve([1.0], [1.0], axes="0"), ValueError, "axes is '0': an int or a sequence of ints"),
        (
            lambda: signal.oaconvolve(np.ones((2, 3)), np.ones((3, 9)), axes=1),
            ValueError,
            "equal extents along the other",
        ),
        (lambda: signal.choose_conv_method(np.array([], int), [1]), ValueError, "integers of at least one element"),
        (lambda: signal.choose_conv_method(["a"], [1]), TypeError, "with integers, numbers are accepted"),
        (lambda: signal.correlation_lags(3, 2, "all"), ValueError, "mode is 'all'"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


FORMS = {
    **forms.FORMS,
    "not aligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["f", "d", "D", "u1", "i8"])
def test_every_form_gives_the_same_bits_and_is_left_alone(form, dtype, rng, backend):
    for shape, taps in [((40,), (7,)), ((9, 7), (3, 2)), ((5, 4, 6), (2, 3, 1))]:
        given = [(100 * rng.standard_normal(extents)).astype(dtype) for extents in (shape, taps)]
        taken = [FORMS[form](array) for array in given]
        for array in taken:
            array.flags.writeable = False
        for name in OF_ANY_RANK + ["convolve2d", "correlate2d"] * (len(shape) == 2):
            found = getattr(signal, name)(*taken)
            assert_array_equal(found, getattr(signal, name)(*given))
            assert not any(np.shares_memory(found, array) for array in taken)
            assert found.flags.writeable
        for before, after in zip(given, taken, strict=True):
            assert_array_equal(before, after)


@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_a_signal_comes_to_the_backend_as_it_is(name, rng, monkeypatch):
    seen = []

    def record(x, weights, y, borders, cval, skip_zeros):
        seen.append((x, weights, y.dtype, borders[0].before, cval, skip_zeros))

    monkeypatch.setattr(sums.backends, "module", lambda concept: SimpleNamespace(empty=np.empty, correlate=record))
    for dtype in (np.float64, np.float32):
        x, taps = rng.standard_normal(10_000).astype(dtype), rng.standard_normal(64).astype(dtype)
        getattr(signal, name)(x, taps, "same")
        found, weights, result, before, cval, skip_zeros = seen.pop()
        assert found is x or (np.shares_memory(found, x) and found.strides == x.strides)
        assert_array_equal(weights, taps[::-1] if name == "convolve" else taps)
        assert (weights.dtype, result, before, cval, skip_zeros) == (np.float64, dtype, 32, 0.0, False)


def test_the_shorter_input_is_the_filter(monkeypatch):
    seen = []
    backend = SimpleNamespace(
        empty=np.empty, correlate=lambda x, weights, *rest, **options: seen.append((x.shape, weights.shape))
    )
    monkeypatch.setattr(sums.backends, "module", lambda concept: backend)
    for mode in MODES:
        signal.convolve(np.ones((3, 3)), np.ones((40, 50)), mode, "direct")
    assert [weights for _, weights in seen] == [(3, 3)] * 3
    assert seen[1][0] == (5, 5)  # in mode "same" no more of the larger than the sums reach
    signal.convolve2d(np.ones((3, 3)), np.ones((40, 50)), boundary="symm")
    assert seen[-1] == ((3, 3), (40, 50))


def test_integer_results_are_held_in_the_narrowest_dtype(monkeypatch):
    held = []
    backend = SimpleNamespace(empty=np.empty, correlate=lambda x, weights, y, *rest, **options: held.append(y.dtype))
    monkeypatch.setattr(sums.backends, "module", lambda concept: backend)
    signal.convolve2d(np.ones((3, 3), "u1"), np.ones((1, 1), "u1"))
    signal.convolve2d(np.ones((3, 3), "u1"), np.ones((2, 1), "u1"))
    signal.convolve2d(np.ones((3, 3), "i2"), np.full((1, 1), -1, "i2"))
    signal.convolve2d(np.ones((3, 3), "u4"), np.ones((2, 2), "u4"))
    assert held == ["u1", "i4", "i4", "i8"]


@pytest.mark.parametrize("dtype", ["f", "d", "F", "D", "g"])
def test_numpys_transforms_do_where_scipy_is_not_installed(dtype, rng, monkeypatch):
    x, h = rng.standard_normal((60, 50)).astype(dtype), rng.standard_normal((7, 3)).astype(dtype)
    expected = {name: getattr(oracle, name)(x, h) for name in ("fftconvolve", "oaconvolve")}
    monkeypatch.setattr(fourier, "transforms", lambda: np.fft)
    for name, y in expected.items():
        found = getattr(signal, name)(x, h)
        assert found.dtype == y.dtype
        assert_allclose(found, y, atol=100 * np.finfo(dtype).eps)


def test_fast_lengths_have_small_factors():
    assert [fourier.fast_length(n) for n in (1, 2, 7, 11, 13, 97, 1021, 93059)] == [1, 2, 8, 12, 15, 100, 1024, 93312]
    assert [fourier.fast_length(n, (3, 5, 7, 11)) for n in (7, 11, 13, 97, 1021)] == [7, 11, 14, 98, 1024]


def test_blocks_are_where_one_is_much_longer():
    assert fourier.block_of(1000, 1000).count == fourier.block_of(1000, 1).count == fourier.block_of(30, 20).count == 1
    block = fourier.block_of(1_000_000, 500)
    assert block == fourier.block_of(500, 1_000_000)
    assert block.length == block.step + block.overlap
    assert block.count * block.step >= 1_000_000 > (block.count - 1) * block.step


def test_the_method_is_chosen_by_work():
    choose = signal.choose_conv_method
    assert choose(np.ones(10**6), np.ones(64), "same") == "direct"
    assert choose(np.ones(10**5), np.ones(10**5)) == "fft"
    assert choose(np.ones((500, 500)), np.ones((200, 200)), "valid") == "fft"
    assert choose(np.ones((500, 500)), np.ones((5, 5))) == "direct"
    assert choose(np.ones(10**5, object), np.ones(10**5, object)) == "direct"
    assert choose(np.ones(10**5, bool), np.ones(10**5, bool)) == "direct"
    assert choose(np.full(10**5, np.nan), np.ones(10**5)) == "direct"
    assert choose(np.full(10**5, np.inf), np.ones(10**5, int)) == "direct"


def test_integers_are_transformed_only_where_that_is_exact(rng):
    small, large = rng.integers(-9, 9, 20_000), rng.integers(-(2**31), 2**31, 20_000)
    assert signal.choose_conv_method(small, small) == "fft"
    assert signal.choose_conv_method(large, large) == "direct"
    assert signal.choose_conv_method(small, large) == "direct"
    assert_array_equal(signal.convolve(small, small), np.convolve(small, small))
    wide = small.astype(np.int8)
    assert_array_equal(signal.convolve(wide, wide, "same"), np.convolve(wide, wide, "same"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["d", "f", "D", "e"])
def test_large_arrays_are_the_same_by_both_methods(dtype, mode, rng):
    x, h = rng.standard_normal(9000).astype(dtype), rng.standard_normal(3000).astype(dtype)
    found, direct, whole = (signal.convolve(x, h, mode, method) for method in ("auto", "direct", "fft"))
    assert found.dtype == direct.dtype == whole.dtype == dtype
    scale = np.linalg.norm(x.astype("D")) * np.linalg.norm(h.astype("D"))
    for other in (direct, whole):
        assert_allclose(found, other, atol=20 * scale * float(np.finfo(dtype).eps))


def test_measuring_times_both_methods(backend):
    method, times = signal.choose_conv_method(np.ones(20), np.ones(3), measure=True)
    assert list(times) == list(oracle.choose_conv_method(np.ones(20), np.ones(3), measure=True)[1]) == ["fft", "direct"]
    assert all(isinstance(seconds, float) and seconds > 0 for seconds in times.values())
    assert method == min(times, key=times.get)
