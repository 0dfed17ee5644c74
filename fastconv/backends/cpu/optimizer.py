"""Optimizers' update rules: one pass over the elements, which changes parameters and moments in place.

Index letter: `i` element, in blocks of fixed size.
"""

from math import sqrt

import numpy as np

from fastconv.backends.cpu.activation import BLOCK, blocks
from fastconv.backends.cpu.kernels import kernel
from fastconv.typing import Array


def sgd(
    parameter: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
) -> None:
    """velocity = momentum velocity + (1 - dampening) grad; parameter -= lr velocity.

    In the `first` step velocity is the gradient itself; Nesterov looks one step ahead; without momentum velocity is
    left alone.
    """
    rates = np.array([lr, momentum, 1 - dampening, weight_decay], parameter.dtype)
    descend(blocks(parameter), parameter.reshape(-1), grad.reshape(-1), velocity.reshape(-1), rates, nesterov, first)


def adam(
    parameter: Array,
    grad: Array,
    mean: Array,
    square: Array,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """parameter -= lr mean / (sqrt(square) + eps), both moments corrected for their start at 0; `step` counts from 1.

    Weight decay is added to the gradient, or (decoupled: AdamW) shrinks the parameter itself.
    """
    kept, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    rate, root = lr / (1 - beta1**step), sqrt(1 - beta2**step)
    rates = np.array([kept, decay, 1 - beta1, beta2, 1 - beta2, rate, root, eps], parameter.dtype)
    flat = parameter.reshape(-1), grad.reshape(-1), mean.reshape(-1), square.reshape(-1)
    adapt(blocks(parameter), *flat, rates)


@kernel
def descend(parameter, grad, velocity, rates, nesterov, starting, first, end):  # type: ignore[no-untyped-def]
    """parameter[i] -= lr direction[i]; the direction is grad + decay parameter, through velocity if there is momentum.

    A decay of 0 is left out, or an infinite parameter would become NaN.
    """
    for block in range(first, end):
        lr, momentum, fresh, decay = rates[0], rates[1], rates[2], rates[3]
        for i in range(block * BLOCK, min(parameter.size, (block + 1) * BLOCK)):
            direction = grad[i]
            if decay != 0:
                direction += decay * parameter[i]
            if momentum != 0:
                velocity[i] = direction if starting else momentum * velocity[i] + fresh * direction
                direction = direction + momentum * velocity[i] if nesterov else velocity[i]
            parameter[i] -= lr * direction


@kernel
def adapt(parameter, grad, mean, square, rates, first, end):  # type: ignore[no-untyped-def]
    """parameter[i] = kept parameter[i] - rate mean[i] / (sqrt(square[i]) / root + eps), after both moments' update.

    A decay of 0 is left out, or an infinite parameter would make its gradient NaN.
    """
    for block in range(first, end):
        kept, decay, fresh, beta2 = rates[0], rates[1], rates[2], rates[3]
        fresh2, rate, root, eps = rates[4], rates[5], rates[6], rates[7]
        for i in range(block * BLOCK, min(parameter.size, (block + 1) * BLOCK)):
            g = grad[i]
            if decay != 0:
                g += decay * parameter[i]
            mean[i] += fresh * (g - mean[i])
            square[i] = beta2 * square[i] + fresh2 * g * g
            parameter[i] = kept * parameter[i] - rate * mean[i] / (np.sqrt(square[i]) / root + eps)
