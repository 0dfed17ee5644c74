"""`fit` repeats a trainer's step over the epochs of a data set, and can be killed at any instant and resumed.

A run is fixed by its seed: the order of epoch e is drawn from (seed, e) alone, augmentation likewise, and dropout from
the generators of its layers, which a checkpoint keeps. So a resumed run has the weights of one that was never stopped.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import checkpoint as checkpoints
from fastconv.datasets import Dataset, Split
from fastconv.nn import checks
from fastconv.training.progress import EpochProgress
from fastconv.training.stopping import EarlyStopping, Row
from fastconv.training.trainer import Trainer, pair
from fastconv.typing import Array

Augment = Callable[[Array, np.random.Generator], Array]
Data = Dataset | Split | tuple[Any, Any]


def fit(
    trainer: Trainer,
    data: Data,
    epochs: int,
    batch_size: int = 64,
    *,
    validation: bool | Split | tuple[Any, Any] = True,
    callbacks: Iterable[Callable[[Trainer, Row], object]] = (),
    early_stopping: EarlyStopping | None = None,
    progress: bool = True,
    seed: int = 0,
    augment: Augment | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> list[Row]:
    """Train for some epochs, each over all images in an order drawn from the seed.

    Parameters
    ----------
    trainer : Trainer
    data : Dataset, Split or (x, y)
        The images to learn from; a data set also has those to validate with.
    epochs : int
        How many epochs the whole run has, resumed ones counted.
    batch_size : int
        Images in a step; an epoch's last batch may have fewer.
    validation : bool, Split or (x, y)
        What each epoch is evaluated with: the data set's test split (True), nothing, or other images.
    callbacks : iterable of callables
        Called with (trainer, row) after each epoch, before its checkpoint is written.
    early_stopping : EarlyStopping, optional
    progress : bool
        Whether to show a progress bar, or a line for each epoch where there is no terminal.
    seed : int
        Fixes the order of the images and the augmentation.
    augment : callable, optional
        A function of (x, generator) that returns a batch as changed as it likes, as in `fastconv.datasets.augment`.
    checkpoint : path, optional
        A file that is written after each epoch, whole or not at all.
    resume : bool
        Go on from the checkpoint; from the beginning where there is none yet.

    Returns
    -------
    list of dict
        A row for each epoch: epoch (from 1), loss, val_loss and val_metric (None without validation; accuracy for
        classes, else mean squared error), seconds and images_per_second (of the training alone), lr.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the checkpoint is damaged or belongs to another run; nothing is loaded then.
    OSError
        If the checkpoint can't be written; the one before is intact.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(np.int64)
    >>> model = nn.Sequential(nn.Linear(2, 2, rng=0))
    >>> trainer = Trainer(model, "cross_entropy", optim.Adam(model.parameters(), lr=0.1))
    >>> history = fit(trainer, (x, y), epochs=20, validation=(x, y), progress=False)
    >>> history[-1]["val_metric"] > 0.95
    True
    """
    train, held_out = _splits(data, validation)
    epochs, batch_size = checks.count(epochs, "epochs"), checks.count(batch_size, "batch_size")
    seed = checks.count(seed, "seed", least=0)
    if resume and checkpoint is None:
        raise ValueError("resume is True, checkpoint None: a checkpoint's path is accepted")
    if held_out is None and early_stopping is not None and early_stopping.monitor != "loss":
        raise ValueError(f"early_stopping monitors {early_stopping.monitor!r}, there is no validation: give validation")
    run = _Run(trainer, train, held_out, epochs, batch_size, seed, augment, progress, early_stopping, [])
    if resume and checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint)
    callbacks = tuple(callbacks)
    while len(run.history) < epochs and not (early_stopping and early_stopping.stopped):
        row = run.epoch(len(run.history) + 1)
        run.history.append(row)
        for callback in callbacks:
            callback(trainer, row)
        if checkpoint is not None:
            checkpoints.write(checkpoint, run.state_dict())
    if early_stopping is not None:
        early_stopping.finish(trainer)
    return run.history


@dataclass(slots=True)
class _Run:
    """One call of `fit`."""

    trainer: Trainer
    train: tuple[Array, Array]
    held_out: tuple[Array, Array] | None
    epochs: int
    batch_size: int
    seed: int
    augment: Augment | None
    progress: bool
    early_stopping: EarlyStopping | None
    history: list[Row]

    def epoch(self, number: int) -> Row:
        """Train for one epoch and evaluate; the epoch's row."""
        x, y = self.train
        trainer, metric = self.trainer, self.trainer.metric_name(y)
        shown = EpochProgress(number, self.epochs, len(x), metric, self.progress)
        order = _generator(self.seed, number, 0).permutation(len(x))
        drawn = _generator(self.seed, number, 1)
        lr, total, started = trainer.optimizer.lr, 0.0, time.perf_counter()
        try:
            for first in range(0, len(x), self.batch_size):
                batch = order[first : first + self.batch_size]
                images = x[batch] if self.augment is None else self.augment(x[batch], drawn)
                total += trainer.step(images, y[batch]) * len(batch)
                shown.update(len(batch), total / (first + len(batch)))
            seconds = time.perf_counter() - started
            result = None if self.held_out is None else trainer.evaluate(*self.held_out)
            row: Row = {
                "epoch": number,
                "loss": total / len(x),
                "val_loss": None if result is None else result.loss,
                "val_metric": None if result is None else result.metric,
                "seconds": seconds,
                "images_per_second": len(x) / seconds,
                "lr": lr,
            }
            shown.finish(row)
        finally:
            shown.close()
        if trainer.schedule is not None and trainer.schedule.every == "epoch":
            trainer.schedule.step()
        if self.early_stopping is not None:
            self.early_stopping.update(trainer, row, metric)
        return row

    def settings(self) -> dict[str, Any]:
        """What two parts of one run must have in common."""
        x, y = self.train
        return {"seed": self.seed, "batch_size": self.batch_size, "x": list(x.shape), "y": list(y.shape)}

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        stopping = {} if self.early_stopping is None else self.early_stopping.state_dict()
        return {
            **self.trainer.state_dict(),
            "early_stopping": stopping,
            "history": self.history,
            "settings": self.settings(),
        }

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint, or raise with everything as it was."""
        state = checkpoints.read(path)
        for name, value in self.settings().items():
            came = state.get("settings", {}).get(name)
            if came != value:
                raise ValueError(
                    f"{path} is of a run with {name} {came}, this one has {name} {value}: the same is accepted"
                )
        try:
            self.trainer.load_state_dict(state)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint of this trainer: {error}") from error
        if self.early_stopping is not None:
            self.early_stopping.load_state_dict(state["early_stopping"])
        self.history = state["history"]


def _splits(data: Data, validation: object) -> tuple[tuple[Array, Array], tuple[Array, Array] | None]:
    """The images and targets to learn from, and those to validate with."""
    train = pair(data.train if isinstance(data, Dataset) else data, "data")
    if validation is False or (validation is True and not isinstance(data, Dataset)):
        return train, None
    if validation is True and isinstance(data, Dataset):
        return train, pair(data.test, "data.test")
    return train, pair(validation, "validation")


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """A generator that depends on nothing but these, so that no state of it need be kept."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, stream)))
