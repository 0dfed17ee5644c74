"""Optimizers' update rules for one parameter, which change it and its moments in place."""

import numpy as np

from fastconv import threads
from fastconv.backends.cpu.optimizer_steps import (
    ADAM_SMALL,
    SGD_SMALL,
    adam_body,
    adam_numbers,
    program,
    sgd_body,
    sgd_numbers,
)
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
    numbers = np.array(sgd_numbers(lr, momentum, dampening, weight_decay, nesterov, first), parameter.dtype)
    count = threads.get_num_threads() if parameter.size >= SGD_SMALL else 1
    program(sgd_body, parameter.itemsize, 3, parameter.size).on(count, numbers, parameter, grad, velocity)


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
    numbers = np.array(adam_numbers(step, lr, beta1, beta2, eps, weight_decay, decoupled), parameter.dtype)
    count = threads.get_num_threads() if parameter.size >= ADAM_SMALL else 1
    program(adam_body, parameter.itemsize, 4, parameter.size).on(count, numbers, parameter, grad, mean, square)
