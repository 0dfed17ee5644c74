"""A model, its loss and its optimizer together: one step, and one evaluation."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastconv import backends, binding, functional, placement
from fastconv.datasets import Split
from fastconv.graph import UnforeseenError
from fastconv.nn import Module, checks
from fastconv.optim import Optimizer, Schedule, clip_grad_norm
from fastconv.training.profile import Profile
from fastconv.training.steps import BoundStep, bound_step
from fastconv.typing import Array, ArrayLike

Loss = Callable[[Array, Any], tuple[Any, Array]]

LOSSES = {
    "binary_cross_entropy": "binary_cross_entropy",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
    "cross_entropy": "cross_entropy",
    "l1": "l1_loss",
    "mse": "mse_loss",
}


class Evaluation(NamedTuple):
    """What a model makes of a set of images."""

    loss: float
    metric: float  # the part of the images that it classified rightly, or the mean squared error


class Trainer:
    """A model, the loss that it is to make small, and the optimizer that does so.

    Parameters
    ----------
    model : Module
    loss : str or callable
        "cross_entropy", "mse", "l1", "binary_cross_entropy", "binary_cross_entropy_with_logits", or a function of
        (y, target) that returns the loss and its gradient with respect to y.
    optimizer : Optimizer
        Over the model's parameters.
    schedule : Schedule, optional
        Sets the optimizer's rate, after each step or each epoch of `fit`, as its `every` says.
    clip_norm : float, optional
        The largest L2 norm of all gradients together.

    Raises
    ------
    ValueError
        If there is no loss of that name, or clip_norm is below 0.
    TypeError
        If the loss is neither a name nor callable, or another argument is not of its kind.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False, rng=0))
    >>> trainer = Trainer(model, "mse", optim.SGD(model.parameters(), lr=0.1))
    >>> x, y = np.eye(2, dtype=np.float32), np.array([[3], [-1]], np.float32)
    >>> losses = [trainer.step(x, y) for _ in range(200)]
    >>> model(x).round(3)
    array([[ 3.],
           [-1.]], dtype=float32)
    """

    def __init__(
        self,
        model: Module,
        loss: str | Loss,
        optimizer: Optimizer,
        *,
        schedule: Schedule | None = None,
        clip_norm: float | None = None,
    ) -> None:
        kinds = {"model": (model, Module), "optimizer": (optimizer, Optimizer)}
        if schedule is not None:
            kinds["schedule"] = (schedule, Schedule)
        for name, (value, kind) in kinds.items():
            if not isinstance(value, kind):
                article = "an" if kind is Optimizer else "a"
                raise TypeError(f"{name} is {value!r}: {article} {kind.__name__} is accepted")
        if clip_norm is not None and not clip_norm >= 0:
            raise ValueError(f"clip_norm is {clip_norm!r}: None is accepted, or a number of at least 0")
        self.model, self.optimizer, self.schedule, self.clip_norm = model, optimizer, schedule, clip_norm
        self.loss_name = loss if isinstance(loss, str) else None
        self.loss = named_loss(loss) if isinstance(loss, str) else loss
        if not callable(self.loss):
            raise TypeError(f"loss is {loss!r}: a name is accepted, or a function of (y, target)")
        self._bindings = binding.Bindings()
        self._classifies = loss == "cross_entropy"

    def step(self, x: ArrayLike, y: ArrayLike) -> float:
        """One step of the optimizer on one batch.

        Parameters
        ----------
        x : array (N, ...)
            A batch, as the model takes it.
        y : array (N, ...)
            The targets, as the loss takes them.

        Returns
        -------
        float
            The batch's loss before the step. Gradients are left in the parameters' `grad`, in arrays that the next
            step writes over.

        Raises
        ------
        TypeError, ValueError
            What the layers and the loss raise on bad input; the model is then what it was.
        """
        known = self.loss_name is not None or isinstance(y, np.ndarray) or placement.on_gpu(y)
        images, y = self._placed(x), self._placed(y) if known else y
        loss = None if placement.on_gpu(images) else self._bound_step(images, y)
        if loss is None:
            loss = self._whole(self._step_by_layers, images, y)
        assert loss is not None  # of layers there is always one
        if self.schedule is not None and self.schedule.every == "step":
            self.schedule.step()
        return loss

    def _placed(self, array: Any) -> Any:
        """A batch's array where the model computes; the cuda backend moves the model to the GPU, where it stays."""
        if backends.backend_name() == "cuda":
            self.model.to_device()
        elif not placement.on_gpu(self.optimizer.parameters[0].data):
            return placement.as_array(array)
        return placement.to_device(array)

    def profile(self, x: ArrayLike, y: ArrayLike) -> Profile:
        """Where the time of a step on such a batch goes; the trainer is afterwards what it was before.

        Parameters
        ----------
        x, y
            As in `step`.

        Returns
        -------
        Profile
            Its text is a table: kernel, time, part of a step, part of the machine's roof.

        Raises
        ------
        RuntimeError
            If the model can't be bound to such a batch, so that there are no kernels but the layers' own.
        TypeError, ValueError
            As `step`.
        """
        before = self.state_dict()
        try:
            self.step(x, y)
            images = self._placed(x)
            step = None if placement.on_gpu(images) else self._bound(images, y)
            if step is None:
                raise RuntimeError("the model is not bound to such a batch: its layers are called one by one")
            return step.profile(images, y)
        finally:
            self.load_state_dict(before)

    def _bound(self, x: Array, y: ArrayLike) -> BoundStep | None:
        """The step on the network that the model is bound to for such a batch; None if there is none."""
        found: BoundStep | None = self._bindings.get(self.model, self._key(x, y), lambda: bound_step(self, x, y))
        return found

    def _key(self, x: Array, y: ArrayLike) -> Hashable:
        form = (y.shape, y.dtype) if isinstance(y, np.ndarray) else None
        return x.shape, x.dtype, form, self.loss, binding.setting()

    def _bound_step(self, x: Array, y: ArrayLike) -> float | None:
        """A step on the network that the model is bound to for x; None, and nothing has changed, if there is none."""
        if not self._bindings.lock.acquire(blocking=False):
            return None
        try:
            step = self._bound(x, y)
            if step is None:
                return None
            return self._whole(step, x, y) if step.careful else step(x, y)
        except UnforeseenError:
            self._bindings.drop(self._key(x, y))
            return None
        finally:
            self._bindings.lock.release()

    def _step_by_layers(self, x: Array, y: ArrayLike) -> float:
        """A step that calls layer after layer."""
        self.model.train()
        self.optimizer.zero_grad()
        loss, grad = self.loss(self.model(x), y)
        self.model.backward(grad)
        if self.clip_norm is not None:
            clip_grad_norm(self.optimizer.parameters, self.clip_norm)
        self.optimizer.step()
        return float(placement.to_host(loss))  # one's own may be an array, without axes

    def _whole(self, step: Callable[[Array, ArrayLike], float | None], x: Array, y: ArrayLike) -> float | None:
        """A step, or all as it was: where it raises, or gives no loss."""
        state, drawn = self._buffers(), self.model.random_state()
        loss = None
        try:
            loss = step(x, y)
        finally:
            if loss is None:
                self.model.load_state_dict(state, strict=False)
                self.model.load_random_state(drawn)
                self.optimizer.zero_grad()
        return loss

    def _buffers(self) -> dict[str, Array]:
        """Copies of what a forward pass changes: the running statistics of normalisation."""
        return {
            f"{prefix}.{name}" if prefix else name: getattr(module, name).copy()
            for prefix, module in self.model.named_modules()
            for name in module.buffers
            if getattr(module, name) is not None
        }

    def predict(self, x: ArrayLike, batch_size: int = 256) -> Array:
        """The model's output for x in eval mode, computed in batches."""
        training = self.model.training
        images = self._placed(x)
        back = placement.as_array if placement.on_gpu(x) else placement.to_host
        self.model.eval()
        try:
            parts = [back(self.model(images[i : i + batch_size])) for i in range(0, max(1, len(images)), batch_size)]
        finally:
            self.model.train(training)
        return np.concatenate(parts)

    def evaluate(self, x: ArrayLike, y: ArrayLike, batch_size: int = 256) -> Evaluation:
        """The mean loss over a set in eval mode, and the metric: accuracy for classes, else the mean squared error.

        Parameters
        ----------
        x : array (N, ...)
        y : array (N, ...)
            The targets; class indices, or what the output should be.
        batch_size : int
            How many images are computed at a time; a few large batches are fast, small ones need little memory.

        Returns
        -------
        Evaluation
            (loss, metric).

        Raises
        ------
        TypeError, ValueError
            What the layers and the loss raise on bad input, and if there are no images.
        """
        images, targets = pair((x, y), "x and y")
        batch_size = checks.count(batch_size, "batch_size")
        losses, metrics = 0.0, 0.0
        for i in range(0, len(images), batch_size):
            target = targets[i : i + batch_size]
            output = placement.to_host(self.predict(images[i : i + batch_size], batch_size))
            losses += float(self.loss(output, target)[0]) * len(target)
            metrics += self._metric(output, target) * len(target)
        return Evaluation(losses / len(images), metrics / len(images))

    def metric_name(self, y: ArrayLike) -> str:
        """The metric for targets such as `y`: "accuracy" or "mse"."""
        return "accuracy" if self._classifies or np.asarray(y).dtype.kind in "iu" else "mse"

    def _metric(self, output: Array, target: Array) -> float:
        if self.metric_name(target) == "mse":
            return float(np.square(np.subtract(output, target, dtype=np.float64)).mean())
        classes = target if target.dtype.kind in "iu" else target.argmax(1)
        return float((output.argmax(1) == classes).mean())

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """All that the next step depends on: the model, its generators, the optimizer and the schedule."""
        return {
            "model": self.model.state_dict(),
            "random": self.model.random_state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": {} if self.schedule is None else self.schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        ValueError
            If anything in it does not fit; nothing has changed then.
        """
        lacking = [section for section in ("model", "random", "optimizer", "schedule") if section not in state]
        if lacking:
            raise ValueError(f"the state lacks {', '.join(lacking)}")
        if bool(state["schedule"]) != (self.schedule is not None):
            has, came = ("one", "none") if self.schedule is not None else ("none", "one")
            raise ValueError(f"the trainer has {has} schedule, the state {came}: the same in both is accepted")
        before = self.state_dict()
        try:
            self._load(state)
        except Exception:
            self._load(before)
            raise

    def _load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.model.load_random_state(state["random"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            rate = self.optimizer.lr
            self.schedule.load_state_dict(state["schedule"])
            self.optimizer.lr = rate  # a callback may have set it


def named_loss(name: str) -> Loss:
    """The loss of that name and its gradient, as a function of (y, target)."""
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}: {', '.join(LOSSES)} are accepted, or a function of (y, target)")
    value = getattr(functional, LOSSES[name])
    gradient = getattr(functional, f"{LOSSES[name]}_input_grad")
    return lambda y, target: (value(y, target), gradient(None, y, target))


def pair(data: object, name: str) -> tuple[Array, Array]:
    """The images and the targets of a split or of a tuple (x, y): as many of the one as of the other, at least one."""
    if isinstance(data, Split):
        x, y = data.x, data.y
    elif isinstance(data, tuple | list) and len(data) == 2:
        x, y = placement.to_host(data[0]), placement.to_host(data[1])
    else:
        raise TypeError(f"{name} is {type(data).__name__}: a Split is accepted, or a pair (x, y)")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{name} has x {x.shape} and y {y.shape}: as many images as targets, at least 1, are accepted")
    return x, y
