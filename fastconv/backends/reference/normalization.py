"""Batch normalisation and its gradients, as the slide writes them, for x (N, C, pixels).

Sums over a channel are taken in float64. Index letters: `n` image, `c` channel, `p` pixel.
"""

import numpy as np

from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


@IEEE
def batch_statistics(x: Array) -> tuple[Array, Array]:
    """The mean and the (biased) variance of each channel, over n and p."""
    count = np.float64(x.shape[0] * x.shape[2])
    mean = x.sum(axis=(0, 2), dtype=np.float64) / count
    var = np.square(x - _column(mean)).sum(axis=(0, 2)) / count
    return mean.astype(x.dtype), var.astype(x.dtype)


@IEEE
def running_average(running: Array, value: Array, momentum: float, factor: float = 1.0) -> Array:
    """(1 - momentum) running + momentum factor value."""
    return ((1 - momentum) * running + momentum * factor * value).astype(running.dtype)


@IEEE
def batch_norm(x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float) -> Array:
    """y[n, c, p] = weight[c] (x[n, c, p] - mean[c]) / sqrt(var[c] + eps) + bias[c]."""
    y: Array = (x - _column(mean)) / np.sqrt(_column(var) + x.dtype.type(eps))
    y = y if weight is None else y * _column(weight)
    return y if bias is None else y + _column(bias)


@IEEE
def batch_norm_input_grad(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, training: bool, eps: float
) -> Array:
    """grad_x = weight / sqrt(var + eps) (g - mean of g - x̂ mean of g x̂) with x̂ the normalised x and g = grad_output.

    Outside of training the statistics don't depend on x, so the means drop out.
    """
    inner = grad_output
    if training:
        count = np.float64(x.shape[0] * x.shape[2])
        shift = batch_norm_bias_grad(grad_output) / count
        slope = batch_norm_weight_grad(grad_output, x, mean, var, eps) / count
        inner = grad_output - _column(shift) - _column(slope) * batch_norm(x, mean, var, None, None, eps)
    scale = 1 / np.sqrt(var + x.dtype.type(eps)) if weight is None else weight / np.sqrt(var + x.dtype.type(eps))
    grad_x: Array = inner * _column(scale)
    return grad_x.astype(x.dtype)


@IEEE
def batch_norm_weight_grad(grad_output: Array, x: Array, mean: Array, var: Array, eps: float) -> Array:
    """grad_weight[c] = sum over n, p of grad_output[n, c, p] x̂[n, c, p], with x̂ the normalised x."""
    products: Array = grad_output * batch_norm(x, mean, var, None, None, eps)
    return _sum(products)


@IEEE
def batch_norm_bias_grad(grad_output: Array) -> Array:
    """grad_bias[c] = sum over n, p of grad_output[n, c, p]."""
    return _sum(grad_output)


def _sum(values: Array) -> Array:
    total: Array = values.sum(axis=(0, 2), dtype=np.float64)
    return total.astype(values.dtype)


def _column(values: Array) -> Array:
    return values.reshape(-1, 1)
