"""Optimizers' update rules, one pass over a parameter each; they change parameters and moments in place.

Index letter: `i` number of a parameter.
"""

from functools import cache
from math import sqrt as root
from typing import Any

from numba import cuda

from fastconv.backends.cuda.elementwise import BLOCK, blocks
from fastconv.backends.cuda.launching import MASK, Kernel, kernel, operation
from fastconv.backends.cuda.mathematics import sqrt
from fastconv.typing import Array


@operation("velocity", "parameter")  # without momentum velocity may be the parameter: its result is the last to go
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
    t: Any = parameter.dtype.type
    size = parameter.size
    run = _sgd(t, momentum != 0, weight_decay != 0, bool(nesterov), bool(first))
    run(blocks(size), size, parameter, grad, velocity, t(lr), t(momentum), t(1 - dampening), t(weight_decay))


@cache
def _sgd(t: Any, moving: bool, decaying: bool, nesterov: bool, first: bool) -> Kernel:
    @kernel(BLOCK)
    def run(size, parameter, grad, velocity, lr, momentum, share, decay):  # type: ignore[no-untyped-def]
        """parameter[i] -= lr velocity[i], velocity[i] = momentum velocity[i] + share grad[i]."""
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        step = cuda.gridDim.x * cuda.blockDim.x
        while i < size:
            i &= MASK
            direction = grad[i]
            if decaying:
                direction += decay * parameter[i]
            if moving:
                speed = direction if first else momentum * velocity[i] + share * direction
                velocity[i] = speed
                direction = direction + momentum * speed if nesterov else speed
            parameter[i] -= lr * direction
            i += step

    return run


@operation("parameter", "mean", "square")
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
    t: Any = parameter.dtype.type
    size = parameter.size
    kept = 1 - lr * weight_decay if decoupled else 1.0
    added = 0.0 if decoupled else weight_decay
    rates = lr / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, root(1 - beta2**step), eps
    numbers = [t(number) for number in (kept, added, *rates)]
    _adam(t, bool(decoupled), added != 0)(blocks(size), size, parameter, grad, mean, square, *numbers)


@cache
def _adam(t: Any, shrinking: bool, decaying: bool) -> Kernel:
    @kernel(BLOCK)
    def run(size, parameter, grad, mean, square, kept, decay, rate, mean_share, beta2, square_share, scale, eps):  # type: ignore[no-untyped-def]
        """parameter[i] -= rate mean[i] / (sqrt(square[i]) / scale + eps), mean and square moving averages."""
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        step = cuda.gridDim.x * cuda.blockDim.x
        while i < size:
            i &= MASK
            value, slope = parameter[i], grad[i]
            if shrinking:
                value *= kept
            if decaying:
                slope += decay * value
            average = mean[i] + mean_share * (slope - mean[i])
            power = beta2 * square[i] + square_share * slope * slope
            mean[i], square[i] = average, power
            parameter[i] = value - rate * average / (sqrt(power) / scale + eps)
            i += step

    return run
