"""Learning-rate schedules: each sets its optimizer's `lr` from a count of epochs or steps.

A rate is a function of the count alone, so a schedule's state is one number and the rate it began with.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from fastconv.nn import checks


class HasRate(Protocol):
    """Anything with a learning rate, such as an optimizer."""

    lr: float


class Schedule(ABC):
    """What all schedules share: the optimizer, the rate it came with, and the count.

    Attributes
    ----------
    every : {"epoch", "step"}
        When `Trainer` and `fit` call `step`: after each epoch, or after each step.
    """

    def __init__(self, optimizer: HasRate, every: str = "epoch") -> None:
        if every not in ("epoch", "step"):
            raise ValueError(f"every is {every!r}: 'epoch' and 'step' are accepted")
        self.optimizer, self.every = optimizer, every
        self.base, self.count = float(optimizer.lr), 0

    @abstractmethod
    def rate(self, count: int) -> float:
        """The learning rate after `count` steps of the schedule."""

    def step(self) -> None:
        """Count one more epoch or step, and set the optimizer's rate."""
        self.count += 1
        self.optimizer.lr = self.rate(self.count)

    def state_dict(self) -> dict[str, float]:
        """The count and the rate that it began with."""
        return {"count": self.count, "base": self.base}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        ValueError
            If the state's keys are not this schedule's; nothing has changed then.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"the schedule's state has the keys {sorted(state)}: {sorted(self.state_dict())} are accepted"
            )
        self.count, self.base = int(state["count"]), float(state["base"])
        self.optimizer.lr = self.rate(self.count)


class StepSchedule(Schedule):
    """The rate falls by a factor every few epochs: lr = base * gamma ** (count // step_size), as torch's StepLR.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float
    every : {"epoch", "step"}

    Raises
    ------
    ValueError
        If step_size is not an int of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> from fastconv.optim import SGD
    >>> optimizer = SGD([Parameter(np.zeros(1))], lr=1.0)
    >>> schedule = StepSchedule(optimizer, 2, gamma=0.5)
    >>> [(schedule.step(), optimizer.lr)[1] for _ in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: HasRate, step_size: int, gamma: float = 0.1, *, every: str = "epoch") -> None:
        super().__init__(optimizer, every)
        self.step_size = checks.count(step_size, "step_size")
        self.gamma = float(gamma)

    def rate(self, count: int) -> float:
        """Base * gamma ** (count // step_size)."""
        return float(self.base * self.gamma ** (count // self.step_size))


class CosineSchedule(Schedule):
    """The rate falls along half a cosine: lr = lr_min + (base - lr_min) * (1 + cos(pi * count / total)) / 2.

    As torch's CosineAnnealingLR, except that it stays at `lr_min` after `total` counts.

    Parameters
    ----------
    optimizer : Optimizer
    total : int
        Epochs or steps until the rate is `lr_min`.
    lr_min : float
    every : {"epoch", "step"}

    Raises
    ------
    ValueError
        If total is not an int of at least 1.

    References
    ----------
    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> from fastconv.optim import SGD
    >>> optimizer = SGD([Parameter(np.zeros(1))], lr=1.0)
    >>> schedule = CosineSchedule(optimizer, 2)
    >>> [(schedule.step(), round(optimizer.lr, 6))[1] for _ in range(3)]
    [0.5, 0.0, 0.0]
    """

    def __init__(self, optimizer: HasRate, total: int, lr_min: float = 0.0, *, every: str = "epoch") -> None:
        super().__init__(optimizer, every)
        self.total = checks.count(total, "total")
        self.lr_min = float(lr_min)

    def rate(self, count: int) -> float:
        """Half a cosine from base to lr_min."""
        turn = math.pi * min(count, self.total) / self.total
        return self.lr_min + (self.base - self.lr_min) * (1 + math.cos(turn)) / 2


class WarmupSchedule(Schedule):
    """The rate rises in equal steps to the optimizer's own, then another schedule takes over.

    lr = base * (count + 1) / warmup while count < warmup; from then on `after`'s rate for count - warmup, or base.

    Parameters
    ----------
    optimizer : Optimizer
    warmup : int
        Epochs or steps of the rise.
    after : Schedule, optional
        A schedule of the same optimizer; only this one's `step` is called.
    every : {"epoch", "step"}

    Raises
    ------
    ValueError
        If warmup is not an int of at least 1, or `after` belongs to another optimizer.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> from fastconv.optim import SGD
    >>> optimizer = SGD([Parameter(np.zeros(1))], lr=1.0)
    >>> schedule = WarmupSchedule(optimizer, 4)
    >>> [optimizer.lr, *[(schedule.step(), optimizer.lr)[1] for _ in range(4)]]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, optimizer: HasRate, warmup: int, after: Schedule | None = None, *, every: str = "epoch") -> None:
        super().__init__(optimizer, every)
        self.warmup = checks.count(warmup, "warmup")
        if after is not None and after.optimizer is not optimizer:
            raise ValueError("after is a schedule of another optimizer: one of the same optimizer is accepted")
        self.after = after
        self.base = self.base if after is None else after.base
        optimizer.lr = self.rate(0)

    def rate(self, count: int) -> float:
        """A line up to base, then after's."""
        if count < self.warmup:
            return self.base * (count + 1) / self.warmup
        return self.base if self.after is None else self.after.rate(count - self.warmup)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what `state_dict` gave; `after` begins with the same rate."""
        super().load_state_dict(state)
        if self.after is not None:
            self.after.base = self.base
            self.optimizer.lr = self.rate(self.count)
