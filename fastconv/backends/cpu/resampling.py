"""Interpolation and its gradient: plain loops over the tables of sources and weights.

Signals and images are volumes of one pixel along the axes that they lack, so that every kernel serves ranks 1, 2 and 3.

Index letters: `n` image (in kernels a plane, which is an image's channel), `c` channel, `a p q` output pixel, `r s t`
tap along each axis.
"""

from math import prod

import numpy as np

from fastconv.backends.cpu.kernels import kernel
from fastconv.backends.cpu.pooling import volumes
from fastconv.typing import Array, Shape


def interpolate(x: Array, sources: tuple[Array, ...], weights: tuple[Array, ...]) -> Array:
    """y[n, c, p, q] = sum over s, t: weights[0][p, s] weights[1][q, t] x[n, c, sources[0][p, s], sources[1][q, t]]."""
    y = np.empty((*x.shape[:2], *(len(source) for source in sources)), x.dtype)
    out = volumes(y)
    gather_taps(prod(out.shape[:3]), volumes(x), *three_axes(sources, weights), out)
    return y


def interpolate_input_grad(
    grad_output: Array, input_size: Shape, sources: tuple[Array, ...], weights: tuple[Array, ...]
) -> Array:
    """grad_x[n, c, sources[0][p, s], sources[1][q, t]] += weights[0][p, s] weights[1][q, t] grad_output[n, c, p, q]."""
    grad_x = np.empty((*grad_output.shape[:2], *input_size), grad_output.dtype)
    out = volumes(grad_x)
    scatter_taps(len(out), volumes(grad_output), *three_axes(sources, weights), out)
    return grad_x


def three_axes(sources: tuple[Array, ...], weights: tuple[Array, ...]) -> tuple[Array, ...]:
    """The tables, with leading axes of one pixel that stays as it is."""
    missing = 3 - len(sources)
    pixel, one = np.zeros((1, 1), np.int64), np.ones((1, 1), weights[0].dtype)
    return *(pixel,) * missing, *sources, *(one,) * missing, *weights


@kernel
def gather_taps(x, from_d, from_h, from_w, weight_d, weight_h, weight_w, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, a, p, q] = sum over r, s, t of the taps' weights times x at their sources."""
    per_plane = y.shape[1] * y.shape[2]
    for task in range(first, end):
        n, a, p = task // per_plane, task % per_plane // y.shape[2], task % y.shape[2]
        row = y[n, a, p]
        row[:] = 0
        for r in range(from_d.shape[1]):
            for s in range(from_h.shape[1]):
                pixels, weight = x[n, from_d[a, r], from_h[p, s]], weight_d[a, r] * weight_h[p, s]
                for q in range(row.size):
                    for t in range(from_w.shape[1]):
                        row[q] += weight * weight_w[q, t] * pixels[from_w[q, t]]


@kernel
def scatter_taps(grad, from_d, from_h, from_w, weight_d, weight_h, weight_w, x, first, end):  # type: ignore[no-untyped-def]
    """The adjoint: x[n] at each tap's source += the tap's weight times grad[n, a, p, q]; a plane is one task's own."""
    for n in range(first, end):
        x[n] = 0
        for a in range(grad.shape[1]):
            for p in range(grad.shape[2]):
                row = grad[n, a, p]
                for r in range(from_d.shape[1]):
                    for s in range(from_h.shape[1]):
                        pixels, weight = x[n, from_d[a, r], from_h[p, s]], weight_d[a, r] * weight_h[p, s]
                        for q in range(row.size):
                            for t in range(from_w.shape[1]):
                                pixels[from_w[q, t]] += weight * weight_w[q, t] * row[q]
