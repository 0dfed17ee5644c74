"""Pooling and its gradients, as the slide writes them.

A window's pixels lie along the last axes of a view; its flat index counts pixels of the channel's plane, row by row.

Index letters: `n` image, `c` channel, `p q` output pixel, `r s` tap of its window.
"""

from functools import reduce
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.reference.windows import padded, windows
from fastconv.geometry import Pooling
from fastconv.typing import Array, Shape

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


@IEEE
def max_pool(x: Array, geometry: Pooling, with_indices: bool = True) -> tuple[Array, Array | None]:
    """y[n, c, p] = max over r of x[n, c, p * stride + r * dilation - padding], and the flat index of the first such."""
    patches = _flat_windows(x, geometry, -np.inf)
    if not with_indices:
        return patches.max(axis=-1), None
    plane = np.arange(prod(geometry.input_size), dtype=np.int64).reshape(1, 1, *geometry.input_size)
    pixels = _flat_windows(plane, geometry, -1)
    y: Array = patches.max(axis=-1)
    # Where all is -inf, the border's could come first: there the first pixel of x is taken.
    place = np.where(y == -np.inf, (pixels >= 0).argmax(axis=-1), patches.argmax(axis=-1))
    indices = np.take_along_axis(np.broadcast_to(pixels, patches.shape), place[..., None], axis=-1)
    return y, np.ascontiguousarray(indices[..., 0])


@IEEE
def max_pool_input_grad(grad_output: Array, indices: Array, input_size: Shape) -> Array:
    """grad_x[n, c, indices[n, c, p]] += grad_output[n, c, p]; an index of -1 adds nowhere."""
    shape = *grad_output.shape[:2], *input_size
    grad_x = np.zeros((prod(shape[:2]), prod(input_size)), grad_output.dtype)
    places = _by_planes(indices)
    plane, window = np.nonzero(places >= 0)
    np.add.at(grad_x, (plane, places[plane, window]), _by_planes(grad_output)[plane, window])
    return grad_x.reshape(shape)


@IEEE
def avg_pool(x: Array, geometry: Pooling, counts: tuple[Shape, ...]) -> Array:
    """y[n, c, p, q] = sum over r, s of x[n, c, p * stride + r - padding, ...] / (counts[0][p] * counts[1][q])."""
    y: Array = _flat_windows(x, geometry, 0).sum(axis=-1) / _divisor(counts, x.dtype)
    return y


@IEEE
def avg_pool_input_grad(grad_output: Array, geometry: Pooling, counts: tuple[Shape, ...]) -> Array:
    """grad_x[n, c, p * stride + r - padding, ...] += grad_output[n, c, p, q] / (counts[0][p] * counts[1][q])."""
    grad_x = np.zeros((*grad_output.shape[:2], *geometry.input_size), grad_output.dtype)
    grad_padded = padded(grad_x, geometry)
    patches, share = windows(grad_padded, geometry), grad_output / _divisor(counts, grad_output.dtype)
    for tap in np.ndindex(geometry.kernel_size):  # one tap at a time: the windows of one tap do not overlap
        patches[(..., *tap)] += share
    inner = [slice(b, b + h) for (b, _), h in zip(geometry.padding, geometry.input_size, strict=True)]
    return np.ascontiguousarray(grad_padded[(slice(None), slice(None), *inner)])


def max_unpool(x: Array, indices: Array, output_size: Shape) -> Array:
    """y[n, c, indices[n, c, p]] = x[n, c, p], zeros elsewhere; of equal indices the last one holds."""
    y = np.zeros((prod(x.shape[:2]), prod(output_size)), x.dtype)
    values, places, last = _by_planes(x), _by_planes(indices), _by_planes(_is_last(indices))
    plane, window = np.nonzero(last)
    y[plane, places[plane, window]] = values[plane, window]
    return y.reshape(*x.shape[:2], *output_size)


def max_unpool_input_grad(grad_output: Array, indices: Array) -> Array:
    """grad_x[n, c, p] = grad_output[n, c, indices[n, c, p]]; of equal indices the last one alone receives it."""
    grad_x = np.take_along_axis(_by_planes(grad_output), _by_planes(indices), axis=1).reshape(indices.shape)
    return np.where(_is_last(indices), grad_x, grad_x.dtype.type(0))


def _flat_windows(x: Array, geometry: Pooling, value: float) -> Array:
    """(N, C, *output, taps): the pixels of each window in a row, `value` outside of x."""
    view = windows(padded(x, geometry, value), geometry)
    return view.reshape(*view.shape[: x.ndim], prod(geometry.kernel_size))


def _divisor(counts: tuple[Shape, ...], dtype: np.dtype[Any]) -> Array:
    """The product of the axes' counts, one for each window."""
    divisor: Array = reduce(np.multiply.outer, [np.array(count, dtype) for count in counts])
    return divisor


def _by_planes(array: Array) -> Array:
    """(N, C, *spatial) as (N * C, pixels)."""
    return array.reshape(prod(array.shape[:2]), prod(array.shape[2:]))


def _is_last(indices: Array) -> Array:
    """True where no later window of the plane has the same index."""
    last = np.zeros(indices.shape, bool)
    for flags, places in zip(_by_planes(last), _by_planes(indices), strict=True):
        flags[places.size - 1 - np.unique(places[::-1], return_index=True)[1]] = True
    return last
