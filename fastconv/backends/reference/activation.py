"""Activations and their gradients, as the slide writes them; and dropout, which is one under a drawn mask.

Gradients take y, the activation's output, where it alone tells the slope, and x elsewhere.
"""

from math import erf, pi, sqrt

import numpy as np

from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
CUBIC = 0.044715  # of Hendrycks and Gimpel's approximation of the normal distribution


def tanh(x: Array) -> Array:
    """y = tanh x."""
    y: Array = np.tanh(x)
    return y


@IEEE
def tanh_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output (1 - y²)."""
    grad_x: Array = grad_output * (1 - y * y)
    return grad_x


@IEEE
def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + exp(-x))."""
    y: Array = 1 / (1 + np.exp(-x))
    return y


@IEEE
def sigmoid_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output y (1 - y)."""
    grad_x: Array = grad_output * y * (1 - y)
    return grad_x


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    y: Array = np.maximum(x, 0)
    return y


def relu_input_grad(grad_output: Array, x: Array) -> Array:
    """grad_x = grad_output where x > 0, else 0."""
    return np.where(x <= 0, x.dtype.type(0), grad_output)


@IEEE
def leaky_relu(x: Array, negative_slope: float) -> Array:
    """y = x where x > 0, else negative_slope x."""
    return np.where(x > 0, x, negative_slope * x)


@IEEE
def leaky_relu_input_grad(grad_output: Array, x: Array, negative_slope: float) -> Array:
    """grad_x = grad_output where x > 0, else negative_slope grad_output."""
    return np.where(x > 0, grad_output, negative_slope * grad_output)


@IEEE
def elu(x: Array, alpha: float) -> Array:
    """y = x where x > 0, else alpha (exp x - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(x))


@IEEE
def elu_input_grad(grad_output: Array, x: Array, alpha: float) -> Array:
    """grad_x = grad_output where x > 0, else grad_output alpha exp x."""
    return np.where(x > 0, grad_output, grad_output * alpha * np.exp(x))


@IEEE
def gelu(x: Array, approximate: str) -> Array:
    """y = x P(a normal variable is less than x), exactly or by a formula with tanh."""
    if approximate == "tanh":
        normal: Array = 0.5 * (1 + np.tanh(sqrt(2 / pi) * (x + CUBIC * x * x * x)))
    else:
        normal = _normal(x)
    return x * normal


@IEEE
def gelu_input_grad(grad_output: Array, x: Array, approximate: str) -> Array:
    """grad_x = grad_output (P(less than x) + x density(x)), or the derivative of the formula with tanh."""
    if approximate == "tanh":
        t = np.tanh(sqrt(2 / pi) * (x + CUBIC * x * x * x))
        slope: Array = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / pi) * (1 + 3 * CUBIC * x * x)
    else:
        slope = _normal(x) + x * np.exp(-0.5 * x * x) / sqrt(2 * pi)
    return grad_output * slope


def _normal(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.vectorize(erf, otypes=[np.float64])(x / sqrt(2)))).astype(x.dtype)


@IEEE
def softplus(x: Array, beta: float, threshold: float) -> Array:
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    return np.where(beta * x > threshold, x, np.logaddexp(x.dtype.type(0), beta * x) / np.float64(beta)).astype(x.dtype)


@IEEE
def softplus_input_grad(grad_output: Array, x: Array, beta: float, threshold: float) -> Array:
    """grad_x = grad_output / (1 + exp(-beta x)), and grad_output itself where beta x > threshold."""
    return np.where(beta * x > threshold, grad_output, grad_output / (1 + np.exp(-beta * x)))


@IEEE
def softmax(x: Array, dim: int) -> Array:
    """y = exp x / sum of exp x along `dim`; the largest x is subtracted first, so that nothing overflows."""
    e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
    y: Array = e / e.sum(axis=dim, keepdims=True)
    return y


@IEEE
def softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = y (grad_output - sum of grad_output y along `dim`)."""
    grad_x: Array = y * (grad_output - (grad_output * y).sum(axis=dim, keepdims=True))
    return grad_x


@IEEE
def log_softmax(x: Array, dim: int) -> Array:
    """y = x - log(sum of exp x along `dim`); the largest x is subtracted first, so that nothing overflows."""
    shifted = x - x.max(axis=dim, keepdims=True, initial=-np.inf)
    y: Array = shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))
    return y


@IEEE
def log_softmax_input_grad(grad_output: Array, y: Array, dim: int) -> Array:
    """grad_x = grad_output - exp(y) sum of grad_output along `dim`."""
    grad_x: Array = grad_output - np.exp(y) * grad_output.sum(axis=dim, keepdims=True)
    return grad_x


@IEEE
def dropout(x: Array, mask: Array, p: float) -> Array:
    """y = x / (1 - p) where the mask keeps it, else 0."""
    y: Array = np.where(mask, x / x.dtype.type(1 - p), x.dtype.type(0))
    return y
