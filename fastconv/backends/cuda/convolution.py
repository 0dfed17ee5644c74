"""Cross-correlation and its gradients: products of gathered matrices, with a plan for each geometry."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv import algorithms
from fastconv import precision as precisions
from fastconv.backends.cuda import lowering, sums
from fastconv.backends.cuda.launching import operation
from fastconv.backends.cuda.mending import mend_padding
from fastconv.backends.cuda.offsets import Product
from fastconv.backends.cuda.padding import framed
from fastconv.backends.cuda.plans import Plan, plan, result
from fastconv.geometry import Convolution
from fastconv.typing import Array, Shape

OWN = ("auto", "direct")
PASSES: dict[str, Callable[[Convolution], list[Product]]] = {
    "forward": lambda geometry: [lowering.forward(geometry)],
    "input_grad": lowering.input_grad,
    "weight_grad": lambda geometry: [lowering.weight_grad(geometry)],
}


@operation("out")
def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    geometry: Convolution,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """y[n, o, p] = bias[o] + sum over c, r of weight[o, c, r] x[n, c, p * stride + r * dilation - padding]."""
    direct(algorithm)
    y: Array = result(out, geometry.output_shape, x.dtype)
    if y.size:
        padded = framed(x, lowering.input_frame(geometry))
        for part in planned(geometry, "forward", x.dtype, precisions.get_precision()):
            part(weight, padded, bias, y)
    return y


@operation("out")
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
    direct(algorithm)
    grad_x: Array = result(out, geometry.input_shape, grad_output.dtype)
    if grad_x.size:
        padded = framed(grad_output, lowering.output_frame(geometry))
        for part in planned(geometry, "input_grad", grad_output.dtype, precisions.get_precision()):
            part(weight, padded, bias, grad_x)
        if padded is not grad_output:
            mend_padding(weight, grad_output, bias, grad_x, geometry)
    return grad_x


@operation("out")
def convolution_weight_grad(
    x: Array, grad_output: Array, geometry: Convolution, algorithm: str = "auto", out: Array | None = None
) -> Array:
    """grad_weight[o, c, r] = sum over n, p of grad_output[n, o, p] x[n, c, p * stride + r * dilation - padding]."""
    direct(algorithm)
    grad_weight: Array = result(out, geometry.weight_shape, x.dtype)
    if grad_weight.size:
        padded = framed(x, lowering.input_frame(geometry))
        for part in planned(geometry, "weight_grad", x.dtype, precisions.get_precision()):
            part(grad_output, padded, None, grad_weight)
    return grad_weight


@operation()
def convolution_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n, p of grad_output[n, o, p]."""
    grad_bias: Array = sums.channel_sums(grad_output)
    return grad_bias


@lru_cache(maxsize=512)
def planned(geometry: Convolution, which: str, dtype: np.dtype[Any], precision: str) -> list[Plan]:
    """The plans of a pass, which write the parts of its result in this order."""
    frames = lowering.input_frame(geometry).size, lowering.output_frame(geometry).size
    return [plan(part, dtype, precision, largest(geometry, *frames)) for part in PASSES[which](geometry)]


def largest(geometry: Convolution, *frames: Shape) -> int:
    """Numbers of the largest array of a geometry, in its frames of zeros."""
    shapes = geometry.input_shape, geometry.weight_shape, geometry.output_shape
    padded, grads = ((*shape[:2], *size) for shape, size in zip(shapes[::2], frames, strict=True))
    return max(map(prod, (*shapes, padded, grads)))


def direct(algorithm: str) -> None:
    """Raise if a call asks for another algorithm; a preference that can't be served is none."""
    if algorithm not in OWN and algorithm != algorithms.preferred:
        raise ValueError(f"algorithm is {algorithm!r}: the cuda backend computes 'direct', and accepts 'auto' for it")
