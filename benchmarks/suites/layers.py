"""Real layers by name and shape: every pass of convolution, transposed convolution, pooling, and linear layers.

A group is a pass, so that its geometric mean is the pass's. A name is the network, C x H x W, the number of filters,
their size, the stride and the batch; "(wide)" marks the layers of 3x3, stride 1, 64 or more channels on both sides and
14 or more pixels along both axes, where Winograd's method can be used. These are also asked for by the direct method
alone, whose part of the roof shows what the kernels are worth; fastconv has those groups for itself.
"""

from __future__ import annotations

import inspect
from dataclasses import replace

from fastconv import functional

from ..case import Case, size
from . import cost
from .shapes import CONVOLUTIONS, LINEAR, POOLING, TRANSPOSED, Convolution, Linear, Pooling, Transposed

BATCHES = (1, 16)
PASSES = ("forward", "input gradient", "weight gradient")
DTYPES = ("float32", "float64")
FLOAT64 = 1e-12  # relative to the largest: sums of up to a million products, each rounded to 1e-16

# With few seconds, these stand for the rest.
QUICK = {
    "resnet50 3x224x224 64 7x7 s2 n1 forward",
    "resnet50 64x56x56 64 3x3 s1 n1 forward (wide)",
    "resnet50 256x14x14 256 3x3 s1 n1 forward (wide)",
    "resnet50 512x7x7 512 3x3 s1 n1 forward",
    "resnet50 64x56x56 256 1x1 s1 n1 forward",
    "resnet50 128x56x56 128 3x3 s2 n1 forward",
    "mobilenet 128x56x56 depthwise 3x3 s1 n1 forward",
    "mobilenet 512x14x14 512 1x1 s1 n1 forward",
    "lenet 6x14x14 16 5x5 s1 n16 forward",
    "speech 32x79x341 32 5x10 s2 n1 forward",
    "resnet50 64x56x56 64 3x3 s1 n1 input gradient (wide)",
    "resnet50 64x56x56 256 1x1 s1 n1 input gradient",
    "resnet50 128x56x56 128 3x3 s2 n1 input gradient",
    "mobilenet 128x56x56 depthwise 3x3 s1 n1 input gradient",
    "resnet50 64x56x56 64 3x3 s1 n1 weight gradient (wide)",
    "resnet50 64x56x56 256 1x1 s1 n1 weight gradient",
    "resnet50 128x56x56 128 3x3 s2 n1 weight gradient",
    "mobilenet 128x56x56 depthwise 3x3 s1 n1 weight gradient",
    "autoencoder 32x7x7 16 3x3 s2 n16 transposed",
    "dcgan 256x16x16 128 4x4 s2 n1 transposed",
    "small unet 64x7x7 32 2x2 s2 n16 transposed",
    "resnet50 max 64x112x112 3x3 s2 n1 forward",
    "resnet50 max 64x112x112 3x3 s2 n1 input gradient",
    "resnet50 2048 1000 n16 forward",
    "resnet50 2048 1000 n16 weight gradient",
}


def cases(quick: bool) -> list[Case]:
    """All rows, or the representative few."""
    rows = [convolution(layer, n, which) for which in PASSES for layer in CONVOLUTIONS for n in BATCHES]
    wide = [layer for layer in CONVOLUTIONS if is_wide(layer)]
    rows += [convolution(layer, 1, which, "float64") for which in PASSES for layer in wide]
    rows += [direct(layer, which, dtype) for dtype in DTYPES for which in PASSES for layer in wide if can_choose(which)]
    rows += [transposed(layer, n) for layer in TRANSPOSED for n in BATCHES]
    rows += [pooling(layer, n, which) for layer in POOLING for n in BATCHES for which in PASSES[: passes(layer)]]
    rows += [linear(layer, n, which) for layer in LINEAR for n in BATCHES for which in PASSES]
    return [row for row in rows if row.name in QUICK] if quick else rows


def is_wide(layer: Convolution) -> bool:
    """Whether it is one of the large 3x3 layers."""
    three, one = layer.taps == (3, 3), layer.stride == (1, 1)
    return three and one and layer.groups == 1 and min(layer.channels, layer.filters) >= 64 and min(layer.size) >= 14


def convolution(layer: Convolution, batch: int, which: str, dtype: str = "float32") -> Case:
    """One pass of a convolutional layer."""
    padding, dilation = [(p, p) for p in layer.padding], (1, 1)
    x = (batch, layer.channels, *layer.size)
    weight = (layer.filters, layer.channels // layer.groups, *layer.taps)
    pixels = cost.output_size(layer.size, layer.taps, layer.stride, padding, dilation)
    grad = (batch, layer.filters, *pixels)
    options = {
        "stride": list(layer.stride),
        "padding": [list(pair) for pair in padding],
        "dilation": [1, 1],
        "groups": layer.groups,
    }
    ways: dict[str, tuple[str, dict[str, cost.Shape], dict[str, list[int]]]] = {
        "forward": ("conv2d", {"x": x, "weight": weight}, {}),
        "input gradient": ("conv2d_input_grad", {"weight": weight, "grad": grad}, {"input_size": list(x)}),
        "weight gradient": ("conv2d_weight_grad", {"x": x, "grad": grad}, {"weight_size": list(weight)}),
    }
    operation, arrays, more = ways[which]
    filters = "depthwise" if layer.groups > 1 else str(layer.filters)
    wide = " (wide)" if is_wide(layer) else ""
    single = dtype == "float32"
    return Case(
        suite="layers",
        group=which if single else f"{which}, {dtype}",
        name=f"{layer.network} {spatial(layer.channels, layer.size)} {filters} {layer.taps[0]}x{layer.taps[1]} "
        f"s{layer.stride[0]} n{batch} {which}{wide}{'' if single else ' ' + dtype}",
        operation=operation,
        arrays=arrays,
        options={**options, **more},
        dtype=dtype,
        flops=cost.convolution(x, weight, layer.stride, padding, dilation),
        traffic=size(x, weight, grad, itemsize=4 if single else 8),
        tolerance=1e-4 if single else FLOAT64,
    )


def can_choose(which: str) -> bool:
    """Whether this version of fastconv lets its caller name the method of that pass."""
    name = {"forward": "conv2d", "input gradient": "conv2d_input_grad", "weight gradient": "conv2d_weight_grad"}[which]
    return "algorithm" in inspect.signature(getattr(functional, name)).parameters


def direct(layer: Convolution, which: str, dtype: str) -> Case:
    """One pass of a layer by the direct method, on one image."""
    case = convolution(layer, 1, which, dtype)
    pass_, _, double = case.group.partition(", ")
    return replace(
        case,
        group=f"{pass_}, direct" + (f", {double}" if double else ""),
        name=f"{case.name}, direct",
        options={**case.options, "algorithm": "direct"},
        alone=True,
    )


def transposed(layer: Transposed, batch: int) -> Case:
    """A transposed convolution, forward."""
    taps, stride, padding, extra = (
        (number, number) for number in (layer.taps, layer.stride, layer.padding, layer.output_padding)
    )
    x, weight = (batch, layer.channels, *layer.size), (layer.channels, layer.filters, *taps)
    pixels = cost.transposed_size(layer.size, taps, stride, padding, extra, (1, 1))
    y = (batch, layer.filters, *pixels)
    # The convolution of y that it is the input gradient of: what output_padding adds after, its padding lacks there.
    pairs = [(layer.padding, layer.padding - layer.output_padding)] * 2
    return Case(
        suite="layers",
        group="transposed",
        name=f"{layer.network} {spatial(layer.channels, layer.size)} {layer.filters} {layer.taps}x{layer.taps} "
        f"s{layer.stride} n{batch} transposed",
        operation="conv_transpose2d",
        arrays={"x": x, "weight": weight},
        options={
            "stride": list(stride),
            "padding": list(padding),
            "output_padding": list(extra),
            "groups": 1,
            "dilation": [1, 1],
        },
        flops=cost.convolution(y, weight, stride, pairs, (1, 1)),
        traffic=size(x, weight, y),
    )


def passes(layer: Pooling) -> int:
    """How many of the passes a pooling has here: the mean's gradient is no search, and is left out."""
    return 2 if layer.kind == "max" else 1


def pooling(layer: Pooling, batch: int, which: str) -> Case:
    """Pooling; a comparison or an addition counts as one operation."""
    window, stride, padding = ((number, number) for number in (layer.window, layer.stride, layer.padding))
    pairs, plane = [(p, p) for p in padding], (layer.size, layer.size)
    x = (batch, layer.channels, *plane)
    y = (*x[:2], *cost.output_size(plane, window, stride, pairs, (1, 1)))
    seen = batch * layer.channels * cost.products(plane, window, stride, pairs, (1, 1))
    forward = which == "forward"
    return Case(
        suite="layers",
        group="pooling",
        name=f"{layer.network} {layer.kind} {spatial(layer.channels, plane)} {layer.window}x{layer.window} "
        f"s{layer.stride} n{batch} {which}",
        operation=f"{layer.kind}_pool2d" if forward else "max_pool2d_grad",
        arrays={"x": x} if forward else {"x": x, "grad": y},
        options={"kernel_size": list(window), "stride": list(stride), "padding": list(padding)},
        flops=seen if forward else size(y, itemsize=1),
        # The gradient reads an index beside each of grad_output's pixels (PyTorch's have 8 bytes), and not x.
        traffic=size(x, y) if forward else size(x, y) + size(y, itemsize=8),
    )


def linear(layer: Linear, batch: int, which: str) -> Case:
    """One pass of a fully connected layer."""
    x, weight, grad = (batch, layer.features), (layer.filters, layer.features), (batch, layer.filters)
    ways: dict[str, tuple[str, dict[str, cost.Shape]]] = {
        "forward": ("linear", {"x": x, "weight": weight, "bias": (layer.filters,)}),
        "input gradient": ("linear_input_grad", {"weight": weight, "grad": grad}),
        "weight gradient": ("linear_weight_grad", {"x": x, "grad": grad}),
    }
    operation, arrays = ways[which]
    return Case(
        suite="layers",
        group="linear",
        name=f"{layer.network} {layer.features} {layer.filters} n{batch} {which}",
        operation=operation,
        arrays=arrays,
        flops=2 * batch * layer.features * layer.filters,
        traffic=size(x, weight, grad),
    )


def spatial(channels: int, pixels: tuple[int, int]) -> str:
    """C x H x W."""
    return f"{channels}x{pixels[0]}x{pixels[1]}"
