"""Batch normalisation and its gradients, for x (N, C, pixels).

Sums over a channel are taken of each plane (n, c) first and then of the planes; the variance is that of the deviations
from the mean, so it stays exact where the mean is far greater than they are. Index letters: `i` number of x, `n` image,
`c` channel, `p` pixel.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import cuda

from fastconv.backends.cuda import device, reductions
from fastconv.backends.cuda.array import empty
from fastconv.backends.cuda.elementwise import BLOCK, BLOCKS, Mapping, mapping
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, device_function, kernel, operation
from fastconv.backends.cuda.mathematics import sqrt
from fastconv.typing import Array

WALK = 2 if device.SIMULATED else 8  # numbers of a thread, which divides to find its channel but once


@operation()
def batch_statistics(x: Array) -> tuple[Array, Array]:
    """The mean and the (biased) variance of each channel, over n and p."""
    _, channels, pixels = x.shape
    mean = _channel_sums(reductions.itself(x.dtype), (x,), x)
    count = float(x.shape[0] * pixels)
    reductions.divided(x.dtype)(mean, count, out=mean)
    var = _channel_sums(deviation(x.dtype), (x, mean, channels, pixels), x)
    reductions.divided(x.dtype)(var, count, out=var)
    return mean, var


@mapping
def deviation(t: Any) -> Callable[..., Any]:
    """The squared deviation from the channel's mean."""

    def squared(i, x, mean, channels, pixels):  # type: ignore[no-untyped-def]
        error = x[i] - mean[(i // (pixels & MASK) % (channels & MASK)) & MASK]
        return error * error

    return squared


@operation()
def running_average(running: Array, value: Array, momentum: float, factor: float = 1.0) -> Array:
    """(1 - momentum) running + momentum factor value."""
    y: Array = average(running.dtype)(running, value, float(1 - momentum), float(momentum * factor))
    return y


@mapping
def average(t: Any) -> Callable[..., Any]:
    """A moving average."""
    return lambda i, running, value, kept, share: kept * running[i] + share * value[i]


@operation()
def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> Array:
    """y[n, c, p] = weight[c] (x[n, c, p] - mean[c]) / sqrt(var[c] + eps) + bias[c]."""
    scale, shift = _scale(var, weight, eps), 0 if bias is None else bias
    y: Array = _by_channel(_shifted(bias is not None), x, x, mean, scale, shift, 0, 0)
    return y


@operation()
def batch_norm_input_grad(
    grad_output: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    training: bool,
    eps: float,
) -> Array:
    """grad_x = weight / sqrt(var + eps) (g - mean of g - x̂ mean of g x̂) with x̂ the normalised x and g = grad_output.

    Outside of training the statistics don't depend on x, so the means drop out.
    """
    grad_x: Array
    scale, count = _scale(var, weight, eps), float(x.shape[0] * x.shape[2])
    if not training:
        grad_x = _by_channel(_scaled(), x, grad_output, scale, 0, 0, 0, 0)
        return grad_x
    steepness = _scale(var, None, eps)
    shift = _channel_sums(reductions.itself(x.dtype), (grad_output,), x)
    reductions.divided(x.dtype)(shift, count, out=shift)
    slope = _products(grad_output, x, mean, steepness)
    sloped(x.dtype)(slope, steepness, count, out=slope)
    grad_x = _by_channel(_centred(), x, grad_output, x, mean, shift, slope, scale)
    return grad_x


@mapping
def sloped(t: Any) -> Callable[..., Any]:
    """What x - mean is multiplied by: the mean of g x̂, over the deviation."""
    return lambda i, slope, scale, count: slope[i] / count * scale[i]


@operation()
def batch_norm_weight_grad(grad_output: Array, x: Array, mean: Array, var: Array, eps: float) -> Array:
    """grad_weight[c] = sum over n, p of grad_output[n, c, p] x̂[n, c, p], with x̂ the normalised x."""
    y: Array = _products(grad_output, x, mean, _scale(var, None, eps))
    return y


@operation()
def batch_norm_bias_grad(grad_output: Array) -> Array:
    """grad_bias[c] = sum over n, p of grad_output[n, c, p]."""
    y: Array = _channel_sums(reductions.itself(grad_output.dtype), (grad_output,), grad_output)
    return y


def _products(grad: Array, x: Array, mean: Array, scale: Array) -> Any:
    operands = grad, x, mean, scale, x.shape[1], x.shape[2]
    return _channel_sums(product(x.dtype), operands, x)


@mapping
def product(t: Any) -> Callable[..., Any]:
    """The gradient times the normalised x."""

    def multiplied(i, grad, x, mean, scale, channels, pixels):  # type: ignore[no-untyped-def]
        c = (i // (pixels & MASK) % (channels & MASK)) & MASK
        return grad[i] * ((x[i] - mean[c]) * scale[c])

    return multiplied


def _channel_sums(term: Mapping, operands: tuple[Any, ...], x: Array) -> Any:
    """The sums over n and p of a term for each number of x."""
    images, channels, pixels = x.shape
    if pixels != 1:
        planes = reductions.folded(term, operands, (images * channels, pixels, 1))
        term, operands = reductions.itself(x.dtype), (planes,)
    return reductions.folded(term, operands, (1, images, channels)).reshape(channels)


def _scale(var: Array, weight: Array | None, eps: float) -> Any:
    return inverse_deviation(var.dtype, weight is not None)(var, 0 if weight is None else weight, float(eps))


@mapping
def inverse_deviation(t: Any, weighted: bool) -> Callable[..., Any]:
    """weight[c] / sqrt(var[c] + eps)."""
    one = t(1)
    if weighted:
        return lambda i, var, weight, eps: weight[i] / sqrt(var[i] + eps)
    return lambda i, var, weight, eps: one / sqrt(var[i] + eps)


@cache
def _shifted(biased: bool) -> Any:
    if biased:
        return device_function(lambda i, c, x, mean, scale, bias, _, __: (x[i] - mean[c]) * scale[c] + bias[c])
    return device_function(lambda i, c, x, mean, scale, bias, _, __: (x[i] - mean[c]) * scale[c])


@cache
def _scaled() -> Any:
    return device_function(lambda i, c, grad, scale, _, __, ___, ____: grad[i] * scale[c])


@cache
def _centred() -> Any:
    return device_function(
        lambda i, c, grad, x, mean, shift, slope, scale: (grad[i] - shift[c] - (x[i] - mean[c]) * slope[c]) * scale[c]
    )


def _by_channel(function: Any, x: Array, *operands: Any) -> Any:
    """function(i, c, operands) for each number i of an array like x, c its channel."""
    y = empty(x.shape, x.dtype)
    blocks = min(blocks_for(y.size, BLOCK * WALK), BLOCKS)
    _channelwise(function)(blocks, y.size, y, *x.shape[1:], *operands)
    return y


@cache
def _channelwise(function: Any) -> Kernel:
    @kernel(BLOCK)
    def run(size, y, channels, pixels, a, b, d, e, g, h):  # type: ignore[no-untyped-def]
        """y[i] = function(i, c, operands), c the channel of i; it goes on with i without dividing anew."""
        i = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) & MASK
        step = cuda.gridDim.x * cuda.blockDim.x & MASK
        pixels, channels = pixels & MASK, channels & MASK
        p, c = i % pixels, i // pixels % channels
        further, channels_further = step % pixels, step // pixels % channels
        while i < size:
            y[i & MASK] = function(i & MASK, c & MASK, a, b, d, e, g, h)
            i += step
            p += further
            c += channels_further
            if p >= pixels:
                p -= pixels
                c += 1
            if c >= channels:
                c -= channels

    return run
