"""Optimizers: names, defaults and results of `torch.optim`.

Notation: `w` parameter, `g` gradient, `v` velocity, `m` and `s` running means of the gradient and of its square, `t`
step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastconv import backends, placement
from fastconv.memory import aligned_copy
from fastconv.nn import Parameter, checks
from fastconv.typing import Array


class Optimizer(ABC):
    """What all optimizers share: the parameters, the numbers that rule the steps, and arrays kept for each parameter.

    Attributes
    ----------
    parameters : list of Parameter
    lr : float
        The learning rate; a schedule, or anyone, may set it between steps.
    """

    _rule = ""  # what bound networks' programs call it

    def __init__(self, parameters: Iterable[Parameter], lr: float, **numbers: float | bool) -> None:
        self.parameters = _parameters(parameters)
        self.lr = checks.at_least(lr, "lr", 0)
        self._numbers = numbers
        self._kept: list[dict[str, Any]] = [{} for _ in self.parameters]

    def __init_subclass__(cls, **options: Any) -> None:
        """A class with a step of its own has no program."""
        super().__init_subclass__(**options)
        if vars(cls).keys() & {"step", "_move"} and "_rule" not in vars(cls):
            cls._rule = ""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move each parameter that has a gradient; the others stay as they are.

        Raises
        ------
        ValueError, TypeError
            If a gradient's shape or dtype is not its parameter's; nothing has moved then.
        """
        for index, parameter in enumerate(self.parameters):
            _check_grad(parameter, index)
        for parameter, kept in zip(self.parameters, self._kept, strict=True):
            if parameter.grad is None:
                continue
            dtype = _computed(parameter)
            self._follow(parameter, kept)
            data = placement.ready(parameter.data, dtype)
            self._move(data, placement.ready(parameter.grad, dtype), kept)
            if data is not parameter.data:  # float16 was computed in float32
                parameter.data[...] = data

    def _follow(self, parameter: Parameter, kept: dict[str, Any]) -> None:
        """Bring what is kept for a parameter to where it lives."""
        there = placement.on_gpu(parameter.data)
        for name, value in kept.items():
            if isinstance(value, np.ndarray) if there else placement.on_gpu(value):
                kept[name] = placement.to_device(value) if there else aligned_copy(placement.to_host(value))

    def _moments(self) -> tuple[str, ...]:
        """The names of the arrays that a program needs for each parameter; asked at each step, so made at none."""
        return ()

    def _update(self, update: Callable[..., None], first: bool) -> bool:
        """Move all parameters by the backend's program; False if they can't be moved together."""
        raise NotImplementedError

    @abstractmethod
    def _move(self, data: Array, grad: Array, kept: dict[str, Any]) -> None:
        """Update one parameter's data, and what is kept for it, in place."""

    @abstractmethod
    def _empty(self, data: Array) -> dict[str, Any]:
        """What is kept for a parameter once it has moved: arrays of its shape, and counts."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on but parameters and gradients: numbers, and arrays such as "0.velocity"."""
        state: dict[str, Any] = {"lr": self.lr, **self._numbers}
        for index, kept in enumerate(self._kept):
            for name, value in kept.items():
                state[f"{index}.{name}"] = value if isinstance(value, int) else np.array(placement.to_host(value))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises
        ------
        ValueError
            If a key is missing or unexpected, or an array's shape is not its parameter's; nothing has changed then.
        """
        numbers = ["lr", *self._numbers]
        missing = [name for name in numbers if name not in state]
        if missing:
            raise ValueError(f"the optimizer's state lacks {', '.join(missing)}: a state of {type(self).__name__}")
        loaded: list[dict[str, Any]] = [{} for _ in self.parameters]
        for key, value in state.items():
            if key not in numbers:
                index, name = self._place(key)
                loaded[index][name] = self._checked(key, value, self.parameters[index], name)
        for index, kept in enumerate(loaded):
            partial = set(self._empty(self.parameters[index].data)) - set(kept) if kept else set()
            if partial:
                raise ValueError(f"the optimizer's state lacks {', '.join(f'{index}.{name}' for name in partial)}")
        self.lr = checks.at_least(state["lr"], "lr", 0)
        self._numbers = {name: type(value)(state[name]) for name, value in self._numbers.items()}
        self._kept = loaded

    def _place(self, key: str) -> tuple[int, str]:
        """The parameter's index and the name in a key such as "0.velocity"."""
        index, _, name = key.partition(".")
        if index.isdecimal() and int(index) < len(self.parameters) and name in self._empty(np.empty(0)):
            return int(index), name
        count = len(self.parameters)
        raise ValueError(f"{key!r} is not part of the state of {type(self).__name__} over {count} parameters")

    def _checked(self, key: str, value: object, parameter: Parameter, name: str) -> object:
        """A value for `key`, of the type and shape that it must have."""
        if not isinstance(self._empty(np.empty(0))[name], np.ndarray):
            return int(checks.at_least(value, key, 0))
        array = placement.to_host(value)
        if array.shape != parameter.data.shape:
            raise ValueError(f"{key} has shape {array.shape}: its parameter's, {parameter.data.shape}, is accepted")
        return aligned_copy(np.asarray(array, _computed(parameter)))


class SGD(Optimizer):
    """Gradient descent with momentum, as `torch.optim.SGD`.

    g <- g + weight_decay * w;  v <- momentum * v + (1 - dampening) * g (v <- g in the first step);
    w <- w - lr * v, or, with Nesterov's momentum, w <- w - lr * (g + momentum * v).

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Learning rate.
    momentum : float
    dampening : float
    weight_decay : float
        Strength of the L2 penalty.
    nesterov : bool
        Needs momentum, and no dampening.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or a number is out of range.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -0.5])
    >>> SGD([w], lr=0.1).step()
    >>> w.data
    array([0.95, 2.05])
    """

    _rule = "sgd"

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        numbers = {
            "momentum": checks.at_least(momentum, "momentum", 0),
            "dampening": checks.real(dampening, "dampening"),
            "weight_decay": checks.at_least(weight_decay, "weight_decay", 0),
        }
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"nesterov is True, momentum {momentum} and dampening {dampening}: Nesterov's momentum is accepted "
                "with a momentum above 0 and no dampening"
            )
        super().__init__(parameters, lr, **numbers, nesterov=bool(nesterov))

    def _moments(self) -> tuple[str, ...]:
        return ("velocity",) if self._numbers["momentum"] != 0 else ()

    def _update(self, update: Callable[..., None], first: bool) -> bool:
        n = self._numbers
        update(self.lr, n["momentum"], n["dampening"], n["weight_decay"], n["nesterov"], first)
        return True

    def _move(self, data: Array, grad: Array, kept: dict[str, Any]) -> None:
        first = not kept
        if first and self._numbers["momentum"] != 0:
            kept.update(self._empty(data))
        velocity = kept.get("velocity", data)
        n = self._numbers
        backends.module("optimizer", data).sgd(
            data, grad, velocity, self.lr, n["momentum"], n["dampening"], n["weight_decay"], n["nesterov"], first
        )

    def _empty(self, data: Array) -> dict[str, Any]:
        return {"velocity": _zeros(data)}


class Adam(Optimizer):
    """Adam, as `torch.optim.Adam`.

    g <- g + weight_decay * w;  m <- beta1 * m + (1 - beta1) * g;  s <- beta2 * s + (1 - beta2) * g ** 2;
    w <- w - lr * (m / (1 - beta1 ** t)) / (sqrt(s / (1 - beta2 ** t)) + eps).

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Learning rate.
    betas : (float, float)
        How slowly the means of the gradient and of its square forget.
    eps : float
        Keeps the divisor from zero.
    weight_decay : float
        Strength of the L2 penalty.

    Raises
    ------
    TypeError, ValueError
        If there are no parameters, or a number is out of range.

    References
    ----------
    Kingma, Ba, "Adam: a method for stochastic optimization", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -0.5])
    >>> Adam([w], lr=0.1).step()
    >>> w.data.round(6)
    array([0.9, 2.1])
    """

    decoupled = False
    _rule = "adam"

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        rates = tuple(betas) if isinstance(betas, tuple | list) else ()
        if len(rates) != 2 or not all(0 <= checks.real(beta, "betas") < 1 for beta in rates):
            raise ValueError(f"betas is {betas!r}: two numbers of at least 0 and below 1 are accepted")
        super().__init__(
            parameters,
            lr,
            beta1=float(rates[0]),
            beta2=float(rates[1]),
            eps=checks.at_least(eps, "eps", 0),
            weight_decay=checks.at_least(weight_decay, "weight_decay", 0),
        )

    def _moments(self) -> tuple[str, ...]:
        return "mean", "square"

    def _update(self, update: Callable[..., None], first: bool) -> bool:
        n, step = self._numbers, self._kept[0]["step"]
        if any(kept["step"] != step for kept in self._kept):
            return False
        for kept in self._kept:
            kept["step"] += 1
        update(step + 1, self.lr, n["beta1"], n["beta2"], n["eps"], n["weight_decay"], self.decoupled)
        return True

    def _move(self, data: Array, grad: Array, kept: dict[str, Any]) -> None:
        if not kept:
            kept.update(self._empty(data))
        kept["step"] += 1
        n = self._numbers
        backends.module("optimizer", data).adam(
            data,
            grad,
            kept["mean"],
            kept["square"],
            kept["step"],
            self.lr,
            n["beta1"],
            n["beta2"],
            n["eps"],
            n["weight_decay"],
            self.decoupled,
        )

    def _empty(self, data: Array) -> dict[str, Any]:
        return {"mean": _zeros(data), "square": _zeros(data), "step": 0}


class AdamW(Adam):
    """Adam with decoupled weight decay, as `torch.optim.AdamW`: w <- w - lr * weight_decay * w before Adam's own step.

    Parameters are `Adam`'s, with a weight decay of 0.01 unless told.

    References
    ----------
    Loshchilov, Hutter, "Decoupled weight decay regularization", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> w = Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([0.5, -0.5])
    >>> AdamW([w], lr=0.1, weight_decay=0.1).step()
    >>> w.data.round(6)
    array([0.89, 2.08])
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)


def _zeros(data: Array) -> Array:
    """As many zeros, where the parameter lives."""
    if placement.on_gpu(data):
        return np.zeros_like(data)
    return aligned_copy(np.broadcast_to(np.zeros((), data.dtype), data.shape))


def _parameters(parameters: object) -> list[Parameter]:
    """The parameters as a list, each once."""
    found: list[Any] = list(parameters) if isinstance(parameters, Iterable) else [parameters]
    wrong = [type(parameter).__name__ for parameter in found if not isinstance(parameter, Parameter)]
    if wrong:
        raise TypeError(f"parameters holds {wrong[0]}: an iterable of Parameter is accepted, as model.parameters()")
    if not found:
        raise ValueError("parameters is empty: at least one Parameter is accepted")
    if len({id(parameter) for parameter in found}) != len(found):
        raise ValueError("parameters holds one Parameter twice: each is accepted once")
    return found


def _computed(parameter: Parameter) -> np.dtype[Any]:
    """The dtype that a parameter's step is computed in: its own, float32 for float16."""
    dtype = np.dtype(parameter.data.dtype)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _check_grad(parameter: Parameter, index: int) -> None:
    """Raise unless the gradient, where there is one, has its parameter's shape and dtype."""
    if parameter.grad is None:
        return
    data, grad = parameter.data, parameter.grad
    if grad.shape != data.shape:
        raise ValueError(f"the gradient of parameter {index} has shape {grad.shape}: {data.shape} is accepted")
    if grad.dtype != data.dtype:
        raise TypeError(f"the gradient of parameter {index} is {grad.dtype}: its own dtype, {data.dtype}, is accepted")
    placement.together(**{f"parameter {index}": data, "its gradient": grad})
