"""The fully connected layer."""

from math import prod

import numpy as np
import numpy.typing as npt

from fastconv import functional
from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.init import weight_and_bias
from fastconv.nn.module import Module
from fastconv.typing import Array, Random, Shape

__all__ = ["Linear"]


class Linear(Module):
    """Fully connected layer: y = x weight^T + bias (PyTorch's Linear); see `functional.linear`.

    Parameters
    ----------
    in_features, out_features : int
        Numbers in the last axis of x (..., in_features) and y (..., out_features).
    bias : bool
        Whether a number is added to each output.
    dtype, rng, init
        As in `Conv2d`.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,), or None

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(400, 120, rng=0)
    >>> layer
    Linear(400, 120)
    >>> layer(np.zeros((8, 400), np.float32)).shape
    (8, 120)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: Random = None,
        init: str = "pytorch",
    ) -> None:
        self.in_features = checks.count(in_features, "in_features")
        self.out_features = checks.count(out_features, "out_features")
        bias_size = self.out_features if checks.flag(bias, "bias") else None
        self.weight, self.bias = weight_and_bias((self.out_features, self.in_features), bias_size, init, rng, dtype)

    def forward(self, x: Array) -> Array:
        """y of shape (..., out_features)."""
        y = functional.linear(x, self.weight.data, None if self.bias is None else self.bias.data)
        self.keep(x)
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The operation, on rows."""
        shape = self.output_shape(x.shape)
        if len(shape) != 2:
            return graph.layer(self, x)
        return graph.add("linear", (x,), shape, {"weight": self.weight, "bias": self.bias})

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x; adds to those of weight and bias."""
        (x,) = self.kept()
        self.weight.add_grad(functional.linear_weight_grad(x, grad_output))
        if self.bias is not None:
            self.bias.add_grad(functional.linear_bias_grad(grad_output))
        return functional.linear_input_grad(self.weight.data, grad_output)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(..., out_features)."""
        shape = checks.any_shape(input_shape)
        if shape[-1] != self.in_features:
            raise ValueError(f"input_shape is {shape}, of {shape[-1]} features: {self.in_features} are accepted")
        return (*shape[:-1], self.out_features)

    def flops(self, input_shape: Shape) -> int:
        """2 for each weight and each row of x."""
        return 2 * prod(self.output_shape(input_shape)) * self.in_features

    def extra_repr(self) -> str:
        """in_features, out_features, and bias if there is none."""
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")
