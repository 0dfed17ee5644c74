"""Whole steps of the four models, and inference."""

from __future__ import annotations

from .. import networks
from ..case import Case, size

BATCHES = (1, 16, 64, 256)
IMAGE = (1, 28, 28)

# With few seconds, these stand for the rest.
QUICK = {
    "lenet n64 step",
    "autoencoder n64 step",
    "residual n16 step",
    "unet n16 step",
    "lenet n1 inference",
}

# The losses of two steps, relative to the larger: the second shows an error of a hundredth in a gradient, and rounding
# in float32 makes a hundredth of this.
LOSS = 2e-6


def cases(quick: bool) -> list[Case]:
    """A step and an inference of each model at each batch, or the representative few."""
    rows = [case(model, n, step) for step in (True, False) for model in networks.MODELS for n in BATCHES]
    return [row for row in rows if row.name in QUICK] if quick else rows


def case(model: str, batch: int, step: bool) -> Case:
    """One row: a step of training, or an inference."""
    images = {"x": (batch, *IMAGE)}
    target = networks.target_shape(model, images["x"])
    built = networks.build(model)
    forward = networks.flops(built, images["x"])
    parameters = size(*[parameter.shape for parameter in built.parameters()])
    kind = "step" if step else "inference"
    group, name = f"{kind}, {model}", f"{model} n{batch} {kind}"
    if not step:
        return Case(
            suite="training",
            group=group,
            name=name,
            operation="infer",
            arrays={**images},
            options={"model": model, "batch": batch},
            flops=forward,
            traffic=parameters + size(images["x"], built.output_shape(images["x"])),
        )
    return Case(
        suite="training",
        group=group,
        name=name,
        operation="train_step",
        arrays={**images, **({"target": target} if target else {})},
        options={"model": model, "batch": batch},
        # A layer's backward pass costs two forward ones, but nobody needs the images' gradient.
        flops=3 * forward - networks.first_flops(built, images["x"]),
        # Weights and their velocities are read and written.
        traffic=size(images["x"], *([target] if target else [])) + 4 * parameters,
        tolerance=LOSS,
    )
