"""The suites: a module each, with `cases(quick) -> list[Case]`."""

from __future__ import annotations

import importlib
from typing import Any

SUITES = {
    "layers": "layers",
    "training": "training",
    "filters": "filters",
    "latency": "latency",
    "memory": "memory",
    "scaling": "scaling",
    "drawn": "drawn",
}


def load(name: str) -> Any:
    """The module of the suite of that name."""
    if name not in SUITES:
        raise ValueError(f"suite is {name!r}: one of {', '.join(SUITES)} is accepted")
    return importlib.import_module(f"{__name__}.{SUITES[name]}")
