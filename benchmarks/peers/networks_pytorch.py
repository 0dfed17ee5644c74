"""The four models as PyTorch's modules, with fastconv's weights."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from .. import networks
from ..networks import Layer
from ..operations import symmetric
from . import Unsupported


class Residual(nn.Module):
    """branch(x) + shortcut(x)."""

    def __init__(self, branch: Any, shortcut: Any = None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        return self.branch(x) + (x if self.shortcut is None else self.shortcut(x))


class Concat(nn.Sequential):
    """The branches' channels one after another."""

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self], 1)


def module(model: str, dtype: str) -> Any:
    """The model of that name."""
    source = networks.build(model, dtype)
    built = translated(networks.described(source)).to(getattr(torch, dtype))
    built.load_state_dict({key: torch.from_numpy(array) for key, array in source.state_dict().items()})
    return built


def translated(layer: Layer) -> Any:
    """A layer and all below it; children keep their names, so that the state's keys are the same."""
    if layer.children:
        children = OrderedDict((child.name.rpartition(".")[2], translated(child)) for child in layer.children)
        if layer.kind == "Residual":
            return Residual(**children)
        return (Concat if layer.kind == "Concat" else nn.Sequential)(children)
    options = dict(layer.options)
    if "padding" in options:
        options["padding"] = symmetric(networks.padding_pairs(options["padding"]))
        if options["padding"] is None:
            raise Unsupported("PyTorch pads both sides alike")
    return getattr(nn, layer.kind)(**options)
