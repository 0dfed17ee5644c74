import inspect
from unittest import mock

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage as scipy_ndimage

from fastconv import backends, filters, ndimage

CROSS = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
ROW = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("name", ndimage.__all__)
def test_signatures_are_scipys(name):
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (ndimage, scipy_ndimage))
    describe = lambda signature: [(p.name, p.kind, p.default) for p in signature.parameters.values()]  # noqa: E731
    assert describe(ours) == describe(theirs)


def test_the_public_names():
    assert set(ndimage.__all__) == {
        "convolve", "convolve1d", "correlate", "correlate1d", "gaussian_filter", "gaussian_filter1d",
        "gaussian_gradient_magnitude", "gaussian_laplace", "generic_gradient_magnitude", "generic_laplace", "laplace",
        "maximum_filter", "maximum_filter1d", "minimum_filter", "minimum_filter1d", "prewitt", "sobel",
        "uniform_filter", "uniform_filter1d",
    }  # fmt: skip


def test_convolution_flips_the_filter_and_correlation_does_not(backend):
    point, weights = np.zeros((3, 3)), np.arange(1.0, 10).reshape(3, 3)
    point[1, 1] = 1
    assert_array_equal(ndimage.convolve(point, weights), weights)
    assert_array_equal(ndimage.correlate(point, weights), weights[::-1, ::-1])
    assert_array_equal(ndimage.convolve1d(point[1], [1, 2, 3]), [1, 2, 3])
    assert_array_equal(ndimage.correlate1d(point[1], [1, 2, 3]), [3, 2, 1])


def test_neighbours_are_added(backend):
    image = np.arange(25).reshape(5, 5)
    y = ndimage.correlate(image, CROSS)
    assert y.dtype == image.dtype
    assert y[2, 2] == 7 + 11 + 12 + 13 + 17 == 60
    assert y[0, 0] == 0 + 0 + 0 + 1 + 5  # its neighbours beyond the edges are itself


def test_the_course_derivative_of_a_ramp_is_positive(backend):
    ramp = np.tile(np.arange(5.0), (3, 1))
    assert_array_equal(ndimage.convolve1d(ramp, filters.derivative_kernel())[:, 1:-1], np.full((3, 3), 2.0))
    assert_array_equal(ndimage.sobel(ramp)[:, 1:-1], np.full((3, 3), 8.0))
    assert_array_equal(ndimage.sobel(ramp, axis=0), np.zeros((3, 5)))
    assert_array_equal(ndimage.prewitt(ramp)[:, 1:-1], np.full((3, 3), 6.0))


def test_the_course_gaussian_is_the_filter_given_as_a_matrix(backend, rng):
    image = rng.standard_normal((30, 40))
    matrix = filters.gaussian_kernel(23, 3.8, normalize=True)
    assert_allclose(ndimage.correlate(image, matrix), ndimage.gaussian_filter(image, 3.8, radius=11), atol=1e-13)


@pytest.mark.parametrize(
    ("mode", "row"),
    [
        ("reflect", [3, 2, 1, 1, 2, 3, 4, 4, 3, 2]),
        ("grid-mirror", [3, 2, 1, 1, 2, 3, 4, 4, 3, 2]),
        ("mirror", [4, 3, 2, 1, 2, 3, 4, 3, 2, 1]),
        ("nearest", [1, 1, 1, 1, 2, 3, 4, 4, 4, 4]),
        ("wrap", [2, 3, 4, 1, 2, 3, 4, 1, 2, 3]),
        ("grid-wrap", [2, 3, 4, 1, 2, 3, 4, 1, 2, 3]),
        ("constant", [9, 9, 9, 1, 2, 3, 4, 9, 9, 9]),
        ("grid-constant", [9, 9, 9, 1, 2, 3, 4, 9, 9, 9]),
    ],
)
def test_what_lies_beyond_the_edges_by_hand(mode, row, backend):
    for shift in range(7):  # a single tap moves the row
        tap = np.eye(7)[shift]
        assert_array_equal(ndimage.correlate1d(ROW, tap, mode=mode, cval=9), row[shift : shift + 4])
        assert_array_equal(ndimage.correlate(ROW, tap, mode=mode, cval=9), row[shift : shift + 4])


def test_origins_move_the_result(backend):
    assert_array_equal(ndimage.correlate1d([0, 0, 1, 0, 0], [1, 2, 3], origin=1), [0, 0, 3, 2, 1])
    assert_array_equal(ndimage.convolve1d([0, 0, 1, 0, 0], [1, 2, 3], origin=1), [1, 2, 3, 0, 0])
    assert_array_equal(ndimage.maximum_filter1d([0, 0, 9, 0, 0], 3, origin=1), [0, 0, 9, 9, 9])


def test_integers_lose_their_fraction_and_wrap_around(backend):
    assert_array_equal(ndimage.correlate([3, -3], [0.5]), [1, -1])
    assert_array_equal(ndimage.correlate(np.array([200, 100], "u1"), [2.0]), [144, 200])
    assert_array_equal(ndimage.correlate(np.array([1, 2], "u1"), [-1.0]), [255, 254])
    assert_array_equal(ndimage.uniform_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3), [4, 3, 4, 1, 4, 6, 6, 3])


@pytest.mark.parametrize("name", ["correlate", "correlate1d"])
def test_bool_is_0_or_1(name, backend):
    y = getattr(ndimage, name)(np.ones(4, bool), [1.0, 1, 1])
    assert y.dtype == bool
    assert_array_equal(y.view(np.uint8), 1)


def test_moving_extremes_by_hand(backend):
    row = [2, 8, 0, 4, 1, 9, 9, 0]
    assert_array_equal(ndimage.maximum_filter1d(row, 3), [8, 8, 8, 4, 9, 9, 9, 9])
    assert_array_equal(ndimage.minimum_filter(row, 3), [2, 0, 0, 0, 1, 1, 0, 0])
    assert_array_equal(ndimage.maximum_filter(row, footprint=[1, 0, 1]), [8, 2, 8, 1, 9, 9, 9, 9])
    assert_array_equal(ndimage.minimum_filter(row, 3, mode="constant", cval=-1), [-1, 0, 0, 0, 1, 1, 0, -1])


def test_box_and_laplace_by_hand(backend):
    image = np.zeros((5, 5))
    image[2, 2] = 9
    assert_allclose(ndimage.uniform_filter(image)[1:4, 1:4], np.ones((3, 3)))
    assert_array_equal(ndimage.laplace(image)[1:4, 1:4], [[0, 9, 0], [9, -36, 9], [0, 9, 0]])
    assert_array_equal(ndimage.laplace(image, axes=0)[1:4, 2], [9, -18, 9])
    assert_array_equal(ndimage.laplace(image, mode=["wrap", "nearest"]), ndimage.laplace(image))


def test_complex_filters_are_conjugated_by_correlation(backend):
    x = np.array([0, 1j, 0])
    assert_array_equal(ndimage.correlate1d(x, [1j]), [0, 1, 0])
    assert_array_equal(ndimage.convolve1d(x, [1j]), [0, -1, 0])
    assert_array_equal(ndimage.correlate(x, [1j]), [0, 1, 0])
    assert_array_equal(ndimage.convolve(np.array([0, 1, 0]), [1j]), [0, 1j, 0])
    assert ndimage.convolve(np.ones(3, "f4"), [1j]).dtype == np.complex64
    with pytest.warns(UserWarning, match="output is float32, the result complex: promoted"):
        assert ndimage.uniform_filter1d(x, 3, output=np.float32).dtype == np.complex64


@pytest.mark.parametrize("name", ["correlate", "correlate1d", "convolve", "convolve1d"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_reach_what_they_reach_in_scipy(name, dtype, backend, rng):
    for value in (np.nan, np.inf, -np.inf):
        for weights in (
            [1.0, 0, 2],
            [1.0, 2, 0, 0, -1],
            [1.0, 0, 1],
            [-1.0, 0, 1],
            [0.0, 0, 0],
            [1e-17, 1],
            [np.nan, 1],
        ):
            for shape in ((9,), (4, 9)):
                x = rng.standard_normal(shape).astype(dtype)
                x.flat[rng.integers(0, x.size, 2)] = value
                weighed = weights if "1d" in name or len(shape) == 1 else [weights, weights]
                with np.errstate(invalid="ignore"):
                    expected = getattr(scipy_ndimage, name)(x, weighed)
                y = getattr(ndimage, name)(x, weighed)
                assert_array_equal(np.isnan(y), np.isnan(expected))
                assert_array_equal(np.where(np.isinf(y), y, 0), np.where(np.isinf(expected), expected, 0))


@pytest.mark.parametrize("name", ["maximum_filter1d", "minimum_filter1d", "maximum_filter", "minimum_filter"])
def test_nan_in_windows_is_neither_less_nor_greater(name, backend, rng):
    for size in (1, 2, 3, 5):
        x = rng.standard_normal((6, 40))
        x[:, rng.integers(0, 40, 8)] = np.nan
        assert_array_equal(getattr(ndimage, name)(x, size), getattr(scipy_ndimage, name)(x, size))
        if "1d" not in name:
            footprint = np.arange(2 * size).reshape(2, size) % 3 != 1
            expected = getattr(scipy_ndimage, name)(x, footprint=footprint)
            assert_array_equal(getattr(ndimage, name)(x, footprint=footprint), expected)


def test_nan_stays_in_a_running_sum(backend):
    x = np.array([5.0, 1, np.nan, 2, 3, 4, 7])
    assert_array_equal(np.isnan(ndimage.uniform_filter1d(x, 3)), [False] + [True] * 6)


def test_filters_much_longer_than_the_image_are_scipys(backend, rng):
    for extent in (1, 2, 3):
        x, weights = rng.standard_normal(extent), rng.standard_normal(25)
        for mode in ("reflect", "mirror", "wrap", "nearest", "constant"):
            expected = scipy_ndimage.correlate1d(x, weights, mode=mode, cval=0.5, origin=-3)
            assert_allclose(ndimage.correlate1d(x, weights, mode=mode, cval=0.5, origin=-3), expected, atol=1e-13)
            assert_allclose(ndimage.correlate(x, weights, mode=mode, cval=0.5, origin=-3), expected, atol=1e-13)


@pytest.mark.parametrize("name", ["laplace", "gaussian_laplace", "gaussian_gradient_magnitude"])
@pytest.mark.parametrize("dtype", ["i4", "f4", "c16"])
def test_sums_of_derivatives_in_place_are_scipys(name, dtype, backend, rng):
    x = (rng.standard_normal((6, 7)) * 50).astype(dtype)
    arguments = () if name == "laplace" else (1.0,)
    expected = getattr(scipy_ndimage, name)(x, *arguments)
    y = getattr(ndimage, name)(x, *arguments, output=x)
    assert y is x
    assert_allclose(x, expected, rtol=1e-5, atol=1e-4 if dtype == "f4" else 1e-12)


def test_complex_products_in_place_are_scipys(backend, rng):
    x, weights = rng.standard_normal((2, 5, 6)), rng.standard_normal((2, 3, 3))
    x, weights = x[0] + 1j * x[1], weights[0] + 1j * weights[1]
    expected = scipy_ndimage.correlate(x, weights)
    assert_allclose(ndimage.correlate(x, weights, output=x), expected, atol=1e-12)


def test_an_output_that_overlaps_the_input_is_right(backend, rng):
    whole = rng.standard_normal((9, 7))
    expected = scipy_ndimage.gaussian_filter(whole[:-1].copy(), 1.0)
    ndimage.gaussian_filter(whole[:-1], 1.0, output=whole[1:])
    assert_allclose(whole[1:], expected, atol=1e-12)


@pytest.mark.parametrize("name", ["generic_laplace", "generic_gradient_magnitude"])
@pytest.mark.parametrize("dtype", ["i2", "f8"])
def test_generic_sums_are_scipys(name, dtype, backend, rng):
    def derivative(module):
        def along(x, axis, output, mode, cval, taps, origin=0):
            return module.correlate1d(x, taps, axis, output, mode, cval, origin)

        return along

    x = (rng.standard_normal((5, 6, 4)) * 5).astype(dtype)
    options = {
        "extra_arguments": ([1, -3, 1],),
        "extra_keywords": {"origin": 1},
        "axes": (2, 0),
        "mode": ["wrap", "nearest"],
    }
    expected = getattr(scipy_ndimage, name)(x, derivative(scipy_ndimage), **options)
    assert_allclose(getattr(ndimage, name)(x, derivative(ndimage), **options), expected, rtol=1e-12)
    assert_array_equal(getattr(ndimage, name)(x, derivative(ndimage), axes=()), x)


def recorded(call):
    """The calls of backend operations that a call makes: name, x, what, y, ..."""
    calls = []

    class Recorder:
        empty = staticmethod(np.empty)

        def __getattr__(self, name):
            return lambda *arguments: calls.append((name, *arguments))

    with mock.patch.object(backends, "module", return_value=Recorder()):
        call()
    return calls


@pytest.mark.parametrize(
    ("call", "passes"),
    [
        (lambda x, y: ndimage.gaussian_filter(x, 1.0, output=y), 2),
        (lambda x, y: ndimage.gaussian_filter1d(x, 1.0, output=y), 1),
        (lambda x, y: ndimage.sobel(x, output=y), 2),
        (lambda x, y: ndimage.prewitt(x, output=y), 2),
        (lambda x, y: ndimage.uniform_filter(x, 3, output=y), 2),
        (lambda x, y: ndimage.maximum_filter(x, 3, output=y), 2),
        (lambda x, y: ndimage.correlate1d(x, [1, 2], output=y), 1),
        (lambda x, y: ndimage.correlate(x, CROSS, output=y), None),
        (lambda x, y: ndimage.laplace(x, output=y), None),
        (lambda x, y: ndimage.maximum_filter(x, footprint=CROSS, output=y), None),
    ],
)
def test_the_backend_is_called_once_with_the_arrays_themselves(call, passes):
    x, y = np.ones((5, 6), np.float32), np.empty((12, 5), np.float32).T[:, ::2]
    ((_, given, what, into, *_),) = recorded(lambda: call(x, y))
    assert given is x
    assert into is y
    assert passes is None or len(what) == passes


def test_the_backend_sees_no_bool_no_other_byte_order_and_no_shared_memory():
    for x, y in [
        (np.ones((3, 4), bool), np.ones((3, 4), bool)),
        (np.ones((3, 4), ">f4"), np.ones((3, 4), ">i2")),
        (np.ones((3, 4)), None),
        (np.ones(()), np.ones((), ">f8")),
    ]:
        y = x if y is None else y
        weights = np.ones((1,) * x.ndim)
        ((_, given, _, into, *_),) = recorded(lambda x=x, y=y, weights=weights: ndimage.correlate(x, weights, output=y))
        assert given.dtype.isnative
        assert into.dtype.isnative
        assert bool not in (given.dtype, into.dtype)
        assert not np.shares_memory(given, into)
        assert given.ndim


def test_nothing_is_computed_for_arrays_without_pixels():
    empty = np.ones((0, 3))
    assert recorded(lambda: ndimage.gaussian_filter(empty, 1.0)) == []
    assert ndimage.correlate(empty, np.ones((3, 3))).shape == (0, 3)
    assert ndimage.correlate(np.ones((0, 3), np.float16), np.ones((3, 3))).dtype == np.float16  # as SciPy does
    with pytest.raises(RuntimeError, match="input is float16"):
        ndimage.correlate1d(np.ones((0, 3), np.float16), np.ones(3))


X = np.ones((4, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ndimage.correlate(X, np.ones(3)), RuntimeError, r"weights has shape \(3,\): 2 axes of at least 1"),
        (lambda: ndimage.correlate(X, np.ones((0, 3))), RuntimeError, r"weights has shape \(0, 3\)"),
        (lambda: ndimage.correlate(X, np.ones(3), axes=(0, 1)), RuntimeError, "weights has shape"),
        (
            lambda: ndimage.correlate(X, np.ones((3, 3)), axes=0),
            RuntimeError,
            "weights has 2 axes: one for each of axes",
        ),
        (lambda: ndimage.correlate1d(X, []), RuntimeError, r"weights has shape \(0,\): one axis of at least 1 tap"),
        (lambda: ndimage.correlate1d(X, [1, 2], origin=1), ValueError, "origin is 1: -1 to 0 are accepted for 2 taps"),
        (lambda: ndimage.correlate1d(X, [1], axis=2), np.exceptions.AxisError, "axis 2 is out of bounds"),
        (
            lambda: ndimage.correlate1d(X, [1], mode="symmetric"),
            RuntimeError,
            "mode is 'symmetric': one of 'reflect', ",
        ),
        (lambda: ndimage.correlate(X, [[1]], mode=["wrap", "wrap"]), RuntimeError, "one mode for all axes is accepted"),
        (lambda: ndimage.correlate(X, [[1]], cval="0"), TypeError, "cval is '0': a real number is accepted"),
        (lambda: ndimage.correlate(X, [[1]], axes=(0, 2)), ValueError, r"axes is \(0, 2\): ints from -2 to 1"),
        (lambda: ndimage.correlate(X, [[1]], axes=(0, -2)), ValueError, r"axes is \(0, -2\): ints that differ"),
        (lambda: ndimage.correlate(X, [[1]], axes=object()), ValueError, "an int, ints or None is accepted"),
        (lambda: ndimage.correlate(X, [[1]], np.ones(3)), RuntimeError, r"output has shape \(3,\): that of the input"),
        (lambda: ndimage.correlate(X, [[1]], "bool"), RuntimeError, "output is 'bool': a type of numbers is accepted"),
        (lambda: ndimage.correlate(X, [[1j]], "float64"), RuntimeError, "output is float64: complex64 and complex128"),
        (lambda: ndimage.correlate(X, [[1j]], cval=1j), ValueError, "cval is 1j: a real number is accepted"),
        (lambda: ndimage.correlate(X, [[1]], np.float16), RuntimeError, "output is float16: bool, integers, float32"),
        (lambda: ndimage.correlate(X, [[1, 2, 3]], origin=[0, True]), TypeError, "origin is True: an int is accepted"),
        (
            lambda: ndimage.gaussian_filter(X, [1, 2, 3]),
            RuntimeError,
            "sigma has 3 entries: one value or 2, one an axis",
        ),
        (lambda: ndimage.gaussian_filter1d(X, -1), ValueError, "radius is -3: an int of at least 0 is accepted"),
        (lambda: ndimage.gaussian_filter1d(X, 1, order=-1), ValueError, "order is -1: an int of at least 0"),
        (lambda: ndimage.uniform_filter1d(X, 0), RuntimeError, "size is 0: an int of at least 1 is accepted"),
        (lambda: ndimage.maximum_filter(X), RuntimeError, "size is None, footprint too: one of them is accepted"),
        (lambda: ndimage.maximum_filter(X, footprint=[[0]]), ValueError, "footprint has shape .1, 1. and no pixel"),
        (lambda: ndimage.maximum_filter(X, footprint=[1, 0]), RuntimeError, r"footprint has shape \(2,\)"),
        (lambda: ndimage.minimum_filter(X * 1j, 3), TypeError, "input is complex128: real numbers are accepted"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_read_only_output_and_a_size_beside_a_footprint_are_told():
    frozen = np.zeros((4, 5))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="output is read-only: a writeable array is accepted"):
        ndimage.sobel(X, output=frozen)
    with pytest.warns(UserWarning, match="size is ignored because footprint is given"):
        ndimage.maximum_filter(X, 3, footprint=[[1]])
