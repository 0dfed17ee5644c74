"""The input gradient by plain loops, which meet each pixel of the gradient once and no padding.

The direct algorithm multiplies weights with zeros around the gradient, and a weight that is not finite would reach
pixels that it has no part in; then this one is used.

Index letters: `n` image, `c`/`o` channel in/out, `i` row of output pixels, `q` pixel in the row, `k` tap of a channel.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.cpu.kernels import kernel
from fastconv.backends.cpu.phases import from_phases, taps
from fastconv.geometry import Convolution
from fastconv.typing import Array


def convolution_input_grad(weight: Array, grad_output: Array, bias: Array, geometry: Convolution) -> Array:
    """grad_x[n, c, p * stride + r * dilation - padding] += weight[o, c, r] grad_output[n, o, p]."""
    table = taps(geometry)
    shape = geometry.batch, geometry.in_channels, table.phases * prod(table.size)
    phases = np.empty(shape, grad_output.dtype)
    flat = weight.reshape(*weight.shape[:2], -1)
    rows = grad_output.reshape(*grad_output.shape[:2], prod(grad_output.shape[2:-1]), grad_output.shape[-1])
    spread_taps(shape[0] * shape[1], flat, rows, bias, phases, table.starts, table.offsets, geometry.groups)
    return from_phases(phases, geometry)


@kernel
def spread_taps(weight, grad, bias, x, starts, offsets, groups, first, end):  # type: ignore[no-untyped-def]
    """x[n, c, starts[i] + offsets[k] + q] = bias[c] + sum over o, k, i, q of weight[o, c, k] grad[n, o, i, q]."""
    filters, rows, columns = grad.shape[1:]
    channels, width = weight.shape[1], weight.shape[2]
    per_group = filters // groups
    for task in range(first, end):
        n, c = task // x.shape[1], task % x.shape[1]
        group = c // channels
        sums = np.full(x.shape[2], bias[c])
        for o in range(group * per_group, (group + 1) * per_group):
            for i in range(rows):
                row = grad[n, o, i]
                for k in range(width):
                    w, begin = weight[o, c - group * channels, k], starts[i] + offsets[k]
                    pixels = sums[begin : begin + columns]
                    for q in range(columns):
                        pixels[q] += w * row[q]
        x[n, c] = sums
