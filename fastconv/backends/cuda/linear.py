"""The fully connected layer and its gradients: products of matrices, by the kernels of convolution.

Index letters: `n` row (an image), `c`/`o` feature in/out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv import precision as precisions
from fastconv.backends.cuda import lowering, sums
from fastconv.backends.cuda.launching import operation
from fastconv.backends.cuda.plans import Plan, plan, result
from fastconv.typing import Array


@operation()
def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y[n, o] = bias[o] + sum over c of weight[o, c] x[n, c]."""
    (n, c), o = x.shape, weight.shape[0]
    y: Array = result(None, (n, o), x.dtype)
    if y.size:
        matrices(n, o, c, (c, 1), (c, 1), x.dtype)(x, weight, bias, y, "columns")
    return y


@operation()
def linear_input_grad(weight: Array, grad_output: Array) -> Array:
    """grad_x[n, c] = sum over o of grad_output[n, o] weight[o, c]."""
    (n, o), c = grad_output.shape, weight.shape[1]
    grad_x: Array = result(None, (n, c), weight.dtype)
    if grad_x.size:
        matrices(n, c, o, (o, 1), (1, c), weight.dtype)(grad_output, weight, None, grad_x)
    return grad_x


@operation()
def linear_weight_grad(x: Array, grad_output: Array) -> Array:
    """grad_weight[o, c] = sum over n of grad_output[n, o] x[n, c]."""
    (n, o), c = grad_output.shape, x.shape[1]
    grad_weight: Array = result(None, (o, c), x.dtype)
    if grad_weight.size:
        matrices(o, c, n, (1, o), (1, c), x.dtype)(grad_output, x, None, grad_weight)
    return grad_weight


@operation()
def linear_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n of grad_output[n, o]."""
    grad_bias: Array = sums.channel_sums(grad_output)
    return grad_bias


def matrices(rows: int, columns: int, depth: int, a: tuple[int, int], b: tuple[int, int], dtype: np.dtype[Any]) -> Plan:
    """The plan of a product of matrices: extents, and steps of A's rows and depth, of B's columns and depth."""
    return planned(rows, columns, depth, a, b, dtype, precisions.get_precision())


@lru_cache(maxsize=512)
def planned(
    rows: int,
    columns: int,
    depth: int,
    a: tuple[int, int],
    b: tuple[int, int],
    dtype: np.dtype[Any],
    precision: str,
) -> Plan:
    """The plan, made once."""
    largest = max(rows * depth, columns * depth, rows * columns)
    return plan(lowering.matrices(rows, columns, depth, a, b), dtype, precision, largest)
