"""Max and average pooling of signals, images and volumes, and their gradients.

Names, arguments and defaults are those of `torch.nn.functional`; padding takes the forms that convolution's does.
Index letters: `n` image, `c` channel, `h w` input pixel, `p q` output pixel, `r s` pixel in a window; capitals are
extents.
"""

from math import prod
from typing import Any

from fastconv import arguments, backends, geometry
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike, Padding, Size

__all__ = [
    "avg_pool1d",
    "avg_pool1d_input_grad",
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "avg_pool3d",
    "avg_pool3d_input_grad",
    "max_pool1d",
    "max_pool1d_input_grad",
    "max_pool2d",
    "max_pool2d_input_grad",
    "max_pool3d",
    "max_pool3d_input_grad",
]


def max_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Max pooling of images: the largest pixel in each window.

    y[n, c, p, q] = max over r, s of x[n, c, p * stride + r * dilation - padding, q * stride + s * dilation - padding].
    Of equal pixels the first wins, NaN wins over all, and the padding counts as -inf: it never wins over a pixel.

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W), float32, float64 or float16
    kernel_size : int or (int, int)
        Pixels of the window.
    stride : int or (int, int), optional
        Pixels between one window and the next; by default the window's own size.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        Pixels around x, as in `conv2d`; fewer on each side than the window covers.
    dilation : int or (int, int)
        Pixels between one pixel of the window and the next.
    ceil_mode : bool
        Whether a last window may overhang the padding's end, if it begins before x's.
    return_indices : bool
        Whether the winners' places are returned too.

    Returns
    -------
    y : array (N, C, P, Q) or (C, P, Q), dtype of x
        With P = (H - R + padding + stride) // stride, padding counting both sides and R the dilated window; with
        ceil_mode the quotient is rounded up.
    indices : array of y's shape, int64; only with return_indices
        The flat index h * W + w of each winner. A dilated window may see no pixel of x: then y is -inf, the index -1.

    Raises
    ------
    TypeError
        If x's dtype is none of the three; if an int is expected and something else comes.
    ValueError
        If x has other axes, the window is larger than the padded image, or an int is out of range.

    References
    ----------
    Goodfellow, Bengio, Courville, "Deep Learning", 2016, section 9.3.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[1.0, 2.0, 5.0, 3.0], [4.0, 0.0, 1.0, 5.0]]]])
    >>> max_pool2d(x, 2, return_indices=True)
    (array([[[[4., 5.]]]]), array([[[[4, 2]]]]))
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Max pooling of signals, x (N, C, W) or (C, W); as `max_pool2d`."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """Max pooling of volumes, x (N, C, D, H, W) or (C, D, H, W); as `max_pool2d`."""
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d_input_grad(grad_output: ArrayLike, indices: ArrayLike, input_size: Size) -> Array:
    """Gradient of `max_pool2d` with respect to x: each window's goes to its winner, where it adds up.

    Parameters
    ----------
    grad_output : array (N, C, P, Q) or (C, P, Q), float32, float64 or float16
        The loss's gradient with respect to y.
    indices : array of grad_output's shape, integers
        What `max_pool2d` returned; -1 receives nothing.
    input_size : (N, C, H, W) or (C, H, W)
        The shape of x.

    Returns
    -------
    array of shape `input_size`, dtype of grad_output

    Raises
    ------
    TypeError, ValueError
        If a dtype is not accepted, the shapes do not fit, or an index lies outside of x.
    """
    return _max_pool_input_grad(2, grad_output, indices, input_size)


def max_pool1d_input_grad(grad_output: ArrayLike, indices: ArrayLike, input_size: Size) -> Array:
    """Gradient of `max_pool1d` with respect to x; as `max_pool2d_input_grad`."""
    return _max_pool_input_grad(1, grad_output, indices, input_size)


def max_pool3d_input_grad(grad_output: ArrayLike, indices: ArrayLike, input_size: Size) -> Array:
    """Gradient of `max_pool3d` with respect to x; as `max_pool2d_input_grad`."""
    return _max_pool_input_grad(3, grad_output, indices, input_size)


def avg_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Average pooling of images: the mean of the pixels in each window.

    y[n, c, p, q] = (sum over r, s of x[n, c, p * stride + r - padding, q * stride + s - padding]) / divisor.

    Parameters
    ----------
    x, kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`, but the padding counts as 0.
    count_include_pad : bool
        Whether the divisor counts the window's pixels of padding; it never counts those of ceil_mode's overhang.
    divisor_override : int other than 0, optional
        The divisor of all windows, in place of the number of their pixels.

    Returns
    -------
    array (N, C, P, Q) or (C, P, Q), dtype of x
        Sizes as in `max_pool2d`.

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d`, and if divisor_override is 0 or no int.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998, section II.B.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d(np.arange(8.0).reshape(1, 1, 2, 4), 2)
    array([[[[2.5, 4.5]]]])
    """
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool1d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Average pooling of signals, x (N, C, W) or (C, W); as `avg_pool2d`, without divisor_override."""
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool3d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Average pooling of volumes, x (N, C, D, H, W) or (C, D, H, W); as `avg_pool2d`."""
    return _avg_pool(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool2d_input_grad(
    grad_output: ArrayLike,
    input_size: Size,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of `avg_pool2d` with respect to x: each window shares its own out evenly, over the divisor.

    `input_size` is x's shape, (N, C, H, W) or (C, H, W); the gradient has it, and grad_output's dtype. The other
    arguments are `avg_pool2d`'s. ValueError or TypeError as there, and if grad_output's shape is not y's.
    """
    return _avg_pool_input_grad(
        2, grad_output, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool1d_input_grad(
    grad_output: ArrayLike,
    input_size: Size,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `avg_pool1d` with respect to x; as `avg_pool2d_input_grad`."""
    return _avg_pool_input_grad(
        1, grad_output, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad, None
    )


def avg_pool3d_input_grad(
    grad_output: ArrayLike,
    input_size: Size,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Gradient of `avg_pool3d` with respect to x; as `avg_pool2d_input_grad`."""
    return _avg_pool_input_grad(
        3, grad_output, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _max_pool(
    rank: int,
    x: Any,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool,
    return_indices: bool,
) -> Array | tuple[Array, Array]:
    dtype, (x,) = checks.floats(x=x)
    x, unbatched = checks.batched(x, rank, "x")
    shape = geometry.pooling(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    y, indices = backends.module("pooling", x).max_pool(x, shape, bool(return_indices))
    y = checks.back(y, dtype, unbatched)
    return (y, checks.back(indices, indices.dtype, unbatched)) if return_indices else y


def _max_pool_input_grad(rank: int, grad_output: Any, indices: Any, input_size: Size) -> Array:
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    indices = checks.integers(indices, "indices", grad_output=grad_output)
    checks.shaped(indices, grad_output.shape, "indices")
    grad_output, unbatched = checks.batched(grad_output, rank, "grad_output")
    spatial = checks.input_shape(input_size, grad_output, unbatched)[2:]
    checks.within(indices, -1, prod(spatial), "indices")
    module, indices = backends.module("pooling", grad_output), indices.reshape(grad_output.shape)
    grad_x = module.max_pool_input_grad(grad_output, indices, spatial)
    return checks.back(grad_x, dtype, unbatched)


def _avg_pool(
    rank: int,
    x: Any,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    dtype, (x,) = checks.floats(x=x)
    x, unbatched = checks.batched(x, rank, "x")
    shape = geometry.pooling(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    counts = geometry.window_counts(shape, bool(count_include_pad), _divisor(divisor_override))
    return checks.back(backends.module("pooling", x).avg_pool(x, shape, counts), dtype, unbatched)


def _avg_pool_input_grad(
    rank: int,
    grad_output: Any,
    input_size: Size,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    grad_output, unbatched = checks.batched(grad_output, rank, "grad_output")
    x_shape = checks.input_shape(input_size, grad_output, unbatched)
    shape = geometry.pooling(x_shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    checks.shaped(grad_output, (*x_shape[:2], *shape.output_size), "grad_output")
    counts = geometry.window_counts(shape, bool(count_include_pad), _divisor(divisor_override))
    grad_x = backends.module("pooling", grad_output).avg_pool_input_grad(grad_output, shape, counts)
    return checks.back(grad_x, dtype, unbatched)


def _divisor(divisor_override: object) -> int | None:
    if divisor_override is None:
        return None
    divisor = arguments.hashable(divisor_override, "divisor_override")
    if not isinstance(divisor, int) or divisor == 0:
        raise ValueError(f"divisor_override is {divisor_override!r}: an int other than 0 is accepted, or None")
    return divisor
