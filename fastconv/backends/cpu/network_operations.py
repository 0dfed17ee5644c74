"""The operations of bound networks: the steps that compute each, and those of its gradients.

`forward(low, value)` sets `low.arrays[value]`; `backward(low, value, grad, owned)` gets the gradient with respect to
the value, which it may overwrite if it is `owned`, and hands on those with respect to its inputs and parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fastconv.backends.cpu import network_convolutions as convolutions
from fastconv.backends.cpu import network_layers as layers
from fastconv.graph import Value

if TYPE_CHECKING:
    from fastconv.backends.cpu.lowering import Lowering


class Operation(NamedTuple):
    """An operation's steps, and those of its gradients."""

    forward: Callable[[Lowering, Value], None]
    backward: Callable[[Lowering, Value, Any, bool], None]


OPERATIONS = {
    "pooled_convolution": Operation(convolutions.pooled_convolution, convolutions.pooled_convolution_grads),
    "convolution": Operation(convolutions.convolution, convolutions.convolution_grads),
    "conv_transpose": Operation(convolutions.convolution, convolutions.convolution_grads),
    "linear": Operation(convolutions.dense, convolutions.dense_grads),
    "relu": Operation(layers.activation, layers.activation_grads),
    "tanh": Operation(layers.activation, layers.activation_grads),
    "sigmoid": Operation(layers.activation, layers.activation_grads),
    "max_pool": Operation(layers.max_pool, layers.max_pool_grads),
    "avg_pool": Operation(layers.avg_pool, layers.avg_pool_grads),
    "batch_norm": Operation(layers.batch_norm, layers.batch_norm_grads),
    "reshape": Operation(layers.reshape, layers.reshape_grads),
    "add": Operation(layers.addition, layers.addition_grads),
    "concat": Operation(layers.concatenation, layers.concatenation_grads),
    "layer": Operation(layers.layer, layers.layer_grads),
}
