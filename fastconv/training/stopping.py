"""Early stopping: the end of a training that no longer gets better."""

import math
from collections.abc import Mapping
from typing import Any

from fastconv.nn import checks
from fastconv.training.trainer import Trainer
from fastconv.typing import Array

Row = dict[str, Any]  # what is known of an epoch


class EarlyStopping:
    """Stop when the monitored number has not become better for some epochs.

    Parameters
    ----------
    patience : int
        Epochs without anything better before the end.
    monitor : {"val_loss", "val_metric", "loss"}
        Less is better, except for an accuracy.
    min_delta : float
        How much better counts as better.
    restore_best : bool
        Whether the model gets the weights of its best epoch when `fit` ends.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Prechelt, "Early stopping, but when?", 1998.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2, monitor="loss", restore_best=False)
    >>> for loss in (1.0, 0.5, 0.6, 0.7):
    ...     stopping.update(None, {"loss": loss}, "accuracy")
    >>> stopping.stopped, stopping.best
    (True, 0.5)
    """

    def __init__(
        self, patience: int = 5, monitor: str = "val_loss", min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        if monitor not in ("val_loss", "val_metric", "loss"):
            raise ValueError(f"monitor is {monitor!r}: 'val_loss', 'val_metric' and 'loss' are accepted")
        if not min_delta >= 0:
            raise ValueError(f"min_delta is {min_delta!r}: a number of at least 0 is accepted")
        self.patience = checks.count(patience, "patience")
        self.monitor, self.min_delta, self.restore_best = monitor, float(min_delta), restore_best
        self.best = math.inf
        self.waited = 0
        self._weights: dict[str, Array] = {}

    @property
    def stopped(self) -> bool:
        """Whether the patience is at its end."""
        return self.waited >= self.patience

    def update(self, trainer: Trainer, row: Row, metric: str) -> None:
        """Take note of an epoch."""
        value = float(row[self.monitor])
        value = -value if self.monitor == "val_metric" and metric == "accuracy" else value
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            self._weights = trainer.model.state_dict() if self.restore_best else {}
        else:
            self.waited += 1

    def finish(self, trainer: Trainer) -> None:
        """Give the model its best weights back."""
        if self._weights:
            trainer.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {".best": self.best, ".waited": self.waited, **self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.best, self.waited = float(state.get(".best", math.inf)), int(state.get(".waited", 0))
        self._weights = {key: value for key, value in state.items() if not key.startswith(".")}
