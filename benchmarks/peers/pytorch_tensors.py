"""Where PyTorch's arrays lie: on its default device."""

from __future__ import annotations

from typing import Any

import torch

from ..case import Array


def tensor(array: Array) -> Any:
    """A tensor of an array's numbers: over the same memory on the processor, a copy on a GPU."""
    return torch.from_numpy(array).to(torch.get_default_device())
