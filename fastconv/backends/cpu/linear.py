"""The fully connected layer and its gradients: rows times rows, and sums of rows.

Index letters: `n` row (an image), `c`/`o` feature in/out, `k` what is summed over, `j` column.
"""

import numpy as np
from numba import prange

from fastconv.backends.cpu.convolution import convolution_bias_grad
from fastconv.backends.cpu.runtime import kernel, kernel_of_sums
from fastconv.typing import Array

BLOCK = 16  # features out of one task of the forward pass: their weights stay in the cache for all rows
STRIP = 1024  # columns that are summed at a time: they stay in the first-level cache


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y[n, o] = bias[o] + sum over c of weight[o, c] x[n, c]."""
    y = np.empty((x.shape[0], weight.shape[0]), x.dtype)
    dot_rows(x, weight, np.zeros(weight.shape[0], x.dtype) if bias is None else bias, y)
    return y


def linear_input_grad(weight: Array, grad_output: Array) -> Array:
    """grad_x[n, c] = sum over o of grad_output[n, o] weight[o, c]."""
    grad_x = np.empty((grad_output.shape[0], weight.shape[1]), weight.dtype)
    add_rows(grad_output, weight, grad_x)
    return grad_x


def linear_weight_grad(x: Array, grad_output: Array) -> Array:
    """grad_weight[o, c] = sum over n of grad_output[n, o] x[n, c]."""
    grad_weight = np.empty((grad_output.shape[1], x.shape[1]), x.dtype)
    add_rows(np.ascontiguousarray(grad_output.T), x, grad_weight)
    return grad_weight


def linear_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n of grad_output[n, o]."""
    return convolution_bias_grad(grad_output)


@kernel_of_sums
def dot_rows(x, weight, bias, y):  # type: ignore[no-untyped-def]
    """y[n, o] = bias[o] + sum over k of x[n, k] weight[o, k].

    Four dot products at a time share the row of x; the compiler sums each in vectors.
    """
    rows, features = y.shape
    for task in prange((features + BLOCK - 1) // BLOCK * rows):
        n, first = task % rows, task // rows * BLOCK
        last = min(features, first + BLOCK)
        row = x[n]
        for o in range(first, last - 3, 4):
            w0, w1, w2, w3 = weight[o], weight[o + 1], weight[o + 2], weight[o + 3]
            s0 = s1 = s2 = s3 = x.dtype.type(0)
            for k in range(row.size):
                s0 += row[k] * w0[k]
                s1 += row[k] * w1[k]
                s2 += row[k] * w2[k]
                s3 += row[k] * w3[k]
            y[n, o], y[n, o + 1] = s0 + bias[o], s1 + bias[o + 1]
            y[n, o + 2], y[n, o + 3] = s2 + bias[o + 2], s3 + bias[o + 3]
        for o in range(last - (last - first) % 4, last):
            w0, s0 = weight[o], x.dtype.type(0)
            for k in range(row.size):
                s0 += row[k] * w0[k]
            y[n, o] = s0 + bias[o]


@kernel
def add_rows(factors, rows, y):  # type: ignore[no-untyped-def]
    """y[n, j] = sum over k of factors[n, k] rows[k, j], four rows at a time."""
    depth, columns = rows.shape
    strips = (columns + STRIP - 1) // STRIP
    for task in prange(strips * y.shape[0]):
        n, begin = task % y.shape[0], task // y.shape[0] * STRIP
        end = min(columns, begin + STRIP)
        sums = np.zeros(end - begin, y.dtype)
        for k in range(0, depth - 3, 4):
            f0, f1, f2, f3 = factors[n, k], factors[n, k + 1], factors[n, k + 2], factors[n, k + 3]
            r0, r1 = rows[k, begin:end], rows[k + 1, begin:end]
            r2, r3 = rows[k + 2, begin:end], rows[k + 3, begin:end]
            for j in range(sums.size):
                sums[j] += f0 * r0[j] + f1 * r1[j] + f2 * r2[j] + f3 * r3[j]
        for k in range(depth - depth % 4, depth):
            f0, r0 = factors[n, k], rows[k, begin:end]
            for j in range(sums.size):
                sums[j] += f0 * r0[j]
        y[n, begin:end] = sums
