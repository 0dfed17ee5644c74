"""Padded images as phases, in which a window's place and a tap's offset simply add.

With a stride of `s`, pixel `p * s + r * d` of a padded image is pixel `p + r * d // s` of phase `r * d % s`, the
image of every s-th pixel. In phases, laid out one after the other, every window moves by one pixel and every tap is a
constant offset, so that kernels know neither rank nor stride nor dilation: they have a table of row starts and one of
taps.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.geometry import Convolution
from fastconv.typing import Array, Shape


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Where windows and taps lie in a channel's phases, all of one size."""

    stride: Shape
    size: Shape  # pixels of a phase, along each axis
    starts: Array  # (rows,) flat place of the first window of each output row
    offsets: Array  # (taps,) flat distance of each tap from its window's place

    @property
    def phases(self) -> int:
        """The number of phases."""
        return prod(self.stride)


@lru_cache(maxsize=1024)
def taps(geometry: Convolution) -> Taps:
    """The tables of a geometry."""
    axes = zip(geometry.input_size, borders(geometry), geometry.reach, geometry.stride, strict=True)
    size = tuple(-(-max(h + before + after, cut + reach) // s) for h, (before, after, cut), reach, s in axes)
    pitches = [prod(size[axis + 1 :]) for axis in range(len(size))]
    phase_pitches = [prod(geometry.stride[axis + 1 :]) * prod(size) for axis in range(len(size))]
    starts, offsets = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for q, pitch in zip(geometry.output_size[:-1], pitches, strict=False):
        starts = (starts[:, None] + np.arange(q) * pitch).ravel()
    cuts = [cut for _, _, cut in borders(geometry)]
    steps = zip(geometry.kernel_size, geometry.dilation, geometry.stride, cuts, pitches, phase_pitches, strict=True)
    for k, d, s, cut, pitch, phase_pitch in steps:
        distance = cut + np.arange(k) * d
        offsets = (offsets[:, None] + distance // s * pitch + distance % s * phase_pitch).ravel()
    return Taps(geometry.stride, size, starts, offsets)


def borders(geometry: Convolution) -> list[tuple[int, int, int]]:
    """Of each axis the padding before and after the image, and pixels that the first window leaves out instead."""
    return [(max(0, before), max(0, after), max(0, -before)) for before, after in geometry.padding]


def from_phases(phases: Array, geometry: Convolution) -> Array:
    """The images (N, C, *input_size), their borders dropped, of (N, C, all pixels of all phases)."""
    table = taps(geometry)
    if table.phases == 1 and table.size == geometry.input_size:
        return phases.reshape(geometry.input_shape)
    phases = phases.reshape(*phases.shape[:2], *table.stride, *table.size)
    x = np.empty(geometry.input_shape, phases.dtype)
    for phase, source, place in _pieces(geometry):
        x[(..., *source)] = phases[(..., *phase, *place)]
    return x


@lru_cache(maxsize=1024)
def _pieces(geometry: Convolution) -> list[tuple[Any, Any, Any]]:
    """For each phase: its index, its pixels in the image, and their place in it; each an index for the spatial axes."""
    by_axis = []
    for h, (before, _, _), s in zip(geometry.input_size, borders(geometry), geometry.stride, strict=True):
        pieces = []
        for phase in range(s):
            first = (phase - before) % s  # the first pixel of the image in this phase
            place = (first + before) // s
            pieces.append((phase, slice(first, h, s), slice(place, place + len(range(first, h, s)))))
        by_axis.append(pieces)
    return [tuple(zip(*pieces, strict=True)) for pieces in product(*by_axis)]
