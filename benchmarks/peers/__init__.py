"""The libraries that are compared: a file each, imported only in the library's own process."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

from ..case import Array, Case

# name -> the modules that must be installed
LIBRARIES = {
    "fastconv": ["fastconv"],
    "pytorch": ["torch"],
    "jax": ["jax"],
    "opencv": ["cv2"],
    "scipy": ["scipy"],
    "numpy": ["numpy"],
    "onnxruntime": ["onnxruntime", "onnx"],
}


# Of these, who has a module NAME_cuda_peer beside its own, by which it computes on a GPU.
ON_GPU = ("fastconv", "pytorch")
PRECISION = "FASTCONV_BENCH_PRECISION"  # the environment variable by which its process knows that it is to, and how


class Unsupported(Exception):  # noqa: N818 (not an error: the library has no such operation)
    """The library does not offer the case's operation."""


class Peer(Protocol):
    """What a peer's module gives.

    Attributes
    ----------
    compiles : bool
        Whether a first call compiles, so that its time says nothing of the next ones'.

    A peer may have a method `remark(case)`, whose answer goes with its row, a clock of its own,
    `elapsed(call, repeats) -> seconds`, of so many calls one after the other, and a measure of the moment,
    `roof(case) -> FLOP/s`, of nothing but multiply-adds: what else the machine does slows both down. It is None where
    it tells nothing of what computed.
    """

    compiles: bool

    def version(self) -> str:
        """The library's version."""
        ...

    def prepare(self, case: Case, inputs: dict[str, Array]) -> dict[str, Callable[[], Any]]:
        """The case's call in each variant that the library offers (such as memory layouts), inputs already in place.

        Raises Unsupported where the library has no such operation.
        """
        ...

    def finish(self, answer: Any) -> Any:
        """Wait until an answer that was asked for is there."""
        ...

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        """An answer as arrays in the oracle's layout, by the oracle's names ("y" where there is one)."""
        ...


def installed() -> list[str]:
    """The peers that can be compared here, fastconv first."""
    return [name for name, modules in LIBRARIES.items() if all(map(importlib.util.find_spec, modules))]


def load(name: str, threads: int, precision: str | None = None) -> Peer:
    """The peer of that name, set to a number of threads; with a precision that which computes on a GPU."""
    if precision is None:
        peer: Peer = importlib.import_module(f"{__name__}.{name}_peer").peer(threads)
        return peer
    on_gpu: Peer = importlib.import_module(f"{__name__}.{name}_cuda_peer").peer(threads, precision)
    return on_gpu
