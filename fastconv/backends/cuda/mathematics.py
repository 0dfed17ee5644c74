"""Functions of numbers for kernels: the device's, and NumPy's in the simulator.

Python's `math` raises where IEEE gives an infinity (`math.exp(1000.0)`), and turns float32 into float64; on the device
the same names are CUDA's own functions, in the precision of what they are given.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.backends.cuda.device import SIMULATED
from fastconv.backends.cuda.launching import device_function


def _of_numpy(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """Python's function with the argument's type for the result's."""
    return lambda x: type(x)(function(x))


exp: Any = np.exp if SIMULATED else math.exp
expm1: Any = np.expm1 if SIMULATED else math.expm1
log: Any = np.log if SIMULATED else math.log
log1p: Any = np.log1p if SIMULATED else math.log1p
sqrt: Any = np.sqrt if SIMULATED else math.sqrt
tanh: Any = np.tanh if SIMULATED else math.tanh
erfc: Any = _of_numpy(math.erfc) if SIMULATED else math.erfc


@device_function
def greater(a, b):  # type: ignore[no-untyped-def]
    """The greater of two numbers, NaN if one is."""
    return a if a > b or a != a else b


@device_function
def lesser(a, b):  # type: ignore[no-untyped-def]
    """The lesser of two numbers, NaN if one is."""
    return a if a < b or a != a else b


@device_function
def plus(a, b):  # type: ignore[no-untyped-def]
    """The sum of two numbers."""
    return a + b
