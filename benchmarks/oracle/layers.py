"""Convolution, its gradients and its transpose, pooling and linear layers in float64.

An image is padded once and split into phases, the pixels that a stride of S meets: phase a holds pixels a, a + S, …
There a tap is nothing but an offset in the flat image, so that a convolution is a sum over taps of matrix products of
views, (O, C) by (C, pixels), and its two gradients are the same sum read the other way. No matrix of patches is made;
the pixels go through in blocks that stay in cache.

Index letters: `n` image, `g` group, `c`/`o` channel in/out; `taps` and `pixels` are tuples, one number an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..case import Array

Shape = tuple[int, ...]
Options = dict[str, Any]
BLOCK = 1 << 17  # numbers of the larger side of a product at a time: a megabyte


@dataclass(frozen=True)
class Geometry:
    """A convolution's extents, for x (N, C, *size) and weight (O, C / groups, *taps)."""

    batch: int
    channels: int
    filters: int
    size: Shape
    taps: Shape
    pixels: Shape  # of the output
    stride: Shape
    before: Shape  # padding
    dilation: Shape
    groups: int

    @property
    def extent(self) -> Shape:
        """Pixels of a phase along each axis, as far as any tap reaches."""
        axes = zip(self.pixels, self.taps, self.dilation, self.stride, strict=True)
        return tuple(q + (r - 1) * d // s for q, r, d, s in axes)

    @property
    def pitch(self) -> Shape:
        """Numbers from one pixel of a phase to the next along each axis."""
        return tuple(prod(self.extent[axis + 1 :]) for axis in range(len(self.extent)))

    @property
    def length(self) -> int:
        """Numbers from the first output pixel to the last at the phases' pitch; those at row ends mean nothing."""
        return 1 + sum((q - 1) * pitch for q, pitch in zip(self.pixels, self.pitch, strict=True))

    def tap_places(self) -> Iterator[tuple[Shape, Shape, int]]:
        """(tap, its phase, its offset there) for every tap."""
        for tap in product(*map(range, self.taps)):
            reach = [r * d for r, d in zip(tap, self.dilation, strict=True)]
            phase = tuple(h % s for h, s in zip(reach, self.stride, strict=True))
            whole = [h // s for h, s in zip(reach, self.stride, strict=True)]
            yield tap, phase, sum(h * pitch for h, pitch in zip(whole, self.pitch, strict=True))

    def phase_pixels(self, phase: Shape) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a phase's pixels stand in the image, and where in the phase; the rest of it is padding."""
        outside, inside = [], []
        for a, s, before, h, extent in zip(phase, self.stride, self.before, self.size, self.extent, strict=True):
            first = max(
                0, -(-(before - a) // s)
            )  # the first place whose pixel, place * s + a - before, is in the image
            last = min(extent, -(-(h + before - a) // s))
            start = first * s + a - before
            count = max(0, last - first)
            outside.append(slice(start, start + (count - 1) * s + 1, s) if count else slice(0, 0))
            inside.append(slice(first, first + count))
        return tuple(outside), tuple(inside)


def geometry(x: Shape, weight: Shape, options: Options, pixels: Shape) -> Geometry:
    """Of a case's convolution."""
    before = tuple(pair[0] for pair in options["padding"])
    stride, dilation = tuple(options["stride"]), tuple(options["dilation"])
    return Geometry(x[0], x[1], weight[0], x[2:], weight[2:], pixels, stride, before, dilation, options["groups"])


def split(image: Array, shape: Geometry) -> dict[Shape, Array]:
    """The phases of an image (C, *size), each (C, numbers)."""
    found = {}
    for phase in {phase for _, phase, _ in shape.tap_places()}:
        padded = np.zeros((len(image), *shape.extent))
        outside, inside = shape.phase_pixels(phase)
        padded[(slice(None), *inside)] = image[(slice(None), *outside)]
        found[phase] = padded.reshape(len(image), -1)
    return found


def joined(phases: dict[Shape, Array], shape: Geometry) -> Array:
    """The image that `split` would make these phases of, where pixels of no phase are 0."""
    image = np.zeros((shape.channels, *shape.size))
    for phase, flat in phases.items():
        outside, inside = shape.phase_pixels(phase)
        image[(slice(None), *outside)] = flat.reshape(-1, *shape.extent)[(slice(None), *inside)]
    return image


def spread(image: Array, shape: Geometry) -> Array:
    """An output image (O, *pixels) at the phases' pitch, (O, length), with zeros at the row ends."""
    wide = np.zeros((len(image), *shape.extent))
    wide[(slice(None), *(slice(0, q) for q in shape.pixels))] = image
    return wide.reshape(len(image), -1)[:, : shape.length]


def gathered(flat: Array, shape: Geometry) -> Array:
    """The output image (O, *pixels) of numbers (O, length) at the phases' pitch."""
    wide = np.zeros((len(flat), prod(shape.extent)))
    wide[:, : shape.length] = flat
    return wide.reshape(-1, *shape.extent)[(slice(None), *(slice(0, q) for q in shape.pixels))]


def blocks(shape: Geometry) -> Iterator[slice]:
    """The numbers of an output image in cache-sized parts."""
    step = max(64, BLOCK // max(shape.channels, shape.filters))
    for start in range(0, shape.length, step):
        yield slice(start, min(start + step, shape.length))


def moved(block: slice, offset: int) -> slice:
    """The block that a tap sees."""
    return slice(block.start + offset, block.stop + offset)


def groups(shape: Geometry) -> list[tuple[slice, slice]]:
    """(channels, filters) of each group; a depthwise layer is one, computed number by number."""
    if depthwise(shape):
        return [(slice(None), slice(None))]
    c, o = shape.channels // shape.groups, shape.filters // shape.groups
    return [(slice(g * c, (g + 1) * c), slice(g * o, (g + 1) * o)) for g in range(shape.groups)]


def depthwise(shape: Geometry) -> bool:
    """Whether each channel has one filter and no other channel's."""
    return 1 < shape.groups == shape.channels == shape.filters


def times(matrix: Array, numbers: Array, shape: Geometry) -> Array:
    """A tap's weights, as a matrix or in a depthwise layer as a column, by numbers."""
    return matrix * numbers if depthwise(shape) else matrix @ numbers


def by_tap(weight: Array, shape: Geometry) -> Array:
    """The weights as (*taps, O, C / groups)."""
    rank = len(shape.taps)
    return np.ascontiguousarray(weight.astype(np.float64).transpose(*range(2, 2 + rank), 0, 1))


def convolve(x: Array, weight: Array, shape: Geometry) -> Array:
    """y[n, o, p] = sum over c, r of weight[o, c, r] x[n, c, p * stride + r * dilation - padding]."""
    y = np.empty((shape.batch, shape.filters, *shape.pixels))
    taps, places = by_tap(weight, shape), list(shape.tap_places())
    for n in range(shape.batch):
        phases = split(x[n], shape)
        flat = np.zeros((shape.filters, shape.length))
        for (c, o), block in product(groups(shape), blocks(shape)):
            for tap, phase, offset in places:
                flat[o, block] += times(taps[tap][o], phases[phase][c, moved(block, offset)], shape)
        y[n] = gathered(flat, shape)
    return y


def convolve_back(weight: Array, grad: Array, shape: Geometry) -> Array:
    """grad_x[n, c, p * stride + r * dilation - padding] += weight[o, c, r] grad[n, o, p]."""
    grad_x = np.empty((shape.batch, shape.channels, *shape.size))
    taps, places = by_tap(weight, shape), list(shape.tap_places())
    for n in range(shape.batch):
        flat = spread(grad[n], shape)
        phases = {phase: np.zeros((shape.channels, prod(shape.extent))) for _, phase, _ in places}
        for (c, o), block in product(groups(shape), blocks(shape)):
            for tap, phase, offset in places:
                matrix = taps[tap][o] if depthwise(shape) else taps[tap][o].T
                phases[phase][c, moved(block, offset)] += times(matrix, flat[o, block], shape)
        grad_x[n] = joined(phases, shape)
    return grad_x


def correlate(x: Array, grad: Array, shape: Geometry) -> Array:
    """grad_weight[o, c, r] = sum over n, p of grad[n, o, p] x[n, c, p * stride + r * dilation - padding]."""
    total = np.zeros((*shape.taps, shape.filters, shape.channels // shape.groups))
    places = list(shape.tap_places())
    for n in range(shape.batch):
        phases, flat = split(x[n], shape), spread(grad[n], shape)
        for (c, o), block in product(groups(shape), blocks(shape)):
            for tap, phase, offset in places:
                seen = phases[phase][c, moved(block, offset)]
                if depthwise(shape):
                    total[tap] += np.einsum("cp,cp->c", flat[:, block], seen)[:, None]
                else:
                    total[tap][o] += flat[o, block] @ seen.T
    rank = len(shape.taps)
    return np.ascontiguousarray(total.transpose(rank, rank + 1, *range(rank)))


def output_pixels(size: Shape, taps: Shape, options: Options) -> Shape:
    """Pixels of a convolution's output."""
    axes = zip(size, taps, options["stride"], options["padding"], options["dilation"], strict=True)
    return tuple((h + sum(p) - d * (r - 1) - 1) // s + 1 for h, r, s, p, d in axes)


def conv(inputs: dict[str, Array], options: Options) -> Array:
    """Of any rank."""
    x, weight = inputs["x"], inputs["weight"]
    pixels = output_pixels(x.shape[2:], weight.shape[2:], options)
    return convolve(x, weight, geometry(x.shape, weight.shape, options, pixels))


def conv_input_grad(inputs: dict[str, Array], options: Options) -> Array:
    """The gradient with respect to x."""
    weight, grad = inputs["weight"], inputs["grad"]
    shape = geometry(tuple(options["input_size"]), weight.shape, options, grad.shape[2:])
    return convolve_back(weight, grad, shape)


def conv_weight_grad(inputs: dict[str, Array], options: Options) -> Array:
    """The gradient with respect to weight."""
    x, grad = inputs["x"], inputs["grad"]
    return correlate(x, grad, geometry(x.shape, tuple(options["weight_size"]), options, grad.shape[2:]))


def conv_transpose(inputs: dict[str, Array], options: Options) -> Array:
    """The input gradient of the convolution whose output is x."""
    x, weight = inputs["x"], inputs["weight"]
    taps, names = weight.shape[2:], ("stride", "padding", "output_padding", "dilation")
    axes = zip(x.shape[2:], taps, *(options[name] for name in names), strict=True)
    size = tuple((h - 1) * s - 2 * p + d * (r - 1) + 1 + extra for h, r, s, p, extra, d in axes)
    pairs = {**options, "padding": [(p, p) for p in options["padding"]]}
    target = (len(x), weight.shape[1] * options["groups"], *size)
    return convolve_back(weight, x, geometry(target, weight.shape, pairs, x.shape[2:]))


def window_views(x: Array, options: Options, fill: float) -> tuple[Array, list[Array]]:
    """The padded images, and for each pixel of the window a view of them with an entry a window, row by row."""
    window, stride, padding = options["kernel_size"], options["stride"], options["padding"]
    width = [(0, 0), (0, 0), *((p, p) for p in padding)]
    padded = np.pad(x.astype(np.float64), width, constant_values=fill)
    axes = list(zip(padded.shape[2:], window, stride, strict=True))
    spans = [((h - r) // s) * s + 1 for h, r, s in axes]
    views = [
        padded[
            (slice(None), slice(None), *(slice(r, r + span, s) for r, span, s in zip(tap, spans, stride, strict=True)))
        ]
        for tap in product(*map(range, window))
    ]
    return padded, views


def max_pool(inputs: dict[str, Array], options: Options) -> Array:
    """The largest pixel of each window."""
    found: Array = np.maximum.reduce(window_views(inputs["x"], options, -np.inf)[1])
    return found


def avg_pool(inputs: dict[str, Array], options: Options) -> Array:
    """The mean of each window, the padding's zeros among it."""
    views = window_views(inputs["x"], options, 0.0)[1]
    total: Array = sum(views[1:], views[0])
    return total / len(views)


def max_pool_grad(inputs: dict[str, Array], options: Options) -> Array:
    """Each window's gradient at its largest pixel, of equal ones the first."""
    x, grad = inputs["x"], inputs["grad"]
    padded, views = window_views(x, options, -np.inf)
    best, winner = views[0].copy(), np.zeros(grad.shape, np.int64)
    for i, view in enumerate(views):
        better = view > best
        best[better] = view[better]
        winner[better] = i
    padded[...] = 0
    for i, view in enumerate(views):
        view += np.where(winner == i, grad, 0)
    inner = [slice(p, p + h) for p, h in zip(options["padding"], x.shape[2:], strict=True)]
    return padded[(slice(None), slice(None), *inner)]


def linear(inputs: dict[str, Array], options: Options) -> Array:
    """x weightᵀ + bias."""
    x, weight, bias = (inputs[name].astype(np.float64) for name in ("x", "weight", "bias"))
    return x @ weight.T + bias


def linear_input_grad(inputs: dict[str, Array], options: Options) -> Array:
    """grad weight."""
    return inputs["grad"].astype(np.float64) @ inputs["weight"].astype(np.float64)


def linear_weight_grad(inputs: dict[str, Array], options: Options) -> Array:
    """gradᵀ x."""
    return inputs["grad"].T.astype(np.float64) @ inputs["x"].astype(np.float64)


LAYERS: dict[str, Callable[[dict[str, Array], Options], Array]] = {
    **{f"conv{rank}d": conv for rank in (1, 2, 3)},
    **{f"conv{rank}d_input_grad": conv_input_grad for rank in (1, 2, 3)},
    **{f"conv{rank}d_weight_grad": conv_weight_grad for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": conv_transpose for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": max_pool for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_grad": max_pool_grad for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": avg_pool for rank in (1, 2, 3)},
    "linear": linear,
    "linear_input_grad": linear_input_grad,
    "linear_weight_grad": linear_weight_grad,
}
