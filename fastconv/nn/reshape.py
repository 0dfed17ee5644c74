"""Layers that only change the shape: images to vectors, and back."""

from math import prod

import numpy as np

from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.module import Module
from fastconv.typing import Array, Shape, Size

__all__ = ["Flatten", "Unflatten"]


class _Reshape(Module):
    def forward(self, x: Array) -> Array:
        """y: x's numbers in the same order, in another shape."""
        y = np.reshape(x, self.output_shape(np.shape(x)))
        self.keep(np.shape(x))
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The same numbers in another shape."""
        return graph.add("reshape", (x,), self.output_shape(x.shape))

    def backward(self, grad_output: Array) -> Array:
        """grad_output in x's shape."""
        (shape,) = self.kept()
        if np.shape(grad_output) != (y_shape := self.output_shape(shape)):
            raise ValueError(f"grad_output has shape {np.shape(grad_output)}: {y_shape} is accepted")
        return np.reshape(grad_output, shape)


class Flatten(_Reshape):
    """The axes from start_dim to end_dim made one (PyTorch's Flatten); by default all but the batch's.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last of the axes; negative ones count from the end.

    Raises
    ------
    TypeError, ValueError
        If one is not an int, or x has no such axes.

    Examples
    --------
    >>> Flatten().output_shape((8, 16, 5, 5))
    (8, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = checks.axis(start_dim, "start_dim"), checks.axis(end_dim, "end_dim")

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape with those axes made one."""
        shape = checks.any_shape(input_shape)
        first, last = (d + len(shape) if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < len(shape):
            raise ValueError(
                f"start_dim is {self.start_dim} and end_dim {self.end_dim}: the first and the last of some of x's "
                f"{len(shape)} axes are accepted"
            )
        return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])

    def extra_repr(self) -> str:
        """What is not the default."""
        return checks.layer_options(self, start_dim=1, end_dim=-1).removeprefix(", ")


class Unflatten(_Reshape):
    """The axis `dim` made several (PyTorch's Unflatten): the inverse of Flatten.

    Parameters
    ----------
    dim : int
        The axis; a negative one counts from the end.
    unflattened_size : tuple of int
        The axes that take its place; one of them may be -1, which is what is left.

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted, or x's axis does not fit; the message names it.

    Examples
    --------
    >>> Unflatten(1, (32, 7, 7)).output_shape((8, 1568))
    (8, 32, 7, 7)
    """

    def __init__(self, dim: int, unflattened_size: Size) -> None:
        self.dim, accepted = checks.axis(dim, "dim"), "a sequence of ints of at least 1, at most one of them -1,"
        if isinstance(unflattened_size, int | str) or not hasattr(unflattened_size, "__iter__"):
            raise TypeError(f"unflattened_size is {unflattened_size!r}: {accepted} is accepted")
        self.unflattened_size = tuple(checks.axis(size, "unflattened_size") for size in unflattened_size)
        sizes = self.unflattened_size
        if not sizes or any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
            raise ValueError(f"unflattened_size is {unflattened_size!r}: {accepted} is accepted")

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape with that axis made several."""
        shape = checks.any_shape(input_shape)
        at = self.dim + len(shape) if self.dim < 0 else self.dim
        if not 0 <= at < len(shape):
            raise ValueError(f"dim is {self.dim}: one of x's {len(shape)} axes is accepted")
        known = prod(size for size in self.unflattened_size if size != -1)
        sizes = tuple(shape[at] // known if size == -1 else size for size in self.unflattened_size)
        if prod(sizes) != shape[at]:
            raise ValueError(
                f"x has {shape[at]} numbers along axis {at}, shape {shape}: as many as unflattened_size "
                f"{self.unflattened_size} makes are accepted"
            )
        return (*shape[:at], *sizes, *shape[at + 1 :])

    def extra_repr(self) -> str:
        """The axis and what takes its place."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
