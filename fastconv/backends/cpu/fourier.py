"""Convolution by Fourier transforms, SciPy's or NumPy's: a product for each frequency, whatever the filter's size.

Circular correlations of the pixels that the windows touch: no tap of a wanted output pixel reaches around. A stride
takes every s-th of them, or puts zeros between those of the output's gradient; a dilation puts zeros between taps. Sums
are those of whole transforms, so errors are relative to the largest numbers, and one that is not finite would reach all
pixels: where there is one, nothing is promised, and the caller is told to compute in another way.

Index letters: `n` image, `g` group, `c`/`o` channel in/out of a group, `k` frequency.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log2, prod
from typing import Any

import numpy as np

from fastconv.backends.cpu.finite import all_finite
from fastconv.geometry import Convolution, span
from fastconv.transforms import fast_length, transforms
from fastconv.typing import Array, Shape

BUDGET = 64 << 20  # bytes of spectra of filters, and of images, at a time
# Cycles of one thread in float32, fitted to a Xeon with SciPy: to transform a number (times the logarithm of a
# transform's length), to move one, to multiply complex ones, and of a call.
TRANSFORM, COPY, PRODUCT, CALL = 1.0, 8.0, 2.4, 250_000.0
IEEE = np.errstate(all="ignore")
Places = tuple[Any, ...]  # an index of the spatial axes, behind an ellipsis


@dataclass(frozen=True)
class Plan:
    """Where numbers lie in the transformed arrays, and how many are transformed at a time."""

    lengths: Shape  # of the transforms, along each axis
    shown: Places  # pixels of x that a window touches
    pixels: Places  # where they lie,
    outputs: Places  # where output pixels lie,
    taps: Places  # and where taps lie
    groups: int  # of a block
    filters: int
    images: int
    workspace: int  # bytes, about


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, item: int) -> Plan:
    """The plan of a geometry's three passes."""
    reach, before = geometry.reach, [pair[0] for pair in geometry.padding]
    lengths = tuple(fast_length(pixels) for pixels in reach)
    shown = [max(0, min(h, r - b)) for h, r, b in zip(geometry.input_size, reach, before, strict=True)]
    strides = zip(geometry.output_size, geometry.stride, strict=True)
    dilations = zip(geometry.kernel_size, geometry.dilation, strict=True)
    channels, most = geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups
    one = 2 * item * prod(lengths[:-1]) * (lengths[-1] // 2 + 1)
    each = one * max(1, channels)
    filters = max(1, min(most, BUDGET // each))
    groups = max(1, min(geometry.groups, BUDGET // (each * most))) if filters == most else 1
    images = max(1, min(geometry.batch, BUDGET // (one * max(channels, filters, 1) * groups)))
    held = filters * channels + images * (channels + filters)
    return Plan(
        lengths,
        (..., *(slice(0, count) for count in shown)),
        (..., *(slice(b, b + count) for b, count in zip(before, shown, strict=True))),
        (..., *(slice(0, (q - 1) * s + 1, s) for q, s in strides)),
        (..., *(slice(0, span(k, d), d) for k, d in dilations)),
        groups,
        filters,
        images,
        2 * one * groups * held,
    )


@IEEE
def forward(x: Array, weight: Array, bias: Array | None, y: Array, geometry: Convolution, threads: int) -> bool:
    """y[n, o, p] = bias[o] + sum over c, r of weight[o, c, r] x[n, c, p * stride + r * dilation - padding].

    False if y is not to be used.
    """
    if not (all_finite(x, threads) and all_finite(weight, threads)):
        return False
    plan = planned(geometry, x.itemsize)
    inputs, filters, outputs = grouped(x, 1, geometry), grouped(weight, 0, geometry), grouped(y, 1, geometry)
    for groups, some in filter_blocks(plan, geometry):
        transformed = np.conj(spectra(filters[groups, some], plan.taps, plan))  # (k, g, o, c)
        for images in ranges(geometry.batch, plan.images):
            found = spectra(inputs[images, groups][plan.shown].swapaxes(0, 1), plan.pixels, plan)
            back = pixels(found @ transformed.swapaxes(2, 3), plan)[plan.outputs]
            outputs[images, groups, some] = back.swapaxes(0, 1)
    if bias is not None:
        y += bias.reshape(-1, *[1] * len(plan.lengths))
    return all_finite(y, threads)


@IEEE
def input_grad(
    weight: Array, grad_output: Array, bias: Array | None, grad_x: Array, geometry: Convolution, threads: int
) -> bool:
    """grad_x[n, c, p * stride + r * dilation - padding] += weight[o, c, r] grad_output[n, o, p], from bias[c] on.

    False if grad_x is not to be used.
    """
    if not (all_finite(weight, threads) and all_finite(grad_output, threads)):
        return False
    plan = planned(geometry, weight.itemsize)
    filters, grads, inputs = (
        grouped(weight, 0, geometry), grouped(grad_output, 1, geometry), grouped(grad_x, 1, geometry),
    )  # fmt: skip
    grad_x[...] = 0
    for groups, some in filter_blocks(plan, geometry):
        transformed = spectra(filters[groups, some], plan.taps, plan)
        for images in ranges(geometry.batch, plan.images):
            found = spectra(grads[images, groups, some].swapaxes(0, 1), plan.outputs, plan)
            back = pixels(found @ transformed, plan)[plan.pixels]
            inputs[images, groups][plan.shown] += back.swapaxes(0, 1)
    if bias is not None:
        grad_x += bias.reshape(-1, *[1] * len(plan.lengths))
    return all_finite(grad_x, threads)


@IEEE
def weight_grad(x: Array, grad_output: Array, grad_weight: Array, geometry: Convolution, threads: int) -> bool:
    """grad_weight[o, c, r] = sum over n, p of grad_output[n, o, p] x[n, c, p * stride + r * dilation - padding].

    False if grad_weight is not to be used.
    """
    if not (all_finite(x, threads) and all_finite(grad_output, threads)):
        return False
    plan = planned(geometry, x.itemsize)
    inputs, grads = grouped(x, 1, geometry), grouped(grad_output, 1, geometry)
    filters = grouped(grad_weight, 0, geometry)
    for groups, some in filter_blocks(plan, geometry):
        total: Array | None = None
        for images in ranges(geometry.batch, plan.images):
            found = spectra(inputs[images, groups][plan.shown].swapaxes(0, 1), plan.pixels, plan)
            turned = np.conj(spectra(grads[images, groups, some].swapaxes(0, 1), plan.outputs, plan))
            part = turned.swapaxes(2, 3) @ found  # (k, g, o, c)
            total = part if total is None else total + part
        if total is not None:
            filters[groups, some] = pixels(total, plan)[plan.taps]
    return all_finite(grad_weight, threads)


def grouped(array: Array, axis: int, geometry: Convolution) -> Array:
    """A view of a contiguous array with the channels of `axis` as (group, channel in the group)."""
    before, channels, after = array.shape[:axis], array.shape[axis], array.shape[axis + 1 :]
    return array.reshape(*before, geometry.groups, channels // geometry.groups, *after)


def ranges(count: int, most: int) -> list[slice]:
    """Ranges of at most so many."""
    return [slice(begin, min(count, begin + most)) for begin in range(0, count, most)]


def filter_blocks(plan: Plan, geometry: Convolution) -> list[tuple[slice, slice]]:
    """Blocks of groups, and of filters in a group."""
    filters = geometry.out_channels // geometry.groups
    return list(product(ranges(geometry.groups, plan.groups), ranges(filters, plan.filters)))


def spectra(arrays: Array, places: Places, plan: Plan) -> Array:
    """The transforms of arrays (g, a, b, spatial) put at these places, as (k, g, a, b), for products of matrices."""
    spread = np.zeros((*arrays.shape[:3], *plan.lengths), arrays.dtype)
    spread[places] = arrays
    found = transforms().rfftn(spread, axes=range(3, spread.ndim))
    return np.ascontiguousarray(np.moveaxis(found.reshape(*arrays.shape[:3], prod(found.shape[3:])), 3, 0))


def pixels(transformed: Array, plan: Plan) -> Array:
    """The inverse of `spectra`: (g, a, b, spatial)."""
    sizes = (*plan.lengths[:-1], plan.lengths[-1] // 2 + 1)
    frequencies = np.moveaxis(transformed, 0, 3).reshape(*transformed.shape[1:], *sizes)
    back: Array = transforms().irfftn(frequencies, plan.lengths, axes=range(3, 3 + len(sizes)))
    return back


def cost(geometry: Convolution, item: int) -> float:
    """Cycles, about, that one thread takes for any pass: the transforms, and products of complex matrices."""
    plan = planned(geometry, item)
    size, batch, groups = prod(plan.lengths), geometry.batch, geometry.groups
    channels, filters = geometry.in_channels // groups, geometry.out_channels // groups
    rounds = -(-filters // plan.filters)  # images are transformed once for each block of filters
    inputs, outputs = batch * groups * channels * rounds, batch * groups * filters
    count = groups * filters * channels + inputs + outputs
    products = size / 2 * batch * groups * channels * filters
    return (count * size * (TRANSFORM * log2(size + 1) + COPY) + products * PRODUCT) * item / 4 + CALL
