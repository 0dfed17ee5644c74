"""Layers one after another."""

from collections.abc import Iterator
from typing import Any, Self, overload

from fastconv.graph import Graph, Value
from fastconv.nn.module import Module, bind
from fastconv.typing import Array

__all__ = ["Sequential"]


class Sequential(Module):
    """Layers one after another, each fed with what the one before it gives (PyTorch's Sequential).

    Parameters
    ----------
    *layers : Module
        They are named "0", "1", and so on.

    Raises
    ------
    TypeError
        If something else than a Module comes.

    Examples
    --------
    >>> from fastconv import nn
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10, rng=0))
    >>> len(network), network[1]
    (2, Linear(784, 10))
    >>> [name for name, _ in network.named_parameters()]
    ['1.weight', '1.bias']
    """

    def __init__(self, *layers: Module) -> None:
        self.layers = tuple([checked(layer, f"layers[{i}]") for i, layer in enumerate(layers)])

    def forward(self, x: Array) -> Array:
        """What the last layer gives."""
        for layer in self.layers:
            x = layer(x)
        return x

    def bind(self, graph: Graph, x: Value) -> Value:
        """The layers' operations, one after another."""
        for layer in self.layers:
            x = bind(layer, graph, x)
        return x

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x, by the chain rule: from the last layer to the first."""
        for layer in reversed(self.layers):
            grad_output = layer.backward(grad_output)
        return grad_output

    def append(self, layer: Module) -> Self:
        """Add a layer at the end."""
        self.layers = (*self.layers, checked(layer, "layer"))
        return self

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The layers, numbered."""
        yield from ((str(i), layer) for i, layer in enumerate(self.layers))

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> "Sequential": ...
    def __getitem__(self, i: int | slice) -> Module:
        return Sequential(*self.layers[i]) if isinstance(i, slice) else self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


def checked(value: Any, name: str) -> Module:
    """`value` if it is a Module."""
    if not isinstance(value, Module):
        raise TypeError(f"{name} is {value!r}: a Module is accepted")
    return value
