"""Cross-correlation and its gradients: a plan for each geometry, run on a workspace.

Index letters: `n` image, `c`/`o` channel in/out, `p` output pixel, `r` filter tap.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import finite, fourier, outputs, plain, weight_plans, winograd, workspace
from fastconv.backends.cpu.algorithms import choose, direct_plan
from fastconv.backends.cpu.channel_sums import channel_sums
from fastconv.backends.cpu.linear import linear, linear_input_grad, linear_weight_grad
from fastconv.backends.cpu.plans import planned
from fastconv.backends.cpu.shortcuts import PLAIN, is_product, trimmed
from fastconv.geometry import Convolution
from fastconv.typing import Array, Shape

FINE = bytes(8)  # what a workspace begins with where nothing was found that is not finite
PRODUCT, NOTHING = "product", "nothing"  # of filters as large as the images; and where no number is wanted


def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    geometry: Convolution,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """y[n, o, p] = bias[o] + sum over c, r of weight[o, c, r] x[n, c, p * stride + r * dilation - padding]."""
    count = threads.get_num_threads()
    name, plan, inner = way(geometry, "forward", x.itemsize, count, algorithm)
    if name == PRODUCT:
        return given(linear(as_rows(x), as_rows(weight), bias), geometry.output_shape, out)
    y = outputs.empty(geometry.output_shape, x.dtype) if out is None else out
    if y.size:
        if inner and finite.all_finite(weight, count):  # others make NaN of the padding's zeros
            y[...] = 0 if bias is None else by_channel(bias, y)
            y[inner[1]] = convolution(x, weight, bias, inner[0], algorithm)
            return y
        if name == "fft" and fourier.forward(x, weight, bias, y, geometry, count):
            return y
        if name == "winograd" and winograd.forward(x, weight, bias, y, geometry, count):
            return y
        start = plan.no_bias if bias is None else bias
        if not run(plan, x, weight, start, y):
            run(planned(geometry, False, x.itemsize, count, leaves_out=False), x, weight, start, y)
    return y


def convolution_input_grad(
    weight: Array,
    grad_output: Array,
    geometry: Convolution,
    bias: Array | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """grad_x[n, c, p * stride + r * dilation - padding] += weight[o, c, r] grad_output[n, o, p].

    A bias starts each channel: then it is the transposed convolution, whose output this gradient is.
    """
    count = threads.get_num_threads()
    name, plan, inner = way(geometry, "input_grad", grad_output.itemsize, count, algorithm)
    if name == PRODUCT:
        found = given(linear_input_grad(as_rows(weight), as_rows(grad_output)), geometry.input_shape, out)
        if bias is not None:
            found += by_channel(bias, found)
        return found
    if inner:  # the others' gradient goes to the padding
        return convolution_input_grad(weight, cut_out(grad_output, inner[1]), inner[0], bias, algorithm, out)
    grad_x = outputs.empty(geometry.input_shape, grad_output.dtype) if out is None else out
    if grad_x.size:
        if name == "fft" and fourier.input_grad(weight, grad_output, bias, grad_x, geometry, count):
            return grad_x
        if name == "winograd" and winograd.input_grad(weight, grad_output, bias, grad_x, geometry, count):
            return grad_x
        start = plan.no_bias if bias is None else bias
        if not run(plan, grad_output, weight, start, grad_x):
            grad_x[...] = plain.convolution_input_grad(weight, grad_output, start, geometry)
    return grad_x


def convolution_weight_grad(
    x: Array, grad_output: Array, geometry: Convolution, algorithm: str = "auto", out: Array | None = None
) -> Array:
    """grad_weight[o, c, r] = sum over n, p of grad_output[n, o, p] x[n, c, p * stride + r * dilation - padding]."""
    count = threads.get_num_threads()
    name, plan, inner = way(geometry, "weight_grad", x.itemsize, count, algorithm)
    if name == PRODUCT:
        return given(linear_weight_grad(as_rows(x), as_rows(grad_output)), geometry.weight_shape, out)
    if inner and finite.all_finite(grad_output, count):
        return convolution_weight_grad(x, cut_out(grad_output, inner[1]), inner[0], algorithm, out)
    grad_weight = outputs.empty(geometry.weight_shape, x.dtype) if out is None else out
    if not (grad_output.size and grad_weight.size):
        grad_weight[...] = 0
        return grad_weight
    if name == "fft" and fourier.weight_grad(x, grad_output, grad_weight, geometry, count):
        return grad_weight
    if name == "winograd" and winograd.weight_grad(x, grad_output, grad_weight, geometry, count):
        return grad_weight
    if not run(plan, x, grad_output, None, grad_weight):
        all_products = weight_plans.planned(geometry, x.itemsize, count, leaves_out=False)
        run(all_products, x, grad_output, None, grad_weight)
    return grad_weight


def as_rows(array: Array) -> Array:
    """Each image's or filter's numbers as a row."""
    return array.reshape(array.shape[0], prod(array.shape[1:]))


def cut_out(array: Array, place: tuple[slice, ...]) -> Array:
    """A part of an array, as one of its own."""
    return np.ascontiguousarray(array[place])


def by_channel(bias: Array, y: Array) -> Array:
    """A number for each channel, in a form that fits y."""
    return bias.reshape(-1, *(1,) * (y.ndim - 2))


def given(found: Array, shape: Shape, out: Array | None) -> Array:
    """An array in this shape, or what it holds in `out`."""
    if out is None:
        return found.reshape(shape)
    out[...] = found.reshape(shape)
    return out


@lru_cache(maxsize=4096)
def way(geometry: Convolution, which: str, item: int, count: int, algorithm: str) -> tuple[str, Any, Any]:
    """What a call does: the algorithm and plan, or a product; and which part of the outputs is enough, if one is."""
    wanted = {"forward": geometry.output_shape, "input_grad": geometry.input_shape}
    if 0 in wanted.get(which, geometry.output_shape + geometry.weight_shape):
        return NOTHING, None, None
    if algorithm in PLAIN and is_product(geometry):
        return PRODUCT, None, None
    inner = trimmed(geometry) if algorithm in PLAIN else None
    return *route(geometry, which, item, count, algorithm), inner


@lru_cache(maxsize=4096)
def route(geometry: Convolution, which: str, item: int, count: int, algorithm: str) -> tuple[str, Any]:
    """The algorithm, and the direct one's plan, which takes over where numbers are not finite."""
    return choose(geometry, which, item, count, algorithm), direct_plan(geometry, which, item, count)


def run(plan: Any, *arrays: Array | None) -> bool:
    """Carry out a plan; False if it must not be used for these arrays."""
    space = workspace.take(plan.workspace)
    try:
        if not plan.finite_only:
            plan.program.on(plan.threads, *arrays, space)
            return True
        space[:8] = 0
        plan.program.on(plan.threads, *arrays, space, space)
        return space[:8].tobytes() == FINE  # a tenth of the time that `any` takes
    finally:
        workspace.give(space)


def convolution_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n, p of grad_output[n, o, p]."""
    return channel_sums(grad_output)
