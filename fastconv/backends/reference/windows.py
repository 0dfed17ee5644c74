"""Sliding windows: what convolution and pooling look at."""

import numpy as np

from fastconv.geometry import Convolution, Pooling
from fastconv.typing import Array


def padded(x: Array, geometry: Convolution | Pooling, value: float = 0.0) -> Array:
    """x with its border of `value`, as far as the windows reach (or x's own padding does)."""
    overhang = [
        max(after, r - h - before)
        for (before, after), r, h in zip(geometry.padding, geometry.reach, geometry.input_size, strict=True)
    ]
    pairs = [(before, after) for (before, _), after in zip(geometry.padding, overhang, strict=True)]
    return np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=value)


def windows(x: Array, geometry: Convolution | Pooling) -> Array:
    """A view of padded x, (N, C, *output, *kernel): the pixels under each tap of each window."""
    axes = tuple(range(2, x.ndim))
    spans = [d * (k - 1) + 1 for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=axes, writeable=x.flags.writeable)
    steps = [slice(0, q * s, s) for q, s in zip(geometry.output_size, geometry.stride, strict=True)]
    taps = [slice(None, None, d) for d in geometry.dilation]
    found: Array = view[(slice(None), slice(None), *steps, *taps)]
    return found
