"""Layers that exist for signals, images and volumes: one class holds all they share, three subclasses name a rank."""

from typing import Any

from fastconv import functional
from fastconv.nn.module import Module


class Ranked(Module):
    """A layer of `rank` spatial axes: x is (N, C, *spatial), or (C, *spatial) for a single one."""

    rank: int

    def operation(self, name: str, *arguments: Any) -> Any:
        """The operation of `fastconv.functional` whose name has this rank in the place of braces."""
        return getattr(functional, name.format(self.rank))(*arguments)
