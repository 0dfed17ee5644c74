"""Peak bytes beyond inputs and outputs: what a library needs for itself while it computes."""

from __future__ import annotations

from dataclasses import replace

from ..case import Case
from . import filters, training
from .latency import layer

PASSES = ("forward", "input gradient", "weight gradient")
LAYERS = {  # name: batch, channels, side, filters, size
    "resnet50 64x56x56 64 3x3 n16": (16, 64, 56, 64, 3),
    "resnet50 256x14x14 256 3x3 n16": (16, 256, 14, 256, 3),
    "resnet50 256x56x56 64 1x1 n16": (16, 256, 56, 64, 1),
    "vgg16 64x224x224 64 3x3 n1": (1, 64, 224, 64, 3),
    "vgg16 512x28x28 512 3x3 n1": (1, 512, 28, 512, 3),
}
MODELS = ("lenet", "autoencoder", "residual", "unet")

# With few seconds, these stand for the rest.
QUICK = {
    "resnet50 64x56x56 64 3x3 n16 forward",
    "dense 9x9 on 2048x2048 float32",
    "gaussian sigma 3 on 2048x2048 float32",
    "lenet n64 step",
}


def cases(quick: bool) -> list[Case]:
    """All rows, or the representative few."""
    rows = [convolution(name, which) for name in LAYERS for which in PASSES]
    images = [
        *[filters.dense(2048, size, "float32") for size in (3, 9, 31, 63)],
        *[filters.dense(2048, 9, dtype) for dtype in ("float64", "uint8")],
        *[filters.separable(2048, 15, "float32"), filters.gaussian(2048, 3, "float32")],
        *[filters.gaussian(2048, 3, "uint8"), filters.sobel(2048, 0, "float32")],
        *[filters.convolve1d(10_000_000, 16, "float32"), filters.match_template(2048, 32, "ccoeff_normed", "float32")],
    ]
    rows += [replace(case, group="filters") for case in images]
    # The activations that wait for the backward pass are most of what a step needs.
    rows += [replace(training.case(model, batch, True), group="training") for model in MODELS for batch in (64, 256)]
    rows = [replace(row, suite="memory", measure="memory") for row in rows]
    return [row for row in rows if row.name in QUICK] if quick else rows


def convolution(name: str, which: str) -> Case:
    """One pass of a layer that keeps the size."""
    batch, channels, side, count, taps = LAYERS[name]
    x, grad = (batch, channels, side, side), (batch, count, side, side)
    return layer(x, (count, channels, taps, taps), grad, which, f"{name} {which}", "memory")
