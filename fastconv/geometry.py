"""Output sizes, padding and taps: integers only.

The course's formulas, for one axis of `h` pixels, a filter of `k` taps (spread over `d * (k - 1) + 1` pixels by a
dilation of `d`), a stride of `s` and `p` pixels of padding on both sides together:

- convolution and pooling: `(h - k + p + s) // s`
- transposed convolution:  `(h - 1) * s - p + k + output_padding`

Every function here checks what it is given, so that no later floor has to, and is cached: a layer that runs a thousand
times is checked once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from math import prod
from operator import is_
from typing import Any

from fastconv.arguments import explicit_pairs, hashable, per_axis, settled
from fastconv.typing import Padding, Pairs, Shape, Size


@dataclass(frozen=True, slots=True)
class Convolution:
    """The geometry of a cross-correlation: all that depends on shapes alone."""

    batch: int
    in_channels: int
    out_channels: int
    input_size: Shape
    kernel_size: Shape
    output_size: Shape
    stride: Shape
    padding: Pairs
    dilation: Shape
    groups: int
    input_shape: Shape = field(init=False, repr=False, compare=False)  # (N, C, *input_size)
    weight_shape: Shape = field(init=False, repr=False, compare=False)  # (O, C / groups, *kernel_size)
    output_shape: Shape = field(init=False, repr=False, compare=False)  # (N, O, *output_size)
    hashed: int = field(init=False, repr=False, compare=False)  # it keys caches that every call asks

    def __post_init__(self) -> None:
        values = tuple([getattr(self, item.name) for item in fields(self) if item.init])
        for name, value in {
            "input_shape": (self.batch, self.in_channels, *self.input_size),
            "weight_shape": (self.out_channels, self.in_channels // self.groups, *self.kernel_size),
            "output_shape": (self.batch, self.out_channels, *self.output_size),
            "hashed": hash(values),
        }.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return self.hashed

    @property
    def reach(self) -> Shape:
        """Pixels of the padded input that the windows touch, for each axis."""
        return reach(self.output_size, self.kernel_size, self.stride, self.dilation)

    @property
    def flops(self) -> int:
        """Multiplications and additions with the taps that lie in the input; those of each gradient are as many."""
        axes = zip(
            self.input_size,
            self.output_size,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        )
        pairs = prod(sum(_meeting(h, q, r * d - before, s) for r in range(k)) for h, q, k, s, (before, _), d in axes)
        return 2 * self.batch * self.out_channels * (self.in_channels // self.groups) * pairs


@dataclass(frozen=True, slots=True)
class Pooling:
    """The geometry of a sliding window over each channel by itself."""

    input_size: Shape
    kernel_size: Shape
    output_size: Shape
    stride: Shape
    padding: Pairs
    dilation: Shape

    @property
    def reach(self) -> Shape:
        """Pixels of the padded input that the windows touch, for each axis."""
        return reach(self.output_size, self.kernel_size, self.stride, self.dilation)


def reach(output_size: Shape, kernel_size: Shape, stride: Shape, dilation: Shape) -> Shape:
    """Pixels from the first that a window touches to the last, for each axis."""
    taps = zip(output_size, kernel_size, stride, dilation, strict=True)
    return tuple((q - 1) * s + span(k, d) for q, k, s, d in taps)


def _meeting(size: int, windows: int, shift: int, stride: int) -> int:
    """Windows whose tap, `shift` pixels from the window's start, lies in the input."""
    first, last = max(0, -(shift // stride)), min(windows - 1, (size - 1 - shift) // stride)
    return max(0, last - first + 1)


def span(kernel: int, dilation: int) -> int:
    """Pixels that a dilated filter covers."""
    return dilation * (kernel - 1) + 1


def padding_pairs(
    padding: object, input_size: Shape, kernel_size: Shape, stride: Shape, dilation: Shape, name: str = "padding"
) -> Pairs:
    """(before, after) for each axis, from any accepted form of padding.

    "same" makes the output `ceil(input / stride)` pixels; where the padding is odd, the odd pixel comes after.
    """
    padding, rank = hashable(padding, name), len(input_size)
    if padding == "valid":
        return ((0, 0),) * rank
    if padding == "same":
        return tuple(
            halves(max((-(-h // s) - 1) * s + span(k, d) - h, 0))
            for h, k, s, d in zip(input_size, kernel_size, stride, dilation, strict=True)
        )
    return explicit_pairs(padding, rank, name)


def halves(total: int) -> tuple[int, int]:
    """`total` pixels of padding as (before, after); the odd one after."""
    return total // 2, total - total // 2


def covered(size: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int], axis: int) -> int:
    """Output pixels of one axis: `(h - k + p + s) // s`, at least 1."""
    padded = size + sum(padding)
    if padded < span(kernel, dilation):
        raise ValueError(
            f"the filter covers {span(kernel, dilation)} pixels along spatial axis {axis}, x has {size} and "
            f"{padded - size} of padding: a filter no larger than the padded input is accepted"
        )
    return (padded - span(kernel, dilation) + stride) // stride


def channel_groups(groups: object, in_channels: int, out_channels: int) -> int:
    """`groups` as an int that divides the channels on both sides."""
    (count,) = per_axis(groups, 1, "groups", 1)
    if in_channels % count or out_channels % count:
        raise ValueError(
            f"groups is {count}, the channels are {in_channels} in and {out_channels} out: a common divisor of both "
            "is accepted"
        )
    return count


def convolution(
    x_shape: Shape, weight_shape: Shape, stride: object, padding: object, dilation: object, groups: object
) -> Convolution:
    """The geometry of `conv(x, weight)`: x (N, C, *spatial), weight (O, C / groups, *kernel)."""
    key = x_shape, weight_shape
    known = _known.get(key)
    if known and known[1] is stride and known[2] is padding and known[3] is dilation and known[4] is groups:
        found: Convolution = known[0]
    else:
        found = settled(_known, key, _convolution, SIZES, (stride, padding, dilation, groups))
    return found


# What calls with these shapes gave last, and the geometry of it: who calls again gives the same objects.
_known: dict[Any, Any] = {}
_known_transposed: dict[Any, Any] = {}
SIZES = "stride", "padding", "dilation", "groups"
TRANSPOSED_SIZES = "stride", "padding", "output_padding", "groups", "dilation"


def forget() -> None:
    """Drop what is known of earlier calls."""
    _known.clear()
    _known_transposed.clear()


@lru_cache(maxsize=4096)
def _convolution(
    x_shape: Shape, weight_shape: Shape, stride: object, padding: object, dilation: object, groups: object
) -> Convolution:
    rank = len(x_shape) - 2
    channels, filters, kernel_size = x_shape[1], weight_shape[0], weight_shape[2:]
    per_axis(kernel_size, rank, "the filter's size", 1)
    strides = per_axis(stride, rank, "stride", 1)
    dilations = per_axis(dilation, rank, "dilation", 1)
    count = channel_groups(groups, channels, filters)
    if weight_shape[1] * count != channels:
        parts = f" in {count} groups" if count > 1 else ""
        raise ValueError(
            f"weight has {weight_shape[1]} input channels, x has {channels}{parts}: shapes {weight_shape} and {x_shape}"
        )
    pairs = padding_pairs(padding, x_shape[2:], kernel_size, strides, dilations)
    axes = zip(x_shape[2:], kernel_size, strides, dilations, pairs, range(rank), strict=True)
    output_size = tuple(covered(*axis) for axis in axes)
    return _the_one(
        x_shape[0], channels, filters, x_shape[2:], kernel_size, output_size, strides, pairs, dilations, count
    )


def conv_transpose(
    x_shape: Shape,
    weight_shape: Shape,
    stride: object,
    padding: object,
    output_padding: object,
    groups: object,
    dilation: object,
) -> Convolution:
    """The geometry of the convolution whose input gradient is `conv_transpose(x, weight)`.

    x (N, C, *spatial), weight (C, O / groups, *kernel): what is input there is output here.
    """
    key, given = (x_shape, weight_shape), (stride, padding, output_padding, groups, dilation)
    known = _known_transposed.get(key)
    if known and all(map(is_, known[1:], given)):
        found: Convolution = known[0]
    else:
        found = settled(_known_transposed, key, _conv_transpose, TRANSPOSED_SIZES, given)
    return found


@lru_cache(maxsize=4096)
def _conv_transpose(
    x_shape: Shape,
    weight_shape: Shape,
    stride: object,
    padding: object,
    output_padding: object,
    groups: object,
    dilation: object,
) -> Convolution:
    rank, size, kernel_size = len(x_shape) - 2, x_shape[2:], weight_shape[2:]
    per_axis(kernel_size, rank, "the filter's size", 1)
    strides = per_axis(stride, rank, "stride", 1)
    dilations = per_axis(dilation, rank, "dilation", 1)
    extra = per_axis(output_padding, rank, "output_padding", 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ValueError(
            f"output_padding is {extra}, stride {strides}, dilation {dilations}: less than the larger of stride and "
            "dilation is accepted, on each axis"
        )
    if weight_shape[0] != x_shape[1]:
        raise ValueError(
            f"weight has {weight_shape[0]} input channels, x has {x_shape[1]}: shapes {weight_shape} and {x_shape}"
        )
    count = channel_groups(groups, x_shape[1], weight_shape[0])
    filters = weight_shape[1] * count
    if padding == "same":  # the transpose of a "same" convolution over h * s pixels, which has ceil(h * s / s) = h
        pairs = tuple(halves(max(span(k, d) - s, 0)) for k, s, d in zip(kernel_size, strides, dilations, strict=True))
        output_size = tuple(h * s + e for h, s, e in zip(size, strides, extra, strict=True))
    else:
        pairs = padding_pairs(padding, size, kernel_size, strides, dilations)
        axes = zip(size, strides, pairs, kernel_size, dilations, extra, strict=True)
        output_size = tuple((h - 1) * s - sum(p) + span(k, d) + e for h, s, p, k, d, e in axes)
    if min(output_size) < 1:
        raise ValueError(
            f"the output's size would be {output_size} from x {x_shape}, weight {weight_shape}, stride {strides} and "
            f"padding {pairs}: at least 1 pixel on each axis is accepted"
        )
    return _the_one(x_shape[0], filters, x_shape[1], output_size, kernel_size, size, strides, pairs, dilations, count)


@lru_cache(maxsize=4096)
def _the_one(*values: Any) -> Convolution:
    """The geometry of these values, always the same object: caches that it keys find it without comparing values."""
    return Convolution(*values)


def pooling(
    input_size: Shape, kernel_size: object, stride: object, padding: object, dilation: object, ceil_mode: bool
) -> Pooling:
    """The geometry of a window that slides over `input_size`; `stride` None means the window's own size."""
    return _pooling(
        input_size,
        hashable(kernel_size, "kernel_size"),
        None if stride is None else hashable(stride, "stride"),
        hashable(padding, "padding"),
        hashable(dilation, "dilation"),
        bool(ceil_mode),
    )


@lru_cache(maxsize=4096)
def _pooling(
    input_size: Shape, kernel_size: object, stride: object, padding: object, dilation: object, ceil_mode: bool
) -> Pooling:
    rank = len(input_size)
    if min(input_size) < 1:
        raise ValueError(f"x has {input_size} pixels: at least 1 on each axis is accepted")
    kernels = per_axis(kernel_size, rank, "kernel_size", 1)
    strides = kernels if stride is None or stride == () else per_axis(stride, rank, "stride", 1)
    dilations = per_axis(dilation, rank, "dilation", 1)
    pairs = padding_pairs(padding, input_size, kernels, strides, dilations)
    for pair, k, d in zip(pairs, kernels, dilations, strict=True):
        if max(pair) >= span(k, d):
            raise ValueError(
                f"padding is {pairs}, the window covers {span(k, d)} pixels: less than the window is accepted, or a "
                "window would see padding alone"
            )
    axes = zip(input_size, kernels, strides, dilations, pairs, range(rank), strict=True)
    counted = _rounded_up if ceil_mode and padding != "same" else covered
    return Pooling(input_size, kernels, tuple(counted(*axis) for axis in axes), strides, pairs, dilations)


def _rounded_up(size: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int], axis: int) -> int:
    """Windows of one axis, the last of which may overhang; it must begin in the input or in the padding before it."""
    count = -(-(size + sum(padding) - span(kernel, dilation)) // stride) + 1
    if count < 1:
        return covered(size, kernel, stride, dilation, padding, axis)
    return count - 1 if (count - 1) * stride >= size + padding[0] else count


@lru_cache(maxsize=4096)
def window_counts(shape: Pooling, count_include_pad: bool, divisor_override: int | None) -> tuple[Shape, ...]:
    """What average pooling divides by: for each axis and window, a factor of the divisor.

    It is the window's pixels, with those of the padding if they count; never those of ceil_mode's overhang.
    """
    if divisor_override is not None:
        ones = [(1,) * q for q in shape.output_size]
        return ((divisor_override,) * shape.output_size[0], *ones[1:])
    counts = []
    axes = zip(shape.input_size, shape.output_size, shape.kernel_size, shape.stride, shape.padding, strict=True)
    for h, windows, k, s, (before, after) in axes:
        least, end = (-before, h + after) if count_include_pad else (0, h)
        starts = [q * s - before for q in range(windows)]
        counts.append(tuple(min(start + k, end) - max(start, least) for start in starts))
    return tuple(counts)


def unpooling(
    input_size: Shape, kernel_size: object, stride: object, padding: object, output_size: Shape | None
) -> Shape:
    """Pixels that max unpooling fills: `(h - 1) * s - p + k`, or `output_size`, less than a stride from that."""
    rank = len(input_size)
    kernels = per_axis(kernel_size, rank, "kernel_size", 1)
    strides = kernels if stride is None or stride == () else per_axis(stride, rank, "stride", 1)
    if padding == "same":  # pooling makes ceil(h * s / s) pixels of h * s
        default = tuple(h * s for h, s in zip(input_size, strides, strict=True))
    else:
        pairs = padding_pairs(padding, input_size, kernels, strides, (1,) * rank)
        axes = zip(input_size, strides, pairs, kernels, strict=True)
        default = tuple((h - 1) * s - sum(p) + k for h, s, p, k in axes)
    chosen = default if output_size is None else output_size
    if len(chosen) != rank or any(abs(c - d) >= s for c, d, s in zip(chosen, default, strides, strict=True)):
        raise ValueError(f"output_size is {chosen}: sizes less than a stride, {strides}, from {default} are accepted")
    if min(chosen) < 1:
        raise ValueError(f"the output's size would be {chosen}: at least 1 pixel on each axis is accepted")
    return chosen


def output_size(
    input_size: Sequence[int], kernel_size: Size, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> Shape:
    """Output pixels of a convolution or pooling, for each axis: `(h - k + p + s) // s`.

    `p` is the padding of both sides together.

    >>> output_size((28, 28), 3, padding=1)
    (28, 28)
    """
    sizes = per_axis(input_size, len(input_size), "input_size", 0)
    kernels = per_axis(kernel_size, len(sizes), "kernel_size", 1)
    return convolution((1, 1, *sizes), (1, 1, *kernels), stride, padding, dilation, 1).output_size


def transposed_output_size(
    input_size: Sequence[int],
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
) -> Shape:
    """Output pixels of a transposed convolution, for each axis: `(h - 1) * s - 2 * p + k + p_out`.

    `p` is the padding of one side.

    >>> transposed_output_size((7, 7), 3, stride=2, padding=1, output_padding=1)
    (14, 14)
    """
    sizes = per_axis(input_size, len(input_size), "input_size", 0)
    kernels = per_axis(kernel_size, len(sizes), "kernel_size", 1)
    shapes = (1, 1, *sizes), (1, 1, *kernels)
    return conv_transpose(*shapes, stride, padding, output_padding, 1, dilation).input_size
