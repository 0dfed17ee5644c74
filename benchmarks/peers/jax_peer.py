"""JAX: compiled calls of lax in both memory layouts, every array an argument, so that nothing is folded away."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import networks
from ..case import Array, Case
from ..operations import by_rank
from . import Peer, Unsupported, jax_filters
from .networks_jax import Layout, Network, correlate, forward_weight

Call = Callable[[], Any]
Inputs = dict[str, Array]
Options = dict[str, Any]


class JAX:
    """Answers are (array, the axes that put it in the oracle's order), or a dict of arrays; the calls wait for them.

    JAX computes in the background, calls that don't need each other at the same time: each call waits for its own.
    """

    compiles = True

    def version(self) -> str:
        return str(jax.__version__)

    def prepare(self, case: Case, inputs: Inputs) -> dict[str, Call]:
        jax.config.update("jax_enable_x64", case.dtype == "float64")
        if case.operation in jax_filters.OPERATIONS:
            return jax_filters.prepare(case, inputs)
        operation, rank = by_rank(case.operation)
        if operation not in OPERATIONS:
            raise Unsupported(f"JAX has no {case.operation}")
        layouts = [Layout.of(rank or 2, last) for last in (False, True)]
        if operation.startswith("linear"):
            return {"default": OPERATIONS[operation](layouts[0], inputs, case.options)}
        return {layout.images: OPERATIONS[operation](layout, inputs, case.options) for layout in layouts}

    def finish(self, answer: Any) -> Any:
        return jax.block_until_ready(answer)

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        if isinstance(answer, dict):
            return answer
        if not isinstance(answer, tuple):
            return {"y": np.asarray(answer)}
        array, axes = answer
        return {"y": np.asarray(array).transpose(axes)}


def peer(threads: int) -> Peer:
    """JAX on so many threads."""
    os.environ["NPROC"] = str(threads)  # what its pool of threads asks for first, when the first array is made
    return JAX()


def bound(function: Callable[..., Any], axes: tuple[int, ...], *arrays: Any) -> Call:
    """The compiled function's call on arrays that are already there."""
    compiled, held = jax.jit(function), [jnp.asarray(array) for array in arrays]
    return lambda: (compiled(*held).block_until_ready(), axes)


def conv(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """Forward."""
    x, weight = layout.image(inputs["x"]), layout.filters(inputs["weight"])
    return bound(partial(correlate, layout, options), layout.image_back, x, weight)


def conv_input_grad(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The gradient with respect to x: the transpose of a function that is linear in x."""
    weight, grad = layout.filters(inputs["weight"]), layout.image(inputs["grad"])
    x = jax.ShapeDtypeStruct(layout.image_shape(options["input_size"]), grad.dtype)

    def gradient(weight: Any, grad: Any) -> Any:
        return jax.linear_transpose(lambda x: correlate(layout, options, x, weight), x)(grad)[0]

    return bound(gradient, layout.image_back, weight, grad)


def conv_weight_grad(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The gradient with respect to weight: the transpose of a function that is linear in weight."""
    x, grad = layout.image(inputs["x"]), layout.image(inputs["grad"])
    weight = jax.ShapeDtypeStruct(layout.filters_shape(options["weight_size"]), x.dtype)

    def gradient(x: Any, grad: Any) -> Any:
        return jax.linear_transpose(lambda weight: correlate(layout, options, x, weight), weight)(grad)[0]

    return bound(gradient, layout.filters_back, x, grad)


def conv_transpose(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """Transposed convolution: a convolution of the image with zeros between its pixels, by filters held mirrored."""
    x = layout.image(inputs["x"])
    weight = layout.filters(forward_weight(inputs["weight"], options["groups"]))
    padding = [(side, side) for side in options["padding"]]
    transposed = {**options, "padding": padding, "transposed": True}
    return bound(partial(correlate, layout, transposed), layout.image_back, x, weight)


def max_pool(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The largest pixel of each window."""
    return bound(partial(layout.max_pool, options), layout.image_back, layout.image(inputs["x"]))


def avg_pool(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The mean of each window, the padding's zeros among it."""
    return bound(partial(layout.avg_pool, options), layout.image_back, layout.image(inputs["x"]))


def max_pool_grad(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The gradient; JAX keeps no indices, and finds the largest pixels once more."""

    def gradient(x: Any, grad: Any) -> Any:
        return jax.vjp(partial(layout.max_pool, options), x)[1](grad)[0]

    return bound(gradient, layout.image_back, layout.image(inputs["x"]), layout.image(inputs["grad"]))


def linear(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """Forward."""
    arrays = (inputs[name] for name in ("x", "weight", "bias"))
    return bound(lambda x, weight, bias: x @ weight.T + bias, (0, 1), *arrays)


def linear_input_grad(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The gradient with respect to x."""
    return bound(lambda weight, grad: grad @ weight, (0, 1), inputs["weight"], inputs["grad"])


def linear_weight_grad(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The gradient with respect to weight."""
    return bound(lambda x, grad: grad.T @ x, (0, 1), inputs["x"], inputs["grad"])


def mean_squared_error(y: Any, target: Any) -> Any:
    """Over all pixels."""
    return jnp.square(y - target).mean()


def cross_entropy(y: Any, target: Any) -> Any:
    """Of classes, the batch's mean."""
    return -jnp.take_along_axis(jax.nn.log_softmax(y), target[:, None], 1).mean()


def train_step(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """Two steps, whose losses are the answer, and from then on one a call; the state is donated."""
    name = options["model"]
    network = Network(name, str(inputs["x"].dtype), layout)
    loss_function = {"cross_entropy": cross_entropy, "mse": mean_squared_error}[networks.LOSSES[name]]
    x, wanted = jnp.asarray(layout.image(inputs["x"])), networks.targets(name, inputs)
    target = jnp.asarray(layout.image(wanted) if wanted.ndim == 4 else wanted)

    def loss(parameters: Any, buffers: Any, x: Any, target: Any) -> Any:
        y, changed = network.apply(parameters, buffers, x, training=True)
        return loss_function(y, target), changed

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, target: Any) -> Any:
        parameters, velocities, buffers = state
        (value, buffers), grads = jax.value_and_grad(loss, has_aux=True)(parameters, buffers, x, target)
        velocities = jax.tree.map(lambda v, g: networks.MOMENTUM * v + g, velocities, grads)
        parameters = jax.tree.map(lambda p, v: p - networks.LEARNING_RATE * v, parameters, velocities)
        return (parameters, velocities, buffers), value

    held = [(network.parameters, jax.tree.map(jnp.zeros_like, network.parameters), network.buffers)]

    def call() -> float:
        held[0], value = jax.block_until_ready(step(held[0], x, target))
        return float(value)

    return networks.Steps(call)


def infer(layout: Layout, inputs: Inputs, options: Options) -> Call:
    """The model in evaluation."""
    network = Network(options["model"], str(inputs["x"].dtype), layout)
    x, state = jnp.asarray(layout.image(inputs["x"])), (network.parameters, network.buffers)
    compiled = jax.jit(lambda parameters, buffers, x: network.apply(parameters, buffers, x, training=False)[0])
    axes = layout.image_back if jax.eval_shape(compiled, *state, x).ndim == 4 else (0, 1)
    return lambda: (compiled(*state, x).block_until_ready(), axes)


OPERATIONS: dict[str, Callable[[Layout, Inputs, Options], Call]] = {
    "conv": conv,
    "conv_input_grad": conv_input_grad,
    "conv_weight_grad": conv_weight_grad,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool": avg_pool,
    "linear": linear,
    "linear_input_grad": linear_input_grad,
    "linear_weight_grad": linear_weight_grad,
    "train_step": train_step,
    "infer": infer,
}
