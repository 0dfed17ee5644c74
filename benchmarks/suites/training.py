"""Whole steps of the four models, and inference."""

from __future__ import annotations

from math import prod

from .. import networks
from ..case import Case, size

BATCHES = (1, 16, 64, 256)
QUICK = {("lenet", 64, True), ("autoencoder", 64, True), ("residual", 16, True), ("unet", 16, True), ("lenet", 1, False)}
IMAGE = (1, 28, 28)


def cases(quick: bool) -> list[Case]:
    """A step and an inference of each model at each batch, or a representative few."""
    rows = [(model, n, step) for step in (True, False) for model in networks.MODELS for n in BATCHES]
    return [case(*row) for row in rows if not quick or row in QUICK]


def case(model: str, batch: int, step: bool) -> Case:
    """One row: a step of training, or an inference."""
    x = (batch, *IMAGE)
    built = networks.build(model)
    forward, first = networks.flops(built, x), networks.first_flops(built, x)
    parameters = size(*[parameter.shape for parameter in built.parameters()])
    y = built.output_shape(x)
    target = {"lenet": {"target": (batch,)}, "residual": {"target": (batch,)}, "unet": {"target": x}}.get(model, {})
    return Case(
        suite="training",
        group=f"{'step' if step else 'inference'}, {model}",
        name=f"{model} n{batch} {'step' if step else 'inference'}",
        operation="train_step" if step else "infer",
        arrays={"x": x, **target} if step else {"x": x},
        options={"model": model, "batch": batch},
        # A layer's backward pass costs two forward ones, but nobody needs the images' gradient.
        flops=3 * forward - first if step else forward,
        # A step reads and writes the weights and their velocities.
        traffic=size(x) + (4 * parameters + sum(4 * prod(s) for s in target.values()) if step else parameters + size(y)),
    )
