"""JAX's layers in both memory layouts, and the four models made of them, with fastconv's weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import networks
from ..case import Array
from ..networks import Layer
from . import Unsupported

SPATIAL = "DHW"


@dataclass(frozen=True)
class Layout:
    """The order of an image's and a filter's axes.

    Attributes
    ----------
    images, weights : str
        As lax has them: "NCHW" and "OIHW", or "NHWC" and "HWIO".
    """

    images: str
    weights: str

    @classmethod
    def of(cls, rank: int, channels_last: bool) -> Layout:
        """For so many spatial axes."""
        axes = SPATIAL[-rank:]
        return cls(f"N{axes}C", f"{axes}IO") if channels_last else cls(f"NC{axes}", f"OI{axes}")

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return len(self.images) - 2

    @property
    def last(self) -> bool:
        """Whether channels come last."""
        return self.images.endswith("C")

    def image_shape(self, shape: Any) -> tuple[int, ...]:
        """Of (N, C, *spatial)."""
        return (shape[0], *shape[2:], shape[1]) if self.last else tuple(shape)

    def filters_shape(self, shape: Any) -> tuple[int, ...]:
        """Of (O, C / groups, *taps)."""
        return (*shape[2:], shape[1], shape[0]) if self.last else tuple(shape)

    def image(self, array: Array) -> Array:
        """(N, C, *spatial) in this order."""
        return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if self.last else array

    def filters(self, array: Array) -> Array:
        """(O, C / groups, *taps) in this order."""
        return np.ascontiguousarray(array.transpose(*range(2, array.ndim), 1, 0)) if self.last else array

    @property
    def image_back(self) -> tuple[int, ...]:
        """The axes that bring an image back to (N, C, *spatial)."""
        return (0, self.rank + 1, *range(1, self.rank + 1)) if self.last else tuple(range(self.rank + 2))

    @property
    def filters_back(self) -> tuple[int, ...]:
        """The axes that bring filters back to (O, C / groups, *taps)."""
        return (self.rank + 1, self.rank, *range(self.rank)) if self.last else tuple(range(self.rank + 2))

    def per_channel(self, vector: Any) -> Any:
        """A number for each channel, to be combined with images."""
        return vector if self.last else vector.reshape(-1, *[1] * self.rank)

    def windows(self, options: dict[str, Any]) -> tuple[Any, Any, Any]:
        """A pooling's window, stride and padding for all of an image's axes."""
        padding = [(side, side) if isinstance(side, int) else tuple(side) for side in options["padding"]]
        sizes, strides = (self.image_shape((1, 1, *options[name])) for name in ("kernel_size", "stride"))
        none = (0, 0)
        return sizes, strides, [none, *padding, none] if self.last else [none, none, *padding]

    def max_pool(self, options: dict[str, Any], x: Any) -> Any:
        """The largest pixel of each window."""
        return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, *self.windows(options))

    def avg_pool(self, options: dict[str, Any], x: Any) -> Any:
        """The mean of each window, the padding's zeros among it."""
        total = lax.reduce_window(x, np.array(0, x.dtype), lax.add, *self.windows(options))
        return total / prod(options["kernel_size"])


def correlate(layout: Layout, options: dict[str, Any], x: Any, weight: Any) -> Any:
    """A convolutional layer; with options["transposed"] a transposed one, its filters by `forward_weight`."""
    padding = [tuple(pair) for pair in options["padding"]]
    stride, dilation = options["stride"], options["dilation"]
    spread = [1] * layout.rank
    if options.get("transposed"):
        taps = weight.shape[: layout.rank] if layout.last else weight.shape[2:]
        spans = [d * (r - 1) for d, r in zip(dilation, taps, strict=True)]
        extra = options["output_padding"]
        padding = [(s - b, s - a + more) for s, (b, a), more in zip(spans, padding, extra, strict=True)]
        stride, spread = spread, stride
    return lax.conv_general_dilated(
        x,
        weight,
        window_strides=tuple(stride),
        padding=padding,
        lhs_dilation=tuple(spread),
        rhs_dilation=tuple(dilation),
        dimension_numbers=(layout.images, layout.weights, layout.images),
        feature_group_count=options["groups"],
    )


def forward_weight(weight: Array, groups: int) -> Array:
    """A transposed convolution's filters (C, O / groups, *taps) as a convolution's, (O, C / groups, *taps mirrored)."""
    c, o, taps = weight.shape[0] // groups, weight.shape[1], weight.shape[2:]
    swapped = weight.reshape(groups, c, o, *taps).swapaxes(1, 2).reshape(groups * o, c, *taps)
    return np.ascontiguousarray(np.flip(swapped, tuple(range(2, weight.ndim))))


class Network:
    """One of the four models: its arrays, and a function of them.

    Attributes
    ----------
    parameters, buffers : dict
        What is trained, and the running statistics, by PyTorch's keys; filters in lax's own layouts.
    """

    def __init__(self, model: str, dtype: str, layout: Layout) -> None:
        source = networks.build(model, dtype)
        self.layout, self.description = layout, networks.described(source)
        trained = {name for name, _ in source.named_parameters()}
        state = {key: array for key, array in source.state_dict().items() if not key.endswith("num_batches_tracked")}
        for layer in leaves(self.description):
            if layer.kind == "ConvTranspose2d":
                state[layer.key("weight")] = forward_weight(state[layer.key("weight")], layer.options["groups"])
        held = {key: jnp.asarray(layout.filters(a) if a.ndim == 4 else a) for key, a in state.items()}
        self.parameters = {key: array for key, array in held.items() if key in trained}
        self.buffers = {key: array for key, array in held.items() if key not in trained}

    def apply(self, parameters: Any, buffers: Any, x: Any, training: bool) -> tuple[Any, Any]:
        """The answer, and the buffers as this pass leaves them."""
        changed = dict(buffers)
        return self.layer(self.description, parameters, changed, x, training), changed

    def layer(self, layer: Layer, parameters: Any, buffers: Any, x: Any, training: bool) -> Any:
        """One layer and all below it; running statistics are changed in `buffers`."""
        if layer.kind == "Sequential":
            for child in layer.children:
                x = self.layer(child, parameters, buffers, x, training)
            return x
        if layer.children:
            found = [self.layer(child, parameters, buffers, x, training) for child in layer.children]
            if layer.kind == "Concat":
                return jnp.concatenate(found, -1 if self.layout.last else 1)
            return found[0] + (found[1] if len(found) > 1 else x)
        if layer.kind == "BatchNorm2d":
            return self.batch_norm(layer, parameters, buffers, x, training)
        return self.simple(layer, parameters, x)

    def simple(self, layer: Layer, parameters: Any, x: Any) -> Any:
        """A layer without statistics."""
        layout, options = self.layout, layer.options
        if layer.kind in ("Conv2d", "ConvTranspose2d"):
            padding = networks.padding_pairs(options["padding"])
            geometry = {**options, "padding": padding, "transposed": layer.kind == "ConvTranspose2d"}
            y = correlate(layout, geometry, x, parameters[layer.key("weight")])
            return y + layout.per_channel(parameters[layer.key("bias")]) if options["bias"] else y
        if layer.kind == "Linear":
            y = x @ parameters[layer.key("weight")].T
            return y + parameters[layer.key("bias")] if options["bias"] else y
        if layer.kind in ("MaxPool2d", "AvgPool2d"):
            window = {**options, "padding": networks.padding_pairs(options["padding"])}
            return (layout.max_pool if layer.kind == "MaxPool2d" else layout.avg_pool)(window, x)
        if layer.kind == "Flatten":  # weights expect channels first
            return (jnp.moveaxis(x, -1, 1) if layout.last else x).reshape(len(x), -1)
        if layer.kind == "Unflatten":
            y = x.reshape(len(x), *options["unflattened_size"])
            return jnp.moveaxis(y, 1, -1) if layout.last else y
        if layer.kind not in FUNCTIONS:
            raise Unsupported(f"the JAX peer has no {layer.kind}")
        return FUNCTIONS[layer.kind](x)

    def batch_norm(self, layer: Layer, parameters: Any, buffers: Any, x: Any, training: bool) -> Any:
        """Normalised by the batch's statistics in training, by the running ones in evaluation."""
        layout, momentum = self.layout, layer.options["momentum"]
        names = [layer.key(f"running_{name}") for name in ("mean", "var")]
        mean, var = (buffers[name] for name in names)
        if training:
            axes = (0, 1, 2) if layout.last else (0, 2, 3)
            mean, var = x.mean(axes), x.var(axes)
            count = x.size // len(mean)
            for name, value in zip(names, (mean, var * (count / (count - 1))), strict=True):
                buffers[name] = (1 - momentum) * buffers[name] + momentum * value
        scale = parameters[layer.key("weight")] * lax.rsqrt(var + layer.options["eps"])
        shift = parameters[layer.key("bias")] - mean * scale
        return x * layout.per_channel(scale) + layout.per_channel(shift)


FUNCTIONS = {"ReLU": jax.nn.relu, "Tanh": jnp.tanh, "Sigmoid": jax.nn.sigmoid, "Identity": lambda x: x}


def leaves(layer: Layer) -> list[Layer]:
    """The layers that compute."""
    return [leaf for child in layer.children for leaf in leaves(child)] if layer.children else [layer]
