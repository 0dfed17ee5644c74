"""Binding: a model and an input shape become a network with arrays of its own, which is run many times.

A binding holds as long as what it was made of: the model's structure, its layers' options and its parameters' arrays,
the backend, the number of threads. The values of parameters may change. Each model keeps a few, one for each shape.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from fastconv import algorithms, backends, rewrites, threads
from fastconv.graph import Graph, Value, structure
from fastconv.typing import Array, Shape

__all__ = ["Bindings", "bound", "evaluated", "graph_of", "setting"]

KEPT = 8  # bindings of a model
DTYPES = {np.dtype(np.float32), np.dtype(np.float64)}

Bind = Callable[[Any, Graph, Value], Value]


class Bindings:
    """What a model was bound to, by shapes and settings; the one that was not used for longest is dropped."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._signature: list[Any] = []
        self._modes: Hashable = ()
        self._changes = -1
        self.lock = threading.Lock()  # of the arrays: whoever can't have it goes without

    def __deepcopy__(self, memo: Any) -> Bindings:
        return Bindings()

    def __reduce__(self) -> Any:
        return Bindings, ()

    def get(self, model: Any, key: Hashable, build: Callable[[], Any]) -> Any:
        """What `build` gave for this key while the model was as it is now."""
        if self._changes != structure.changes:
            changes, signature = structure.changes, signed(model)
            if not matches(signature, self._signature):
                self._found.clear()
                self._signature = signature
            self._modes = tuple([module.training for _, module in model.named_modules()])
            self._changes = changes
        key = key, self._modes
        if key in self._found:
            found = self._found[key]
            if len(self._found) > 1:
                self._found[key] = self._found.pop(key)
            return found
        found = self._found[key] = build()
        while len(self._found) > KEPT:
            del self._found[next(iter(self._found))]
        return found

    def drop(self, key: Hashable) -> None:
        """Let this key stand for nothing as long as the model is as it is now."""
        self._found[key, self._modes] = None


def signed(model: Any) -> list[Any]:
    """All that a binding depends on in a model, but its parameters' values: to be compared by identity."""
    found: list[Any] = []
    for _, module in model.named_modules():
        found += [module, *module.bound_to()]
    found += [parameter.data for parameter in model.parameters()]
    return found


def matches(a: list[Any], b: list[Any]) -> bool:
    """Whether the same objects are in both."""
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def setting() -> Hashable:
    """What a binding depends on besides the model and the input."""
    return backends.backend_name(), threads.get_num_threads(), algorithms.preferred


def graph_of(model: Any, bind: Bind, shape: Shape, dtype: np.dtype[Any], training: bool) -> Graph | None:
    """The model's operations for inputs of a shape, rewritten; None if there are none that a backend could bind.

    What is wrong with a model or an input, the layers say better when they are called.
    """
    ready = dtype in DTYPES and algorithms.preferred == "auto" and 0 not in shape and len(shape) > 1
    arrays = [parameter.data for parameter in model.parameters()]
    if not ready or any(array.dtype != dtype or not isinstance(array, np.ndarray) for array in arrays):
        return None
    if any(module.training is not training for _, module in model.named_modules()):
        return None
    graph = Graph(shape, dtype)
    try:
        graph.output = bind(model, graph, graph.input)
    except (TypeError, ValueError):
        return None
    if graph.output is graph.input or any(0 in value.shape for value in graph.values):
        return None
    return rewrites.rewritten(graph)


def bound(graph: Graph | None, training: bool) -> Any:
    """The active backend's network for a graph; None if it has none."""
    network = backends.optional("network")
    return None if graph is None or network is None else network.Network(graph, training, threads.get_num_threads())


def evaluated(model: Any, bind: Bind, x: Array) -> Array | None:
    """y of a model in evaluation; None if it can't be bound, or another thread is computing with it."""
    bindings: Bindings | None = model._bindings
    if bindings is None:
        bindings = model._bindings = Bindings()
    if not bindings.lock.acquire(blocking=False):
        return None
    try:
        key = x.shape, x.dtype, setting()
        network = bindings.get(model, key, lambda: bound(graph_of(model, bind, x.shape, x.dtype, False), False))
        if network is None or network.opaque or not network.usable():
            return None
        network.show(x)
        network.forward()
        return np.array(network.output)
    finally:
        bindings.lock.release()
