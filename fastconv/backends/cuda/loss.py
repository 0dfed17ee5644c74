"""Losses and their gradients: each element's by itself, then `reduction` makes "none" or one number of them.

"mean" and "sum" are summed while they are computed, on the device; their number alone comes to the host. grad_output is
a number for these two, and an array of the losses' shape for "none". Cross-entropies have a file of their own.
Index letter: `i` element.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.backends.cuda import reductions
from fastconv.backends.cuda.activation import log1p_exp
from fastconv.backends.cuda.cross_entropy import (
    cross_entropy,
    cross_entropy_input_grad,
    soft_cross_entropy,
    soft_cross_entropy_input_grad,
)
from fastconv.backends.cuda.elementwise import Mapping, mapping
from fastconv.backends.cuda.launching import device_function, operation
from fastconv.backends.cuda.mathematics import exp, greater, log, log1p
from fastconv.typing import Array

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_input_grad",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_input_grad",
    "cross_entropy",
    "cross_entropy_input_grad",
    "l1_loss",
    "l1_loss_input_grad",
    "mse_loss",
    "mse_loss_input_grad",
    "soft_cross_entropy",
    "soft_cross_entropy_input_grad",
]

Function = Callable[..., Any]


@operation()
def mse_loss(x: Array, target: Array, reduction: str) -> Any:
    """(x - target)²."""
    return _reduced(squared(x.dtype), (x, target), reduction)


@mapping
def squared(t: Any) -> Function:
    """The squared error."""
    return lambda i, x, target: (x[i] - target[i]) * (x[i] - target[i])


@operation()
def mse_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = 2 (x - target) grad_output."""
    each, grad = _shared(grad_output, reduction, x.size)
    grad_x: Array = squared_slope(x.dtype, each)(x, target, grad)
    return grad_x


@mapping
def squared_slope(t: Any, each: bool) -> Function:
    """The squared error's slope times the gradient."""
    two, share = t(2), _share(each)
    return lambda i, x, target, grad: share(i, grad) * two * (x[i] - target[i])


@operation()
def l1_loss(x: Array, target: Array, reduction: str) -> Any:
    """|x - target|."""
    return _reduced(absolute(x.dtype), (x, target), reduction)


@mapping
def absolute(t: Any) -> Function:
    """The absolute error."""
    return lambda i, x, target: abs(x[i] - target[i])


@operation()
def l1_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = sign(x - target) grad_output."""
    each, grad = _shared(grad_output, reduction, x.size)
    grad_x: Array = absolute_slope(x.dtype, each)(x, target, grad)
    return grad_x


@mapping
def absolute_slope(t: Any, each: bool) -> Function:
    """The absolute error's slope times the gradient; NaN where the error is."""
    zero, one, share = t(0), t(1), _share(each)

    @device_function
    def sign(error):  # type: ignore[no-untyped-def]
        return one if error > zero else -one if error < zero else error

    return lambda i, x, target, grad: share(i, grad) * sign(x[i] - target[i])


@operation()
def binary_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str) -> Any:
    """-(target log x + (1 - target) log(1 - x)), logarithms no less than -100."""
    return _reduced(surprise(x.dtype, weight is not None), (x, target, _or_none(weight)), reduction)


@mapping
def surprise(t: Any, weighted: bool) -> Function:
    """The cross-entropy of a probability."""
    one, least, weigh = t(1), t(-100), _weigh(weighted)
    return lambda i, x, target, weight: weigh(
        -(target[i] * greater(log(x[i]), least) + (one - target[i]) * greater(log1p(-x[i]), least)), i, weight
    )


@operation()
def binary_cross_entropy_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str
) -> Array:
    """grad_x = (x - target) / (x (1 - x)) grad_output, the divisor no less than 1e-12."""
    each, grad = _shared(grad_output, reduction, x.size)
    grad_x: Array = surprise_slope(x.dtype, each, weight is not None)(x, target, grad, _or_none(weight))
    return grad_x


@mapping
def surprise_slope(t: Any, each: bool, weighted: bool) -> Function:
    """The slope of the cross-entropy of a probability times the gradient."""
    one, least, share, weigh = t(1), t(1e-12), _share(each), _weigh(weighted)
    return lambda i, x, target, grad, weight: weigh(
        share(i, grad) * (x[i] - target[i]) / greater(x[i] * (one - x[i]), least), i, weight
    )


@operation()
def binary_cross_entropy_with_logits(
    x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Any:
    """(1 - target) x + (1 + (pos_weight - 1) target) log(1 + exp(-x)): the cross-entropy of sigmoid(x)."""
    operands = x, target, _or_none(weight), _or_none(pos_weight)
    return _reduced(logit_surprise(x.dtype, weight is not None, pos_weight is not None), operands, reduction)


@mapping
def logit_surprise(t: Any, weighted: bool, positive: bool) -> Function:
    """The cross-entropy of sigmoid(x)."""
    one, log_of_sum, weigh = t(1), log1p_exp(t), _weigh(weighted)
    if positive:
        emphasis = device_function(lambda i, target, pos_weight: one + (pos_weight[i] - one) * target[i])
    else:
        emphasis = device_function(lambda i, target, pos_weight: one)
    return lambda i, x, target, weight, pos_weight: weigh(
        (one - target[i]) * x[i] + emphasis(i, target, pos_weight) * log_of_sum(-x[i]), i, weight
    )


@operation()
def binary_cross_entropy_with_logits_input_grad(
    grad_output: Any,
    x: Array,
    target: Array,
    weight: Array | None,
    reduction: str,
    pos_weight: Array | None,
) -> Array:
    """grad_x = ((1 + (pos_weight - 1) target) sigmoid(x) - pos_weight target) grad_output."""
    each, grad = _shared(grad_output, reduction, x.size)
    slope = logit_slope(x.dtype, each, weight is not None, pos_weight is not None)
    grad_x: Array = slope(x, target, grad, _or_none(weight), _or_none(pos_weight))
    return grad_x


@mapping
def logit_slope(t: Any, each: bool, weighted: bool, positive: bool) -> Function:
    """The slope of the cross-entropy of sigmoid(x) times the gradient."""
    one, share, weigh, emphasise = t(1), _share(each), _weigh(weighted), _weigh(positive)

    @device_function
    def slope(i, x, target, pos_weight):  # type: ignore[no-untyped-def]
        hot = emphasise(target[i], i, pos_weight)
        return (hot + one - target[i]) / (one + exp(-x[i])) - hot

    return lambda i, x, target, grad, weight, pos_weight: weigh(
        share(i, grad) * slope(i, x, target, pos_weight), i, weight
    )


def _share(each: bool) -> Any:
    """(i, grad) -> what of grad_output falls to loss i: one number for all of them, or one for each."""
    return device_function((lambda i, grad: grad[i]) if each else (lambda i, grad: grad))


def _weigh(weighted: bool) -> Any:
    """(value, i, weight) -> the value times weight[i], if there is one."""
    return device_function(
        (lambda value, i, weight: value * weight[i]) if weighted else (lambda value, i, weight: value)
    )


def _or_none(weight: Array | None) -> Any:
    """An array that may be missing, as kernels take it: they know that there is none."""
    return 0 if weight is None else weight


def _shared(grad_output: Any, reduction: str, count: Any) -> tuple[bool, Any]:
    """Whether grad_output is an array with a number for each loss, and it or what falls to each."""
    if reduction == "none":
        return True, grad_output
    with np.errstate(all="ignore"):
        return False, float(np.float64(grad_output) / np.float64(count) if reduction == "mean" else grad_output)


def _reduced(losses: Mapping, operands: tuple[Any, ...], reduction: str) -> Any:
    if reduction == "none":
        return losses(*operands)
    size = operands[0].size
    total = np.float64(reductions.folded(losses, operands, (1, size, 1)).to_host()[0, 0])
    with np.errstate(all="ignore"):
        return total if reduction == "sum" else total / np.float64(size)
