"""Pooling, normalisation, activations and branches of bound networks; see network_operations.py."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fastconv.backends.cpu import exponentials, normalization, pooling
from fastconv.backends.cpu.activation import activate, apply_slope
from fastconv.backends.cpu.branches import add, copy_channels
from fastconv.backends.cpu.network_convolutions import data
from fastconv.backends.cpu.network_rewrites import KINDS
from fastconv.graph import UnforeseenError, Value
from fastconv.typing import Array

if TYPE_CHECKING:
    from fastconv.backends.cpu.lowering import Lowering


def activation(low: Lowering, value: Value) -> None:
    """y = f(x)."""
    x = low.array(value.inputs[0])
    y = low.arrays[value] = x if low.in_place(value) else low.new(value.shape)
    low.table.add(activate(KINDS[value.operation], x, y, low.images(value)))


def activation_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """grad_x = grad f'(x), which y tells."""
    grad_x = grad if owned else low.new(grad.shape)
    low.table.add(apply_slope(KINDS[value.operation], grad, low.arrays[value], grad_x, low.images(value)))
    low.accumulate(value.inputs[0], grad_x)


def max_pool(low: Lowering, value: Value) -> None:
    """y = the largest pixel of each window, and which it is."""
    x, geometry = low.array(value.inputs[0]), value.options["geometry"]
    y = low.arrays[value] = low.new(value.shape)
    codes = None
    if low.training:
        codes = low.kept[value] = np.zeros(value.shape, np.uint8 if pooling.tiles(geometry) else np.int64)
    low.table.add(*pooling.max_pool_steps(x, y, codes, geometry, low.images(value)))


def max_pool_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """Each window's goes to its largest pixel."""
    (x,) = value.inputs
    grad_x = low.new(x.shape)
    steps = pooling.max_pool_grad_steps(grad, low.kept[value], grad_x, value.options["geometry"], low.images(value))
    low.table.add(*steps)
    low.accumulate(x, grad_x)
    if owned:
        low.drop(grad)


def avg_pool(low: Lowering, value: Value) -> None:
    """y = the mean of each window."""
    x = low.array(value.inputs[0])
    y = low.arrays[value] = low.new(value.shape)
    options = value.options["geometry"], value.options["counts"], low.images(value)
    low.table.add(*pooling.avg_pool_steps(x, y, *options))


def avg_pool_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """Each window's is shared out among its pixels."""
    (x,) = value.inputs
    grad_x = low.new(x.shape)
    options = value.options["geometry"], value.options["counts"], low.images(value)
    low.table.add(*pooling.avg_pool_grad_steps(grad, grad_x, *options))
    low.accumulate(x, grad_x)
    if owned:
        low.drop(grad)


def flat(array: Array) -> Array:
    """(N, C, *spatial) as (N, C, pixels)."""
    return array.reshape(*array.shape[:2], prod(array.shape[2:]))


def batch_norm(low: Lowering, value: Value) -> None:
    """y = each channel with mean 0 and variance 1, then times weight, + bias; its rectifier if that is fused."""
    module, x = value.options["module"], flat(low.array(value.inputs[0]))
    weight, bias = (data(parameter) for parameter in value.parameters.values())
    low.arrays[value] = low.new(value.shape)
    y, relu, images = flat(low.arrays[value]), value.options.get("relu", False), low.images(value)
    running = module.running_mean, module.running_var
    if not low.training:
        low.table.add(*normalization.evaluated_steps(x, y, *running, weight, bias, module.eps, relu, images))
        return
    mean, var = low.kept[value] = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    numbers = np.zeros(normalization.NUMBERS)
    low.table.add(
        *normalization.batch_norm_steps(
            x, y, mean, var, weight, bias, *running, numbers, module.eps, module.momentum, relu, images
        )
    )
    low.counters.append(module.num_batches_tracked)


def batch_norm_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """Of weight and bias, and of x, through the batch's mean and variance."""
    (x,), (weight, bias), module = value.inputs, value.parameters.values(), value.options["module"]
    grad_x = grad if owned else low.new(x.shape)
    found = tuple([None if parameter is None else low.gradient(parameter) for parameter in (weight, bias)])
    mean, var = low.kept[value]
    arrays = flat(grad), flat(low.array(x)), mean, var, data(weight), data(bias), flat(grad_x)
    relu = value.options.get("relu", False)
    low.table.add(*normalization.batch_norm_grad_steps(*arrays, found[0], found[1], module.eps, relu))
    for parameter, array in zip((weight, bias), found, strict=True):
        if array is not None:
            low.gradient_is_there(parameter, array)
    low.accumulate(x, grad_x)


def reshape(low: Lowering, value: Value) -> None:
    """The same numbers in another shape."""
    low.arrays[value] = low.array(value.inputs[0]).reshape(value.shape)


def reshape_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """The same numbers in x's shape."""
    low.accumulate(value.inputs[0], grad.reshape(value.inputs[0].shape), owned)


def addition(low: Lowering, value: Value) -> None:
    """y = a + b; its rectifier if that is fused."""
    a, b = (low.array(x) for x in value.inputs)
    y = low.arrays[value] = a if low.in_place(value) else low.new(value.shape)
    low.table.add(add(a, b, y, low.images(value), value.options.get("relu", False)))


def addition_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """The gradient itself, for both."""
    if value.options.get("relu", False):
        sloped = grad if owned else low.new(grad.shape)
        low.table.add(apply_slope(exponentials.RELU, grad, low.arrays[value], sloped, low.images(value)))
        grad = sloped
    for x in reversed(value.inputs):
        low.accumulate(x, grad, False)


def concatenation(low: Lowering, value: Value) -> None:
    """The inputs, one after another along the channels."""
    y = low.arrays[value] = low.new(value.shape)
    place = 0
    for x in value.inputs:
        low.table.add(copy_channels(low.array(x), y, place, low.images(value)))
        place += x.shape[1]


def concatenation_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """Each input's channels."""
    place = 0
    for x in value.inputs:
        if low.trained(x):
            grad_x = low.new(x.shape)
            low.table.add(copy_channels(grad, grad_x, place, low.images(value)))
            low.accumulate(x, grad_x)
        place += x.shape[1]
    if owned:
        low.drop(grad)


def layer(low: Lowering, value: Value) -> None:
    """y = module(x)."""
    module, x = value.options["module"], low.array(value.inputs[0])
    y = low.arrays[value] = low.new(value.shape)

    def call() -> None:
        found = np.asarray(module(x.copy()))
        if found.shape != y.shape or found.dtype != y.dtype:
            raise UnforeseenError(f"{module!r} gives {found.shape} of {found.dtype}")
        y[...] = found

    low.table.python(call)


def layer_grads(low: Lowering, value: Value, grad: Array, owned: bool) -> None:
    """grad_x = module.backward(grad)."""
    module, (x,) = value.options["module"], value.inputs
    grad_x = low.new(x.shape)

    def call() -> None:
        grad_x[...] = module.backward(grad.copy())

    low.table.python(call)
    low.accumulate(x, grad_x)
    if owned:
        low.drop(grad)
