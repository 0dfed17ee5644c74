"""Optimizers' update rules, as their papers write them; they change parameters and moments in place."""

from math import sqrt

import numpy as np

from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


@IEEE
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
    direction = grad + weight_decay * parameter if weight_decay != 0 else grad
    if momentum != 0:
        velocity[...] = direction if first else momentum * velocity + (1 - dampening) * direction
        direction = direction + momentum * velocity if nesterov else velocity
    parameter -= lr * direction


@IEEE
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
    if decoupled:
        parameter *= 1 - lr * weight_decay
    elif weight_decay != 0:
        grad = grad + weight_decay * parameter
    mean += (1 - beta1) * (grad - mean)
    square[...] = beta2 * square + (1 - beta2) * grad * grad
    rate = lr / (1 - beta1**step)
    parameter -= rate * mean / (np.sqrt(square) / sqrt(1 - beta2**step) + eps)
