"""Each pass of a convolution or of a linear layer as a product of matrices whose operands are gathered by tables.

Forward, rows are filters, columns pixels, the depth channels and taps. The gradient of the weights has the pixels as
its depth. The gradient of the input falls into phases where there is a stride: the pixels of a phase, a stride apart,
meet the same taps, and are a convolution of stride 1 of the padded gradient with those.

Letters: `n` image, `g` group, `c`/`o` channel in/out (of a group), `h` input pixel, `p` output pixel, `r` tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product as combinations
from math import prod

import numpy as np

from fastconv.backends.cuda.offsets import Product, batches, box, lattice, pitches, shared
from fastconv.geometry import Convolution
from fastconv.typing import Array, Shape


@dataclass(frozen=True)
class Frame:
    """What surrounds an operand's pixels with zeros, as far as taps reach: none where `size` is the operand's."""

    before: Shape
    size: Shape


def input_frame(geometry: Convolution) -> Frame:
    """That of x."""
    if not any(map(any, geometry.padding)):
        return Frame((0,) * len(geometry.input_size), geometry.input_size)
    return Frame(tuple(before for before, _ in geometry.padding), geometry.reach)


def forward(geometry: Convolution) -> Product:
    """Rows o; columns (n, p); depth (c, r): weight times padded x is y."""
    frame, (c, o), k = input_frame(geometry), channels(geometry), prod(geometry.weight_shape[1:])
    plane, pixels = prod(frame.size), prod(geometry.output_size)
    image_x, image_y = geometry.in_channels * plane, geometry.out_channels * pixels
    together = shared(geometry.batch, pixels, image_x, image_y)
    starts, taps = windows(geometry, frame)
    return Product(
        (box([o], [k]), box([o], [pixels])),
        (lattice([box([together], [image_x]), starts]), box([together, pixels], [image_y, 1])),
        (box([k], [1]), lattice([box([c], [plane]), taps])),
        batches(geometry.batch, together, geometry.groups, pixels, (0, image_x, image_y, 0),
                (o * k, c * plane, o * pixels, o)),
        k,
    )  # fmt: skip


def weight_grad(geometry: Convolution) -> Product:
    """Rows o; columns (c, r); depth (n, p): the output's gradient times padded x is the weight's gradient."""
    frame, (c, o), k = input_frame(geometry), channels(geometry), prod(geometry.weight_shape[1:])
    plane, pixels = prod(frame.size), prod(geometry.output_size)
    image_x, image_y = geometry.in_channels * plane, geometry.out_channels * pixels
    together = shared(geometry.batch, pixels, image_x, image_y)
    starts, taps = windows(geometry, frame)
    return Product(
        (box([o], [pixels]), box([o], [k])),
        (lattice([box([c], [plane]), taps]), box([k], [1])),
        (box([together, pixels], [image_y, 1]), lattice([box([together], [image_x]), starts])),
        batches(1, 1, geometry.groups, k, (0, 0, 0, 0), (o * pixels, c * plane, o * k, 0)),
        geometry.batch * pixels,
        (together * image_y, together * image_x),
    )


def channels(geometry: Convolution) -> tuple[int, int]:
    """A group's channels in and out."""
    return geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups


def windows(geometry: Convolution, frame: Frame) -> tuple[Array, Array]:
    """Offsets in a padded plane of x: where each window starts, and of its taps from there."""
    steps = pitches(frame.size)
    strides = [s * step for s, step in zip(geometry.stride, steps, strict=True)]
    spread = [d * step for d, step in zip(geometry.dilation, steps, strict=True)]
    return box(geometry.output_size, strides), box(geometry.kernel_size, spread)


@dataclass(frozen=True)
class Phase:
    """Along one axis: input pixels a stride apart, and the taps that meet them.

    `pixels` h, `units` u where h + padding = u * stride + phase, `taps` r, `shifts` e: tap r brings p = u - e.
    """

    pixels: range
    units: range
    taps: tuple[int, ...]
    shifts: tuple[int, ...]


def phases(size: int, kernel: int, stride: int, dilation: int, before: int) -> list[Phase]:
    """Those of one axis that have pixels."""
    found = []
    for phase in range(stride):
        first = (phase - before) % stride
        pixels = range(first, size, stride)
        taps = tuple(r for r in range(kernel) if r * dilation % stride == phase)
        unit = (first + before - phase) // stride
        if len(pixels):
            shifts = tuple((r * dilation - phase) // stride for r in taps)
            found.append(Phase(pixels, range(unit, unit + len(pixels)), taps, shifts))
    return found


@lru_cache(maxsize=1024)
def _axes(geometry: Convolution) -> tuple[list[Phase], ...]:
    before = [pair[0] for pair in geometry.padding]
    axes = zip(geometry.input_size, geometry.kernel_size, geometry.stride, geometry.dilation, before, strict=True)
    return tuple(phases(*axis) for axis in axes)


def output_frame(geometry: Convolution) -> Frame:
    """That of the output's gradient."""
    before, size = [], []
    for axis, pixels in zip(_axes(geometry), geometry.output_size, strict=True):
        met = [phase for phase in axis if phase.taps]
        low = max((max(phase.shifts) - phase.units[0] for phase in met), default=0)
        high = max((phase.units[-1] - min(phase.shifts) - (pixels - 1) for phase in met), default=0)
        before.append(max(0, low))
        size.append(max(0, low) + pixels + max(0, high))
    return Frame(tuple(before), tuple(size))


def input_grad(geometry: Convolution) -> list[Product]:
    """Rows c; columns (n, h of a phase); depth (o, r of the phase): weight times padded gradient is grad_x.

    Pixels that no tap meets are those of a first product, of all pixels, which sums nothing.
    """
    found = [_phase(geometry, phase) for phase in combinations(*_axes(geometry))]
    if all(part.total for part in found):
        return found
    whole = [Phase(range(h), range(h), (), ()) for h in geometry.input_size]
    return [_phase(geometry, whole), *[part for part in found if part.total]]


def _phase(geometry: Convolution, phase: Sequence[Phase]) -> Product:
    frame, (c, o), taps = output_frame(geometry), channels(geometry), prod(geometry.kernel_size)
    plane, pixels, size = prod(frame.size), prod(len(axis.pixels) for axis in phase), prod(geometry.input_size)
    image_y, image_x = geometry.out_channels * plane, geometry.in_channels * size
    together = shared(geometry.batch, pixels, image_x, image_y)
    # Both tables of the padded gradient start at 0: the furthest tap's shift moves from one to the other.
    furthest = [max(axis.shifts, default=0) for axis in phase]
    begin = [np.asarray(axis.units) + lo - far for axis, lo, far in zip(phase, frame.before, furthest, strict=True)]
    back = [far - np.asarray(axis.shifts, np.int64) for axis, far in zip(phase, furthest, strict=True)]
    places = [np.asarray(axis.pixels) for axis in phase]
    meeting = [np.asarray(axis.taps, np.int64) for axis in phase]
    depth = lattice([box([o], [c * taps]), scaled(meeting, geometry.kernel_size)])
    starts = scaled(begin, frame.size) if len(depth) else np.zeros(pixels, np.int64)
    return Product(
        (box([c], [taps]), box([c], [size])),
        (lattice([box([together], [image_y]), starts]),
         lattice([box([together], [image_x]), scaled(places, geometry.input_size)])),
        (depth, lattice([box([o], [plane]), scaled(back, frame.size)])),
        batches(geometry.batch, together, geometry.groups, pixels, (0, image_y, image_x, 0),
                (o * c * taps, o * plane, c * size, c)),
        len(depth),
    )  # fmt: skip


def scaled(places: list[Array], sizes: Shape) -> Array:
    """Offsets in an array of these sizes of all combinations of places along its axes."""
    return lattice([place * step for place, step in zip(places, pitches(sizes), strict=True)])


def matrices(rows: int, columns: int, depth: int, a: tuple[int, int], b: tuple[int, int]) -> Product:
    """C (rows, columns) = A times B: how far A's rows and depth, and B's columns and depth, lie apart."""
    whole = np.array([[0, 0, 0, 0, columns]], np.int64)
    return Product(
        (box([rows], [a[0]]), box([rows], [columns])),
        (box([columns], [b[0]]), box([columns], [1])),
        (box([depth], [a[1]]), box([depth], [b[1]])),
        whole,
        depth,
    )
