"""Pooling layers: the largest pixel of each window, or the mean."""

from typing import Any

import numpy as np

from fastconv import arguments, geometry
from fastconv.graph import Graph, Value
from fastconv.nn import checks
from fastconv.nn.ranked import Ranked
from fastconv.typing import Array, Padding, Shape, Size

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"]


class _Pool(Ranked):
    """What both kinds share: a window's geometry, checked at construction."""

    dilation: Shape

    def _set(self, kernel_size: Size, stride: Size | None, padding: Padding, dilation: Size, ceil_mode: bool) -> None:
        self.kernel_size = arguments.per_axis(kernel_size, self.rank, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else arguments.per_axis(stride, self.rank, "stride", 1)
        self.padding = checks.padding(padding, self.rank)
        self.dilation = arguments.per_axis(dilation, self.rank, "dilation", 1)
        self.ceil_mode = checks.flag(ceil_mode, "ceil_mode")
        smallest = tuple(map(geometry.span, self.kernel_size, self.dilation))
        self._pooling(smallest)  # the padding must be less than the window, whatever the image

    def _pooling(self, input_size: Shape) -> geometry.Pooling:
        return geometry.pooling(input_size, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(N, C, *spatial)."""
        shape = checks.image_shape(input_shape, self.rank)
        return (*shape[:2], *self._pooling(shape[2:]).output_size)

    def extra_repr(self) -> str:
        """kernel_size, and what is not the default."""
        shown = checks.layer_options(
            self,
            stride=self.kernel_size,
            padding=0,
            dilation=(1,) * self.rank,
            return_indices=False,
            ceil_mode=False,
            count_include_pad=True,
            divisor_override=None,
        )
        return f"kernel_size={self.kernel_size}{shown}"


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._set(kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices = checks.flag(return_indices, "return_indices")

    def forward(self, x: Array) -> Any:
        """y of shape (N, C, *spatial); with `return_indices`, (y, indices)."""
        options = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        if not (self.training or self.return_indices):
            self.keep()
            return self.operation("max_pool{}d", x, *options)
        y, indices = self.operation("max_pool{}d", x, *options, True)
        self.keep(indices, np.shape(x))
        return (y, indices) if self.return_indices else y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The operation, with its geometry."""
        if self.return_indices:
            raise TypeError(f"{self!r} gives two arrays: no other layer takes them")
        return graph.add("max_pool", (x,), self.output_shape(x.shape), geometry=self._pooling(x.shape[2:]))

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x: each window's goes to its largest pixel."""
        indices, input_size = self.kept()
        grad_x: Array = self.operation("max_pool{}d_input_grad", grad_output, indices, input_size)
        return grad_x


class MaxPool2d(_MaxPool):
    """Max pooling of images: the largest pixel of each window (PyTorch's MaxPool2d); see `functional.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The window's height and width.
    stride : int or (int, int), optional
        Pixels between one window and the next; the window's own size if None.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        Pixels around x, less than the window; they count as minus infinity.
    dilation : int or (int, int)
    return_indices : bool
        Whether `forward` returns the largest pixels' places too, for `functional.max_unpool2d`.
    ceil_mode : bool
        Whether a window may overhang at the end, so that no pixel of x is left out.

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    rank = 2


class MaxPool1d(_MaxPool):
    """Max pooling of signals: the largest sample of each window; as `MaxPool2d`, for x (N, C, W)."""

    rank = 1


class MaxPool3d(_MaxPool):
    """Max pooling of volumes: the largest voxel of each window; as `MaxPool2d`, for x (N, C, D, H, W)."""

    rank = 3


class _AvgPool(_Pool):
    divisor_override: int | None = None

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = checks.flag(count_include_pad, "count_include_pad")
        if divisor_override is not None:
            self.divisor_override = checks.count(divisor_override, "divisor_override")

    def _options(self) -> tuple[Any, ...]:
        options = self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return options if self.divisor_override is None else (*options, self.divisor_override)

    def forward(self, x: Array) -> Array:
        """y of shape (N, C, *spatial)."""
        y: Array = self.operation("avg_pool{}d", x, *self._options())
        self.keep(np.shape(x))
        return y

    def bind(self, graph: Graph, x: Value) -> Value:
        """The operation, with its geometry and what it divides by."""
        shape = self._pooling(x.shape[2:])
        counts = geometry.window_counts(shape, self.count_include_pad, self.divisor_override)
        return graph.add("avg_pool", (x,), self.output_shape(x.shape), geometry=shape, counts=counts)

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x: each window's is shared out among its pixels."""
        (input_size,) = self.kept()
        grad_x: Array = self.operation("avg_pool{}d_input_grad", grad_output, input_size, *self._options())
        return grad_x


class AvgPool2d(_AvgPool):
    """Average pooling of images: the mean of each window (PyTorch's AvgPool2d); see `functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool2d`; padded pixels count as zero.
    count_include_pad : bool
        Whether they are counted in the number that the sum is divided by.
    divisor_override : int, optional
        That number, if it is to be another.

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    rank = 2


class AvgPool1d(_AvgPool):
    """Average pooling of signals: the mean of each window; as `AvgPool2d` without divisor_override, x (N, C, W)."""

    rank = 1

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class AvgPool3d(_AvgPool):
    """Average pooling of volumes: the mean of each window; as `AvgPool2d`, for x (N, C, D, H, W)."""

    rank = 3
