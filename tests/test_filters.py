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


def test_the_course_gaussian():
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
def test_they_are_scipys(name, axis, rng):
    image = rng.standard_normal((7, 8))
    kernel = getattr(filters, f"{name}_kernel")(axis)
    expected = getattr(ndimage, name)(image, axis)
    assert_allclose(convolve(image, kernel), expected[1:-1, 1:-1], rtol=1e-12, atol=1e-12)


def test_laplace_and_box(rng):
    image = rng.standard_normal((7, 8))
    assert_allclose(convolve(image, filters.laplace_kernel()), ndimage.laplace(image)[1:-1, 1:-1], atol=1e-12)
    assert_allclose(convolve(image, filters.box_kernel(3)), ndimage.uniform_filter(image, 3)[1:-1, 1:-1], atol=1e-12)


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
    ],
)
def test_bad_calls_are_told(call, error, message):
    with pytest.raises(error, match=message):
        call()
