import numpy as np
import pytest
from scipy import ndimage

from fastconv.datasets.augment import noise, rotate, shift, turned

PIXEL = np.zeros((1, 1, 5, 5))
PIXEL[0, 0, 2, 2] = 1


@pytest.mark.parametrize("function", [lambda x: shift(x, 2, 0), lambda x: rotate(x, 30, 0), lambda x: noise(x, 0.1, 0)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shape_and_dtype_stay_and_nothing_is_written(function, dtype, rng):
    x = rng.standard_normal((4, 3, 7, 6)).astype(dtype)
    before = x.copy()
    x.flags.writeable = False
    y = function(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(function(x[::-1, :, ::-1][::-1, :, ::-1]), y)
    np.testing.assert_array_equal(function(np.asfortranarray(x)), y)
    assert function(x[:0]).shape == (0, 3, 7, 6)


@pytest.mark.parametrize("function", [shift, rotate, noise])
def test_the_seed_fixes_the_draw(function, rng):
    x = rng.standard_normal((8, 1, 9, 9))
    amount = 3
    np.testing.assert_array_equal(function(x, amount, 5), function(x, amount, np.random.default_rng(5)))
    assert (function(x, amount, 5) != function(x, amount, 6)).any()


@pytest.mark.parametrize("function", [shift, rotate, noise])
def test_zero_changes_nothing(function, rng):
    x = rng.standard_normal((3, 2, 6, 5))
    np.testing.assert_allclose(function(x, 0, 1), x, atol=1e-15)


def test_shift_moves_each_image_by_its_own_whole_pixels():
    x = np.repeat(PIXEL, 500, 0)
    y = shift(x, 2, 0)
    assert (y.sum((1, 2, 3)) == 1).all()
    places = np.argwhere(y[:, 0] == 1)[:, 1:]
    assert {tuple(place) for place in places} == {(i, j) for i in range(5) for j in range(5)}


def test_shift_by_hand():
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    down, right = np.random.default_rng(3).integers(-1, 1, (2, 1), endpoint=True)[:, 0]
    expected = ndimage.shift(x[0, 0], (down, right), order=0, cval=7)
    np.testing.assert_array_equal(shift(x, 1, 3, fill=7)[0, 0], expected)


def test_shift_takes_pixels_of_any_kind():
    y = shift(np.full((2, 1, 4, 4), 255, np.uint8), 1, 0)
    assert y.dtype == np.uint8
    assert set(np.unique(y)) <= {0, 255}


def test_a_shift_larger_than_the_image_leaves_the_fill():
    assert set(np.unique(shift(np.ones((200, 1, 3, 3)), 9, 0, fill=4))) == {1, 4}


def test_a_quarter_turn_by_hand():
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    np.testing.assert_allclose(turned(x, np.array([np.pi / 2]), 0.0)[0, 0], np.rot90(x[0, 0]), atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, -2.0])
def test_rotation_is_scipys_bilinear_one(fill, rng):
    x = rng.standard_normal((6, 2, 11, 8))
    angles = rng.uniform(-180, 180, 6)
    y = turned(x, np.deg2rad(angles), fill)
    for image, angle, result in zip(x, angles, y, strict=True):
        expected = ndimage.rotate(
            image, angle, axes=(2, 1), reshape=False, order=1, mode="grid-constant", cval=fill
        )  # fmt: skip
        np.testing.assert_allclose(result, expected, atol=1e-12)  # the same sums in another order


def test_rotation_of_a_plain_image_keeps_its_middle():
    y = rotate(np.ones((20, 1, 15, 15), np.float32), 45, 0)
    np.testing.assert_allclose(y[:, :, 5:10, 5:10], 1, rtol=1e-6)  # four weights of one sum
    assert (y[:, :, 0, 0] < 1).any()


def test_noise_has_the_deviation_asked_for():
    y = noise(np.full((100, 1, 28, 28), 0.5, np.float32), 0.3, 0)
    assert abs(y.mean() - 0.5) < 0.005  # five standard errors of 78,400 draws
    assert abs(y.std() - 0.3) < 0.004


def test_the_seed_fixes_a_composition(rng):
    x = rng.standard_normal((4, 1, 8, 8)).astype(np.float32)

    def augment(x, rng):
        return noise(shift(rotate(x, 10, rng), 2, rng), 0.1, rng)

    np.testing.assert_array_equal(augment(x, np.random.default_rng(0)), augment(x, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: shift(np.ones((3, 3)), 1), ValueError, r"x has 2 axes, shape \(3, 3\): 4 \(N, C, H, W\)"),
        (lambda: shift(PIXEL, -1), ValueError, "pixels is -1: an int of at least 0"),
        (lambda: shift(PIXEL, 1.5), TypeError, "pixels is 1.5: an int of at least 0"),
        (lambda: rotate(PIXEL.astype(np.uint8), 5), TypeError, "x is uint8: float32, float64 and float16"),
        (lambda: rotate(PIXEL, -5), ValueError, "degrees is -5: a number of at least 0"),
        (lambda: noise(PIXEL, -0.1), ValueError, "sigma is -0.1: a number of at least 0"),
        (lambda: noise(PIXEL.astype(int), 0.1), TypeError, "x is int"),
        (lambda: noise(PIXEL, 0.1, "seed"), TypeError, "rng is 'seed'"),
    ],
)
def test_bad_arguments_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
