"""Batch normalisation and its gradients for x (N, C, pixels): sums over a channel, and one pass over the elements.

Sums are taken in float64, each by one thread, in one order. Index letters: `n` image, `c` channel, `p` pixel.
"""

import numpy as np

from fastconv.backends.cpu.convolution import convolution_bias_grad
from fastconv.backends.cpu.kernels import kernel, kernel_of_sums
from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


def batch_statistics(x: Array) -> tuple[Array, Array]:
    """The mean and the (biased) variance of each channel, over n and p."""
    mean, var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    channel_moments(x.shape[1], x, mean, var)
    return mean, var


@IEEE
def running_average(running: Array, value: Array, momentum: float, factor: float = 1.0) -> Array:
    """(1 - momentum) running + momentum factor value."""
    return ((1 - momentum) * running + momentum * factor * value).astype(running.dtype)


@IEEE
def batch_norm(x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float) -> Array:
    """y[n, c, p] = weight[c] (x[n, c, p] - mean[c]) / sqrt(var[c] + eps) + bias[c]."""
    y = np.empty_like(x)
    shift = np.zeros_like(mean) if bias is None else bias
    scale_channels(x.shape[0] * x.shape[1], x, mean, _scale(var, weight, eps), shift, y)
    return y


@IEEE
def batch_norm_input_grad(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, training: bool, eps: float
) -> Array:
    """grad_x = weight / sqrt(var + eps) (g - mean of g - x̂ mean of g x̂) with x̂ the normalised x and g = grad_output.

    Outside of training the statistics don't depend on x, so the means drop out.
    """
    grad_x, scale, rows = np.empty_like(x), _scale(var, weight, eps), x.shape[0] * x.shape[1]
    if not training:
        zero = np.zeros_like(mean)
        scale_channels(rows, grad_output, zero, scale, zero, grad_x)
        return grad_x
    count = np.float64(x.shape[0] * x.shape[2])
    sums, products = _products(grad_output, x, mean)
    slope = products / count / (var.astype(np.float64) + eps)
    shift = (sums / count).astype(x.dtype)
    project_grads(rows, grad_output, x, mean, scale, slope.astype(x.dtype), shift, grad_x)
    return grad_x


@IEEE
def batch_norm_weight_grad(grad_output: Array, x: Array, mean: Array, var: Array, eps: float) -> Array:
    """grad_weight[c] = sum over n, p of grad_output[n, c, p] x̂[n, c, p], with x̂ the normalised x."""
    if x.size == 0:
        return np.zeros_like(mean)  # a sum over nothing, even where the variance of nothing is NaN
    _, products = _products(grad_output, x, mean)
    return (products / np.sqrt(var.astype(np.float64) + eps)).astype(x.dtype)


def batch_norm_bias_grad(grad_output: Array) -> Array:
    """grad_bias[c] = sum over n, p of grad_output[n, c, p]."""
    return convolution_bias_grad(grad_output)


def _scale(var: Array, weight: Array | None, eps: float) -> Array:
    scale: Array = 1 / np.sqrt(var.astype(np.float64) + eps)
    return (scale if weight is None else scale * weight).astype(var.dtype)


def _products(grad_output: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    sums, products = np.empty(x.shape[1]), np.empty(x.shape[1])
    channel_products(x.shape[1], grad_output, x, mean, sums, products)
    return sums, products


@kernel_of_sums
def channel_moments(x, mean, var, first, end):  # type: ignore[no-untyped-def]
    """mean[c] = sum over n, p of x[n, c, p] / count; var[c] = sum of (x - mean)² / count."""
    for c in range(first, end):
        count = x.shape[0] * x.shape[2]
        total = 0.0
        for n in range(x.shape[0]):
            row = x[n, c]
            for p in range(row.size):
                total += row[p]
        middle = total / count
        total = 0.0
        for n in range(x.shape[0]):
            row = x[n, c]
            for p in range(row.size):
                total += (row[p] - middle) * (row[p] - middle)
        mean[c], var[c] = middle, total / count


@kernel_of_sums
def channel_products(grad, x, mean, sums, products, first, end):  # type: ignore[no-untyped-def]
    """sums[c] = sum over n, p of grad[n, c, p]; products[c] = sum of grad (x - mean).

    A loop for each: of two sums in one loop, the order of terms changes from one compilation to the next.
    """
    for c in range(first, end):
        total, product, middle = 0.0, 0.0, np.float64(mean[c])
        for n in range(x.shape[0]):
            row, slopes = x[n, c], grad[n, c]
            for p in range(row.size):
                total += slopes[p]
            for p in range(row.size):
                product += slopes[p] * (row[p] - middle)
        sums[c], products[c] = total, product


@kernel
def scale_channels(x, mean, scale, shift, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, c, p] = scale[c] (x[n, c, p] - mean[c]) + shift[c]."""
    for task in range(first, end):
        n, c = task // x.shape[1], task % x.shape[1]
        row, out, middle, factor, start = x[n, c], y[n, c], mean[c], scale[c], shift[c]
        for p in range(row.size):
            out[p] = (row[p] - middle) * factor + start


@kernel
def project_grads(grad, x, mean, scale, slope, shift, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[n, c, p] = scale[c] (grad[n, c, p] - shift[c] - slope[c] (x[n, c, p] - mean[c]))."""
    for task in range(first, end):
        n, c = task // x.shape[1], task % x.shape[1]
        row, slopes, out = x[n, c], grad[n, c], grad_x[n, c]
        middle, factor, tilt, start = mean[c], scale[c], slope[c], shift[c]
        for p in range(row.size):
            out[p] = factor * (slopes[p] - start - tilt * (row[p] - middle))
