"""Kernels take raw addresses: none may touch what is not its array's, over drawn shapes and all passes."""

from pathlib import Path

import pytest
from vector_widths import each_width, needs_guards, run_script

SHAPES = 40


@needs_guards
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_width
def test_no_kernel_touches_the_page_beside_an_array(bits, dtype):
    run_script(bits, Path(__file__).with_name("guarded.py"), dtype, SHAPES, bits, "few")
