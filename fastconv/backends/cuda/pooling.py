"""Pooling and its gradients on the GPU: a thread for each window, or for each pixel of the gradient, which gathers.

What max pooling returns knows its windows (`Winners`), so that a pixel's gradient is looked for in the few that can
cover it; indices from elsewhere may be anything, and take the way of `scattering`.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cuda import scattering, windows
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.launching import operation
from fastconv.backends.cuda.sweeps import MOST, sweep
from fastconv.backends.cuda.tables import kept
from fastconv.geometry import Pooling, span
from fastconv.typing import Array, Shape

LARGE = 256  # pixels of a window from which on a block sums it


class Winners(tuple[int, int]):
    """The bounds of indices that max pooling returned, which know the windows that these are of.

    Attributes
    ----------
    windows : Pooling
    """

    windows: Pooling


@operation()
def max_pool(x: Array, geometry: Pooling, with_indices: bool = True) -> tuple[Array, Array | None]:
    """y[n, c, p] = max over r of x[n, c, p * stride + r * dilation - padding], and the flat index of the first such."""
    shape = (*x.shape[:2], *geometry.output_size)
    y, lifted = empty(shape, x.dtype), _lifted(geometry)
    indices = empty(shape, np.int64) if with_indices else None
    sweep(
        windows.largest(x.dtype, lifted.kernel_size, with_indices),
        y.size,
        *(x, y, y if indices is None else indices),
        *(lifted.input_size, lifted.output_size, lifted.stride, _before(lifted), lifted.dilation),
    )
    if indices is not None:
        indices.bounds = _winners(geometry)
    return y, indices  # type: ignore[return-value]


@operation()
def max_pool_input_grad(grad_output: Array, indices: Array, input_size: Shape) -> Array:
    """grad_x[n, c, indices[n, c, p]] += grad_output[n, c, p]; an index of -1 adds nowhere."""
    return _led(grad_output, indices, input_size, last=False)


@operation()
def avg_pool(x: Array, geometry: Pooling, counts: tuple[Shape, ...]) -> Array:
    """y[n, c, p, q] = sum over r, s of x[n, c, p * stride + r - padding, ...] / (counts[0][p] * counts[1][q])."""
    y, lifted = empty((*x.shape[:2], *geometry.output_size), x.dtype), _lifted(geometry)
    arrays, where = (x, y, *_divisors(counts, x.dtype)), (lifted.output_size, lifted.stride, _before(lifted))
    if prod(geometry.kernel_size) < LARGE:
        sweep(windows.sums(x.dtype, lifted.kernel_size), y.size, *arrays, lifted.input_size, *where)
    else:
        blocks = min(y.size, MOST)
        windows.large_sums(x.dtype)(blocks, *arrays, lifted.input_size, lifted.kernel_size, *where, y.size)
    return y  # type: ignore[return-value]


@operation()
def avg_pool_input_grad(grad_output: Array, geometry: Pooling, counts: tuple[Shape, ...]) -> Array:
    """grad_x[n, c, p * stride + r - padding, ...] += grad_output[n, c, p, q] / (counts[0][p] * counts[1][q])."""
    grad_x = empty((*grad_output.shape[:2], *geometry.input_size), grad_output.dtype)
    arrays = grad_output, grad_x, *_divisors(counts, grad_output.dtype)
    sweep(windows.shares(grad_x.dtype), grad_x.size, *arrays, *_places(geometry))
    return grad_x  # type: ignore[return-value]


@operation()
def max_unpool(x: Array, indices: Array, output_size: Shape) -> Array:
    """y[n, c, indices[n, c, p]] = x[n, c, p], zeros elsewhere; of equal indices the last one holds."""
    return _led(x, indices, output_size, last=True)


@operation()
def max_unpool_input_grad(grad_output: Array, indices: Array) -> Array:
    """grad_x[n, c, p] = grad_output[n, c, indices[n, c, p]]; of equal indices the last one alone receives it."""
    planes, count, pixels = prod(indices.shape[:2]), prod(indices.shape[2:]), prod(grad_output.shape[2:])
    grad_x, found = empty(indices.shape, grad_output.dtype), empty((planes, pixels), np.int64)
    scattering.latest()(min(planes, MOST), indices, found, count, pixels, planes)
    kernel = scattering.gathered(grad_x.dtype)
    sweep(kernel, grad_x.size, grad_output, indices, found, grad_x, count, pixels)
    return grad_x  # type: ignore[return-value]


def _led(values: Array, indices: Array, size: Shape, last: bool) -> Array:
    """What the indices lead to each pixel of planes of this size: the sum of the values, or the last."""
    target = empty((*values.shape[:2], *size), values.dtype)
    geometry = _geometry(indices, size)
    if geometry is None:
        planes, pixels = prod(values.shape[:2]), prod(size)
        sizes = prod(values.shape[2:]), pixels, planes
        scattering.scattered(target.dtype, last)(min(planes, MOST), values, indices, target, *sizes)
    else:
        sweep(windows.won(target.dtype, last), target.size, values, indices, target, *_places(geometry))
    return target  # type: ignore[return-value]


def _geometry(indices: DeviceArray | Array, size: Shape) -> Pooling | None:
    """The windows that indices of pixels of planes of this size are of, where that is known.

    Whatever writes to the indices takes their bounds away, and with these the windows.
    """
    bounds = getattr(indices, "bounds", None)
    if not isinstance(indices, DeviceArray) or not isinstance(bounds, Winners):
        return None
    geometry = bounds.windows
    whole = indices.shape[2:] == geometry.output_size and indices.start % prod(geometry.output_size) == 0
    return geometry if whole and geometry.input_size == size else None


@lru_cache(maxsize=1024)
def _winners(geometry: Pooling) -> Winners:
    """The bounds of the indices of windows: -1 is among them if a window sees no pixel."""
    nowhere, last = False, 0
    axes = zip(geometry.input_size, geometry.output_size, geometry.kernel_size, geometry.stride, strict=True)
    for (h, count, k, s), (before, _), d in zip(axes, geometry.padding, geometry.dilation, strict=True):
        pixels = np.add.outer(np.arange(count) * s - before, np.arange(k) * d)
        inside = (pixels >= 0) & (pixels < h)
        nowhere |= not inside.any(axis=1).all()
        last = last * h + int(pixels[inside].max(initial=0))
    bounds = Winners((-1 if nowhere else 0, last))
    bounds.windows = geometry
    return bounds


@lru_cache(maxsize=1024)
def _lifted(geometry: Pooling) -> Pooling:
    """The same windows with three axes."""
    ones = (1,) * (3 - len(geometry.input_size))
    none = ((0, 0),) * len(ones)
    return Pooling(
        ones + geometry.input_size,
        ones + geometry.kernel_size,
        ones + geometry.output_size,
        ones + geometry.stride,
        none + geometry.padding,
        ones + geometry.dilation,
    )


def _before(lifted: Pooling) -> Shape:
    return tuple([before for before, _ in lifted.padding])


def _places(geometry: Pooling) -> tuple[Shape, ...]:
    """What tells the windows over a pixel: sizes, windows, strides, paddings before, and pixels that windows span."""
    lifted = _lifted(geometry)
    spans = tuple([span(k, d) for k, d in zip(lifted.kernel_size, lifted.dilation, strict=True)])
    return lifted.input_size, lifted.output_size, lifted.stride, _before(lifted), spans


def _divisors(counts: tuple[Shape, ...], dtype: np.dtype[Any]) -> list[DeviceArray]:
    """The counts of three axes, on the device."""
    return [kept(np.array(count, dtype)) for count in (*((1,),) * (3 - len(counts)), *counts)]
