"""Template matching on the GPU: a thread for each window, which makes a score of sums over it.

Index letters: `p q` window, by its first pixel; `r s` pixel in it; `k` channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cuda import template_sums
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.elementwise import copy_strided
from fastconv.backends.cuda.launching import operation
from fastconv.backends.cuda.sweeps import sweep
from fastconv.backends.cuda.tables import kept
from fastconv.backends.cuda.template_sums import CENTRED, DIFFERENCE, PRODUCT, RELATIVE
from fastconv.typing import Array

KINDS = {"ccoeff_normed": CENTRED, "ccorr_normed": PRODUCT, "sqdiff": DIFFERENCE, "sqdiff_normed": RELATIVE}
ENOUGH = 1e5  # times its rounding: a window's contrast that is as right as a score should be


def score(method: str, x: Array, weights: Array, shift: Array, doubt: float, y: Array) -> None:
    """Make scores of the products y[p, q] = sum over r, s, k of weights[r, s, k] x[p + r, q + s, k], in place.

    With u = x - shift, sums over the window and the template, energy = sum of weights² and var = sum of (u - mean)²:

        ccoeff_normed   y / sqrt(var energy); 0 where nothing but rounding tells var from 0, or energy is 0
        ccorr_normed    y / sqrt(sum of u² energy); 0 where that is 0
        sqdiff          sum of u² - 2 y + energy, the squared difference of u and the weights
        sqdiff_normed   the same / sqrt(sum of x² sum of (weights + shift)²), at most 1; 1 where that is 0

    Where var is less than `doubt` times the sum of u², y is too coarse: var and y are computed from pixels once more.
    """
    _score(KINDS[method], x, Template(weights, shift), doubt, y)


def planes(x: DeviceArray) -> DeviceArray:
    """The channels of an image (H, W, C), one after the other: (C, H, W)."""
    high, wide, channels = x.shape
    found = empty((channels, high, wide), x.dtype)
    copy_strided(x, [1, wide * channels, channels], 0, found)
    return found


def rows(x: DeviceArray, step: int) -> Array:
    """Every so many-th row of an image (H, W, C), in the computer's memory."""
    size = x.shape[1] * x.shape[2]
    found = empty((-(-x.shape[0] // step), *x.shape[1:]), x.dtype)
    copy_strided(x, [step * size, x.shape[2], 1], 0, found)
    return found.to_host()


class Template:
    """A template's numbers, which stay the host's."""

    def __init__(self, weights: Array, shift: Array) -> None:
        self.weights, self.shift = weights, shift


@operation("y")
def _score(kind: int, x: Any, template: Template, doubt: float, y: Any) -> None:
    weights, shift = template.weights, template.shift
    high, wide, channels = weights.shape
    width, rows = x.shape[1] * channels, y.shape[0]
    energy = float(np.square(weights).sum())
    rounding = 4 * (high + wide + channels + 8) * 2.0**-53  # with room to spare, a sum's relative error
    limit = max(doubt, ENOUGH * rounding)
    if kind == RELATIVE:
        limit = float(np.square(weights + shift).sum())
    two = empty((rows, width), np.float64)
    one = empty((rows, width), np.float64) if kind in (CENTRED, RELATIVE) else two
    offsets = kept(np.ascontiguousarray(shift, np.float64))
    sweep(template_sums.column_sums(kind), two.size, x, offsets, one, two, high, width, channels)
    arrays = x, kept(np.ascontiguousarray(weights, np.float64)), one, two, y
    sizes = high, wide, channels, width, y.shape[1]
    sweep(template_sums.scores(kind, y.dtype), y.size, *arrays, *sizes, energy, rounding, limit)
