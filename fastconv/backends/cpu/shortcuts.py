"""Convolutions that are less than they look: most outputs see nothing but padding, or there is one output alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

from fastconv.geometry import Convolution

PLAIN = ("auto", "direct")  # the algorithms, as they are asked for, that may take them
SHARE = 2  # times the outputs that see the input, where it is no more than all outputs, the others are left out


@lru_cache(maxsize=4096)
def is_product(geometry: Convolution) -> bool:
    """Whether the filters are as large as the images, so that all passes are those of a linear layer."""
    return (
        geometry.groups == 1
        and geometry.input_size == geometry.kernel_size
        and set(geometry.output_size) == {1}
        and set(geometry.padding) == {(0, 0)}
        and all(d == 1 or k == 1 for d, k in zip(geometry.dilation, geometry.kernel_size, strict=True))
    )


@lru_cache(maxsize=4096)
def trimmed(geometry: Convolution) -> tuple[Convolution, tuple[slice, ...]] | None:
    """The geometry of the outputs that see the input, and where they lie; the others are the bias.

    None where it is not worth it.
    """
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
