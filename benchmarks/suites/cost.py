"""What an operation needs at least: multiplications with the taps that lie inside the image, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Shape = tuple[int, ...]


def output_size(
    size: Sequence[int],
    taps: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> Shape:
    """Output pixels of a convolution or a pooling, along each axis."""
    axes = zip(size, taps, stride, padding, dilation, strict=True)
    return tuple((h + sum(p) - d * (r - 1) - 1) // s + 1 for h, r, s, p, d in axes)


def products(
    size: Sequence[int],
    taps: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> int:
    """Pairs of an output pixel and a tap that meet in the image, of one channel and one filter."""
    found = 1
    outputs = output_size(size, taps, stride, padding, dilation)
    for h, r, s, (before, _), d, count in zip(size, taps, stride, padding, dilation, outputs, strict=True):
        found *= sum(0 <= p * s + tap * d - before < h for tap in range(r) for p in range(count))
    return found


def convolution(
    x: Shape,
    weight: Shape,
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
) -> int:
    """FLOPs of a convolution of x (N, C, *spatial) with weight (O, C / groups, *taps), or of one of its gradients."""
    return 2 * x[0] * prod(weight[:2]) * products(x[2:], weight[2:], stride, padding, dilation)


def transposed_size(
    size: Sequence[int],
    taps: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape:
    """Output pixels of a transposed convolution, along each axis."""
    axes = zip(size, taps, stride, padding, output_padding, dilation, strict=True)
    return tuple((h - 1) * s - 2 * p + d * (r - 1) + 1 + extra for h, r, s, p, extra, d in axes)
