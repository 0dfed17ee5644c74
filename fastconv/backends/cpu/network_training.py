"""What training adds to a bound network: its loss with that loss's gradient, and the optimizer's update of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.backends.cpu import loss_steps, optimizer_steps, products
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.table import Seen, Table
from fastconv.backends.cpu.vectors import aligned
from fastconv.typing import Array, Shape

PAIRS = {
    "binary_cross_entropy": loss_steps.binary_cross_entropy,
    "binary_cross_entropy_with_logits": loss_steps.binary_cross_entropy_with_logits,
    "l1": loss_steps.l1,
    "mse": loss_steps.mse,
}


class Loss:
    """A loss of a network's output, whose gradient goes where the network's backward pass begins."""

    def __init__(self, name: str, output: Array, grad: Array, target: Array, threads: int) -> None:
        self._target = Seen(target)
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
        for table in self.tables:
            table.freeze()
        self._target.follow(*self.tables)

    def accepts(self, target: Array) -> bool:
        """Take these targets, unless they are none; who calls knows that shape and dtype are as they were."""
        self._target.show(target)
        self._before()
        return not self.flag[0]

    def __call__(self) -> float | None:
        """The loss, and its gradient where it goes; None if the output is none that the loss takes."""
        self._late()
        if self.flag[0]:
            return None
        self._table()
        return float(self.value[0])

    @property
    def tables(self) -> list[Table]:
        """Its steps."""
        return [self._before, self._late, self._table]


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
    """An optimizer's step over all parameters at once; the gradients of linear layers are computed on the way.

    Parameters
    ----------
    rule : {"sgd", "adam"}
    network : Network
        Whose gradients they are: all but those of its `last_steps` are there when the update runs.
    parameters, grads : sequence of array
    moments : sequence of sequences of array
        What the rule keeps, kind by kind.
    """

    def __init__(
        self,
        rule: str,
        network: Any,
        parameters: Sequence[Array],
        grads: Sequence[Array],
        moments: Sequence[Sequence[Array | None]],
    ) -> None:
        steps, count, self._numbers_of, update = RULES[rule]
        self._numbers, self.table = np.zeros(count, parameters[0].dtype), Table(network.threads)
        sets = dict(zip(map(id, grads), zip(parameters, grads, *moments, strict=True), strict=True))
        for dense in network.last_steps:
            own = [array if array is not None else dense.parameter.data for array in sets.pop(id(dense.result))]
            dense.add_to(self.table, network.threads, update, *own, *[None] * (4 - len(own)), self._numbers)
        if sets:
            self.table.add(*steps(*zip(*sets.values(), strict=True), self._numbers))
        self.table.freeze()
        network.seen.follow(self.table)

    def __call__(self, *options: float) -> None:
        """Move all parameters; the options are those of `optimizer_steps.sgd_numbers` or `adam_numbers`."""
        self._numbers[:] = self._numbers_of(*options)
        self.table()


RULES: dict[str, tuple[Callable[..., list[Step]], int, Callable[..., list[float]], int]] = {
    "sgd": (optimizer_steps.sgd, optimizer_steps.SGD_NUMBERS, optimizer_steps.sgd_numbers, products.SGD),
    "adam": (optimizer_steps.adam, optimizer_steps.ADAM_NUMBERS, optimizer_steps.adam_numbers, products.ADAM),
}
