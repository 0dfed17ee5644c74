"""What training adds to a bound network: its loss with that loss's gradient, and the optimizer's update of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.backends.cpu import loss_steps, optimizer_steps
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.table import Table
from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array, Shape

PAIRS = {
    "binary_cross_entropy": loss_steps.binary_cross_entropy,
    "binary_cross_entropy_with_logits": loss_steps.binary_cross_entropy_with_logits,
    "l1": loss_steps.l1,
    "mse": loss_steps.mse,
}


class Loss:
    """A loss of a network's output, whose gradient goes where the network's backward pass begins.

    Attributes
    ----------
    target : array
        A copy of what `accepts` was shown.
    """

    def __init__(self, name: str, output: Array, grad: Array, target: Array, threads: int) -> None:
        self.target = target
        if name != "cross_entropy":
            output, grad, target = (array.reshape(-1) for array in (output, grad, target))
        self.value, self.flag = np.zeros(1, output.dtype), np.zeros(8, np.int64)
        self._before, self._late, self._table = Table(1), Table(1), Table(threads)
        if name == "cross_entropy":
            self._before.add(loss_steps.check_labels(target, output.shape[1], self.flag))
            self._table.add(*loss_steps.cross_entropy(output, target, self.value, grad))
        else:
            if name == "binary_cross_entropy":
                self._before.clear(self.flag)
                self._before.add(loss_steps.check_probabilities(target, self.flag))
                self._late.add(loss_steps.check_probabilities(output, self.flag))
            self._table.add(*PAIRS[name](output, target, self.value, grad))
        for table in (self._before, self._late, self._table):
            table.freeze()

    def accepts(self, target: Array) -> bool:
        """Take these targets, unless they are none; who calls knows that shape and dtype are as they were."""
        self.target[...] = target
        self._before()
        return not self.flag[0]

    def __call__(self) -> float | None:
        """The loss, and its gradient where it goes; None if the output is none that the loss takes."""
        self._late()
        if self.flag[0]:
            return None
        self._table()
        return float(self.value[0])

    def profile(self) -> list[tuple[str, float, int]]:
        """(name, seconds, flops) of each step."""
        return self._before.profile() + self._late.profile() + self._table.profile()


def bound_loss(name: str, network: Any, shape: Shape, dtype: np.dtype[Any], threads: int) -> Loss | None:
    """The loss of that name for targets of a shape; None where it takes something else, or nothing."""
    output, grad = network.output, network.grad_output
    if name == "cross_entropy":
        whole = dtype.kind in "iu" and dtype != np.uint64
        if output.ndim != 2 or shape != output.shape[:1] or not whole:
            return None
        return Loss(name, output, grad, np.zeros(shape, np.int64), threads)
    if name not in PAIRS or shape != output.shape or dtype != output.dtype:
        return None
    target = aligned(output.size, dtype).reshape(shape)
    return Loss(name, output, grad, target, threads)


class Update:
    """An optimizer's step over all parameters at once.

    Parameters
    ----------
    rule : {"sgd", "adam"}
    parameters, grads : sequence of array
    moments : sequence of sequences of array
        What the rule keeps, kind by kind.
    threads : int
    """

    def __init__(
        self,
        rule: str,
        parameters: Sequence[Array],
        grads: Sequence[Array],
        moments: Sequence[Sequence[Array | None]],
        threads: int,
    ) -> None:
        steps, count, self._numbers_of = RULES[rule]
        self._numbers, self._table = np.zeros(count, parameters[0].dtype), Table(threads)
        self._table.add(*steps(parameters, grads, *moments, self._numbers))
        self._table.freeze()

    def __call__(self, *options: float) -> None:
        """Move all parameters; the options are those of `optimizer_steps.sgd_numbers` or `adam_numbers`."""
        self._numbers[:] = self._numbers_of(*options)
        self._table()


RULES: dict[str, tuple[Callable[..., list[Step]], int, Callable[..., list[float]]]] = {
    "sgd": (optimizer_steps.sgd, optimizer_steps.SGD_NUMBERS, optimizer_steps.sgd_numbers),
    "adam": (optimizer_steps.adam, optimizer_steps.ADAM_NUMBERS, optimizer_steps.adam_numbers),
}
