"""Losses and their gradients: one pass over the elements, with their sum in float64 over blocks of fixed size.

A loss is first one number for each element, then `reduction` makes "none" or one of it: "mean" or "sum", in float64.
grad_output is a number for these two, and an array of the losses' shape for "none". For the cross-entropies x is
(N, C, pixels). Index letters: `n` image, `c` class, `p` pixel.
"""

import functools
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import loss_steps, outputs
from fastconv.backends.cpu.activation import BLOCK, blocks, log_softmax, log_softmax_input_grad
from fastconv.backends.cpu.elementwise import PIECE, SLOW, Mapping
from fastconv.backends.cpu.kernels import kernel
from fastconv.backends.cpu.loss_steps import (
    DISTANCES,
    ENTROPIES,
    LOGIT_ENTROPIES,
    ROWS,
    SQUARES,
    WEIGHTED_ENTROPIES,
    Pair,
)
from fastconv.backends.cpu.programs import Program
from fastconv.typing import Array, Shape

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


def mse_loss(x: Array, target: Array, reduction: str) -> Any:
    """(x - target)²."""
    return _value(SQUARES, x, target, reduction)


def mse_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = 2 (x - target) grad_output."""
    return _gradient(SQUARES, grad_output, x, target, reduction)


def l1_loss(x: Array, target: Array, reduction: str) -> Any:
    """|x - target|."""
    return _value(DISTANCES, x, target, reduction)


def l1_loss_input_grad(grad_output: Any, x: Array, target: Array, reduction: str) -> Array:
    """grad_x = sign(x - target) grad_output."""
    return _gradient(DISTANCES, grad_output, x, target, reduction)


def binary_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str) -> Any:
    """-(target log x + (1 - target) log(1 - x)), logarithms no less than -100."""
    return _value(ENTROPIES, x, target, reduction, weight)


def binary_cross_entropy_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str
) -> Array:
    """grad_x = (x - target) / (x (1 - x)) grad_output, the divisor no less than 1e-12."""
    return _gradient(ENTROPIES, grad_output, x, target, reduction, weight)


def binary_cross_entropy_with_logits(
    x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Any:
    """(1 - target) x + (1 + (pos_weight - 1) target) log(1 + exp(-x)): the cross-entropy of sigmoid(x)."""
    if pos_weight is None:
        return _value(LOGIT_ENTROPIES, x, target, reduction, weight)
    return _reduced(_weighted(_each(WEIGHTED_ENTROPIES[0])(x, target, pos_weight), weight), reduction)


def binary_cross_entropy_with_logits_input_grad(
    grad_output: Any, x: Array, target: Array, weight: Array | None, reduction: str, pos_weight: Array | None
) -> Array:
    """grad_x = ((1 + (pos_weight - 1) target) sigmoid(x) - pos_weight target) grad_output."""
    if pos_weight is None:
        return _gradient(LOGIT_ENTROPIES, grad_output, x, target, reduction, weight)
    grad = _shared(grad_output, x.shape, x.dtype, reduction)
    return _weighted(_each(WEIGHTED_ENTROPIES[1])(x, target, grad, pos_weight), weight)


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """-(1 - smoothing) w[t] y[n, t, p] - smoothing / C sum over c of w[c] y[n, c, p], y = log_softmax(x), t = target.

    w is `weight`. The mean is over w[t]; pixels of class `ignore_index` do not count.
    """
    if _plain(x, weight, reduction, label_smoothing):
        return _rows(x, target, ignore_index, 1.0, None)[0]
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
    if _plain(x, weight, reduction, label_smoothing):
        grad_x = outputs.empty(x.shape, x.dtype)
        _rows(x, target, ignore_index, grad_output, grad_x)
        return grad_x
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


def _plain(x: Array, weight: Array | None, reduction: str, label_smoothing: float) -> bool:
    """Whether the cross-entropy is that of rows, as most are."""
    return weight is None and reduction == "mean" and label_smoothing == 0 and x.shape[2] == 1 and x.shape[1] > 0


def _rows(x: Array, target: Array, ignored: int, scale: float, grad_x: Array | None) -> Array:
    """The mean cross-entropy of rows, as an array of one number; its gradient times `scale` goes to grad_x."""
    rows, classes = x.shape[:2]
    factor, loss = np.empty(2, x.dtype).reshape(2, 1)
    divisor, partial = np.empty(1), np.empty(-(-rows // ROWS))
    program = entropy_program(x.itemsize, rows, classes, ignored, int(grad_x is not None))
    count = threads.get_num_threads() if x.size >= SLOW else 1
    program.on(count, x, target, np.array([scale], np.float64), factor, divisor, partial, loss, grad_x)
    return loss


@functools.lru_cache(maxsize=1024)
def entropy_program(item: int, rows: int, classes: int, ignored: int, gradient: int) -> Program:
    """The program of `_rows`."""
    return Program(loss_steps.entropy_plans(item, rows, classes, ignored, gradient), rows * classes)


@functools.lru_cache(maxsize=1024)
def pair_program(pair: Pair, item: int, count: int) -> Program:
    """The program of a loss of so many numbers."""
    return Program(loss_steps.pair_plans(pair, item, count, 0), count)


@functools.cache
def _each(formula: Callable[..., Any], numbers: int = 0) -> Mapping:
    """A loss, or a gradient, of each element."""
    return Mapping(formula, numbers, SLOW, formula.__name__)


def _value(pair: Pair, x: Array, target: Array, reduction: str, weight: Array | None = None) -> Any:
    """The loss of x and target."""
    if weight is not None or reduction == "none":
        return _reduced(_weighted(_each(pair[0])(x, target), weight), reduction)
    divisor = np.array([x.size if reduction == "mean" else 1], np.float64)
    partial, loss = np.empty(-(-x.size // PIECE)), np.empty(1, x.dtype)
    count = threads.get_num_threads() if x.size >= loss_steps.small(pair) else 1
    pair_program(pair, x.itemsize, x.size).on(count, x, target, None, None, divisor, partial, loss, None)
    return loss[0]


@IEEE
def _gradient(
    pair: Pair, grad_output: Any, x: Array, target: Array, reduction: str, weight: Array | None = None
) -> Array:
    """Its gradient with respect to x."""
    if reduction == "none":
        return _weighted(_each(pair[1])(x, target, _shared(grad_output, x.shape, x.dtype, reduction)), weight)
    factor = grad_output / np.float64(x.size) if reduction == "mean" else grad_output
    return _weighted(_each(pair[1], 1)(x, target, numbers=(factor,)), weight)


@IEEE
def _soft_shares(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """A fresh array of what each class weighs in the loss of each pixel."""
    shares: Array = target * (1 - label_smoothing) + label_smoothing / max(target.shape[1], 1)
    return shares if weight is None else shares * weight[:, None]


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
