"""A network for inputs of one shape, as the operations that its layers do: what binding begins with.

A layer's `bind(graph, x)` adds what its `forward` does to a `Graph`, as a `Value` with the shape of its y; backends
make of the whole graph a program. Rewrites (`fastconv.rewrites`) make a graph one that computes the same in less time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv.typing import Shape

__all__ = ["Graph", "UnforeseenError", "Value", "structure"]


class UnforeseenError(Exception):
    """A layer, called within a network, gave something else than its `output_shape` says."""


class Structure:
    """How often a module or parameter got another attribute: then bound networks look whether it was one of theirs."""

    changes = 0


structure = Structure()


@dataclass(eq=False, slots=True)
class Value:
    """An operation and the array that it gives.

    Attributes
    ----------
    operation : str
        "input", "convolution", "conv_transpose", "linear", "relu", "tanh", "sigmoid", "max_pool", "avg_pool",
        "batch_norm", "reshape", "add", "concat", or "layer": a module that is called as it is.
    inputs : list of Value
    shape : tuple of int
    parameters : dict
        The `Parameter` objects that it uses, by name; None where there is none.
    options : dict
        Its geometry, and whatever else it needs.
    """

    operation: str
    inputs: list[Value]
    shape: Shape
    parameters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.operation}{self.shape}"


class Graph:
    """Values in an order in which each comes after its inputs.

    Attributes
    ----------
    dtype : numpy.dtype
        Of all values and parameters.
    values : list of Value
        The first is the input.
    output : Value
    """

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.values: list[Value] = []
        self.output = self.input = self.add("input", (), shape)

    def add(
        self,
        operation: str,
        inputs: tuple[Value, ...],
        shape: Shape,
        parameters: dict[str, Any] | None = None,
        **options: Any,
    ) -> Value:
        """A new value, behind all others."""
        value = Value(operation, list(inputs), shape, parameters or {}, options)
        self.values.append(value)
        return value

    def layer(self, module: Any, x: Value) -> Value:
        """A module that is called as it is."""
        return self.add("layer", (x,), module.output_shape(x.shape), module=module)

    def replace(self, value: Value, by: Value, keep: bool = False) -> None:
        """Let everyone who took a value take another one; the value itself goes, unless it is kept."""
        for user in self.values:
            user.inputs = [by if x is value else x for x in user.inputs]
        if self.output is value:
            self.output = by
        if not keep:
            self.values.remove(value)

    def users(self, value: Value) -> list[Value]:
        """The values that take this one as input, each as often as it does."""
        return [user for user in self.values for x in user.inputs if x is value]

    def parameters(self) -> Iterator[Any]:
        """Each parameter once."""
        seen: set[int] = set()
        for value in self.values:
            for parameter in value.parameters.values():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter
