import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastconv.borders import CONSTANT, MODES, Border, around

PAD = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}


@pytest.mark.parametrize("mode", MODES)
def test_tables_are_those_of_numpys_pad(mode):
    for extent in range(1, 6):
        for before, after in [(0, 0), (1, 2), (4, 0), (13, 17)]:
            border = Border(extent, before, after, mode)
            options = {"constant_values": CONSTANT} if "constant" in mode else {}
            expected = np.pad(np.arange(extent), (before, after), PAD[mode], **options)
            assert_array_equal(border.places, expected)
            assert border.places.shape == (border.padded,)
            assert not border.places.flags.writeable


def test_tables_by_hand():
    assert_array_equal(Border(3, 2, 2, "reflect").places, [1, 0, 0, 1, 2, 2, 1])
    assert_array_equal(Border(3, 2, 2, "mirror").places, [2, 1, 0, 1, 2, 1, 0])
    assert_array_equal(Border(1, 2, 2, "mirror").places, [0] * 5)
    assert_array_equal(Border(3, 1, 2).places, [CONSTANT, 0, 1, 2, CONSTANT, CONSTANT])
    assert_array_equal(Border(0, 1, 1, "reflect").places, [CONSTANT, CONSTANT])


def test_the_output_is_as_long_as_the_image():
    for taps in range(1, 6):
        for origin in range(-(taps // 2), (taps - 1) // 2 + 1):
            border = around(7, taps, origin, "wrap")
            assert (border.before, border.padded) == (taps // 2 + origin, 7 + taps - 1)
