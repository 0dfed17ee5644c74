"""A graph on its way to tables of steps: arrays, gradients, workspaces, and what is known of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import channels_last
from fastconv.backends.cpu.branches import add
from fastconv.backends.cpu.finite import program as finite_program
from fastconv.backends.cpu.pooled_convolution import Images
from fastconv.backends.cpu.table import Table
from fastconv.backends.cpu.vectors import aligned
from fastconv.graph import Graph, Value
from fastconv.typing import Array, Pairs, Shape

SMALL = 32 << 20  # bytes of all values, up to which gradients wait for those of weights without leaving the caches
NO_BORDER = ((0, 0), (0, 0))
OVERWRITTEN = {"convolution", "conv_transpose", "linear", "batch_norm", "add"}  # whose y no gradient looks at


class Lowering:
    """What the operations' steps share while a graph is lowered.

    Attributes
    ----------
    table : Table
        Where steps go: that of the forward pass, then that of the backward pass.
    """

    def __init__(self, graph: Graph, training: bool, threads: int) -> None:
        self.graph, self.training, self.threads = graph, training, threads
        self.table = Table(threads)
        self.arrays: dict[Value, Array] = {}
        self.lasts: dict[Value, Images] = {}
        self.spoiled, self.may_spoil = np.zeros(8, np.int64), False
        self.kept: dict[Value, Any] = {}  # what the forward steps leave for the backward ones
        self.gradients: dict[int, tuple[Any, Array]] = {}  # by the parameter's id
        self.weights: list[Array] = []  # that must be finite
        self.made: list[Array] = []  # of weights, by steps
        self.last_steps: list[Any] = []  # gradients that are computed when all others are there
        self.counters: list[Array] = []  # of which each counts the forward passes
        self.opaque = any(value.operation == "layer" for value in graph.values)
        self._grads: dict[Value, tuple[Any, bool]] = {}
        self._users = {value: len(graph.users(value)) for value in graph.values}
        self._free: dict[int, list[Array]] = {}
        self._later: list[Callable[[], None]] = []
        self._small = sum(prod(value.shape) for value in graph.values) * graph.dtype.itemsize <= SMALL
        self._scratch = np.empty(0, np.uint8)
        self._trained: set[Value] = set()
        for value in graph.values:
            if any(value.parameters.values()) or value.operation == "layer":
                self._trained.add(value)
            if any(x in self._trained for x in value.inputs):
                self._trained.add(value)

    @property
    def item(self) -> int:
        """Bytes of a number."""
        return self.graph.dtype.itemsize

    def array(self, value: Value) -> Array:
        """A value's array, channels first."""
        if value not in self.arrays:
            self.arrays[value] = self.new(value.shape)
            self.table.add(channels_last.to_first(self.lasts[value], self.arrays[value]))
        return self.arrays[value]

    def last(self, value: Value, padding: Pairs) -> Images:
        """A value with its channels last, within a border of zeros."""
        if self.stays_last(value):
            return self.lasts[value]
        found = channels_last.images_last(value.shape, self.graph.dtype, padding)
        self.table.add(channels_last.to_last(self.array(value), found))
        return found

    def new_last(self, value: Value) -> Images:
        """Where a value goes whose channels are last: for one who takes it so, within its border."""
        padding = self.graph.users(value)[0].options["geometry"].padding if self.stays_last(value) else NO_BORDER
        found = self.lasts[value] = channels_last.images_last(value.shape, self.graph.dtype, padding)
        return found

    def stays_last(self, value: Value) -> bool:
        """Whether a value is made, and taken by a single operation, with its channels last."""
        users = self.graph.users(value)
        return [value.operation, *[user.operation for user in users]] == ["pooled_convolution"] * 2 and (
            value is not self.graph.output
        )

    def weights_must_be_finite(self, *arrays: Array) -> None:
        """Let the network be used only while these are finite; those that steps make are so if others are."""
        self.weights += [array for array in arrays if not any(array is other for other in self.made)]

    def must_be_finite(self, array: Array) -> None:
        """Let the network be `spoiled` by a backward pass in which these numbers are not all finite."""
        self.may_spoil = True
        self.table.program("finite", finite_program(array.size, self.item), array, self.spoiled, threads=self.threads)

    def images(self, value: Value) -> int:
        """How many images the steps of a value may be run by, one after another."""
        return value.shape[0] if value.shape[0] > 1 else 0

    def trained(self, value: Value) -> bool:
        """Whether the gradient with respect to it is of use to anyone."""
        return value in self._trained

    def new(self, shape: Shape) -> Array:
        """An array of numbers: one that nobody needs any more, or a fresh one."""
        waiting = self._free.get(prod(shape))
        return (waiting.pop() if waiting else aligned(prod(shape), self.graph.dtype)).reshape(shape)

    def drop(self, array: Array) -> None:
        """Let later steps write over an array that `new` gave."""
        self._free.setdefault(array.size, []).append(array)

    def space(self, size: int, shared: bool = False) -> Array:
        """A workspace of so many bytes; a `shared` one holds nothing from one step of a program to other programs'."""
        if not shared:
            return np.asarray(aligned(size + 64, np.uint8))
        if self._scratch.size < size:
            self._scratch = np.asarray(aligned(size + 64, np.uint8))
        return self._scratch

    def in_place(self, value: Value) -> bool:
        """Whether a function of each number may overwrite the value's input."""
        x = value.inputs[0]
        overwritten = x.operation in OVERWRITTEN and not (self.training and x.options.get("relu", False))
        return overwritten and self._users[x] == 1 and x is not self.graph.output

    def gradient(self, parameter: Any) -> Array:
        """Where a parameter's gradient goes, if this is its first use."""
        array = aligned(parameter.data.shape, self.graph.dtype)
        array[...] = 0
        if id(parameter) not in self.gradients:
            self.gradients[id(parameter)] = (parameter, array)
        return array

    def gradient_is_there(self, parameter: Any, array: Array) -> None:
        """Add a gradient to that of earlier uses of its parameter, after the steps that compute it."""
        first = self.gradients[id(parameter)][1]
        if first is not array:
            self.table.add(add(first, array, first))

    def later(self, steps: Callable[[], None]) -> None:
        """Add steps that can wait: where arrays are small, until all that go by images stand together."""
        if self._small:
            self._later.append(steps)
        else:
            steps()

    def flush(self) -> None:
        """Add the steps that waited."""
        for steps in self._later:
            steps()
        self._later.clear()

    def accumulate(self, value: Value, grad: Any, owned: bool = True) -> None:
        """Add to the gradient with respect to a value; one that is not `owned` must not be written to.

        It is an array; `Images` for a value that `stays_last`, which has a single user.
        """
        if not self.trained(value):
            return
        if value not in self._grads:
            self._grads[value] = (grad, owned)
            return
        before, owned_before = self._grads[value]
        target, other = (before, grad) if owned_before else (grad, before)
        if not (owned or owned_before):
            target = self.new(value.shape)
            self.table.add(add(before, grad, target, self.images(value)))
        else:
            self.table.add(add(target, other, target, self.images(value)))
        self._grads[value] = (target, True)

    def grad(self, value: Value) -> tuple[Any, bool] | None:
        """The gradient with respect to a value that all its users have added to, and whether it may be overwritten."""
        return self._grads.pop(value, None)
