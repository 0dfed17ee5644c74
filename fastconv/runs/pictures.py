"""The pictures of a run: what a trained model makes of its test images, computed here and drawn by `plot`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import functional, nn, plot
from fastconv.datasets import Dataset
from fastconv.models import Autoencoder
from fastconv.training import Trainer
from fastconv.typing import Array

SHOWN = 10  # images in a row of reconstructions


def draw(
    folder: Path,
    model: str,
    trainer: Trainer,
    loaded: Dataset,
    data: Dataset,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write a run's pictures into its folder; `data` is what was learnt from the set that was `loaded`."""
    outputs = trainer.predict(data.test.x)
    trainer.model.to_host()  # where its filters are drawn, and its layers called with the set's images
    figures = {"curves": plot.curves(history, trainer.metric_name(data.train.y)), **_first_layer(trainer, loaded, data)}
    if model in ("lenet", "residual"):
        figures |= _classification(outputs, loaded)
    else:
        figures |= _restoration(outputs, loaded, data)
    if isinstance(trainer.model, Autoencoder):
        figures |= _latent(trainer.model.eval(), loaded)
    for name, figure in figures.items():
        plot.save(figure, folder / f"{name}.png")


def _first_layer(trainer: Trainer, loaded: Dataset, data: Dataset) -> dict[str, Any]:
    """The filters of the first convolution, and what they make of the first test image."""
    layers = (module for _, module in trainer.model.eval().named_modules())
    first = next(module for module in layers if isinstance(module, nn.Conv2d))
    image = data.test.x[:1]
    return {
        "filters": plot.filters(first.weight.data),
        "feature_maps": plot.feature_maps(loaded.pixels(image)[0], first(image)[0]),
    }


def _classification(logits: Array, loaded: Dataset) -> dict[str, Any]:
    """Which classes were taken for which."""
    labels = loaded.test.y
    probabilities = functional.softmax(logits, 1)
    images = loaded.pixels(loaded.test.x)
    return {
        "confusion_matrix": plot.confusion_matrix(labels, logits.argmax(1), loaded.classes),
        "mistakes": plot.mistakes(images, labels, probabilities, loaded.classes),
    }


def _restoration(outputs: Array, loaded: Dataset, data: Dataset) -> dict[str, Any]:
    """What came out for an image of each class, beside what should have."""
    chosen = [int(np.flatnonzero(loaded.test.y == label)[0]) for label in np.unique(loaded.test.y)[:SHOWN]]
    noisy = None if data.test.x is data.test.y else data.test.x[chosen, 0]
    title = "Reconstructions" if noisy is None else "Noise removed"
    return {"reconstructions": plot.reconstructions(outputs[chosen, 0], data.test.y[chosen, 0], noisy, title)}


def _latent(model: Autoencoder, loaded: Dataset) -> dict[str, Any]:
    """The codes of the test images in the plane, and what the decoder makes of codes along each axis."""
    codes = model.encode(loaded.test.x)
    steps = np.linspace(-3, 3, 9).round(2)
    mean, deviation = codes.mean(0), codes.std(0)
    count = codes.shape[1]
    moved = mean + np.eye(count)[:, None] * deviation * steps[:, None]
    decoded = model.decode(moved.reshape(-1, count).astype(codes.dtype))
    return {
        "latent_plane": plot.latent_plane(codes, loaded.test.y, loaded.classes),
        "traversal": plot.traversal(decoded.reshape(count, len(steps), *decoded.shape[2:]), steps),
    }
