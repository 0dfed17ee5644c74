"""Losses and their gradients: a pass over the elements, then a sum in float64 over blocks of fixed size.

A loss is first one number for each element, then `reduction` makes "none" or one of it: "mean" or "sum", in float64.
grad_output is a number for these two, and an array of the losses' shape for "none". For the cross-entropies x is
(N, C, pixels). Index letters: `i` element; `n` image, `c` class, `p` pixel.
"""

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu.activation import BLOCK, blocks, log_softmax, log_softmax_input_grad
from fastconv.backends.cpu.kernels import kernel
from fastconv.typing import Array, Shape

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


def mse_loss(x: Array, target: Array, reduction: str) -> Any:
    """(x - target)²."""
    return _reduced(_each(map_squares, x, target), reduction)


def mse_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = 2 (x - target) grad_output."""
    return _each(map_square_grads, _shared(grad_output, x.shape, x.dtype, reduction), x, target)


def l1_loss(x: Array, target: Array, reduction: str) -> Any:
    """|x - target|."""
    return _reduced(_each(map_distances, x, target), reduction)


def l1_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = sign(x - target) grad_output."""
    return _each(map_distance_grads, _shared(grad_output, x.shape, x.dtype, reduction), x, target)


def binary_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str) -> Any:
    """-(target log x + (1 - target) log(1 - x)), logarithms no less than -100."""
    return _reduced(_weighted(_each(map_entropies, x, target), weight), reduction)


def binary_cross_entropy_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str
) -> Array:
    """grad_x = (x - target) / (x (1 - x)) grad_output, the divisor no less than 1e-12."""
    return _weighted(_each(map_entropy_grads, _shared(grad_output, x.shape, x.dtype, reduction), x, target), weight)


def binary_cross_entropy_with_logits(
    x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Any:
    """(1 - target) x + (1 + (pos_weight - 1) target) log(1 + exp(-x)): the cross-entropy of sigmoid(x)."""
    positive = np.ones_like(x) if pos_weight is None else pos_weight
    return _reduced(_weighted(_each(map_logit_entropies, x, target, positive), weight), reduction)


def binary_cross_entropy_with_logits_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Array:
    """grad_x = ((1 + (pos_weight - 1) target) sigmoid(x) - pos_weight target) grad_output."""
    positive = np.ones_like(x) if pos_weight is None else pos_weight
    grad = _each(map_logit_entropy_grads, _shared(grad_output, x.shape, x.dtype, reduction), x, target, positive)
    return _weighted(grad, weight)


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """-(1 - smoothing) w[t] y[n, t, p] - smoothing / C sum over c of w[c] y[n, c, p], y = log_softmax(x), t = target.

    w is `weight`. The mean is over w[t]; pixels of class `ignore_index` do not count.
    """
    class_weights = np.ones(x.shape[1], x.dtype) if weight is None else weight
    losses, weights = np.empty(target.shape), np.empty(target.shape)
    y = log_softmax(x, 1)
    pick_classes(target.size, y, target, class_weights, ignore_index, label_smoothing, losses, weights)
    return _reduced(losses, reduction, weights)


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
    class_weights = np.ones(x.shape[1], x.dtype) if weight is None else weight
    if reduction == "mean":
        counted = class_weights[target[target != ignore_index]]
        grad_output, reduction = grad_output / counted.sum(dtype=np.float64), "sum"
    factors = _shared(grad_output, target.shape, x.dtype, reduction)
    blame = np.zeros_like(x)
    blame_classes(target.size, factors, target, class_weights, ignore_index, label_smoothing, blame)
    return log_softmax_input_grad(blame, log_softmax(x, 1), 1)


def soft_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str, label_smoothing: float) -> Any:
    """-sum over c of weight[c] target[n, c, p] log_softmax(x)[n, c, p], the target smoothed towards 1 / C."""
    losses = np.empty((x.shape[0], x.shape[2]))
    sum_classes(losses.size, log_softmax(x, 1), _soft_shares(target, weight, label_smoothing), losses)
    return _reduced(losses, reduction)


@IEEE
def soft_cross_entropy_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str, label_smoothing: float
) -> Array:
    """grad_x = (softmax(x) sum of shares over the classes - shares) grad_output."""
    factors = _shared(grad_output, (x.shape[0], x.shape[2]), x.dtype, reduction)
    blame = _soft_shares(target, weight, label_smoothing)
    blame *= -factors[:, None]
    return log_softmax_input_grad(blame, log_softmax(x, 1), 1)


@IEEE
def _soft_shares(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """A fresh array of what each class weighs in the loss of each pixel."""
    shares: Array = target * (1 - label_smoothing) + label_smoothing / max(target.shape[1], 1)
    return shares if weight is None else shares * weight[:, None]


def _each(mapping: Callable[..., None], *arrays: Array) -> Array:
    """The elementwise kernel's result for arrays of one shape."""
    out = np.empty_like(arrays[0])
    mapping(blocks(out), *[array.reshape(-1) for array in (*arrays, out)])
    return out


@IEEE
def _weighted(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * weight


@IEEE
def _reduced(losses: Array, reduction: str, weights: Array | None = None) -> Any:
    """The losses, their sum, or their sum over that of the weights (their number if None)."""
    if reduction == "none":
        return losses
    total = _sum(losses)
    return total if reduction == "sum" else total / (np.float64(losses.size) if weights is None else _sum(weights))


def _sum(values: Array) -> Any:
    """In float64: each block by one thread, then the blocks' sums by NumPy, in the same order on any of them."""
    sums = np.empty(blocks(values))
    sum_blocks(sums.size, values.reshape(-1), sums)
    return sums.sum()


@IEEE
def _shared(grad_output: Any, shape: Shape, dtype: np.dtype[Any], reduction: str) -> Array:
    """What of grad_output falls to each of the losses."""
    shares = np.empty(shape, dtype)
    shares[...] = grad_output / np.float64(prod(shape)) if reduction == "mean" else grad_output
    return shares


@kernel
def sum_blocks(values, sums, first, end):  # type: ignore[no-untyped-def]
    """sums[block] = sum of the block's values, in float64."""
    for block in range(first, end):
        total = 0.0
        for i in range(block * BLOCK, min(values.size, (block + 1) * BLOCK)):
            total += values[i]
        sums[block] = total


@kernel
def map_squares(x, target, losses, first, end):  # type: ignore[no-untyped-def]
    """losses[i] = (x[i] - target[i])²."""
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            losses[i] = (x[i] - target[i]) * (x[i] - target[i])


@kernel
def map_square_grads(grad, x, target, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = 2 grad[i] (x[i] - target[i])."""
    two = x.dtype.type(2)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            grad_x[i] = two * grad[i] * (x[i] - target[i])


@kernel
def map_distances(x, target, losses, first, end):  # type: ignore[no-untyped-def]
    """losses[i] = |x[i] - target[i]|."""
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            losses[i] = abs(x[i] - target[i])


@kernel
def map_distance_grads(grad, x, target, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] sign(x[i] - target[i])."""
    zero = x.dtype.type(0)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            distance = x[i] - target[i]
            slope = grad[i] if distance > zero else -grad[i]
            grad_x[i] = slope if abs(distance) > zero else grad[i] * distance


@kernel
def map_entropies(x, target, losses, first, end):  # type: ignore[no-untyped-def]
    """losses[i] = -(target[i] max(log x[i], -100) + (1 - target[i]) max(log(1 - x[i]), -100))."""
    one, least = x.dtype.type(1), x.dtype.type(-100)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            yes, no = math.log(x[i]), math.log1p(-x[i])
            yes, no = least if yes < least else yes, least if no < least else no
            losses[i] = (target[i] - one) * no - target[i] * yes


@kernel
def map_entropy_grads(grad, x, target, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] (x[i] - target[i]) / max(x[i] (1 - x[i]), 1e-12)."""
    one, least = x.dtype.type(1), x.dtype.type(1e-12)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            spread = x[i] * (one - x[i])
            grad_x[i] = grad[i] * (x[i] - target[i]) / (least if spread < least else spread)


@kernel
def map_logit_entropies(x, target, positive, losses, first, end):  # type: ignore[no-untyped-def]
    """losses[i] = (1 - target[i]) x[i] + (1 + (positive[i] - 1) target[i]) (max(-x[i], 0) + log(1 + exp(-|x[i]|)))."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            smooth = (-x[i] if x[i] < zero else zero) + math.log1p(math.exp(-abs(x[i])))
            losses[i] = (one - target[i]) * x[i] + (one + (positive[i] - one) * target[i]) * smooth


@kernel
def map_logit_entropy_grads(grad, x, target, positive, grad_x, first, end):  # type: ignore[no-untyped-def]
    """grad_x[i] = grad[i] ((1 + (positive[i] - 1) target[i]) / (1 + exp(-x[i])) - positive[i] target[i])."""
    one = x.dtype.type(1)
    for block in range(first, end):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            yes = positive[i] * target[i]
            grad_x[i] = grad[i] * ((yes + one - target[i]) / (one + math.exp(-x[i])) - yes)


@kernel
def pick_classes(y, target, class_weights, ignore_index, smoothing, losses, weights, first, end):  # type: ignore[no-untyped-def]
    """losses[n, p] = -(1 - smoothing) w[t] y[n, t, p] - smoothing / C sum over c of w[c] y[n, c, p], t = target[n, p].

    weights[n, p] = w[t]; both are 0 where t is ignore_index.
    """
    for task in range(first, end):
        n, p = task // target.shape[1], task % target.shape[1]
        t = target[n, p]
        losses[n, p], weights[n, p] = 0.0, 0.0
        if t != ignore_index:
            losses[n, p], weights[n, p] = -(1 - smoothing) * class_weights[t] * y[n, t, p], class_weights[t]
            if smoothing != 0:
                total = 0.0
                for c in range(y.shape[1]):
                    total += class_weights[c] * y[n, c, p]
                losses[n, p] -= smoothing / y.shape[1] * total


@kernel
def blame_classes(factors, target, class_weights, ignore_index, smoothing, grad, first, end):  # type: ignore[no-untyped-def]
    """grad[n, c, p] = -factors[n, p] w[c] (smoothing / C, and 1 - smoothing more where c is target[n, p]).

    grad comes as zeros, and stays so where the target is ignore_index.
    """
    for task in range(first, end):
        n, p = task // target.shape[1], task % target.shape[1]
        t = target[n, p]
        if t != ignore_index:
            if smoothing != 0:
                for c in range(grad.shape[1]):
                    grad[n, c, p] = -factors[n, p] * class_weights[c] * (smoothing / grad.shape[1])
            grad[n, t, p] -= factors[n, p] * class_weights[t] * (1 - smoothing)


@kernel
def sum_classes(y, shares, losses, first, end):  # type: ignore[no-untyped-def]
    """losses[n, p] = -sum over c of shares[n, c, p] y[n, c, p], in float64."""
    for task in range(first, end):
        n, p = task // losses.shape[1], task % losses.shape[1]
        total = 0.0
        for c in range(y.shape[1]):
            total += shares[n, c, p] * y[n, c, p]
        losses[n, p] = -total
