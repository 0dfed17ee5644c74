"""Convolutional layers, which compute a cross-correlation, and transposed ones: `functional.conv2d` with its weight."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import arguments, geometry
from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.init import weight_and_bias
from fastconv.nn.parameter import Parameter
from fastconv.nn.ranked import Ranked
from fastconv.typing import Array, Padding, Random, Shape, Size

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _Convolution(Ranked):
    """What both kinds share: the arguments' checks, and the three gradients of the operation named `function`."""

    function: str
    bound_as: str
    weight: Parameter
    bias: Parameter | None

    def _set(self, in_channels: int, out_channels: int, kernel_size: Size, padding: Padding, groups: int) -> None:
        self.in_channels = checks.count(in_channels, "in_channels")
        self.out_channels = checks.count(out_channels, "out_channels")
        self.kernel_size = arguments.per_axis(kernel_size, self.rank, "kernel_size", 1)
        self.padding = checks.padding(padding, self.rank)
        self.groups = geometry.channel_groups(checks.count(groups, "groups"), self.in_channels, self.out_channels)

    def _options(self) -> tuple[Any, ...]:
        """The operation's arguments from `stride` on."""
        raise NotImplementedError

    def _geometry(self, input_shape: Shape) -> geometry.Convolution:
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        """y of shape (N, out_channels, *spatial)."""
        bias = None if self.bias is None else self.bias.data
        y: Array = self.operation(self.function, x, self.weight.data, bias, *self._options())
        self.keep(x)
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The operation, with its geometry."""
        parameters = {"weight": self.weight, "bias": self.bias}
        shape = self.output_shape(x.shape)
        return graph.add(self.bound_as, (x,), shape, parameters, geometry=self._geometry(x.shape))

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x; adds to those of weight and bias."""
        (x,) = self.kept()
        weight, name, options = self.weight, self.function, self._options()
        weight.add_grad(self.operation(f"{name}_weight_grad", x, weight.shape, grad_output, *options))
        if self.bias is not None:
            self.bias.add_grad(self.operation(f"{name}_bias_grad", grad_output))
        grad_x: Array = self.operation(f"{name}_input_grad", np.shape(x), weight.data, grad_output, *options)
        return grad_x

    def flops(self, input_shape: Shape) -> int:
        """2 for each tap of each filter, where it is put."""
        shape = self._geometry(input_shape)
        return 2 * shape.batch * prod(shape.output_size) * prod(shape.weight_shape)

    def extra_repr(self) -> str:
        """in_channels, out_channels, and what is not the default."""
        one = (1,) * self.rank
        shown = checks.layer_options(
            self, stride=one, padding=0, output_padding=(0,) * self.rank, dilation=one, groups=1
        )
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}{shown}{bias}"


class _Conv(_Convolution):
    function = "conv{}d"
    bound_as = "convolution"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: Random = None,
        init: str = "pytorch",
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, padding, groups)
        self.stride = arguments.per_axis(stride, self.rank, "stride", 1)
        self.dilation = arguments.per_axis(dilation, self.rank, "dilation", 1)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        bias_size = self.out_channels if checks.flag(bias, "bias") else None
        self.weight, self.bias = weight_and_bias(shape, bias_size, init, rng, dtype)

    def _options(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups

    def _geometry(self, input_shape: Shape) -> geometry.Convolution:
        shape = checks.image_shape(input_shape, self.rank, self.in_channels)
        return geometry.convolution(shape, self.weight.shape, *self._options())

    def output_shape(self, input_shape: Shape) -> Shape:
        """(N, out_channels, *spatial)."""
        return self._geometry(input_shape).output_shape


class Conv2d(_Conv):
    """Convolutional layer for images: cross-correlation with learned filters (PyTorch's Conv2d, not flipped).

    y[n, o] = bias[o] + sum over c of x[n, c] correlated with weight[o, c]; see `functional.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of x (N, in_channels, H, W) and of y (N, out_channels, P, Q).
    kernel_size : int or (int, int)
        The filters' height and width.
    stride : int or (int, int)
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
    dilation : int or (int, int)
    groups : int
        A divisor of both numbers of channels.
    bias : bool
        Whether a number is added to each output channel.
    dtype : float32, float64 or float16
        Of weight and bias, and so of x.
    rng : int, numpy.random.Generator or None
        Where the first weights are drawn from: a seed, a generator, or fresh entropy.
    init : {"pytorch", "xavier_uniform", "xavier_normal", "he_uniform", "he_normal"}
        The rule for the first weights; see `nn.init`.

    Attributes
    ----------
    weight : Parameter (out_channels, in_channels / groups, R, S)
    bias : Parameter (out_channels,), or None

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(1, 6, 3, padding=1, rng=0)
    >>> layer
    Conv2d(1, 6, kernel_size=(3, 3), padding=1)
    >>> layer(np.zeros((8, 1, 28, 28), np.float32)).shape
    (8, 6, 28, 28)
    """

    rank = 2


class Conv1d(_Conv):
    """Convolutional layer for signals: cross-correlation with learned filters; as `Conv2d`, for x (N, C, W)."""

    rank = 1


class Conv3d(_Conv):
    """Convolutional layer for volumes: cross-correlation with learned filters; as `Conv2d`, for x (N, C, D, H, W)."""

    rank = 3


class _ConvTranspose(_Convolution):
    function = "conv_transpose{}d"
    bound_as = "conv_transpose"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: Random = None,
        init: str = "pytorch",
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, padding, groups)
        self.stride = arguments.per_axis(stride, self.rank, "stride", 1)
        self.output_padding = arguments.per_axis(output_padding, self.rank, "output_padding", 0)
        self.dilation = arguments.per_axis(dilation, self.rank, "dilation", 1)
        limits = tuple(map(max, self.stride, self.dilation))
        if any(extra >= limit for extra, limit in zip(self.output_padding, limits, strict=True)):
            raise ValueError(
                f"output_padding is {output_padding!r}: less than the larger of stride and dilation is accepted, here "
                f"less than {limits}"
            )
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        bias_size = self.out_channels if checks.flag(bias, "bias") else None
        self.weight, self.bias = weight_and_bias(shape, bias_size, init, rng, dtype)

    def _options(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.output_padding, self.groups, self.dilation

    def _geometry(self, input_shape: Shape) -> geometry.Convolution:
        """That of the convolution whose input gradient this layer is: its output is x, its input y."""
        shape = checks.image_shape(input_shape, self.rank, self.in_channels)
        return geometry.conv_transpose(shape, self.weight.shape, *self._options())

    def output_shape(self, input_shape: Shape) -> Shape:
        """(N, out_channels, *spatial)."""
        return self._geometry(input_shape).input_shape


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution for images: the adjoint of `Conv2d`'s cross-correlation (PyTorch's ConvTranspose2d).

    Every pixel puts its multiple of a learned filter on the output, `stride` pixels from its neighbour's; see
    `functional.conv_transpose2d`.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, groups, bias, dilation, dtype, rng, init
        As in `Conv2d`, in PyTorch's order; padding is cut from the output's sides.
    output_padding : int or (int, int), less than stride or dilation
        Pixels added after.

    Attributes
    ----------
    weight : Parameter (in_channels, out_channels / groups, R, S)
    bias : Parameter (out_channels,), or None

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1, rng=0)
    >>> layer(np.zeros((8, 32, 7, 7), np.float32)).shape
    (8, 16, 14, 14)
    """

    rank = 2


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution for signals: the adjoint of `Conv1d`'s; as `ConvTranspose2d`, for x (N, C, W)."""

    rank = 1


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution for volumes: the adjoint of `Conv3d`'s; as `ConvTranspose2d`, for x (N, C, D, H, W)."""

    rank = 3
