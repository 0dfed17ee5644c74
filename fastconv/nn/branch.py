"""Networks that are not a chain: skips (the course's "Saltos") and concatenated layers ("Capas Concatenadas")."""

from collections.abc import Iterator

import numpy as np

from fastconv.graph import Graph, Value
from fastconv.nn.container import checked
from fastconv.nn.module import Module, bind
from fastconv.typing import Array, Shape

__all__ = ["Concat", "Residual"]


class _Branches(Module):
    """Children that are no chain: each is given x itself."""

    def child_inputs(self, input_shape: Shape) -> Iterator[tuple[str, Module, Shape]]:
        """All take x."""
        yield from ((name, child, input_shape) for name, child in self.named_children())


class Residual(_Branches):
    """A skip around layers: y = branch(x) + shortcut(x).

    Both take the same x, so its gradient is the sum of both gradients.

    Parameters
    ----------
    branch : Module
        The layers that are skipped.
    shortcut : Module, optional
        What brings x to y's shape, such as a convolution 1x1 with a stride; if None, x itself.

    Raises
    ------
    TypeError
        If something else than a Module comes.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> Residual(nn.ReLU())(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    def __init__(self, branch: Module, shortcut: Module | None = None) -> None:
        self.branch = checked(branch, "branch")
        self.shortcut = None if shortcut is None else checked(shortcut, "shortcut")

    def forward(self, x: Array) -> Array:
        """branch(x) + shortcut(x)."""
        y, skipped = self.branch(x), x if self.shortcut is None else self.shortcut(x)
        _same(np.shape(y), np.shape(skipped))
        total: Array = np.add(y, skipped)
        return total

    def bind(self, graph: Graph, x: Value) -> Value:
        """Both branches, and their sum."""
        y = bind(self.branch, graph, x)
        skipped = x if self.shortcut is None else bind(self.shortcut, graph, x)
        _same(y.shape, skipped.shape)
        return graph.add("add", (y, skipped), y.shape)

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x: the sum of that through the branch and that through the shortcut."""
        # In the reverse order of forward, for layers that both use.
        skipped = grad_output if self.shortcut is None else self.shortcut.backward(grad_output)
        return self.branch.backward(grad_output) + skipped

    def output_shape(self, input_shape: Shape) -> Shape:
        """The branch's."""
        skipped = input_shape if self.shortcut is None else self.shortcut.output_shape(input_shape)
        shape = self.branch.output_shape(input_shape)
        _same(shape, skipped)
        return shape


class Concat(_Branches):
    """Branches side by side: y is their outputs, one after another along the channels (axis 1).

    All take the same x, so its gradient is the sum of theirs.

    Parameters
    ----------
    *branches : Module
        They are named "0", "1", and so on; `Identity()` lets x itself through.

    Raises
    ------
    TypeError
        If something else than a Module comes.
    ValueError
        If there is no branch.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", 2015; Huang et al., "Densely connected convolutional networks",
    2017.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> Concat(nn.Identity(), nn.ReLU())(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.,  0.,  2.]])
    """

    def __init__(self, *branches: Module) -> None:
        self.branches = tuple([checked(branch, f"branches[{i}]") for i, branch in enumerate(branches)])
        if not branches:
            raise ValueError("branches is empty: at least 1 Module is accepted")

    def forward(self, x: Array) -> Array:
        """The branches' outputs, along the channels."""
        outputs = [branch(x) for branch in self.branches]
        _joined([np.shape(y) for y in outputs])
        y = np.concatenate(outputs, axis=1)
        self.keep([output.shape[1] for output in outputs])
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """All branches, and their outputs along the channels."""
        outputs = tuple([bind(branch, graph, x) for branch in self.branches])
        return graph.add("concat", outputs, _joined([y.shape for y in outputs]))

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x: the sum of those through the branches, each given its own channels'."""
        (channels,) = self.kept()
        if np.ndim(grad_output) < 2 or grad_output.shape[1] != sum(channels):
            raise ValueError(f"grad_output has shape {np.shape(grad_output)}: {sum(channels)} channels are accepted")
        grad_x: Array | None = None
        parts = np.split(grad_output, np.cumsum(channels)[:-1], axis=1)
        for branch, part in zip(reversed(self.branches), reversed(parts), strict=True):
            grad = branch.backward(part)
            grad_x = grad if grad_x is None else grad_x + grad
        assert grad_x is not None  # there is a branch at least
        return grad_x

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The branches, numbered."""
        yield from ((str(i), branch) for i, branch in enumerate(self.branches))

    def output_shape(self, input_shape: Shape) -> Shape:
        """The branches', with the sum of their channels."""
        return _joined([branch.output_shape(input_shape) for branch in self.branches])


def _same(branch: Shape, shortcut: Shape) -> None:
    if branch != shortcut:
        raise ValueError(f"the branch gives shape {branch}, the shortcut {shortcut}: one shape for both is accepted")


def _joined(shapes: list[Shape]) -> Shape:
    """The shape of arrays of these shapes, one after another along axis 1."""
    if any(len(s) < 2 or (s[0], *s[2:]) != (shapes[0][0], *shapes[0][2:]) for s in shapes):
        raise ValueError(f"the branches give shapes {shapes}: shapes that differ in the channels alone are accepted")
    return (shapes[0][0], sum(s[1] for s in shapes), *shapes[0][2:])
