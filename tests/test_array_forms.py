"""Arrays as callers have them: of every layout and alignment, read-only, empty; for all passes."""

from itertools import product

import forms
import numpy as np
import pytest
from drawn import arrays, calls
from numpy.testing import assert_array_equal
from shapes import Case


def case(x_shape, weight_shape, stride, padding, dilation=1, groups=1):
    rank = len(x_shape) - 2
    options = {"stride": (stride,) * rank, "padding": (padding,) * rank, "dilation": (dilation,) * rank}
    return Case(rank, x_shape, weight_shape, options | {"groups": groups}, 7)


CASES = [
    case((2, 3, 40), (4, 3, 3), 1, (1, 2), dilation=2),
    case((2, 6, 9, 7), (12, 2, 3, 2), 2, (1, 1), groups=3),
    case((3, 5, 8, 8), (17, 5, 1, 1), 1, (0, 0)),
    case((1, 4, 5, 4, 6), (4, 1, 2, 1, 3), 1, (0, 1), groups=4),
]
EMPTY = [  # images, channels, filters, groups, pixels on each axis
    (0, 3, 4, 1, 6),
    (2, 0, 4, 1, 6),
    (2, 3, 0, 1, 6),
    (0, 0, 0, 1, 6),
    (2, 0, 4, 2, 6),
    (2, 4, 0, 2, 6),
    (2, 3, 4, 1, 0),
]


def shifted(offset):
    """A copy that begins so many bytes after a cache line does."""

    def form(array):
        block = np.empty(array.nbytes + 128, np.uint8)
        begin = -block.ctypes.data % 64 + offset
        block[begin : begin + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        return block[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)

    return form


FORMS = {
    **forms.FORMS,
    "every second along the first axis": lambda array: np.repeat(array, 2, axis=0)[::2],
    "reversed along the last axis": lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    **{f"{offset} bytes after a cache line": shifted(offset) for offset in (1, 4, 8, 12, 36, 60)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_form_gives_the_same_bits_and_is_left_alone(form, dtype):
    for drawn in CASES:
        given = arrays(drawn, dtype)
        taken = [FORMS[form](array) for array in given]
        plain, formed = calls(drawn, *given, np.copy), calls(drawn, *taken, lambda array: array)
        for name, function in formed.items():
            found = function()
            assert_array_equal(found, plain[name](), f"{name} of {drawn}")
            assert not any(np.shares_memory(found, array) for array in taken)
        for before, after in zip(given, taken, strict=True):
            assert_array_equal(before, after)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("batch", "channels", "filters", "groups", "size"), EMPTY)
def test_sums_of_nothing_are_the_bias(backend, rank, batch, channels, filters, groups, size):
    for stride, dtype in product((1, 2, 3), (np.float32, np.float64)):
        shapes = (batch, channels, *[size] * rank), (filters, channels // groups, *[3] * rank)
        empty = case(*shapes, stride, (2, 3), groups=groups)
        given = arrays(empty, dtype)
        x, weight, bias, grad, bias_x = given
        column = lambda numbers: numbers.reshape(-1, *[1] * rank)  # noqa: E731
        expected = {  # sums of nothing, so what they start with
            "conv": column(bias) + np.zeros_like(grad),
            "conv_input_grad": np.zeros_like(x),
            "conv_weight_grad": np.zeros_like(weight),
            "conv_transpose": column(bias_x) + np.zeros_like(x),
            "conv_transpose_input_grad": np.zeros_like(grad),
            "conv_transpose_weight_grad": np.zeros_like(weight),
        }
        for name, function in calls(empty, *given, lambda array: array).items():
            if name in expected:
                assert_array_equal(function(), expected[name], name, strict=True)
