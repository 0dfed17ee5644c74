"""Activations and their gradients: one pass over the elements; softmax (its own file); dropout's mask.

Gradients take y, the activation's output, where it alone tells the slope, and x elsewhere. Index letter: `i` element.
"""

from collections.abc import Callable
from math import pi
from math import sqrt as root
from typing import Any

from fastconv.backends.cuda.elementwise import mapping
from fastconv.backends.cuda.launching import device_function, operation
from fastconv.backends.cuda.mathematics import erfc, exp, expm1, log1p
from fastconv.backends.cuda.mathematics import tanh as tanh_of
from fastconv.backends.cuda.softmax import log_softmax, log_softmax_input_grad, softmax, softmax_input_grad
from fastconv.typing import Array

__all__ = [
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

CUBIC = 0.044715  # of Hendrycks and Gimpel's approximation of the normal distribution
RATE = root(2 / pi)

Function = Callable[..., Any]


@operation()
def tanh(x: Array) -> Array:
    """y = tanh x."""
    y: Array = hyperbolic(x.dtype)(x)
    return y


@mapping
def hyperbolic(t: Any) -> Function:
    """The hyperbolic tangent."""
    return lambda i, x: tanh_of(x[i])


@operation()
def tanh_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output (1 - y²)."""
    grad_x: Array = hyperbolic_slope(y.dtype)(grad_output, y)
    return grad_x


@mapping
def hyperbolic_slope(t: Any) -> Function:
    """The slope of tanh times the gradient."""
    one = t(1)
    return lambda i, grad, y: grad[i] * (one - y[i] * y[i])


@operation()
def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + exp(-x))."""
    y: Array = logistic(x.dtype)(x)
    return y


@mapping
def logistic(t: Any) -> Function:
    """The logistic function."""
    one = t(1)
    return lambda i, x: one / (one + exp(-x[i]))


@operation()
def sigmoid_input_grad(grad_output: Array, y: Array) -> Array:
    """grad_x = grad_output y (1 - y)."""
    grad_x: Array = logistic_slope(y.dtype)(grad_output, y)
    return grad_x


@mapping
def logistic_slope(t: Any) -> Function:
    """The slope of the logistic function times the gradient."""
    one = t(1)
    return lambda i, grad, y: grad[i] * y[i] * (one - y[i])


@operation()
def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    y: Array = rectifier_slope(x.dtype)(x, x)
    return y


@operation()
def relu_input_grad(grad_output: Array, x: Array) -> Array:
    """grad_x = grad_output where x > 0, else 0."""
    grad_x: Array = rectifier_slope(x.dtype)(grad_output, x)
    return grad_x


@mapping
def rectifier_slope(t: Any) -> Function:
    """The slope of the rectifier times the gradient, and the rectifier itself for x in its place; NaN is kept."""
    zero = t(0)
    return lambda i, grad, x: zero if x[i] <= zero else grad[i]


@operation()
def leaky_relu(x: Array, negative_slope: float) -> Array:
    """y = x where x > 0, else negative_slope x."""
    y: Array = leaky_slope(x.dtype)(x, x, negative_slope)
    return y


@operation()
def leaky_relu_input_grad(grad_output: Array, x: Array, negative_slope: float) -> Array:
    """grad_x = grad_output where x > 0, else negative_slope grad_output."""
    grad_x: Array = leaky_slope(x.dtype)(grad_output, x, negative_slope)
    return grad_x


@mapping
def leaky_slope(t: Any) -> Function:
    """The slope of the leaky rectifier times the gradient, and the rectifier itself for x in its place."""
    zero = t(0)
    return lambda i, grad, x, slope: grad[i] if x[i] > zero else slope * grad[i]


@operation()
def elu(x: Array, alpha: float) -> Array:
    """y = x where x > 0, else alpha (exp x - 1)."""
    y: Array = exponential(x.dtype)(x, alpha)
    return y


@mapping
def exponential(t: Any) -> Function:
    """The exponential linear unit."""
    zero = t(0)
    return lambda i, x, alpha: x[i] if x[i] > zero else alpha * expm1(x[i])


@operation()
def elu_input_grad(grad_output: Array, x: Array, alpha: float) -> Array:
    """grad_x = grad_output where x > 0, else grad_output alpha exp x."""
    grad_x: Array = exponential_slope(x.dtype)(grad_output, x, alpha)
    return grad_x


@mapping
def exponential_slope(t: Any) -> Function:
    """The slope of the exponential linear unit times the gradient."""
    zero = t(0)
    return lambda i, grad, x, alpha: grad[i] if x[i] > zero else grad[i] * alpha * exp(x[i])


@operation()
def gelu(x: Array, approximate: str) -> Array:
    """y = x P(a normal variable is less than x), exactly or by a formula with tanh."""
    y: Array = gaussian(x.dtype, approximate == "tanh")(x)
    return y


@mapping
def gaussian(t: Any, by_tanh: bool) -> Function:
    """The Gaussian error linear unit."""
    normal = _normal_by_tanh(t) if by_tanh else _normal(t)
    return lambda i, x: x[i] * normal(x[i])


@operation()
def gelu_input_grad(grad_output: Array, x: Array, approximate: str) -> Array:
    """grad_x = grad_output (P(less than x) + x density(x)), or the derivative of the formula with tanh."""
    grad_x: Array = gaussian_slope(x.dtype, approximate == "tanh")(grad_output, x)
    return grad_x


@mapping
def gaussian_slope(t: Any, by_tanh: bool) -> Function:
    """The slope of the Gaussian error linear unit times the gradient."""
    one, half, rate, cubic, thrice = t(1), t(0.5), t(RATE), t(CUBIC), t(3 * CUBIC)
    density, normal = t(1 / root(2 * pi)), _normal(t)

    @device_function
    def of_tanh(x):  # type: ignore[no-untyped-def]
        h = tanh_of(rate * (x + cubic * x * x * x))
        return half * (one + h) + half * x * (one - h * h) * rate * (one + thrice * x * x)

    if by_tanh:
        return lambda i, grad, x: grad[i] * of_tanh(x[i])
    return lambda i, grad, x: grad[i] * (normal(x[i]) + x[i] * exp(-half * x[i] * x[i]) * density)


def _normal(t: Any) -> Any:
    """P(a normal variable is less than x): by erfc, so that no digits are lost where it is small."""
    half, scale = t(0.5), t(-root(0.5))
    return device_function(lambda x: half * erfc(scale * x))


def _normal_by_tanh(t: Any) -> Any:
    one, half, rate, cubic = t(1), t(0.5), t(RATE), t(CUBIC)
    return device_function(lambda x: half * (one + tanh_of(rate * (x + cubic * x * x * x))))


@operation()
def softplus(x: Array, beta: float, threshold: float) -> Array:
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    y: Array = soft_rectifier(x.dtype)(x, beta, threshold)
    return y


@mapping
def soft_rectifier(t: Any) -> Function:
    """The smooth rectifier."""
    log_of_sum = log1p_exp(t)
    return lambda i, x, beta, threshold: x[i] if beta * x[i] > threshold else log_of_sum(beta * x[i]) / beta


def log1p_exp(t: Any) -> Any:
    """x -> log(1 + exp x): exp of what is negative can't overflow."""
    zero = t(0)
    return device_function(lambda x: log1p(exp(x)) if x < zero else x + log1p(exp(-x)))


@operation()
def softplus_input_grad(grad_output: Array, x: Array, beta: float, threshold: float) -> Array:
    """grad_x = grad_output / (1 + exp(-beta x)), and grad_output itself where beta x > threshold."""
    grad_x: Array = soft_rectifier_slope(x.dtype)(grad_output, x, beta, threshold)
    return grad_x


@mapping
def soft_rectifier_slope(t: Any) -> Function:
    """The slope of the smooth rectifier times the gradient."""
    one = t(1)
    return lambda i, grad, x, beta, threshold: (
        grad[i] if beta * x[i] > threshold else grad[i] / (one + exp(-beta * x[i]))
    )


@operation()
def dropout(x: Array, mask: Array, p: float) -> Array:
    """y = x / (1 - p) where the mask keeps it, else 0."""
    y: Array = kept(x.dtype)(x, mask, 1.0 - p)
    return y


@mapping
def kept(t: Any) -> Function:
    """What the mask keeps, scaled."""
    zero = t(0)
    return lambda i, x, mask, share: x[i] / share if mask[i] else zero
