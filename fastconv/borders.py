"""What lies beyond the edges of a signal or an image, as tables of integers: no kernel knows a border.

Names are those of `scipy.ndimage`. Of the row a b c d they mean

    reflect, grid-mirror       d c b a | a b c d | d c b a
    mirror                       d c b | a b c d | c b a
    nearest                    a a a a | a b c d | d d d d
    wrap, grid-wrap            a b c d | a b c d | a b c d
    constant, grid-constant    k k k k | a b c d | k k k k     with the constant k
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastconv.typing import Array

MODES = ("reflect", "grid-mirror", "mirror", "nearest", "wrap", "grid-wrap", "constant", "grid-constant")
CONSTANT = -1  # the place of a pixel that is the constant


@dataclass(frozen=True)
class Border:
    """An axis of an image with the pixels that a filter needs before and after it.

    Attributes
    ----------
    extent, before, after : int
        Pixels of the image, and of its border at either end.
    mode : str
        One of `MODES`.
    """

    extent: int
    before: int
    after: int
    mode: str = "constant"

    @property
    def padded(self) -> int:
        """Pixels with both borders."""
        return self.before + self.extent + self.after

    @property
    def constant(self) -> bool:
        """Whether the border is the constant."""
        return self.mode in ("constant", "grid-constant") and self.before + self.after > 0

    @property
    def places(self) -> Array:
        """For each pixel with the borders, where in the image its value is, or `CONSTANT`: (padded,) int64."""
        return places(self)


@lru_cache(maxsize=256)
def places(border: Border) -> Array:
    """The table of a border."""
    place, extent = np.arange(-border.before, border.extent + border.after), border.extent
    if border.constant or not extent:
        found = np.where((place < 0) | (place >= extent), CONSTANT, place)
    elif border.mode == "nearest":
        found = np.clip(place, 0, extent - 1)
    elif border.mode in ("wrap", "grid-wrap"):
        found = place % extent
    elif border.mode == "mirror":
        period = max(1, 2 * extent - 2)
        found = np.abs((place + extent - 1) % period - (extent - 1))
    else:
        folded = place % (2 * extent)
        found = np.minimum(folded, 2 * extent - 1 - folded)
    table: Array = np.ascontiguousarray(found, np.int64)
    table.flags.writeable = False
    return table


def around(extent: int, taps: int, origin: int, mode: str) -> Border:
    """The border for a filter of so many taps whose output is as long as the image: SciPy's place of its centre."""
    before = taps // 2 + origin
    return Border(extent, before, taps - 1 - before, mode)
