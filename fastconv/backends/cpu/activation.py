"""Activations and their gradients: one pass over the elements; softmax; dropout's mask.

Gradients take y, the activation's output, where it alone tells the slope, and x elsewhere.
Index letter: `i` element, in blocks of fixed size.
"""

import math

from fastconv.backends.cpu import exponentials, outputs
from fastconv.backends.cpu.elementwise import QUICK, SLOW, Mapping, mapping
from fastconv.backends.cpu.exponentials import NONE, RELU, SIGMOID, TANH
from fastconv.backends.cpu.kernels import Kernel, kernel
from fastconv.backends.cpu.softmax import log_softmax, log_softmax_input_grad, softmax, softmax_input_grad
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import Emit, Value
from fastconv.typing import Array

__all__ = [
    "activate",
    "apply_slope",
    "dropout",
    "elu",
    "elu_input_grad",
    "gelu",
    "gelu_input_grad",
    "leaky_relu",
    "leaky_relu_input_grad",
    "log_softmax",
    "log_softmax_input_grad",
    "relu",
    "relu_input_grad",
    "sigmoid",
    "sigmoid_input_grad",
    "softmax",
    "softmax_input_grad",
    "softplus",
    "softplus_input_grad",
    "tanh",
    "tanh_input_grad",
]

BLOCK = 4096  # elements of one task, whatever the number of threads
CUBIC = 0.044715  # of Hendrycks and Gimpel's approximation of the normal distribution
RATE = math.sqrt(2 / math.pi)


def activate(kind: int, x: Array, y: Array, images: int) -> Step:
    """y = f(x); y may be x. Above 0, `images` is how many of them lie one after another."""
    return ACTIVATIONS[kind].step([x], y, images)


def apply_slope(kind: int, grad: Array, y: Array, grad_x: Array, images: int) -> Step:
    """grad_x = grad f'(x), from y = f(x); grad_x may be grad."""
    return SLOPES[kind].step([grad, y], grad_x, images)


def tanh(x: Array) -> Array:
    """y = tanh x."""
    return ACTIVATIONS[TANH](x)


def tanh_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output (1 - y²)."""
    return SLOPES[TANH](grad_output, y)


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return ACTIVATIONS[SIGMOID](x)


def sigmoid_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output y (1 - y)."""
    return SLOPES[SIGMOID](grad_output, y)


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    return ACTIVATIONS[RELU](x)


def relu_input_grad(grad_output: Array, x: Array) -> Array:
    """grad_x = grad_output where x > 0, else 0: x and y are above 0 in the same places."""
    return SLOPES[RELU](grad_output, x)


def leaky_relu(x: Array, negative_slope: float) -> Array:
    """y = x where x > 0, else negative_slope x."""
    return leaky_relu_input_grad(x, x, negative_slope)


def leaky_relu_input_grad(grad_output: Array, x: Array, negative_slope: float) -> Array:
    """grad_x = grad_output where x > 0, else negative_slope grad_output."""
    return leaky_slope(grad_output, x, numbers=(negative_slope,))


def elu(x: Array, alpha: float) -> Array:
    """y = x where x > 0, else alpha (exp x - 1)."""
    return elu_of(x, numbers=(alpha,))


def elu_input_grad(grad_output: Array, x: Array, alpha: float) -> Array:
    """grad_x = grad_output where x > 0, else grad_output alpha exp x."""
    return elu_slope(grad_output, x, numbers=(alpha,))


def gelu(x: Array, approximate: str) -> Array:
    """y = x P(a normal variable is less than x), exactly or by a formula with tanh."""
    return gelu_by_tanh(x) if approximate == "tanh" else _each(map_gelu, x)


def gelu_input_grad(grad_output: Array, x: Array, approximate: str) -> Array:
    """grad_x = grad_output (P(less than x) + x density(x)), or the derivative of the formula with tanh."""
    return gelu_by_tanh_slope(grad_output, x) if approximate == "tanh" else _each(map_gelu_grad, grad_output, x)


def softplus(x: Array, beta: float, threshold: float) -> Array:
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    return softplus_of(x, numbers=(beta, threshold))


def softplus_input_grad(grad_output: Array, x: Array, beta: float, threshold: float) -> Array:
    """grad_x = grad_output / (1 + exp(-beta x)), and grad_output itself where beta x > threshold."""
    return softplus_slope(grad_output, x, numbers=(beta, threshold))


def dropout(x: Array, mask: Array, p: float) -> Array:
    """y = x / (1 - p) where the mask keeps it, else 0."""
    y = outputs.empty(x.shape, x.dtype)
    map_dropout(blocks(x), x.reshape(-1), mask.reshape(-1), x.dtype.type(1 - p), y.reshape(-1))
    return y


def _each(function: Kernel, *arrays: Array) -> Array:
    """The elementwise kernel's result, for arrays of one shape."""
    y = outputs.empty(arrays[0].shape, arrays[0].dtype)
    function(blocks(y), *[array.reshape(-1) for array in (*arrays, y)])
    return y


def blocks(array: Array) -> int:
    """The tasks of an elementwise kernel."""
    return (array.size + BLOCK - 1) // BLOCK


def activation(kind: int) -> Mapping:
    """y = f(x)."""

    def formula(e: Emit, x: Value) -> Value:
        return exponentials.activated(e, kind, x)

    return Mapping(formula, 0, QUICK if kind == RELU else SLOW, NAMES[kind])


def slope(kind: int) -> Mapping:
    """grad_x = grad f'(x), from y = f(x)."""

    def formula(e: Emit, grad: Value, y: Value) -> Value:
        return exponentials.sloped(e, kind, grad, y)

    return Mapping(formula, 0, QUICK, f"{NAMES[kind]} gradient")


NAMES = {NONE: "copy", RELU: "relu", TANH: "tanh", SIGMOID: "sigmoid"}
ACTIVATIONS = {kind: activation(kind) for kind in NAMES}
SLOPES = {kind: slope(kind) for kind in NAMES}


@mapping(numbers=1, small=QUICK)
def leaky_slope(e: Emit, grad: Value, x: Value, negative: Value) -> Value:
    """grad_x = grad where x > 0, else negative grad; with x for grad it is the activation itself."""
    return e.b.select(e.b.fcmp_ordered(">", x, e.zero), grad, e.b.fmul(negative, grad))


@mapping(numbers=1)
def elu_of(e: Emit, x: Value, alpha: Value) -> Value:
    """y = x where x > 0, else alpha (exp x - 1)."""
    return e.b.select(e.b.fcmp_ordered(">", x, e.zero), x, e.b.fmul(alpha, exponentials.less_one(e, x)))


@mapping(numbers=1)
def elu_slope(e: Emit, grad: Value, x: Value, alpha: Value) -> Value:
    """grad_x = grad where x > 0, else grad alpha exp x."""
    below = e.b.fmul(e.b.fmul(grad, alpha), exponentials.exponential(e, x))
    return e.b.select(e.b.fcmp_ordered(">", x, e.zero), grad, below)


@mapping()
def gelu_by_tanh(e: Emit, x: Value) -> Value:
    """y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2."""
    inner = e.b.fmul(x, e.fma(e.constant(RATE * CUBIC), e.b.fmul(x, x), e.constant(RATE)))
    normal = e.fma(exponentials.tanh(e, inner), e.constant(0.5), e.constant(0.5))
    return e.b.fmul(x, normal)


@mapping()
def gelu_by_tanh_slope(e: Emit, grad: Value, x: Value) -> Value:
    """grad_x = grad times the derivative of `gelu_by_tanh`."""
    square, half = e.b.fmul(x, x), e.constant(0.5)
    t = exponentials.tanh(e, e.b.fmul(x, e.fma(e.constant(RATE * CUBIC), square, e.constant(RATE))))
    steep = e.b.fmul(e.b.fmul(half, x), exponentials.slope(e, TANH, t))
    inner = e.fma(e.constant(3 * RATE * CUBIC), square, e.constant(RATE))
    return e.b.fmul(grad, e.fma(steep, inner, e.fma(t, half, half)))


@mapping(numbers=2)
def softplus_of(e: Emit, x: Value, beta: Value, threshold: Value) -> Value:
    """y = x where z = beta x > threshold, else (max(z, 0) + log(1 + exp(-|z|))) / beta."""
    z = e.b.fmul(beta, x)
    return e.b.select(e.b.fcmp_ordered(">", z, threshold), x, e.b.fdiv(exponentials.softplus(e, z), beta))


@mapping(numbers=2)
def softplus_slope(e: Emit, grad: Value, x: Value, beta: Value, threshold: Value) -> Value:
    """grad_x = grad where z = beta x > threshold, else grad / (1 + exp(-z))."""
    z = e.b.fmul(beta, x)
    below = e.b.fmul(grad, exponentials.sigmoid(e, z))
    return e.b.select(e.b.fcmp_ordered(">", z, threshold), grad, below)


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
def map_dropout(x, mask, kept, y, first, end):  # type: ignore[no-untyped-def]
    """y[i] = x[i] / kept where mask[i], else 0."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            y[i] = x[i] / kept if mask[i] else zero
