"""Steps of bound networks, called from here: their tasks in ranges of any order."""

import ctypes

import numpy as np

from fastconv.backends.cpu import native

FUNCTION = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)


def run_ranges(step, ranges):
    """Run a step's tasks, one range (first, end) after the other."""
    parameters = np.array(step.parameters, np.int64)
    arrays = np.array([0 if array is None else array.ctypes.data for array in step.arrays], np.int64)
    code = FUNCTION(native.code(step.body))
    for first, end in ranges:
        code(parameters.ctypes.data, arrays.ctypes.data, first, end, 0)
