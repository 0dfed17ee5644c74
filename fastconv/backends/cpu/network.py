"""Bound networks: a graph lowered to tables of steps over arrays of its own, run many times.

Each operation of a graph says, in `OPERATIONS`, which steps compute it and which its gradients; they are those that the
unbound operation takes, so that the bits are the same. Gradients go back from the output; one that reaches a value on
several ways is summed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cpu import network_rewrites
from fastconv.backends.cpu.finite import program as finite_program
from fastconv.backends.cpu.lowering import Lowering
from fastconv.backends.cpu.native import address
from fastconv.backends.cpu.network_operations import OPERATIONS
from fastconv.backends.cpu.network_training import Loss, Update, bound_loss
from fastconv.backends.cpu.roof import fma_roof
from fastconv.backends.cpu.table import Seen, Table, profile
from fastconv.graph import Graph, Value
from fastconv.typing import Array, Shape


class Network:
    """A graph's program, its arrays and its parameters' gradients.

    Parameters
    ----------
    graph : Graph
    training : bool
        Whether there is a backward pass, for which activations are kept.
    threads : int

    Attributes
    ----------
    input, output, grad_output : array
        Call `show` and `forward`, read `output`; fill `grad_output`, call `backward`; `input` is shown at first.
    gradients : list of (Parameter, array)
        Where the backward pass leaves what it is called for.
    opaque : bool
        Whether there are layers that are called as they are.
    """

    def __init__(self, graph: Graph, training: bool, threads: int) -> None:
        network_rewrites.rewrite(graph, training, threads)
        low = Lowering(graph, training, threads)
        self.opaque, self.threads = low.opaque, threads
        self.input = low.arrays[graph.input] = low.new(graph.input.shape)
        remaining = {value: len(graph.users(value)) for value in graph.values}
        for value in graph.values[1:]:
            OPERATIONS[value.operation].forward(low, value)
            if not training:
                release(low, value, remaining)
        self.output = low.array(graph.output)
        self._forward, self._backward = low.table, Table(threads)
        if training:
            low.table = self._backward
            self.grad_output = low.new(graph.output.shape)
            low.accumulate(graph.output, self.grad_output)
            for value in reversed(graph.values[1:]):
                found = low.grad(value)
                if found is not None:
                    OPERATIONS[value.operation].backward(low, value, *found)
            low.flush()
        self.last_steps, self._end = low.last_steps, Table(threads)
        for dense in self.last_steps:
            dense.add_to(self._end, threads)
        for table in (self._forward, self._backward, self._end):
            table.freeze()
        self.seen = Seen(self.input)
        self.seen.follow(self._forward, self._backward, self._end)
        self.gradients, self.counters = list(low.gradients.values()), low.counters
        self._spoiled, self.may_spoil = low.spoiled, low.may_spoil
        self._weights, self._flag = Table(threads), np.zeros(8, np.int64)
        self._check_weights(low)

    def _check_weights(self, low: Lowering) -> None:
        for weight in {id(weight): weight for weight in low.weights}.values():
            program = finite_program(weight.size, low.item)
            self._weights.program("finite", program, weight, self._flag, threads=low.threads)
        self._weights.freeze()

    def show(self, x: Array) -> None:
        """Let the next passes have this input."""
        if self.opaque or address(self.output) == address(self.input):  # others than kernels look at it
            self.input[...] = x
        else:
            self.seen.show(x)

    def usable(self) -> bool:
        """Whether the weights are such that this program computes what the layers would."""
        if not self._weights.rows:
            return True
        self._flag[0] = 0
        self._weights()
        return not self._flag[0]

    def loss(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Loss | None:
        """The loss of that name with its gradient, for targets of a shape; None if it has no steps."""
        return bound_loss(name, self, shape, dtype, self.threads)

    def forward(self) -> None:
        """Compute `output`."""
        self._forward()
        for counter in self.counters:
            counter += 1

    def backward(self, whole: bool = True) -> bool:
        """Compute all gradients; False if they must not be used, as numbers that are not finite have spread.

        If not `whole`, those of `last_steps` are left to `end` or to an update.
        """
        self._backward()
        if self._spoiled[0]:
            self._spoiled[0] = 0
            return False
        if whole:
            self.end()
        return True

    def end(self) -> None:
        """Compute the gradients of `last_steps`."""
        self._end()

    def profile(self, loss: Loss | None = None, update: Update | None = None) -> list[tuple[str, float, int]]:
        """(name, seconds, flops) of each step, of the loss's and of an update's, too."""
        end = self._end if update is None else update.table
        return profile([self._forward, *([] if loss is None else loss.tables), self._backward, end])

    def roof(self) -> float:
        """FLOP/s that the machine can do in numbers such as these, on as many threads."""
        return fma_roof(self.output.itemsize, self.threads)


def release(low: Lowering, value: Value, remaining: dict[Value, int]) -> None:
    """In evaluation, arrays whose last user was this value serve again, each once: several values may lie in one."""
    for x in value.inputs:
        remaining[x] -= 1
    kept = (low.graph.input, low.graph.output, value)
    done = {x: low.arrays[x] for x in low.arrays if remaining[x] == 0 and x not in kept}
    alive = {address(array) for x, array in low.arrays.items() if x not in done}
    for array in {address(array): array for array in done.values() if address(array) not in alive}.values():
        low.drop(array)
    for x in done:
        del low.arrays[x]
