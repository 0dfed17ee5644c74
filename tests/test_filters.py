import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.stats import norm

import fastconv.functional as F
from fastconv import filters


def convolve(image, kernel):
    """True convolution through conv2d: the filter is flipped."""
    kernel = np.atleast_2d(kernel)[::-1, ::-1]
    return F.conv2d(image[None, None], kernel[None, None])[0, 0]


def test_the_course_gaussian_is_the_density():
    kernel = filters.gaussian_kernel(23, 3.8)
    assert kernel.shape == (23, 23)
    assert kernel[11, 11] == kernel.max() == pytest.approx(1 / (2 * np.pi * 3.8**2))
    assert_allclose(kernel, np.outer(*[norm.pdf(np.arange(-11, 12), scale=3.8)] * 2), rtol=1e-14)
    assert 0.98 < kernel.sum() < 1
    assert filters.gaussian_kernel(23, 3.8, normalize=True).sum() == pytest.approx(1)
    assert filters.gaussian_kernel((3, 5), (1.0, 2.0)).shape == (3, 5)


def test_the_course_derivative_of_a_ramp_is_positive(backend):
    ramp = np.tile(np.arange(5.0), (3, 1))
    assert_array_equal(convolve(ramp, filters.derivative_kernel()), np.full((3, 3), 2.0))


def test_the_course_sobel_filters_see_their_edges(backend):
    step = np.zeros((5, 6))
    step[:, 3:] = 1
    assert_array_equal(convolve(step, filters.sobel_kernel(axis=1)), np.tile([0.0, 4, 4, 0], (3, 1)))
    assert_array_equal(convolve(step, filters.sobel_kernel(axis=0)), np.zeros((3, 4)))
    assert_array_equal(convolve(step.T, filters.sobel_kernel(axis=0)), np.tile([0.0, 4, 4, 0], (3, 1)).T)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["sobel", "prewitt"])
def test_sobel_and_prewitt_are_scipys(name, axis, rng):
    image = rng.standard_normal((7, 8))
    kernel = getattr(filters, f"{name}_kernel")(axis)
    expected = getattr(ndimage, name)(image, axis)
    assert_allclose(convolve(image, kernel), expected[1:-1, 1:-1], rtol=1e-12, atol=1e-12)


def test_laplace_and_box_are_scipys(rng):
    image = rng.standard_normal((7, 8))
    assert_allclose(convolve(image, filters.laplace_kernel()), ndimage.laplace(image)[1:-1, 1:-1], atol=1e-12)
    assert_allclose(convolve(image, filters.box_kernel(3)), ndimage.uniform_filter(image, 3)[1:-1, 1:-1], atol=1e-12)


def test_gabor_by_hand():
    kernel = filters.gabor_kernel((3, 5), sigma=2.0, wavelength=4.0, orientation=0.0, aspect=0.5)
    wave = np.exp(-np.array([4, 1, 0, 1, 4]) / 8) * [-1, 0, 1, 0, -1]
    assert_allclose(kernel, np.outer(np.exp(-np.array([1, 0, 1]) / 32), wave), atol=1e-15)
    odd = filters.gabor_kernel(5, 2.0, 4.0, 0.0, phase=np.pi / 2)
    assert_allclose(odd, -odd[:, ::-1], atol=1e-15)
    assert odd[2, 1] > 0 > odd[2, 3]
    assert filters.gabor_kernel((4, 1), 2.0, 4.0, 0.0).shape == (4, 1)


def test_gabor_turns_with_its_orientation():
    for phase in (0.0, 0.7, np.pi / 2):
        level = filters.gabor_kernel(9, 3.0, 5.0, 0.0, 0.6, phase)
        assert_allclose(filters.gabor_kernel(9, 3.0, 5.0, np.pi / 2, 0.6, phase), level.T, atol=1e-14)
        assert_allclose(filters.gabor_kernel(9, 3.0, 5.0, np.pi, 0.6, phase), level[:, ::-1], atol=1e-14)


def test_gabor_answers_to_its_own_wave(backend):
    x, y = np.meshgrid(np.arange(16.0), np.arange(16.0))
    angles = np.arange(4) * np.pi / 4
    answers = np.zeros((4, 4))
    for i, made in enumerate(angles):
        wave = np.cos(2 * np.pi / 5 * (x * np.cos(made) + y * np.sin(made)))
        for j, sought in enumerate(angles):
            answers[i, j] = np.abs(convolve(wave, filters.gabor_kernel(9, 2.0, 5.0, sought))).max()
    assert_array_equal(answers.argmax(axis=1), np.arange(4))


@pytest.mark.parametrize("phase", [0.0, 0.7, np.pi / 2])
@pytest.mark.parametrize("orientation", [0.0, 0.4, 2.0])
def test_gabor_is_opencvs_flipped(orientation, phase):
    cv2 = pytest.importorskip("cv2")
    for rows, columns in ((9, 9), (5, 11)):
        kernel = filters.gabor_kernel((rows, columns), 2.5, 5.0, orientation, 0.7, phase)
        expected = cv2.getGaborKernel((columns, rows), 2.5, orientation, 5.0, 0.7, phase)
        assert_allclose(kernel[::-1, ::-1], expected, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: filters.gaussian_kernel(0, 1.0), ValueError, "size is 0: an int of at least 1"),
        (lambda: filters.gaussian_kernel(3.5, 1.0), TypeError, "size is 3.5: an int is accepted"),
        (lambda: filters.gaussian_kernel(3, 0), ValueError, "sigma is 0: a positive number"),
        (lambda: filters.gaussian_kernel(3, np.nan), ValueError, "sigma is nan"),
        (lambda: filters.gaussian_kernel((3, 3, 3), 1.0), ValueError, "has 3 entries"),
        (lambda: filters.sobel_kernel(2), ValueError, "axis is 2: 0 .rows. and 1 .columns."),
        (lambda: filters.box_kernel(-1), ValueError, "size is -1"),
        (lambda: filters.gabor_kernel(0, 1.0, 4.0, 0.0), ValueError, "size is 0"),
        (lambda: filters.gabor_kernel(5, -1.0, 4.0, 0.0), ValueError, "sigma is -1.0: a positive number of pixels"),
        (lambda: filters.gabor_kernel(5, 1.0, 0.0, 0.0), ValueError, "wavelength is 0.0: a positive number of pixels"),
        (lambda: filters.gabor_kernel(5, 1.0, 4.0, np.inf), ValueError, "orientation is inf, phase 0.0: finite angles"),
        (lambda: filters.gabor_kernel(5, 1.0, 4.0, 0.0, np.nan), ValueError, "aspect is nan: a positive number is"),
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
