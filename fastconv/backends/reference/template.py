"""Template matching: the scores that windows make of the products with the template, a row of windows at a time.

Index letters: `p q` window, by its first pixel; `r s` pixel in it; `k` channel.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastconv.typing import Array


@np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
def score(method: str, x: Array, weights: Array, shift: Array, doubt: float, y: Array) -> None:
    """Make scores of the products y[p, q] = sum over r, s, k of weights[r, s, k] x[p + r, q + s, k], in place.

    With u = x - shift, sums over the window and the template, energy = sum of weights² and var = sum of (u - mean)²:

        ccoeff_normed   y / sqrt(var energy); 0 where that is 0
        ccorr_normed    y / sqrt(sum of u² energy); 0 where that is 0
        sqdiff          sum of u² - 2 y + energy, the squared difference of u and the weights
        sqdiff_normed   the same / sqrt(sum of x² sum of (weights + shift)²), at most 1; 1 where that is 0

    Where var is less than `doubt` times the sum of u², y is too coarse: here var and y are always computed from pixels.
    """
    energy = np.square(weights).sum()
    for p in range(len(y)):
        product = y[p].astype(np.float64)
        if method == "ccoeff_normed":
            y[p] = _coefficients(x, weights, p)
        elif method == "ccorr_normed":
            y[p] = _ratio(product, _squares(x, weights, p, shift) * energy)
        else:
            square = _squares(x, weights, p, shift)
            difference = np.where(square == np.inf, square, np.maximum(square - 2 * product + energy, 0))
            if method == "sqdiff_normed":
                norm = np.sqrt(_squares(x, weights, p, 0 * shift) * np.square(weights + shift).sum())
                difference = np.where(norm == 0, 1, np.minimum(difference / norm, 1))
            y[p] = difference


def _coefficients(x: Array, weights: Array, p: int) -> Array:
    """A row of normed coefficients, from pixels less the window's first one."""
    first = x[p, : x.shape[1] - weights.shape[1] + 1, :, None].astype(np.float64)
    one, two, product = np.zeros(first.shape), np.zeros(first.shape), np.zeros(len(first))
    for r, taps in enumerate(weights):
        less = _windows(x[p + r], weights.shape[1]) - first
        one += less.sum(axis=2, keepdims=True)
        two += np.square(less).sum(axis=2, keepdims=True)
        product += (less * taps.T).sum(axis=(1, 2))
    var = (two - np.square(one) / (weights.shape[0] * weights.shape[1])).sum(axis=(1, 2))
    return _ratio(product, np.maximum(var, 0) * np.square(weights).sum())


def _squares(x: Array, weights: Array, p: int, shift: Array) -> Array:
    """Sums of u² over a row of windows."""
    found = np.zeros(x.shape[1] - weights.shape[1] + 1)
    for r in range(len(weights)):
        found += np.square(_windows(x[p + r], weights.shape[1]) - shift[:, None]).sum(axis=(1, 2))
    return found


def _windows(row: Array, wide: int) -> Array:
    """The pixels of a row under each window: (Q, channels, S), float64."""
    return sliding_window_view(row.astype(np.float64), wide, axis=0)


def _ratio(product: Array, square: Array) -> Array:
    """Product / sqrt(square) from -1 to 1; 0 where the square is 0."""
    return np.where(square == 0, 0, np.clip(product / np.sqrt(square), -1, 1))
