"""The operations of bound networks: the steps that compute each, and those of its gradients.

`forward(low, value)` sets `low.arrays[value]`; `backward(low, value, grad, owned)` gets the gradient with respect to
the value, which it may overwrite if it is `owned`, and hands on those with respect to its inputs and parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fastconv.backends.cpu import network_convolutions as c
from fastconv.backends.cpu import network_layers as n
from fastconv.graph import Value

if TYPE_CHECKING:
    from fastconv.backends.cpu.lowering import Lowering


class Operation(NamedTuple):
    """An operation's steps, and those of its gradients."""

    forward: Callable[[Lowering, Value], None]
    backward: Callable[[Lowering, Value, Any, bool], None]


OPERATIONS = {
    "pooled_convolution": Operation(c.pooled_convolution, c.pooled_convolution_grads),
    "convolution": Operation(c.convolution, c.convolution_grads),
    "conv_transpose": Operation(c.convolution, c.convolution_grads),
    "linear": Operation(c.dense, c.dense_grads),
    "relu": Operation(n.activation, n.activation_grads),
    "tanh": Operation(n.activation, n.activation_grads),
    "sigmoid": Operation(n.activation, n.activation_grads),
    "max_pool": Operation(n.max_pool, n.max_pool_grads),
    "avg_pool": Operation(n.avg_pool, n.avg_pool_grads),
    "batch_norm": Operation(n.batch_norm, n.batch_norm_grads),
    "reshape": Operation(n.reshape, n.reshape_grads),
    "add": Operation(n.addition, n.addition_grads),
    "concat": Operation(n.concatenation, n.concatenation_grads),
    "layer": Operation(n.layer, n.layer_grads),
}
