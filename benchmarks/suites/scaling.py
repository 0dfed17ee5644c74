"""Cost against work: one extent grows, all else stays, over three decades of work.

Groups are "side", "channels", "batch" and "filter"; a case's point is the growing extent, `point(case)`. The time of a
good implementation is a straight line of slope one over FLOPs; the curve against threads is these cases run again.
"""

from __future__ import annotations

from dataclasses import replace

from ..case import Case
from . import filters
from .latency import layer

SIDES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # work grows with the square
CHANNELS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # likewise
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FILTERS = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63, 95)  # likewise; plain filters, which every library has
QUICK = {"side": (16, 64, 256), "channels": (4, 32, 128), "batch": (1, 32), "filter": (3, 11, 31)}
PLACES = {"side": ("x", 2), "channels": ("x", 1), "batch": ("x", 0), "filter": ("kernel", 0)}


def cases(quick: bool) -> list[Case]:
    """All points, or a few of each curve."""
    rows = [conv2d("side", side, 1, 16, 16, side) for side in SIDES]
    rows += [conv2d("channels", channels, 1, channels, channels, 32) for channels in CHANNELS]
    rows += [conv2d("batch", batch, batch, 8, 16, 14) for batch in BATCHES]
    rows += [
        replace(filters.dense(512, size, "float32"), suite="scaling", group="filter", name=f"filter {size}: 512x512")
        for size in FILTERS
    ]
    return [row for row in rows if point(row) in QUICK[row.group]] if quick else rows


def point(case: Case) -> int:
    """The extent that grows along the case's curve."""
    array, axis = PLACES[case.group]
    return case.arrays[array][axis]


def conv2d(group: str, value: int, batch: int, channels: int, count: int, side: int) -> Case:
    """A 3x3 layer that keeps the size."""
    x, grad = (batch, channels, side, side), (batch, count, side, side)
    name = f"{group} {value}: {batch}x{channels}x{side}x{side} {count} 3x3"
    return layer(x, (count, channels, 3, 3), grad, "forward", name, "scaling", group)
