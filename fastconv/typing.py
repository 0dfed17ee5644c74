"""The types that signatures share."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ArrayLike = npt.ArrayLike
Shape = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]  # (before, after) for each spatial axis
Size = int | Sequence[int]  # one int for all spatial axes, or one for each
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
Algorithm = Literal["auto", "direct", "winograd", "fft"]
Random = int | np.random.Generator | None  # a seed, a generator, or fresh entropy

__all__ = ["Algorithm", "Array", "ArrayLike", "Padding", "Pairs", "Random", "Shape", "Size"]
