"""Losses and their gradients, as the slide writes them.

A loss is first one number for each element, then `reduction` makes "none" or one of it: "mean" or "sum", in float64.
grad_output is a number for these two, and an array of the losses' shape for "none". For the cross-entropies x is
(N, C, pixels). Index letters: `n` image, `c` class, `p` pixel.
"""

from math import prod
from typing import Any

import numpy as np

from fastconv.backends.reference.activation import log_softmax, log_softmax_input_grad
from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


@IEEE
def mse_loss(x: Array, target: Array, reduction: str) -> Any:
    """(x - target)²."""
    return _reduced(np.square(x - target), reduction)


@IEEE
def mse_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = 2 (x - target) grad_output."""
    grad_x: Array = _shared(grad_output, x.dtype, reduction, x.size) * 2 * (x - target)
    return grad_x


@IEEE
def l1_loss(x: Array, target: Array, reduction: str) -> Any:
    """|x - target|."""
    return _reduced(np.abs(x - target), reduction)


@IEEE
def l1_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = sign(x - target) grad_output."""
    grad_x: Array = _shared(grad_output, x.dtype, reduction, x.size) * np.sign(x - target)
    return grad_x


@IEEE
def binary_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str) -> Any:
    """-(target log x + (1 - target) log(1 - x)), logarithms no less than -100."""
    losses = -(target * np.maximum(np.log(x), -100) + (1 - target) * np.maximum(np.log1p(-x), -100))
    return _reduced(losses if weight is None else losses * weight, reduction)


@IEEE
def binary_cross_entropy_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str
) -> Array:
    """grad_x = (x - target) / (x (1 - x)) grad_output, the divisor no less than 1e-12."""
    grad: Array = (
        _shared(grad_output, x.dtype, reduction, x.size) * (x - target) / np.maximum(x * (1 - x), x.dtype.type(1e-12))
    )
    return grad if weight is None else grad * weight


@IEEE
def binary_cross_entropy_with_logits(
    x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Any:
    """(1 - target) x + (1 + (pos_weight - 1) target) log(1 + exp(-x)): the cross-entropy of sigmoid(x)."""
    one = x.dtype.type(1)
    emphasis = one if pos_weight is None else one + (pos_weight - one) * target
    losses = (one - target) * x + emphasis * np.logaddexp(x.dtype.type(0), -x)
    return _reduced(losses if weight is None else losses * weight, reduction)


@IEEE
def binary_cross_entropy_with_logits_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Array:
    """grad_x = ((1 + (pos_weight - 1) target) sigmoid(x) - pos_weight target) grad_output."""
    positive = target if pos_weight is None else pos_weight * target
    grad: Array = _shared(grad_output, x.dtype, reduction, x.size) * (
        (positive + 1 - target) / (1 + np.exp(-x)) - positive
    )
    return grad if weight is None else grad * weight


@IEEE
def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """-(1 - smoothing) w[t] y[n, t, p] - smoothing / C sum over c of w[c] y[n, c, p], y = log_softmax(x), t = target.

    w is `weight`. The mean is over w[t]; pixels of class `ignore_index` do not count.
    """
    weights, hot = _class_weights(x, weight), _hot(x, target, ignore_index)
    terms = -weights[:, None] * log_softmax(x, 1)
    losses = np.where(hot, terms, 0).sum(axis=1)
    if label_smoothing != 0:
        spread = np.where((target != ignore_index)[:, None], terms, 0).sum(axis=1)
        losses = (1 - label_smoothing) * losses + label_smoothing / x.shape[1] * spread
    return _reduced(losses, reduction, (hot * weights[:, None]).sum(dtype=np.float64))


@IEEE
def cross_entropy_input_grad(
    grad_output: Any,
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """grad_x = (softmax(x) sum of shares over the classes - shares) grad_output.

    shares[n, c, p] = w[c] ((1 - smoothing) [c is the target] + smoothing / C).
    """
    hot = _hot(x, target, ignore_index)
    count = (hot * _class_weights(x, weight)[:, None]).sum(dtype=np.float64)
    factors = np.broadcast_to(_shared(grad_output, x.dtype, reduction, count), target.shape)[:, None]
    shares = _soft_shares(hot.astype(x.dtype), weight, label_smoothing)
    blame = np.where((target == ignore_index)[:, None], x.dtype.type(0), -factors * shares)
    return log_softmax_input_grad(blame, log_softmax(x, 1), 1)


@IEEE
def soft_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str, label_smoothing: float) -> Any:
    """-sum over c of weight[c] target[n, c, p] log_softmax(x)[n, c, p], the target smoothed towards 1 / C."""
    shares = _soft_shares(target, weight, label_smoothing)
    return _reduced(-(shares * log_softmax(x, 1)).sum(axis=1), reduction)


@IEEE
def soft_cross_entropy_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str, label_smoothing: float
) -> Array:
    """grad_x = (softmax(x) sum of shares over the classes - shares) grad_output."""
    pixels = x.shape[0], x.shape[2]
    factors = np.broadcast_to(_shared(grad_output, x.dtype, reduction, prod(pixels)), pixels)[:, None]
    blame = -factors * _soft_shares(target, weight, label_smoothing)
    return log_softmax_input_grad(blame, log_softmax(x, 1), 1)


def _hot(x: Array, target: Array, ignore_index: int) -> Array:
    """Where c is the class of the pixel, and the pixel counts."""
    hot: Array = (np.arange(x.shape[1])[:, None] == target[:, None]) & (target != ignore_index)[:, None]
    return hot


def _class_weights(x: Array, weight: Array | None) -> Array:
    return np.ones(x.shape[1], x.dtype) if weight is None else weight


def _soft_shares(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    shares: Array = target * (1 - label_smoothing) + label_smoothing / max(target.shape[1], 1)
    return shares if weight is None else shares * weight[:, None]


def _reduced(losses: Array, reduction: str, count: Any = None) -> Any:
    if reduction == "none":
        return losses
    total = losses.sum(dtype=np.float64)
    return total if reduction == "sum" else total / np.float64(losses.size if count is None else count)


def _shared(grad_output: Any, dtype: np.dtype[Any], reduction: str, count: Any) -> Array:
    """What of grad_output falls to each loss: one number for all of them, or one for each."""
    return np.asarray(grad_output / np.float64(count) if reduction == "mean" else grad_output, dtype)
