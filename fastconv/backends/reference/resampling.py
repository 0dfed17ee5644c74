"""Interpolation and its gradient: along each axis, a weighted sum of few pixels.

`sources` and `weights` hold for each spatial axis a table (output pixels, taps): which pixels are summed, and with what
weights.

Index letters: `n` image, `c` channel, `p q` output pixel, `s t` tap along each axis.
"""

import numpy as np

from fastconv.typing import Array, Shape

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


@IEEE
def interpolate(x: Array, sources: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
    """y[n, c, p, q] = sum over s, t: weights[0][p, s] weights[1][q, t] x[n, c, sources[0][p, s], sources[1][q, t]]."""
    y = x
    for axis, (source, weight) in enumerate(zip(sources, weights, strict=True), 2):
        rows = np.moveaxis(y, axis, -1)
        y = np.moveaxis((rows[..., source] * weight).sum(axis=-1), -1, axis)
    return np.ascontiguousarray(y)


@IEEE
def interpolate_input_grad(
    grad_output: Array, input_size: Shape, sources: tuple[Array, ...], weights: tuple[Array, ...]
) -> Array:
    """grad_x[n, c, sources[0][p, s], sources[1][q, t]] += weights[0][p, s] weights[1][q, t] grad_output[n, c, p, q]."""
    grad_x = grad_output
    for axis, (h, source, weight) in enumerate(zip(input_size, sources, weights, strict=True), 2):
        rows = np.moveaxis(grad_x, axis, -1)
        sums = np.zeros((h, *rows.shape[:-1]), grad_output.dtype)
        np.add.at(sums, source, np.moveaxis(rows[..., None] * weight, (-2, -1), (0, 1)))
        grad_x = np.moveaxis(sums, 0, axis)
    return np.ascontiguousarray(grad_x)
