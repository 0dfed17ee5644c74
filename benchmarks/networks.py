"""The four models of fastconv as every library builds them: one description, the same weights, the same batch.

The description is read off fastconv's own modules, so that no library's copy can come to differ from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

import fastconv

from .case import Array
from .suites import cost

MODELS: dict[str, Callable[..., fastconv.nn.Module]] = {
    "lenet": fastconv.models.lenet,
    "autoencoder": fastconv.models.autoencoder,
    "residual": fastconv.models.residual_net,
    "unet": fastconv.models.unet,
}
LOSSES = {"lenet": "cross_entropy", "residual": "cross_entropy", "autoencoder": "mse", "unet": "mse"}
CLASSES = 10
LEARNING_RATE, MOMENTUM = 0.01, 0.9

# Options of a layer that its description has, by fastconv's attribute names, which are PyTorch's.
OPTIONS = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "ConvTranspose2d": (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "dilation", "groups"),
    ),
    "Linear": ("in_features", "out_features"),
    "BatchNorm2d": ("num_features", "eps", "momentum"),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "Unflatten": ("dim", "unflattened_size"),
}
CONTAINERS = {"Sequential", "Autoencoder", "Residual", "Concat"}
PLAIN = {"ReLU", "Tanh", "Sigmoid", "Flatten", "Identity"}


@dataclass(frozen=True)
class Layer:
    """A layer, or a container of layers.

    Attributes
    ----------
    kind : str
        fastconv's and PyTorch's class; "Sequential" for any chain.
    name : str
        The dotted name, which begins its parameters' keys.
    options : dict
        The constructor's arguments.
    children : list of Layer
        Of a Sequential, Residual (branch, and shortcut if there is one) or Concat.
    """

    kind: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    children: list[Layer] = field(default_factory=list)

    def key(self, parameter: str) -> str:
        """A parameter's key in the state dict."""
        return f"{self.name}.{parameter}"


def described(module: fastconv.nn.Module, name: str = "") -> Layer:
    """A fastconv module's description."""
    kind = type(module).__name__
    if kind in CONTAINERS:
        children = [described(child, f"{name}.{part}" if name else part) for part, child in module.named_children()]
        return Layer("Sequential" if kind == "Autoencoder" else kind, name, {}, children)
    if kind not in OPTIONS and kind not in PLAIN:
        raise ValueError(f"layer is {kind}: the benchmarks can't describe it to other libraries")
    options = {option: getattr(module, option) for option in OPTIONS.get(kind, ())}
    if kind in ("Conv2d", "ConvTranspose2d", "Linear"):
        options["bias"] = getattr(module, "bias", None) is not None
    return Layer(kind, name, options)


def build(model: str, dtype: str = "float32") -> fastconv.nn.Module:
    """The model with the weights that all libraries begin with; in float64 they are float32's, exactly."""
    found: fastconv.nn.Module = MODELS[model](seed=0)
    if dtype == "float32":
        return found
    wide: fastconv.nn.Module = MODELS[model](seed=0, dtype=dtype)
    wide.load_state_dict(found.state_dict())
    return wide


def target_shape(model: str, x: tuple[int, ...]) -> tuple[int, ...] | None:
    """Of the array that the targets are made of; None where they are x."""
    if model == "autoencoder":
        return None
    return x[:1] if LOSSES[model] == "cross_entropy" else x


def targets(model: str, inputs: dict[str, Array]) -> Array:
    """What the model is to answer: classes, drawn from the second array, or images."""
    if "target" not in inputs:
        return inputs["x"]
    if LOSSES[model] == "cross_entropy":
        return (np.abs(inputs["target"]) * 1000).astype(np.int64) % CLASSES
    return inputs["target"]


def padding_pairs(padding: Any) -> list[tuple[int, int]]:
    """A layer's padding as (before, after) for both axes."""
    sides = (padding, padding) if isinstance(padding, int) else padding
    return [(side, side) if isinstance(side, int) else tuple(side) for side in sides]


def flops(module: fastconv.nn.Module, shape: tuple[int, ...]) -> int:
    """Of the model's forward pass, padding left out: those of its convolutions and linear layers."""
    kind = type(module).__name__
    if kind in CONTAINERS:
        return sum(flops(child, given) for _, child, given in module.child_inputs(shape))
    options = {option: getattr(module, option) for option in OPTIONS.get(kind, ())}
    if kind == "Linear":
        return 2 * prod(shape[:-1]) * int(options["in_features"]) * int(options["out_features"])
    if kind not in ("Conv2d", "ConvTranspose2d"):
        return 0
    weight = (options["out_channels"], options["in_channels"] // options["groups"], *options["kernel_size"])
    pairs = padding_pairs(options["padding"])
    image = shape
    if kind == "ConvTranspose2d":  # the convolution of its output, which makes its input
        weight = (options["in_channels"], options["out_channels"] // options["groups"], *options["kernel_size"])
        image = module.output_shape(shape)
        extra = options["output_padding"]
        pairs = [(before, after - more) for (before, after), more in zip(pairs, extra, strict=True)]
    return cost.convolution(image, weight, options["stride"], pairs, options["dilation"])


def first_flops(module: fastconv.nn.Module, shape: tuple[int, ...]) -> int:
    """Of the first layer that has any: those that the images' gradient would cost."""
    if type(module).__name__ not in CONTAINERS:
        return flops(module, shape)
    return next(filter(None, (first_flops(child, given) for _, child, given in module.child_inputs(shape))), 0)


class Steps:
    """Training, a step a call; the first call takes two and answers with their losses, which are compared."""

    def __init__(self, step: Callable[[], Any]) -> None:
        self.step, self.compared = step, False

    def __call__(self) -> Any:
        if self.compared:
            return self.step()
        self.compared = True
        return {"loss": np.array([float(self.step()), float(self.step())])}
