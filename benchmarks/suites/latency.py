"""The smallest useful calls, where what a call costs by itself is all there is.

Import and first calls are measured by `startup`, in processes of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..case import Case, size
from . import cost, filters

# With few seconds, these stand for the rest.
QUICK = {
    "conv2d 1x8x8 1 3x3 forward",
    "conv2d 1x8x8 1 3x3 weight gradient",
    "1-D 64 by 9 float32",
    "dense 3x3 on 8x8 float32",
    "max pool 1x8x8 2x2",
    "linear 16 10",
}


def cases(quick: bool) -> list[Case]:
    """All rows, or the representative few."""
    rows = [convolution(1, 1, 8, which) for which in ("forward", "input gradient", "weight gradient")]
    rows += [convolution(3, 8, 16, which) for which in ("forward", "input gradient", "weight gradient")]
    rows += [conv1d(64, 9), pooling("max"), pooling("avg"), linear(16, 10)]
    small = [
        *[filters.dense(8, 3, dtype) for dtype in ("float32", "float64", "uint8")],
        *[filters.dense(32, 3, "float32"), filters.gaussian(8, 1, "float32"), filters.gaussian(32, 1, "uint8")],
        *[filters.sobel(8, 0, "float32"), filters.convolve1d(64, 9, "float32"), filters.convolve1d(64, 9, "float64")],
        filters.match_template(16, 4, "ccoeff_normed", "float32"),
    ]
    rows += [replace(case, suite="latency", group="filters") for case in small]
    return [row for row in rows if row.name in QUICK] if quick else rows


def convolution(channels: int, count: int, side: int, which: str, suite: str = "latency", group: str = "") -> Case:
    """One pass of a 3x3 layer on one image, which keeps the size."""
    x, weight, grad = (1, channels, side, side), (count, channels, 3, 3), (1, count, side, side)
    return layer(x, weight, grad, which, f"conv2d {channels}x{side}x{side} {count} 3x3 {which}", suite, group)


def layer(
    x: cost.Shape, weight: cost.Shape, grad: cost.Shape, which: str, name: str, suite: str, group: str = ""
) -> Case:
    """One pass of a convolution with steps of one and odd filters, which keeps the size."""
    sides = [[taps // 2, taps // 2] for taps in weight[2:]]
    options: dict[str, Any] = {"stride": [1, 1], "padding": sides, "dilation": [1, 1], "groups": 1}
    operation, arrays, more = {
        "forward": ("conv2d", {"x": x, "weight": weight}, {}),
        "input gradient": ("conv2d_input_grad", {"weight": weight, "grad": grad}, {"input_size": list(x)}),
        "weight gradient": ("conv2d_weight_grad", {"x": x, "grad": grad}, {"weight_size": list(weight)}),
    }[which]
    return Case(
        suite=suite,
        group=group or "layers",
        name=name,
        operation=operation,
        arrays=arrays,
        options={**options, **more},
        flops=cost.convolution(x, weight, (1, 1), sides, (1, 1)),
        traffic=size(x, weight, grad),
    )


def conv1d(length: int, taps: int) -> Case:
    """A signal and a filter, one channel each."""
    x, weight, sides = (1, 1, length), (1, 1, taps), [[taps // 2, taps // 2]]
    return Case(
        suite="latency",
        group="layers",
        name=f"conv1d 1x{length} 1 {taps}",
        operation="conv1d",
        arrays={"x": x, "weight": weight},
        options={"stride": [1], "padding": sides, "dilation": [1], "groups": 1},
        flops=cost.convolution(x, weight, (1,), sides, (1,)),
        traffic=size(x, weight, x),
    )


def pooling(kind: str) -> Case:
    """An image halved; a comparison or an addition counts as one operation."""
    x, y = (1, 1, 8, 8), (1, 1, 4, 4)
    return Case(
        suite="latency",
        group="layers",
        name=f"{kind} pool 1x8x8 2x2",
        operation=f"{kind}_pool2d",
        arrays={"x": x},
        options={"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]},
        flops=64,
        traffic=size(x, y),
    )


def linear(features: int, count: int) -> Case:
    """One image's features."""
    arrays = {"x": (1, features), "weight": (count, features), "bias": (count,)}
    return Case(
        suite="latency",
        group="layers",
        name=f"linear {features} {count}",
        operation="linear",
        arrays=arrays,
        flops=2 * features * count,
        traffic=size(*arrays.values(), (1, count)),
    )
