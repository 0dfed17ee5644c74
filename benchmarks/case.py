"""A case: one operation on arrays of given shapes, as every library is asked to do it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One row of a suite.

    Attributes
    ----------
    suite, group, name : str
        Where the row stands; the name is unique in its suite, and geometric means are taken over groups.
    operation : str
        What peers and the oracle look up.
    arrays : dict
        Shapes of the inputs, by name.
    options : dict
        The operation's other arguments, as JSON has them.
    dtype : str
        Of the inputs.
    flops : int
        What the direct method needs, padding left out: 2 for each multiplication with its addition.
    traffic : int
        Bytes, each input read once and each output written once.
    tolerance : float
        The largest error accepted, relative to the largest expected magnitude.
    measure : {"time", "memory"}
        Seconds a call, or the peak of bytes beyond inputs and outputs.
    alone : bool
        Whether fastconv has the row for itself.
    """

    suite: str
    group: str
    name: str
    operation: str
    arrays: dict[str, tuple[int, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    flops: int = 0
    traffic: int = 0
    tolerance: float = 1e-4
    measure: str = "time"
    alone: bool = False

    @property
    def key(self) -> str:
        return f"{self.suite}/{self.group}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Case:
        arrays = {name: tuple(shape) for name, shape in fields["arrays"].items()}
        return cls(**{**fields, "arrays": arrays})

    def inputs(self) -> dict[str, Array]:
        """The inputs, the same in every process: standard normal, or all values of an integer dtype alike."""
        identity = json.dumps([self.operation, self.arrays, self.options, self.dtype], sort_keys=True)
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]))
        dtype = np.dtype(self.dtype)
        if dtype.kind == "u":
            return {name: rng.integers(0, 256, shape, dtype) for name, shape in self.arrays.items()}
        narrow = np.float32 if dtype == np.float32 else np.float64
        return {name: rng.standard_normal(shape, narrow).astype(dtype) for name, shape in self.arrays.items()}


def size(*shapes: tuple[int, ...], itemsize: int = 4) -> int:
    """Bytes of arrays of these shapes."""
    return itemsize * sum(prod(shape) for shape in shapes)
