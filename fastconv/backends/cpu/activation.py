"""Activations and their gradients: one pass over the elements, in blocks of fixed size; softmax; dropout's mask.

Gradients take y, the activation's output, where it alone tells the slope, and x elsewhere.
Index letters: `i` element; for softmax `n` place before `dim`, `c` place along it, `j` place after it.
"""

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import exponentials
from fastconv.backends.cpu.kernels import kernel
from fastconv.typing import Array

BLOCK = 4096  # elements of one task, whatever the number of threads
STRIP = 64  # places after `dim` that softmax takes at a time
CUBIC = 0.044715  # of Hendrycks and Gimpel's approximation of the normal distribution
RATE = math.sqrt(2 / math.pi)


def tanh(x: Array) -> Array:
    """y = tanh x."""
    return exponentials.mapped(exponentials.TANH, x) if x.dtype == np.float32 else _each(map_tanh, x)


def tanh_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output (1 - y²)."""
    return _each(map_tanh_grad, grad_output, y)


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return exponentials.mapped(exponentials.SIGMOID, x) if x.dtype == np.float32 else _each(map_sigmoid, x)


def sigmoid_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output y (1 - y)."""
    return _each(map_sigmoid_grad, grad_output, y)


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    return _each(map_relu, x)


def relu_input_grad(grad_output: Array, x: Array) -> Array:
    """grad_x = grad_output where x > 0, else 0."""
    return _each(map_relu_grad, grad_output, x)


def leaky_relu(x: Array, negative_slope: float) -> Array:
    """y = x where x > 0, else negative_slope x."""
    return leaky_relu_input_grad(x, x, negative_slope)


def leaky_relu_input_grad(grad_output: Array, x: Array, negative_slope: float) -> Array:
    """grad_x = grad_output where x > 0, else negative_slope grad_output."""
    return _each(map_leaky_relu_grad, grad_output, x, x.dtype.type(negative_slope))


def elu(x: Array, alpha: float) -> Array:
    """y = x where x > 0, else alpha (exp x - 1)."""
    return _each(map_elu, x, x.dtype.type(alpha))


def elu_input_grad(grad_output: Array, x: Array, alpha: float) -> Array:
    """grad_x = grad_output where x > 0, else grad_output alpha exp x."""
    return _each(map_elu_grad, grad_output, x, x.dtype.type(alpha))


def gelu(x: Array, approximate: str) -> Array:
    """y = x P(a normal variable is less than x), exactly or by a formula with tanh."""
    return _each(map_gelu_tanh if approximate == "tanh" else map_gelu, x)


def gelu_input_grad(grad_output: Array, x: Array, approximate: str) -> Array:
    """grad_x = grad_output (P(less than x) + x density(x)), or the derivative of the formula with tanh."""
    return _each(map_gelu_tanh_grad if approximate == "tanh" else map_gelu_grad, grad_output, x)


def softplus(x: Array, beta: float, threshold: float) -> Array:
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    return _each(map_softplus, x, x.dtype.type(beta), x.dtype.type(threshold))


def softplus_input_grad(grad_output: Array, x: Array, beta: float, threshold: float) -> Array:
    """grad_x = grad_output / (1 + exp(-beta x)), and grad_output itself where beta x > threshold."""
    return _each(map_softplus_grad, grad_output, x, x.dtype.type(beta), x.dtype.type(threshold))


def softmax(x: Array, dim: int) -> Array:
    """y = exp x / sum of exp x along `dim`; the largest x is subtracted first, so that nothing overflows."""
    return _along(dim, normalise_exponentials, x)


def softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = y (grad_output - sum of grad_output y along `dim`)."""
    return _along(dim, centre_grads, grad_output, y)


def log_softmax(x: Array, dim: int) -> Array:
    """y = x - log(sum of exp x along `dim`); the largest x is subtracted first, so that nothing overflows."""
    return _along(dim, subtract_log_sum, x)


def log_softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = grad_output - exp(y) sum of grad_output along `dim`."""
    return _along(dim, subtract_grads, grad_output, y)


def dropout(x: Array, mask: Array, p: float) -> Array:
    """y = x / (1 - p) where the mask keeps it, else 0."""
    y = np.empty_like(x)
    map_dropout(blocks(x), x.reshape(-1), mask.reshape(-1), x.dtype.type(1 - p), y.reshape(-1))
    return y


def _each(mapping: Callable[..., None], first: Array, *others: Any) -> Array:
    """The elementwise kernel's result, for arrays of one shape and then numbers."""
    y = np.empty_like(first)
    mapping(blocks(y), *[a.reshape(-1) if isinstance(a, np.ndarray) else a for a in (first, *others, y)])
    return y


def blocks(array: Array) -> int:
    """The tasks of an elementwise kernel."""
    return (array.size + BLOCK - 1) // BLOCK


def _along(dim: int, mapping: Callable[..., None], *arrays: Array) -> Array:
    """The kernel's result along one axis, every other axis folded into that before or after it."""
    y, shape = np.empty_like(arrays[0]), arrays[0].shape
    folded = prod(shape[:dim]), prod(shape[dim : dim + 1]), prod(shape[dim + 1 :])
    mapping(folded[0] * ((folded[2] + STRIP - 1) // STRIP), *[a.reshape(folded) for a in (*arrays, y)])
    return y


@kernel
def map_tanh(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = tanh x[i]."""
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = math.tanh(x[i])


@kernel
def map_tanh_grad(grad, y, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] (1 - y[i]²)."""
    one = grad.dtype.type(1)
    for block in range(first, end):
        for i in range(block * BLOCK, min(y.size, (block + 1) * BLOCK)):
            grad_x[i] = grad[i] * (one - y[i] * y[i])


@kernel
def map_sigmoid(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = 1 / (1 + exp(-x[i]))."""
    one = x.dtype.type(1)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = one / (one + math.exp(-x[i]))


@kernel
def map_sigmoid_grad(grad, y, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] y[i] (1 - y[i])."""
    one = grad.dtype.type(1)
    for block in range(first, end):
        for i in range(block * BLOCK, min(y.size, (block + 1) * BLOCK)):
            grad_x[i] = grad[i] * y[i] * (one - y[i])


@kernel
def map_relu(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = 0 where x[i] <= 0, else x[i]: so that NaN stays NaN."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = zero if x[i] <= zero else x[i]


@kernel
def map_relu_grad(grad, x, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = 0 where x[i] <= 0, else grad[i]."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            grad_x[i] = zero if x[i] <= zero else grad[i]


@kernel
def map_leaky_relu_grad(grad, x, slope, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] where x[i] > 0, else slope grad[i]; with x for grad it is the activation itself."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            grad_x[i] = grad[i] if x[i] > zero else slope * grad[i]


@kernel
def map_elu(x, alpha, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = x[i] where x[i] > 0, else alpha (exp x[i] - 1)."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = x[i] if x[i] > zero else alpha * math.expm1(x[i])


@kernel
def map_elu_grad(grad, x, alpha, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] where x[i] > 0, else grad[i] alpha exp x[i]."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            grad_x[i] = grad[i] if x[i] > zero else grad[i] * alpha * math.exp(x[i])


@kernel
def map_gelu(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = x[i] (1 + erf(x[i] / sqrt 2)) / 2."""
    half, one, root = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(math.sqrt(0.5))
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = x[i] * (half * (one + math.erf(x[i] * root)))


@kernel
def map_gelu_grad(grad, x, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] ((1 + erf(x[i] / sqrt 2)) / 2 + x[i] exp(-x[i]² / 2) / sqrt(2 pi))."""
    half, one, root = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(math.sqrt(0.5))
    peak = x.dtype.type(1 / math.sqrt(2 * math.pi))
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            normal = half * (one + math.erf(x[i] * root))
            grad_x[i] = grad[i] * (normal + x[i] * (peak * math.exp(-half * x[i] * x[i])))


@kernel
def map_gelu_tanh(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = x[i] (1 + tanh(sqrt(2 / pi) (x[i] + 0.044715 x[i]³))) / 2."""
    half, one = x.dtype.type(0.5), x.dtype.type(1)
    rate, cubic = x.dtype.type(RATE), x.dtype.type(RATE * CUBIC)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = x[i] * (half * (one + math.tanh(x[i] * (rate + cubic * (x[i] * x[i])))))


@kernel
def map_gelu_tanh_grad(grad, x, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] times the derivative of `map_gelu_tanh`."""
    half, one = x.dtype.type(0.5), x.dtype.type(1)
    rate, cubic, triple = x.dtype.type(RATE), x.dtype.type(RATE * CUBIC), x.dtype.type(3 * RATE * CUBIC)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            square = x[i] * x[i]
            t = math.tanh(x[i] * (rate + cubic * square))
            grad_x[i] = grad[i] * (half * (one + t) + half * x[i] * (one - t * t) * (rate + triple * square))


@kernel
def map_softplus(x, beta, threshold, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = x[i] where z = beta x[i] > threshold, else (max(z, 0) + log(1 + exp(-|z|))) / beta."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            z = beta * x[i]
            smooth = (z if z > zero else zero) + math.log1p(math.exp(-abs(z)))
            y[i] = x[i] if z > threshold else smooth / beta


@kernel
def map_softplus_grad(grad, x, beta, threshold, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] where z = beta x[i] > threshold, else grad[i] / (1 + exp(-z))."""
    one = x.dtype.type(1)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            z = beta * x[i]
            grad_x[i] = grad[i] if z > threshold else grad[i] / (one + math.exp(-z))


@kernel
def map_dropout(x, mask, kept, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = x[i] / kept where mask[i], else 0."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = x[i] / kept if mask[i] else zero


@kernel
def normalise_exponentials(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, c, j] = exp(x[n, c, j] - top) / sum over c of the same, with top the largest over c; sums in float64."""
    strips = (x.shape[2] + STRIP - 1) // STRIP
    for task in range(first, end):
        n, begin = task // strips, task % strips * STRIP
        stop = min(x.shape[2], begin + STRIP)
        top, total = np.full(stop - begin, -np.inf, x.dtype), np.zeros(stop - begin)
        for c in range(x.shape[1]):
            row = x[n, c, begin:stop]
            for j in range(row.size):
                top[j] = row[j] if row[j] > top[j] else top[j]
        for c in range(x.shape[1]):
            row, out = x[n, c, begin:stop], y[n, c, begin:stop]
            for j in range(row.size):
                out[j] = math.exp(row[j] - top[j])
                total[j] += out[j]
        for c in range(x.shape[1]):
            out = y[n, c, begin:stop]
            for j in range(out.size):
                out[j] = out[j] / total[j]


@kernel
def subtract_log_sum(x, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, c, j] = x[n, c, j] - top - log(sum over c of exp(x - top)), with top the largest over c; sums in float64."""
    strips = (x.shape[2] + STRIP - 1) // STRIP
    for task in range(first, end):
        n, begin = task // strips, task % strips * STRIP
        stop = min(x.shape[2], begin + STRIP)
        top, total = np.full(stop - begin, -np.inf, x.dtype), np.zeros(stop - begin)
        for c in range(x.shape[1]):
            row = x[n, c, begin:stop]
            for j in range(row.size):
                top[j] = row[j] if row[j] > top[j] else top[j]
        for c in range(x.shape[1]):
            row = x[n, c, begin:stop]
            for j in range(row.size):
                total[j] += math.exp(row[j] - top[j])
        for c in range(x.shape[1]):
            row, out = x[n, c, begin:stop], y[n, c, begin:stop]
            for j in range(row.size):
                out[j] = (row[j] - top[j]) - math.log(total[j])


@kernel
def centre_grads(grad, y, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[n, c, j] = y[n, c, j] (grad[n, c, j] - sum over c of grad y); sums in float64."""
    strips = (y.shape[2] + STRIP - 1) // STRIP
    for task in range(first, end):
        n, begin = task // strips, task % strips * STRIP
        stop = min(y.shape[2], begin + STRIP)
        total = np.zeros(stop - begin)
        for c in range(y.shape[1]):
            for j in range(total.size):
                total[j] += grad[n, c, begin + j] * y[n, c, begin + j]
        for c in range(y.shape[1]):
            for j in range(total.size):
                grad_x[n, c, begin + j] = y[n, c, begin + j] * (grad[n, c, begin + j] - total[j])


@kernel
def subtract_grads(grad, y, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[n, c, j] = grad[n, c, j] - exp(y[n, c, j]) sum over c of grad; sums in float64."""
    strips = (y.shape[2] + STRIP - 1) // STRIP
    for task in range(first, end):
        n, begin = task // strips, task % strips * STRIP
        stop = min(y.shape[2], begin + STRIP)
        total = np.zeros(stop - begin)
        for c in range(y.shape[1]):
            for j in range(total.size):
                total[j] += grad[n, c, begin + j]
        for c in range(y.shape[1]):
            for j in range(total.size):
                grad_x[n, c, begin + j] = grad[n, c, begin + j] - math.exp(y[n, c, begin + j]) * total[j]
