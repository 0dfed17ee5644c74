"""Which backend computes: the folders beside this file are the registry.

A backend is a package with the modules and functions of `reference`, the oracle. The active one is, in this order: the
innermost `use_backend` around the call, the environment variable `FASTCONV_BACKEND`, "cpu". One that was asked for and
can't run is an error; nothing ever runs elsewhere in silence.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType

import numpy as np

from fastconv import geometry

NAMES = ("cpu", "cuda", "reference")
_chosen: ContextVar[str | None] = ContextVar("fastconv backend", default=None)


def backend_name() -> str:
    """The name of the backend that computes here and now: "cpu", "cuda" or "reference"."""
    return _chosen.get() or _from_environment()


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Compute with the backend `name` inside a `with` block; other threads keep theirs.

    Parameters
    ----------
    name : {"cpu", "cuda", "reference"}

    Raises
    ------
    ValueError
        If there is no backend of that name.
    BackendUnavailableError
        If it can't run here; the message says what to install or set.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.use_backend("reference"):
    ...     fastconv.backend_name()
    'reference'
    """
    load(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def clear_cache() -> None:
    """Release what fastconv keeps for later calls: workspaces that no call is using, and all plans.

    The next call of each geometry plans anew and fetches fresh memory; compiled kernels stay, in memory and on disk.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.clear_cache()
    """
    for name, found in list(sys.modules.items()):
        if name.startswith(f"{__name__.partition('.')[0]}."):
            for value in list(vars(found).values()):
                # Caches of plans and geometries are bounded, those of compiled code are not.
                parameters = getattr(value, "cache_parameters", None)
                if parameters is not None and parameters()["maxsize"] is not None:
                    value.cache_clear()
    geometry.forget()
    for name in ("cpu.workspace", "cpu.outputs", "cuda.device"):
        memory = sys.modules.get(f"{__name__}.{name}")
        if memory is not None:
            memory.clear()


def module(concept: str, array: object = None) -> ModuleType:
    """The module of that name, such as "convolution", of the active backend, or of that which the array belongs to."""
    if array is None or type(array) is np.ndarray:
        return _module(_chosen.get() or _from_environment(), concept)
    return _module("cuda", concept)


def optional(concept: str) -> ModuleType | None:
    """The active backend's module of that name, or None if it has none: then its caller goes another way."""
    return _optional(_chosen.get() or _from_environment(), concept)


@cache
def load(name: str, asked_by: str = "use_backend") -> ModuleType:
    """The backend's package."""
    if name not in NAMES:
        raise ValueError(f"{asked_by} is {name!r}: one of {', '.join(NAMES)} is accepted")
    package = importlib.import_module(f"{__name__}.{name}")
    if hasattr(package, "require"):
        package.require()
    return package


@cache
def _from_environment() -> str:
    name = os.environ.get("FASTCONV_BACKEND") or "cpu"
    load(name, "the environment variable FASTCONV_BACKEND")
    return name


@cache
def _module(name: str, concept: str) -> ModuleType:
    return importlib.import_module(f"{load(name).__name__}.{concept}")


@cache
def _optional(name: str, concept: str) -> ModuleType | None:
    if importlib.util.find_spec(f"{load(name).__name__}.{concept}") is None:
        return None
    return _module(name, concept)
