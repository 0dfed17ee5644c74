"""Arrays on a GPU against NumPy's: what they are, arithmetic, copies, parts, reductions."""

import gc
import importlib
import operator
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

import fastconv as fc

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]
NAN, INF = np.nan, np.inf
DTYPES = [np.bool, np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64]
BINARY = [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum]
COMPARISONS = [np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal]
UNARY = [np.negative, np.positive, np.absolute, np.square, np.sqrt, np.exp, np.log, np.tanh]
names = {"ids": lambda value: getattr(value, "__name__", str(value))}


def module(name):
    return importlib.import_module(f"fastconv.backends.cuda.{name}")


def same(found, expected, places=0):
    """One dtype, one shape, and equal numbers, or within so many units in the last place of the dtype."""
    expected = np.asarray(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if places:
        assert_allclose(found.to_host(), expected, rtol=places * np.finfo(expected.dtype).eps, atol=0)
    else:
        assert_array_equal(found.to_host(), expected)


def drawn(rng, shape, dtype):
    return (rng.standard_normal(shape) * 3).astype(dtype) if dtype != np.uint8 else rng.integers(0, 9, shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES, **names)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0,), (2, 0, 3)])
def test_there_and_back(rng, dtype, shape):
    a = drawn(rng, shape, dtype) if shape else np.array(1, dtype)
    x = fc.to_device(a)
    same(x, a)
    assert (x.ndim, x.size, x.nbytes) == (a.ndim, a.size, a.nbytes)
    assert (np.shape(x), np.ndim(x), np.size(x)) == (a.shape, a.ndim, a.size)
    assert fc.to_host(x).flags.writeable


def test_memory_of_garbage_in_a_cycle_is_given_back_alive(monkeypatch):
    """Numba frees a handle by weak references to it, which a cycle's collection looks at before any `__del__`."""

    class Handle:
        size = 3

    class Device:
        def take(self, size, dtype):
            handle = Handle()
            weakref.finalize(handle, freed.append, size)
            return handle, "key"

        def give_back(self, handle, key):
            given_back.append((handle, key, list(freed)))

    freed, given_back = [], []
    monkeypatch.setattr(module("device"), "current", Device())
    cycle = [module("array").empty((3,), np.float32)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert [(type(handle), key, before) for handle, key, before in given_back] == [(Handle, "key", [])]
    assert not freed
    given_back.clear()
    assert freed == [3]


def test_it_does_not_become_numpys_in_silence():
    x = fc.to_device(np.ones(3))
    with pytest.raises(TypeError, match=r"fastconv\.to_host copies it"):
        np.asarray(x)
    with pytest.raises(TypeError, match="no implementation found for"):
        np.linalg.norm(x)
    with pytest.raises(TypeError):
        np.arctan(x)


def test_views_share_numbers(rng):
    a = drawn(rng, (4, 3, 2), np.float32)
    x = fc.to_device(a)
    for place in (None, ..., 1, -1, slice(1, 3), slice(3, 1), slice(-2, None)):
        same(x[place], a[place])
    same(np.reshape(x, (2, -1)), a.reshape(2, -1))
    same(x.reshape(6, 4)[2:4], a.reshape(6, 4)[2:4])
    x[1] = 7
    x.reshape(-1)[-1:][...] = 8
    a[1], a[3, 2, 1] = 7, 8
    same(x, a)
    for bad in (4, -5):
        with pytest.raises(IndexError, match=f"index {bad} of 4"):
            x[bad]


def test_numbers_are_written(rng):
    x = fc.to_device(np.zeros((3, 4), np.float32))
    x[0] = np.arange(4)
    x[1] = fc.to_device(np.arange(4.0))
    x[2:] = 2.5
    same(x, np.array([[0, 1, 2, 3], [0, 1, 2, 3], [2.5] * 4], np.float32))
    x[1:] = x[:-1]  # as if it had been copied before
    same(x, np.array([[0, 1, 2, 3]] * 3, np.float32))


@pytest.mark.parametrize("source", DTYPES, **names)
@pytest.mark.parametrize("target", DTYPES, **names)
def test_other_dtypes(source, target):
    a = np.array([0, 1, 2.75, 100.5, 7], np.float64).astype(source)
    x = fc.to_device(a)
    same(x.astype(target), a.astype(target))
    assert (x.astype(target, copy=False) is x) == (source == target)


def test_conversions_at_the_ends():
    a = np.array([INF, -INF, NAN, 65519, 65520, 1e-8, -0.0, 2049], np.float32)
    x = fc.to_device(a)
    with np.errstate(over="ignore"):
        same(x.astype(np.float16), a.astype(np.float16))
    same(x.astype(bool), a.astype(bool))
    same(fc.to_device(np.array([-2.75, -0.5, 2.5, 3.5], np.float16)).astype(np.int64), [-2, 0, 2, 3])


def test_copies_are_apart():
    x = fc.to_device(np.arange(3.0))
    for y in (x.copy(), np.copy(x), x.astype(float)):
        y[...] = 9
        same(x, [0.0, 1, 2])


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.float32, np.float64], **names)
@pytest.mark.parametrize("function", BINARY + COMPARISONS, **names)
def test_two_operands(rng, dtype, function):
    a, b = drawn(rng, (2, 7), dtype), drawn(rng, (2, 7), dtype)
    a[a == 0], b[b == 0] = 1, 1
    a[0, 0] = b[0, 0]
    x, y = fc.to_device(a), fc.to_device(b)
    for left, right in ((0, 1), (0, 2), (2, 0), (0, 2.5), (0, np.float64(1.5))):
        values = (a, b, 3)[left], (a, b, 3)[right] if right in (0, 1, 2) and isinstance(right, int) else right
        given_ = (x, y, 3)[left], (x, y, 3)[right] if right in (0, 1, 2) and isinstance(right, int) else right
        expected = function(*values)
        same(function(*given_), expected, 1 if expected.dtype.kind == "f" else 0)


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.float32, np.float64], **names)
@pytest.mark.parametrize("function", UNARY, **names)
def test_one_operand(rng, dtype, function):
    a = drawn(rng, 30, dtype)
    if function in (np.sqrt, np.log):
        a = np.abs(a) + dtype(1)
    expected = function(a)
    same(function(fc.to_device(a)), expected, 4 if expected.dtype.kind == "f" else 0)


@pytest.mark.parametrize("function", [*BINARY, *COMPARISONS], **names)
def test_nan_and_infinities(function):
    special = np.array([0.0, 1.0, -1.0, INF, -INF, NAN], np.float32)
    a, b = np.repeat(special, 6), np.tile(special, 6)
    with np.errstate(all="ignore"):
        same(function(fc.to_device(a), fc.to_device(b)), function(a, b))


def test_functions_at_the_ends():
    a = np.array([0.0, -1.0, 1000.0, -1000.0, INF, -INF, NAN])
    for function in (np.sqrt, np.exp, np.log, np.tanh, np.absolute):
        with np.errstate(all="ignore"):
            same(function(fc.to_device(a)), function(a), 1)


def test_powers():
    a = np.array([0.5, 2.0, -3.0, INF], np.float32)
    same(fc.to_device(a) ** 2, a**2, 2)
    with pytest.raises(TypeError):
        fc.to_device(np.arange(3)) ** 2


shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=4, min_side=0)


@given(shapes=shapes, seed=st.integers(0, 2**32 - 1))
def test_broadcasting(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(rng.standard_normal(shape)) for shape in shapes.input_shapes)
    same(fc.to_device(a) - fc.to_device(b), np.asarray(a - b))
    same(np.broadcast_to(fc.to_device(b), shapes.result_shape), np.broadcast_to(b, shapes.result_shape))


@pytest.mark.parametrize("reps", [3, (2,), (2, 3), (1, 2, 3), (2, 1, 3, 1), (), (0, 2)], **names)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 0, 3)])
def test_tiles(rng, shape, reps):
    a = np.asarray(rng.standard_normal(shape))
    same(np.tile(fc.to_device(a), reps), np.tile(a, reps))


def test_broadcasting_of_a_number_of_axes_in_between(rng):
    a, b = drawn(rng, (2, 3, 4, 1, 5), np.float32), drawn(rng, (3, 1, 2, 1), np.float32)
    same(fc.to_device(a) * fc.to_device(b), a * b)
    with pytest.raises(ValueError, match="broadcast"):
        fc.to_device(a) + fc.to_device(np.ones(4, np.float32))


@pytest.mark.parametrize("function", [operator.iadd, operator.isub, operator.imul, operator.itruediv], **names)
def test_in_place(rng, function):
    a, b = drawn(rng, (3, 4), np.float32), drawn(rng, 4, np.float32) + 10
    x, kept = fc.to_device(a), fc.to_device(a)
    y = function(x, fc.to_device(b))
    assert y is x
    same(x, function(a.copy(), b), 1)
    same(function(kept, 2.0), function(a.copy(), 2.0), 1)


def test_in_place_of_an_operand_that_overlaps():
    a = np.arange(12.0).reshape(4, 3)
    x = fc.to_device(a)
    upper = x[1:]
    upper += x[:-1]
    a[1:] += a[:-1].copy()
    same(x, a)
    x -= x[0]
    same(x, a - a[0])


def test_out_must_fit():
    x = fc.to_device(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"out has shape \(2, 3\): \(4, 2, 3\) is accepted"):
        x += fc.to_device(np.ones((4, 1, 1), np.float32))
    whole = fc.to_device(np.ones(3, np.int64))
    with pytest.raises(TypeError, match="out is int64: what float64 can be rounded to"):
        whole += 0.5
    with pytest.raises(TypeError, match="out is ndarray: an array on the GPU"):
        np.add(x, x, out=np.ones((2, 3), np.float32))


def test_arrays_of_both_sides_are_told_apart():
    x, a = fc.to_device(np.ones(3)), np.ones((2, 3))
    message = (
        r"np.add: operand 1 \(DeviceArray, shape \(3,\)\) lives on the GPU and operand 2 \(ndarray, shape \(2, 3\)\)"
    )
    with pytest.raises(TypeError, match=message):
        x + a
    with pytest.raises(TypeError, match=r"operand 1 \(ndarray, shape \(2, 3\)\) lives in the computer's memory"):
        a * x
    with pytest.raises(TypeError, match=r"np\.add: operand 2 is 'word'"):
        x + "word"
    same(x + np.array(2.0), np.full(3, 3.0))  # a number, whatever it is kept in
    with pytest.raises(TypeError, match="the arrays are DeviceArray, ndarray"):
        np.concatenate([x, a[0]])


def test_bounds_are_forgotten_when_numbers_change():
    x = fc.to_device(np.arange(4))
    assert x.max() == 3
    x += 5
    assert (x.min(), x.max()) == (5, 8)
    x[...] = 1
    assert x.max(initial=3) == 3
    part = x[:2]
    assert (x.max(), part.max()) == (1, 1)
    part[1] = 7  # what shares memory sees it
    assert (x.max(), part.max(), part.astype(np.int32).max()) == (7, 7, 7)
    assert fc.to_device(np.array([300])).astype(np.uint8).max() == 44
    assert fc.to_device(np.arange(5))[1:3].max() == 2
    assert fc.to_device(np.arange(6)).reshape(2, 3).bounds == (0, 5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_concatenation(rng, axis):
    parts = [drawn(rng, (2, 3, 4), np.float32) for _ in range(3)]
    if axis is not None:
        parts.append(np.take(parts[0], [], axis))
    same(np.concatenate([fc.to_device(p) for p in parts], axis), np.concatenate(parts, axis))


def test_concatenation_of_what_does_not_fit():
    x, y = fc.to_device(np.ones((2, 3))), fc.to_device(np.ones((3, 3), np.float32))
    same(np.concatenate([x, y]), np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"arrays of shapes \(2, 3\), \(3, 3\) along axis 1: equal sizes"):
        np.concatenate([x, y], 1)
    with pytest.raises(ValueError, match="axis is 2: one of 2 axes"):
        np.concatenate([x, y], 2)


@pytest.mark.parametrize(("axis", "where"), [(0, 2), (1, 3), (1, [2]), (2, [1, 1, 4]), (-1, [-2, 9]), (0, [3, 1])])
def test_split(rng, axis, where):
    a = drawn(rng, (4, 6, 5), np.float32)
    found, expected = np.split(fc.to_device(a), where, axis), np.split(a, where, axis)
    assert len(found) == len(expected)
    for x, part in zip(found, expected, strict=True):
        same(x, part)
    with pytest.raises(ValueError, match="4 sections of an axis of 5"):
        np.split(fc.to_device(a), 4, 2)


def test_arrays_like_others():
    x = fc.to_device(np.ones((2, 3), np.float32))
    same(np.zeros_like(x), np.zeros((2, 3), np.float32))
    same(np.ones_like(x, dtype=np.int64), np.ones((2, 3), np.int64))
    same(np.full_like(x, 2.5, shape=4), np.full(4, 2.5, np.float32))
    assert np.empty_like(x, shape=(5, 1)).shape == (5, 1)


@pytest.mark.parametrize("strides", [(12, 4, 1), (1, 4, 12), (0, 1, 2), (-12, 4, -1), (2, 0, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16], **names)
def test_strided_copies(rng, strides, dtype):
    a = drawn(rng, 60, dtype)
    shape, offset = (2, 3, 4), 30 if min(strides) < 0 else 3
    target = module("array").empty(shape, np.float32)
    module("elementwise").copy_strided(fc.to_device(a), strides, offset, target)
    view = np.lib.stride_tricks.as_strided(a[offset:], shape, [s * a.itemsize for s in strides])
    same(target, view.astype(np.float32))


REDUCED = [((30,), None), ((), None), ((2, 70, 5), 1), ((3, 40), 1), ((40, 3), 0), ((2, 3, 4), (0, 2)), ((4, 5), -1)]


@pytest.mark.parametrize("dtype", [np.bool, np.uint8, np.int64, np.float16, np.float32, np.float64], **names)
@pytest.mark.parametrize(("shape", "axis"), [*REDUCED, ((2, 3, 4), (0, 1, 2)), ((2, 3), ())])
def test_sums(rng, dtype, shape, axis):
    a = np.asarray(drawn(rng, shape, dtype))
    x = fc.to_device(a)
    wide = a if dtype != np.float16 else a.astype(np.float32)  # NumPy adds its float16 in float16
    expected, mean = np.sum(wide, axis=axis), np.mean(wide, axis=axis)
    expected = expected.astype(dtype) if dtype == np.float16 else expected
    error = {"rtol": 0, "atol": 200 * np.finfo(dtype).eps} if np.dtype(dtype).kind == "f" else {"rtol": 1e-15}
    for found in (x.sum(axis), np.sum(x, axis=axis)):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert_allclose(found.to_host(), expected, **error)
    same(x.sum(axis, keepdims=True).reshape(expected.shape), found.to_host())
    assert x.sum(axis, keepdims=True).shape == np.sum(a, axis=axis, keepdims=True).shape
    assert_allclose(np.mean(x, axis=axis).to_host(), mean, **error)
    assert x.mean(axis).dtype == a.mean().dtype


@pytest.mark.parametrize("dtype", [np.bool, np.uint8, np.int64, np.float16, np.float32, np.float64], **names)
@pytest.mark.parametrize(("shape", "axis"), [pair for pair in REDUCED if not isinstance(pair[1], tuple)])
def test_extremes(rng, dtype, shape, axis):
    a = np.asarray(drawn(rng, shape, dtype))
    x = fc.to_device(a)
    same(np.argmax(x, axis=axis), np.argmax(a, axis=axis))
    same(x.argmax(axis, keepdims=True), np.argmax(a, axis=axis, keepdims=True))
    if axis is not None:
        same(np.max(x, axis=axis), np.max(a, axis=axis))
        same(np.min(x, axis=axis), np.min(a, axis=axis))
    x.bounds = None
    assert (np.min(x), np.max(x)) == (a.min(), a.max())


def test_reductions_of_long_lines(rng):
    a = drawn(rng, (1, 700), np.float32)
    x = fc.to_device(a)
    assert_allclose(x.sum().to_host(), a.sum(dtype=np.float64), rtol=0, atol=1e-4)
    assert x.sum().to_host() == x.sum().to_host()  # the same bits
    same(x.argmax(1), a.argmax(1))
    same(x.sum(dtype=np.float64), a.sum(dtype=np.float64), 50)


def test_extremes_of_nan_and_equals():
    a = np.zeros(300)
    a[[20, 150, 290]] = 5
    x = fc.to_device(a)
    assert x.argmax().to_host() == 20
    a[[170, 200]] = NAN
    x = fc.to_device(a)
    assert x.argmax().to_host() == 170
    assert np.isnan(x.min())
    assert np.isnan(x.max())
    assert np.isnan(np.max(x.reshape(3, 100), axis=1).to_host()).tolist() == [False, True, True]
    same(fc.to_device(np.full((2, 3), -INF)).argmax(1), [0, 0])


def test_reductions_of_nothing():
    x = fc.to_device(np.zeros((0, 3), np.float32))
    same(x.sum(), np.float32(0))
    same(x.sum(0), np.zeros(3, np.float32))
    same(x.sum(1), np.zeros(0, np.float32))
    assert np.isnan(x.mean(0).to_host()).all()
    assert x.max(axis=1).shape == (0,)
    for call in (lambda: x.max(axis=0), lambda: x.argmax(), lambda: x.max()):
        with pytest.raises(ValueError, match=r"no numbers|without numbers"):
            call()
    with pytest.raises(ValueError, match="axis is 2: one of 2 axes"):
        x.sum(2)


def test_a_mapping_counts_its_operands():
    x = fc.to_device(np.ones(3))
    with pytest.raises(TypeError, match="2 operands: 1 are accepted"):
        module("activation").hyperbolic(x.dtype)(x, 1.0)


def test_sums_of_float32_stay_exact():
    a = np.full(3000, 0.1, np.float32)
    total = fc.to_device(a).sum().to_host()
    assert_allclose(total, a.sum(dtype=np.float64), rtol=1e-6)
