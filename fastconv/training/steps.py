"""A trainer's step on a bound network: forward pass, loss, backward pass and update, over arrays that are there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import binding
from fastconv.nn.module import bind, calling
from fastconv.optim import clip_grad_norm
from fastconv.optim.bound import BoundUpdate, bound_update
from fastconv.training.profile import Profile
from fastconv.typing import Array

if TYPE_CHECKING:
    from fastconv.training.trainer import Trainer

STEPS = 20  # that a profile takes
LATE = {"binary_cross_entropy"}  # losses that look at the network's output, too, before they take it


class BoundStep:
    """The step for batches of one shape.

    Parameters
    ----------
    trainer : Trainer
    network : the backend's network
    target : Any
        Such as come with these batches; only arrays take no detour through Python's own loss.
    """

    def __init__(self, trainer: Trainer, network: Any, target: Any) -> None:
        self.trainer, self.network = trainer, network
        named = trainer.loss_name is not None and isinstance(target, np.ndarray)
        self.loss = network.loss(trainer.loss_name, target.shape, target.dtype) if named else None
        moved = network.may_spoil and network.counters  # statistics that a pass that is done again would move twice
        self.careful = bool(network.opaque or moved or self.loss is None or trainer.loss_name in LATE)
        self._updates: tuple[Any, Any] = (None, None)

    def __call__(self, x: Array, y: Any) -> float | None:
        """The loss; None, and nothing has changed, if this batch is not one for it."""
        network = self.network
        if not network.usable() or not (self.loss is None or self.loss.accepts(y)):
            return None
        network.show(x)
        if network.opaque:
            self.trainer.optimizer.zero_grad()
            with calling():
                return self._run(y)
        return self._run(y)

    def _run(self, y: Any) -> float | None:
        trainer, network = self.trainer, self.network
        network.forward()
        if self.loss is None:
            loss, network.grad_output[...] = trainer.loss(network.output.copy(), y)
        else:
            loss = self.loss()
            if loss is None:
                return None
        update = self._update() if trainer.clip_norm is None else None
        if not network.backward(whole=update is None):
            return None
        for parameter, gradient in network.gradients:
            parameter.grad = gradient
        if update is not None and update():
            return float(loss)
        if update is not None:  # it was another optimizer's
            network.end()
            self._updates = (None, None)
        if trainer.clip_norm is not None:
            clip_grad_norm(trainer.optimizer.parameters, trainer.clip_norm)
        trainer.optimizer.step()
        return float(loss)

    def profile(self, x: Array, y: Any) -> Profile:
        """Where the time of a step goes; the trainer is moved by some steps."""
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            self(x, y)
            times.append(time.perf_counter() - start)
        update = self._updates[1]
        rows = self.network.profile(self.loss, None if update is None else update.program)
        return Profile(tuple(rows), min(times), self.network.roof())

    def _update(self) -> BoundUpdate | None:
        """The optimizer's step as a program that computes what gradients are left, if it has one for these."""
        optimizer = self.trainer.optimizer
        if self._updates[0] is not optimizer:
            self._updates = optimizer, bound_update(optimizer, self.network)
        found: BoundUpdate | None = self._updates[1]
        return found


def bound_step(trainer: Trainer, x: Array, y: Any) -> BoundStep | None:
    """The step for batches of these shapes; None if the model can't be bound to them."""
    graph = binding.graph_of(trainer.model, bind, x.shape, x.dtype, True)
    network = binding.bound(graph, True)
    return None if network is None else BoundStep(trainer, network, y)
