"""What `fastconv warmup` does: the kernels of the models' training and of common layers are compiled ahead.

Kernels are compiled when they first run, and kept on disk; here they run, on small data, so that no later call waits.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import fastconv.functional as F
from fastconv import ndimage, nn, optim, signal
from fastconv.runs import RECIPES
from fastconv.template import match_template
from fastconv.training import Trainer
from fastconv.training.progress import bar

PIXELS = {1: (64,), 2: (14, 14), 3: (6, 7, 8)}  # by rank
LOSSES = ("mse_loss", "l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
Job = tuple[str, Callable[[], object]]


def warm_up(dtypes: Sequence[str] = ("float32",)) -> None:
    """Compile the kernels, those of layers for these dtypes; a bar on a terminal, else lines, show how far that is."""
    wanted = jobs(dtypes)
    shown = bar(len(wanted), "{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}")
    for place, (name, job) in enumerate(wanted, 1):
        started = time.perf_counter()
        if shown is None:
            job()
            sys.stderr.write(f"{place:>2}/{len(wanted)} {name}: {time.perf_counter() - started:.1f} s\n")
            sys.stderr.flush()
        else:
            shown.set_description_str(f"{name:<30}")
            job()
            shown.update()
    if shown is not None:
        shown.close()


def jobs(dtypes: Sequence[str]) -> list[Job]:
    """What runs, each with a name."""
    found: list[Job] = [(f"train {name}", partial(train, name)) for name in RECIPES]
    found += [(f"filters {dtype}", partial(filter_images, np.dtype(dtype))) for dtype in ("uint8", *dtypes)]
    for dtype in map(np.dtype, dtypes):
        found += [(f"{name} {dtype}", partial(use, layer, shape, dtype)) for name, layer, shape in layers(dtype)]
        found += [(f"losses {dtype}", partial(lose, dtype)), (f"optimizers {dtype}", partial(optimize, dtype))]
    return found


def train(name: str) -> None:
    """A step and a prediction of a model on noise, with and without threads."""
    recipe, rng = RECIPES[name], np.random.default_rng(0)
    model = recipe.build(0, 10)
    trainer = Trainer(model, recipe.loss, recipe.optimizer(model.parameters(), recipe.lr))
    for batch in (recipe.batch_size, 1):
        x = rng.random((batch, 1, 28, 28), np.float32)
        y = rng.integers(0, 10, batch) if recipe.loss == "cross_entropy" else x
        trainer.step(x, y)
        trainer.evaluate(x, y)


def layers(dtype: np.dtype[Any]) -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Common layers with their names and an image's shape."""
    for rank, pixels in PIXELS.items():
        for kind in (f"Conv{rank}d", f"ConvTranspose{rank}d"):
            made = getattr(nn, kind)
            yield f"{kind} 3", made(16, 16, 3, padding=1, dtype=dtype), (16, *pixels)
            yield f"{kind} 3, stride 2", made(16, 16, 3, stride=2, padding=1, dtype=dtype), (16, *pixels)
            yield f"{kind} 1", made(16, 16, 1, dtype=dtype), (16, *pixels)
            yield f"{kind} 3, depthwise", made(16, 16, 3, padding=1, groups=16, dtype=dtype), (16, *pixels)
            yield f"{kind} 5, one channel", made(1, 6, 5, dtype=dtype), (1, *pixels)
        for name in ("MaxPool", "AvgPool"):
            yield f"{name}{rank}d", getattr(nn, f"{name}{rank}d")(2), (3, *pixels)
        yield f"BatchNorm{rank}d", getattr(nn, f"BatchNorm{rank}d")(3, dtype=dtype), (3, *pixels)
    yield "Linear", nn.Linear(100, 50, dtype=dtype), (100,)
    for name in ("Tanh", "Sigmoid", "ReLU", "LeakyReLU", "ELU", "GELU", "Softplus", "Dropout"):
        yield name, getattr(nn, name)(), (10,)
    yield "GELU, tanh", nn.GELU("tanh"), (10,)
    yield "Softmax", nn.Softmax(1), (10,)
    yield "LogSoftmax", nn.LogSoftmax(1), (10,)
    yield "Upsample", nn.Upsample(scale_factor=2, mode="bilinear"), (3, 7, 7)


def use(layer: nn.Module, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """The layer and its gradients on one image, and on several."""
    for batch in (1, 8):
        y = layer.forward(np.ones((batch, *shape), dtype))
        layer.backward(y)


def filter_images(dtype: np.dtype[Any]) -> None:
    """Filters of an image and of a signal, of the sizes that have tiles of their own."""
    x = np.ones((200, 200), dtype)
    for size in (3, 5, 7, 9, 15):
        ndimage.correlate(x, np.random.default_rng(0).standard_normal((size, size)))
    for sigma in (1, 2, 3, 5):
        ndimage.gaussian_filter(x, sigma)
    ndimage.sobel(x)
    for function in (ndimage.uniform_filter, ndimage.maximum_filter, ndimage.minimum_filter):
        function(x, 3)
    signal.convolve(x[0], x[0, :9], "same")
    match_template(x, x[:9, :9])


def lose(dtype: np.dtype[Any]) -> None:
    """All losses and their gradients."""
    x, classes = np.full((4, 10), 0.5, dtype), np.zeros(4, np.int64)
    for target in (classes, x):
        F.cross_entropy_input_grad(F.cross_entropy(x, target), x, target)
    for name in LOSSES:
        getattr(F, f"{name}_input_grad")(getattr(F, name)(x, x), x, x)


def optimize(dtype: np.dtype[Any]) -> None:
    """A step of each optimizer."""
    for kind in (optim.SGD, optim.Adam, optim.AdamW):
        parameter = nn.Parameter(np.ones(5, dtype))
        parameter.add_grad(np.ones(5, dtype))
        kind([parameter], lr=0.1).step()
