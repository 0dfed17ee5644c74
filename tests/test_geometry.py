from itertools import product

import pytest

from fastconv import geometry
from fastconv.geometry import output_size, transposed_output_size


@pytest.mark.parametrize("k", range(1, 6))
def test_the_course_formula_counts_windows(k):
    """(h - k + p + s) // s, p being both sides together, against windows counted one by one."""
    for h, p, s in product(range(1, 13), range(5), range(1, 5)):
        padding = ((p // 2, p - p // 2),)
        if h + p < k:
            with pytest.raises(ValueError, match=f"the filter covers {k} pixels"):
                output_size((h,), k, s, padding)
        else:
            windows = len([start for start in range(0, h + p, s) if start + k <= h + p])
            assert output_size((h,), k, s, padding) == (windows,) == ((h - k + p + s) // s,)


@pytest.mark.parametrize("k", range(1, 6))
def test_the_transposed_formula_undoes_the_other(k):
    """(h - 1) s - 2 p + k + p_out, and a convolution over so many pixels gives h back."""
    for h, p, s in product(range(1, 9), range(3), range(1, 5)):
        for extra in range(s):
            size = (h - 1) * s - 2 * p + k + extra
            if size >= 1:
                assert transposed_output_size((h,), k, s, p, extra) == (size,)
                assert output_size((size,), k, s, p) == (h,)


def test_the_course_lenet_sizes():
    assert output_size((28, 28), 3, padding=((1, 1), (1, 1))) == (28, 28)
    assert output_size((28, 28), 2, stride=2) == (14, 14)
    assert output_size((14, 14), 5) == (10, 10)
    assert output_size((10, 10), 2, stride=2) == (5, 5)


def test_same_gives_the_inputs_size_over_the_stride():
    for h, k, s, d in product(range(1, 10), range(1, 6), range(1, 4), range(1, 3)):
        shape = geometry.convolution((1, 1, h), (1, 1, k), s, "same", d, 1)
        assert shape.output_size == (-(-h // s),)
        before, after = shape.padding[0]
        assert after - before in (0, 1)


def test_windows_reach_no_further_than_the_padded_input():
    shape = geometry.convolution((1, 1, 10, 9), (1, 1, 3, 2), (2, 3), ((1, 0), (0, 2)), (2, 1), 1)
    assert all(r <= h + sum(p) for r, h, p in zip(shape.reach, shape.input_size, shape.padding, strict=True))


def test_a_geometry_is_computed_once():
    args = (2, 3, 8, 8), (4, 3, 3, 3), 1, [1, 1], 1, 1
    assert geometry.convolution(*args) is geometry.convolution(*args)
    assert geometry.convolution(*args).output_shape == (2, 4, 8, 8)
    assert geometry.convolution(*args).weight_shape == (4, 3, 3, 3)
