"""What this backend does with a convolution: one expression of NumPy's, without a plan."""

from typing import Any

import numpy as np

from fastconv.geometry import Convolution


def plan(geometry: Convolution, which: str, dtype: np.dtype[Any], algorithm: str) -> dict[str, Any]:
    """What carries out the "forward" pass, the "input_grad" or the "weight_grad" of a geometry."""
    return {"algorithm": "reference"}


def roof(dtype: np.dtype[Any]) -> float | None:
    """FLOP/s that the processor can do at most; not known here."""
    return None


def hot_loop(geometry: Convolution, which: str, dtype: np.dtype[Any], algorithm: str) -> str:
    """The machine code of the loop that does most of the work; none of it is this backend's own."""
    return "NumPy's own"
