"""Arrays of more than 2^31 numbers. All but a few of their pages are never touched, so they take next to no memory."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv.functional as F

STRIDE = 2**20 + 1
LENGTH = 2**31 + 3 * STRIDE + 77


def places():
    """The first of the pixels that a filter of three taps meets with this stride, at both ends and beside 2^31."""
    last = (LENGTH - 3) // STRIDE
    return [0, 1, 2**31 // STRIDE, 2**31 // STRIDE + 1, last]


@pytest.fixture
def signal():
    """Zeros but at `places`; a page of it that is only read stays the system's page of zeros."""
    try:
        x = np.zeros((1, 1, LENGTH), np.float32)
    except MemoryError:
        pytest.skip("the system does not promise memory that is never used")
    for number, place in enumerate(places()):
        x[0, 0, place * STRIDE : place * STRIDE + 3] = [number + 1, number + 2, number + 3]
    return x


def test_forward_is_right_beyond_2_31_numbers(signal):
    y = F.conv1d(signal, np.array([[[1, 10, 100]]], np.float32), stride=STRIDE)
    expected = np.zeros_like(y)
    for number, place in enumerate(places()):
        expected[0, 0, place] = (number + 1) + 10 * (number + 2) + 100 * (number + 3)
    assert_array_equal(y, expected)


def test_the_weights_gradient_is_right_beyond_2_31_numbers(signal):
    grad = np.arange(1, (LENGTH - 3) // STRIDE + 2, dtype=np.float32)[None, None]
    expected = np.zeros(3)
    for number, place in enumerate(places()):
        expected += (place + 1) * np.array([number + 1, number + 2, number + 3])
    found = F.conv1d_weight_grad(signal, (1, 1, 3), grad, stride=STRIDE)
    assert_array_equal(found[0, 0], expected)


def test_channels_and_images_beyond_2_31_numbers_are_right(signal):
    half = LENGTH // 2
    x = signal[0, 0, : 2 * half].reshape(2, 1, half)
    y = F.conv1d(x, np.ones((1, 1, 1), np.float32), stride=half - 1)
    assert_array_equal(y[:, 0], x[:, 0, [0, half - 1]])
    y = F.conv1d(x.reshape(1, 2, half), np.array([[[2]], [[3]]], np.float32), stride=half - 1, groups=2)
    assert_array_equal(y[0], x[:, 0, [0, half - 1]] * [[2], [3]])
