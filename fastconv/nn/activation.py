"""Activations as layers: functions of each number by itself, and softmax along an axis."""

from typing import Any

from fastconv import functional
from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.module import Module
from fastconv.typing import Array

__all__ = [
    "ELU",
    "GELU",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class Identity(Module):
    """y = x: a place in a network where nothing happens, such as a shortcut (PyTorch's Identity)."""

    def bind(self, graph: Graph, x: Value) -> Value:
        """x itself."""
        return x

    def forward(self, x: Array) -> Array:
        """x itself."""
        self.keep()
        return x

    def backward(self, grad_output: Array) -> Array:
        """grad_output itself."""
        self.kept()
        return grad_output


class _Activation(Module):
    """The operation named `function`; its gradient is computed from y where `from_output`, and from x elsewhere."""

    function: str
    from_output = False
    bound = False  # whether backends have it as an operation of bound networks

    def _options(self) -> dict[str, Any]:
        """The operation's arguments after x: the layer's own attributes."""
        names = "negative_slope", "alpha", "approximate", "beta", "threshold", "dim"
        return {name: getattr(self, name) for name in names if name in vars(self)}

    def forward(self, x: Array) -> Array:
        """y of x's shape."""
        y: Array = getattr(functional, self.function)(x, **self._options())
        self.keep(y if self.from_output else x)
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The operation."""
        return graph.add(self.function, (x,), x.shape) if self.bound else graph.layer(self, x)

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x."""
        gradient = getattr(functional, f"{self.function}_input_grad")
        grad_x: Array = gradient(grad_output, *self.kept(), **self._options())
        return grad_x

    def extra_repr(self) -> str:
        """The options."""
        return ", ".join(f"{name}={value!r}" for name, value in self._options().items())


class Tanh(_Activation):
    """y = tanh(x) (PyTorch's Tanh)."""

    function = "tanh"
    from_output = True
    bound = True


class Sigmoid(_Activation):
    """y = 1 / (1 + exp(-x)) (PyTorch's Sigmoid)."""

    function = "sigmoid"
    from_output = True
    bound = True


class ReLU(_Activation):
    """y = max(x, 0) (PyTorch's ReLU).

    >>> import numpy as np
    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    function = "relu"
    bound = True


class LeakyReLU(_Activation):
    """y = x where x > 0, negative_slope x elsewhere (PyTorch's LeakyReLU).

    >>> LeakyReLU(0.2)
    LeakyReLU(negative_slope=0.2)
    """

    function = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = checks.real(negative_slope, "negative_slope")


class ELU(_Activation):
    """y = x where x > 0, alpha (exp(x) - 1) elsewhere (PyTorch's ELU)."""

    function = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = checks.real(alpha, "alpha")


class GELU(_Activation):
    """y = x Phi(x), Phi being the normal distribution's function, or its approximation by tanh (PyTorch's GELU).

    Parameters
    ----------
    approximate : {"none", "tanh"}
    """

    function = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = checks.choice(approximate, "approximate", ("none", "tanh"))


class Softplus(_Activation):
    """y = log(1 + exp(beta x)) / beta, and x itself where beta x > threshold (PyTorch's Softplus)."""

    function = "softplus"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = checks.real(beta, "beta")
        self.threshold = checks.real(threshold, "threshold")


class Softmax(_Activation):
    """y = exp(x) / sum of exp(x) along the axis `dim` (PyTorch's Softmax).

    Parameters
    ----------
    dim : int, optional
        The axis; if None, 0 for x of 0, 1 or 3 axes, and 1 for others.
    """

    function = "softmax"
    from_output = True

    def __init__(self, dim: int | None = None) -> None:
        self.dim = None if dim is None else checks.axis(dim, "dim")


class LogSoftmax(_Activation):
    """y = x - log of the sum of exp(x) along the axis `dim` (PyTorch's LogSoftmax); `dim` as in `Softmax`."""

    function = "log_softmax"
    from_output = True

    def __init__(self, dim: int | None = None) -> None:
        self.dim = None if dim is None else checks.axis(dim, "dim")
