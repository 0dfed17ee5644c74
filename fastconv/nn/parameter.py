"""A parameter: numbers that training changes, and the loss's gradient with respect to them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import placement
from fastconv.graph import structure
from fastconv.memory import aligned_copy
from fastconv.typing import Array, ArrayLike, Shape


class Parameter:
    """An array that an optimizer changes, with its gradient beside it.

    Parameters
    ----------
    data : array of float32, float64 or float16, any shape
        The values at the start; they are copied.

    Attributes
    ----------
    data : array
        The values. Optimizers and `load_state_dict` write into this array and never replace it; `to_device` and
        `to_host` do.
    grad : array of data's shape, or None
        What `backward` calls have added since the last `zero_grad`; None if there was none.

    Examples
    --------
    >>> weight = Parameter(np.array([1.0, 2.0]))
    >>> weight.add_grad(np.array([0.5, 0.5]))
    >>> weight.add_grad(np.array([0.5, 0.0]))
    >>> weight.grad
    array([1. , 0.5])
    """

    def __init__(self, data: ArrayLike) -> None:
        values = placement.to_host(data)
        if values.dtype.kind != "f" or values.dtype.itemsize > 8:
            raise TypeError(f"data is {values.dtype}: float32, float64 and float16 are accepted")
        self.data: Array = aligned_copy(values)
        self.grad: Array | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data":
            structure.changes += 1
        object.__setattr__(self, name, value)

    @property
    def shape(self) -> Shape:
        """The shape of data."""
        return self.data.shape

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of data."""
        return self.data.dtype

    def to_device(self) -> None:
        """Move the values, and the gradient if there is one, to the GPU, if they are not there."""
        self._move(placement.to_device)

    def to_host(self) -> None:
        """Move the values, and the gradient if there is one, to the computer's memory, if they are not there."""
        self._move(placement.to_host)

    def _move(self, move: Callable[[Any], Any]) -> None:
        data = move(self.data)
        if data is not self.data:
            self.data = data if placement.on_gpu(data) else aligned_copy(data)
        if self.grad is not None:
            self.grad = move(self.grad)

    def add_grad(self, grad: Array) -> None:
        """Add to `grad`; the first array becomes it."""
        if grad.shape != self.shape:
            raise ValueError(f"grad has shape {grad.shape}: {self.shape} is accepted")
        if self.grad is None:
            self.grad = grad
        else:
            self.grad += grad

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"
