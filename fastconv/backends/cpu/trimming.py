"""Convolutions of which most outputs see nothing but padding: those are the bias, and only the others are summed."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

from fastconv.geometry import Convolution

SHARE = 2  # times the outputs that see the input, where it is no more than all outputs, the others are left out


@lru_cache(maxsize=4096)
def trimmed(geometry: Convolution) -> tuple[Convolution, tuple[slice, ...]] | None:
    """The geometry of the outputs that see the input, and where they lie; None where it is not worth it."""
    sizes, padding, places = [], [], []
    for h, p, s, k, d, (before, _) in zip(
        geometry.input_size, geometry.output_size, geometry.stride, geometry.kernel_size, geometry.dilation,
        geometry.padding, strict=True,
    ):  # fmt: skip
        reach = d * (k - 1)
        first = max(0, -(-(before - reach) // s))  # its last tap is at the input's first pixel, or after it
        end = min(p, (before + h - 1) // s + 1)  # the first tap of the one before is at the last pixel, or before it
        if first >= end:
            return None
        left = before - first * s
        sizes.append(end - first)
        padding.append((left, (end - first - 1) * s + reach + 1 - h - left))
        places.append(slice(first, end))
    if SHARE * prod(sizes) > prod(geometry.output_size):
        return None
    return replace(geometry, output_size=tuple(sizes), padding=tuple(padding)), (slice(None), slice(None), *places)
