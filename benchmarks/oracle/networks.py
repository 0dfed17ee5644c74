"""Losses and answers of whole models, by fastconv's reference backend (NumPy, the slide's formulas) in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv

from ..case import Array
from ..networks import LEARNING_RATE, LOSSES, MOMENTUM, build, targets


def train_step(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """The losses of two steps from the same weights on the same batch."""
    name = options["model"]
    model = build(name, "float64")
    optimizer = fastconv.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    trainer = fastconv.training.Trainer(model, LOSSES[name], optimizer)
    target = targets(name, inputs)
    if target.dtype.kind == "f":
        target = target.astype(np.float64)
    with fastconv.use_backend("reference"):
        return {"loss": np.array([trainer.step(inputs["x"].astype(np.float64), target) for _ in range(2)])}


def infer(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """The model's answer in evaluation."""
    with fastconv.use_backend("reference"):
        return {"y": build(options["model"], "float64").eval()(inputs["x"].astype(np.float64))}


NETWORKS: dict[str, Callable[[dict[str, Array], dict[str, Any]], dict[str, Array]]] = {
    "train_step": train_step,
    "infer": infer,
}
