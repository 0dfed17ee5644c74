"""How an operation is named and its options are read, for every peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def by_rank(operation: str) -> tuple[str, int]:
    """The operation's name without its number of axes, and that number: "conv2d_input_grad" is conv_input_grad of 2."""
    for rank in (1, 2, 3):
        if f"{rank}d" in operation:
            return operation.replace(f"{rank}d", ""), rank
    return operation, 0


def as_tuple(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(as_tuple, value)) if isinstance(value, list | tuple) else value


def symmetric(padding: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """One int an axis from pairs of padding (before, after), or None where they differ."""
    return tuple(before for before, _ in padding) if all(before == after for before, after in padding) else None
