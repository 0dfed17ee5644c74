"""Convolution along one axis, as one pattern: output pixel `i` of a phase sums source pixels `i * step + shift`.

- Forward: one phase, `step` the stride, a tap's shift its distance from the padded input's beginning.
- Input gradient: as many phases as the stride, `step` 1. Pixel `i * stride + a` of the input is pixel i of phase a, and
  meets the taps r for which `a + before - r * dilation` is a multiple of the stride.

A tap's shift is `quotient * step + residue`. A strip keeps source pixels apart by residue, so that pixel `i` and tap
simply add: a strip's place is `i + quotient`. Where shifts are far from each other, as with a large dilation, a strip
keeps the pixels of each shift instead, and not all that lies between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from fastconv.geometry import Convolution


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a sum over taps.

    Attributes
    ----------
    source, target : int
        Pixels of what is read and of what is written.
    step : int
        Source pixels from one output pixel of a phase to the next.
    phases : tuple of tuple of (tap, shift)
        The taps of each phase of the output.
    apart : bool
        Whether a strip keeps a block's pixels once for each shift, each shift a residue of its own.
    """

    source: int
    target: int
    step: int
    phases: tuple[tuple[tuple[int, int], ...], ...]
    apart: bool = False

    @property
    def count(self) -> int:
        """Pixels of a phase, the first phase's, which has most."""
        return -(-self.target // len(self.phases))

    @cached_property
    def shifts(self) -> list[int]:
        """Of all taps of all phases."""
        return sorted({shift for phase in self.phases for _, shift in phase})

    @cached_property
    def residues(self) -> list[int]:
        """Of all shifts, each once."""
        return self.shifts if self.apart else sorted({shift % self.step for shift in self.shifts})

    @cached_property
    def least(self) -> int:
        """The least quotient."""
        return 0 if self.apart else min(shift // self.step for shift in self.shifts)

    @cached_property
    def margin(self) -> int:
        """Pixels that a strip of one residue has beyond its block of output pixels."""
        return 0 if self.apart else max(shift // self.step for shift in self.shifts) - self.least

    @property
    def whole(self) -> int:
        """Pixels of a strip of all output pixels of a phase."""
        return min((self.count + self.margin) * len(self.residues), self.count * len(self.shifts))

    @property
    def inside(self) -> bool:
        """Whether no tap ever meets padding, and all of them one residue: then the source can be read in place."""
        last = (self.count - 1) * self.step + self.shifts[-1]
        return self.shifts[0] >= 0 and last < self.source and len(self.residues) == 1

    def seen(self, shift: int) -> tuple[int, int]:
        """From which output pixel of a phase to which one a tap meets no padding."""
        begin = min(self.count, max(0, -(shift // self.step)))
        return begin, max(begin, min(self.count, (self.source - 1 - shift) // self.step + 1))

    def unseen(self, pixels: int) -> float:
        """The part of all taps that meet padding in all pixels of a tile, which has so many; the mean over tiles."""
        shifts = [shift for phase in self.phases for _, shift in phase]
        tiles, last = -(-self.count // pixels), self.count - pixels  # where the last one begins, within the others
        seen = 0
        for shift in shifts:
            low, high = 1 - pixels - shift // self.step, (self.source - 1 - shift) // self.step
            seen += len(range(max(0, -(-low // pixels)), min(tiles - 2, high // pixels) + 1)) + (low <= last <= high)
        return 1 - seen / max(1, tiles * len(shifts))

    def found(self, shift: int) -> tuple[int, int]:
        """Where a shift's pixel lies in a strip, from the block's first one: its residue's number, and pixels."""
        if self.apart:
            return self.residues.index(shift), 0
        return self.residues.index(shift % self.step), shift // self.step - self.least

    def strip(self, block: int) -> Axis:
        """The axis in the form whose strips are shorter, for blocks of so many output pixels."""
        together = (block + self.margin) * len(self.residues)
        return replace(self, apart=True) if block * len(self.shifts) < together else self


def extents(geometry: Convolution) -> Iterator[tuple[int, int, int, int, int, tuple[int, int]]]:
    """Of each axis: pixels of the input and of the output, stride, taps, dilation, padding."""
    return zip(
        geometry.input_size,
        geometry.output_size,
        geometry.stride,
        geometry.kernel_size,
        geometry.dilation,
        geometry.padding,
        strict=True,
    )


def forward(geometry: Convolution) -> list[Axis]:
    """The axes of the sum that makes the output, always three."""
    axes = [
        Axis(h, p, s, (tuple((r, r * d - before) for r in range(k)),))
        for h, p, s, k, d, (before, _) in extents(geometry)
    ]
    return three(axes)


def backward(geometry: Convolution) -> list[Axis]:
    """The axes of the sum that makes the input's gradient, always three."""
    axes = []
    for h, p, s, k, d, (before, _) in extents(geometry):
        phases = tuple(
            tuple((r, (a + before - r * d) // s) for r in range(k) if (a + before - r * d) % s == 0) for a in range(s)
        )
        axes.append(Axis(p, h, 1, phases))
    return three(axes)


def three(axes: list[Axis]) -> list[Axis]:
    """Axes of one pixel before the given ones; of a sum over single pixels in place, one long axis."""
    point = Axis(1, 1, 1, (((0, 0),),))
    if all(a.step == 1 and a.phases == (((0, 0),),) and a.source == a.target for a in axes):
        length = 1
        for a in axes:
            length *= a.source
        axes = [Axis(length, length, 1, (((0, 0),),))]
    return [point] * (3 - len(axes)) + axes
