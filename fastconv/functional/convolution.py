"""Convolutional layers' operation, which is cross-correlation, and its gradients, for signals, images and volumes.

Names, arguments and defaults are those of `torch.nn.functional` and `torch.nn.grad`; padding takes more forms.
Index letters: `n` image, `c`/`o` channel in/out, `p q` output pixel, `r s` filter tap; capitals are extents.
"""

from typing import Any

from fastconv import algorithms, backends, geometry
from fastconv.functional import checks
from fastconv.typing import Algorithm, Array, ArrayLike, Padding, Size

__all__ = [
    "conv1d",
    "conv1d_bias_grad",
    "conv1d_input_grad",
    "conv1d_weight_grad",
    "conv2d",
    "conv2d_bias_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv3d",
    "conv3d_bias_grad",
    "conv3d_input_grad",
    "conv3d_weight_grad",
]

OPTIONAL = ("bias",)
WEIGHT_AXES = {rank: f"(O, C / groups and {rank} spatial)" for rank in (1, 2, 3)}


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Cross-correlation of images with a bank of filters (PyTorch's conv2d: the filters are not flipped).

    y[n, o, p, q] = bias[o] + sum over c, r, s of
    weight[o, c, r, s] * x[n, c, p * stride + r * dilation - padding, q * stride + s * dilation - padding].

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W), float32, float64 or float16
        The images; outside of them are zeros, as far as `padding` goes.
    weight : array (O, C / groups, R, S), dtype of x
        The filters.
    bias : array (O,), dtype of x, optional
        Added to every pixel of an output channel.
    stride : int or (int, int)
        Pixels between one output pixel's window and the next one's.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        Pixels of zeros around x: on all sides, on both sides of each axis, on each side, none, or as many as make
        the output `ceil(input / stride)` pixels (the odd pixel comes after).
    dilation : int or (int, int)
        Pixels between one tap and the next.
    groups : int
        The channels fall into this many groups, each with filters of its own; C groups are a depthwise convolution.
    algorithm : {"auto", "direct", "winograd", "fft"}
        What computes it: "auto" is what `fastconv.set_algorithm` says, else the one that the plan for these shapes
        chooses. "winograd" takes images, 3 x 3 taps, stride 1, dilation 1 and float32.
    out : array, optional
        Where the result goes: of its shape and dtype, C-contiguous, writeable, sharing no memory with an input.

    Returns
    -------
    array (N, O, P, Q) or (O, P, Q), dtype of x
        `out`, or a fresh one; with P = (H - R + padding + stride) // stride, padding counting both sides and R the
        dilated filter.

    Raises
    ------
    TypeError
        If a dtype is none of the three, or not x's; if an int is expected and something else comes; if out is no
        array of the result's dtype.
    ValueError
        If the shapes do not fit, the filter is larger than the padded image, or an int is out of range; if the
        algorithm can't compute this convolution, or out can't hold the result.

    References
    ----------
    Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> conv2d(x, np.ones((1, 1, 3, 3)))
    array([[[[45., 54.],
             [81., 90.]]]])
    """
    return _convolve(2, x, weight, bias, stride, padding, dilation, groups, algorithm, out)


def conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Cross-correlation of signals with a bank of filters (PyTorch's conv1d: the filters are not flipped).

    As `conv2d`, for x (N, C, W) or (C, W) and weight (O, C / groups, S).

    Examples
    --------
    >>> import numpy as np
    >>> step = np.array([[[0.0, 0.0, 1.0, 1.0]]])
    >>> conv1d(step, np.array([[[0.25, 0.5, 0.25]]]), padding="same")
    array([[[0.  , 0.25, 0.75, 0.75]]])
    """
    return _convolve(1, x, weight, bias, stride, padding, dilation, groups, algorithm, out)


def conv3d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Cross-correlation of volumes with a bank of filters (PyTorch's conv3d: the filters are not flipped).

    As `conv2d`, for x (N, C, D, H, W) or (C, D, H, W) and weight (O, C / groups, T, R, S).
    """
    return _convolve(3, x, weight, bias, stride, padding, dilation, groups, algorithm, out)


def conv2d_input_grad(
    input_size: Size,
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to x (PyTorch's torch.nn.grad.conv2d_input); cross-correlation's adjoint.

    grad_x[n, c, h, w] = sum of weight[o, c, r, s] * grad_output[n, o, p, q] over all o, p, q, r, s for which
    h = p * stride + r * dilation - padding, and w likewise.

    Parameters
    ----------
    input_size : (N, C, H, W) or (C, H, W)
        The shape of x.
    weight : array (O, C / groups, R, S)
    grad_output : array (N, O, P, Q) or (O, P, Q), dtype of weight
        The loss's gradient with respect to y.
    stride, padding, dilation, groups, algorithm, out
        As in `conv2d`.

    Returns
    -------
    array of shape `input_size`, dtype of grad_output

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and if grad_output's shape is not y's.
    """
    return _input_grad(2, input_size, weight, grad_output, stride, padding, dilation, groups, algorithm, out)


def conv1d_input_grad(
    input_size: Size,
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv1d` with respect to x (cross-correlation's adjoint); as `conv2d_input_grad`."""
    return _input_grad(1, input_size, weight, grad_output, stride, padding, dilation, groups, algorithm, out)


def conv3d_input_grad(
    input_size: Size,
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv3d` with respect to x (cross-correlation's adjoint); as `conv2d_input_grad`."""
    return _input_grad(3, input_size, weight, grad_output, stride, padding, dilation, groups, algorithm, out)


def conv2d_weight_grad(
    x: ArrayLike,
    weight_size: Size,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to weight (PyTorch's torch.nn.grad.conv2d_weight); a cross-correlation too.

    grad_weight[o, c, r, s] = sum over n, p, q of
    grad_output[n, o, p, q] * x[n, c, p * stride + r * dilation - padding, q * stride + s * dilation - padding].

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W)
    weight_size : (O, C / groups, R, S)
        The shape of weight.
    grad_output : array (N, O, P, Q) or (O, P, Q), dtype of x
        The loss's gradient with respect to y.
    stride, padding, dilation, groups, algorithm, out
        As in `conv2d`.

    Returns
    -------
    array of shape `weight_size`, dtype of x

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and if grad_output's shape is not y's.
    """
    return _weight_grad(2, x, weight_size, grad_output, stride, padding, dilation, groups, algorithm, out)


def conv1d_weight_grad(
    x: ArrayLike,
    weight_size: Size,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv1d` with respect to weight (a cross-correlation too); as `conv2d_weight_grad`."""
    return _weight_grad(1, x, weight_size, grad_output, stride, padding, dilation, groups, algorithm, out)


def conv3d_weight_grad(
    x: ArrayLike,
    weight_size: Size,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv3d` with respect to weight (a cross-correlation too); as `conv2d_weight_grad`."""
    return _weight_grad(3, x, weight_size, grad_output, stride, padding, dilation, groups, algorithm, out)


def conv2d_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `conv2d` with respect to bias: the sum of grad_output over images and pixels.

    Parameters
    ----------
    grad_output : array (N, O, P, Q) or (O, P, Q), float32, float64 or float16

    Returns
    -------
    array (O,), dtype of grad_output
    """
    return bias_grad(2, grad_output)


def conv1d_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `conv1d` with respect to bias: the sum of grad_output over signals and samples."""
    return bias_grad(1, grad_output)


def conv3d_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `conv3d` with respect to bias: the sum of grad_output over volumes and voxels."""
    return bias_grad(3, grad_output)


def _convolve(
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    algorithm: str,
    out: Array | None,
) -> Array:
    dtype, (images, filters, start) = checks.floats(OPTIONAL, x=x, weight=weight, bias=bias)
    images, unbatched = checks.layer(images, filters, rank, "x", WEIGHT_AXES[rank])
    shape = geometry.convolution(images.shape, filters.shape, stride, padding, dilation, groups)
    if bias is not None:
        checks.shaped(start, (shape.out_channels,), "bias")
    backend = backends.module("convolution", images)
    if out is None and algorithm == algorithms.preferred == "auto":  # as most often
        return checks.back(backend.convolution(images, filters, start, shape), dtype, unbatched)
    given = {"x": x, "weight": weight, "bias": bias}
    name, place = checks.asked(algorithm, out, shape.output_shape, dtype, unbatched, shape, given)
    return checks.back(backend.convolution(images, filters, start, shape, name, place), dtype, unbatched, out)


def _input_grad(
    rank: int,
    input_size: Size,
    weight: Any,
    grad_output: Any,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    algorithm: str,
    out: Array | None,
) -> Array:
    dtype, (filters, grads) = checks.floats(weight=weight, grad_output=grad_output)
    grads, unbatched = checks.layer(grads, filters, rank, "grad_output", WEIGHT_AXES[rank])
    x_shape = checks.x_shape(input_size, rank, unbatched)
    shape = geometry.convolution(x_shape, filters.shape, stride, padding, dilation, groups)
    checks.shaped(grads, shape.output_shape, "grad_output")
    backend = backends.module("convolution", grads)
    if out is None and algorithm == algorithms.preferred == "auto":
        return checks.back(backend.convolution_input_grad(filters, grads, shape), dtype, unbatched)
    given = {"weight": weight, "grad_output": grad_output}
    name, place = checks.asked(algorithm, out, shape.input_shape, dtype, unbatched, shape, given)
    grad_x = backend.convolution_input_grad(filters, grads, shape, None, name, place)
    return checks.back(grad_x, dtype, unbatched, out)


def _weight_grad(
    rank: int,
    x: Any,
    weight_size: Size,
    grad_output: Any,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    algorithm: str,
    out: Array | None,
) -> Array:
    dtype, (images, grads) = checks.floats(x=x, grad_output=grad_output)
    images, _ = checks.batched(images, rank, "x")
    grads, _ = checks.batched(grads, rank, "grad_output")
    weight_shape = checks.weight_shape(weight_size, rank)
    shape = geometry.convolution(images.shape, weight_shape, stride, padding, dilation, groups)
    checks.shaped(grads, shape.output_shape, "grad_output")
    backend = backends.module("convolution", grads)
    if out is None and algorithm == algorithms.preferred == "auto":
        return checks.back(backend.convolution_weight_grad(images, grads, shape), dtype)
    given = {"x": x, "grad_output": grad_output}
    name, place = checks.asked(algorithm, out, shape.weight_shape, dtype, False, shape, given)
    return checks.back(backend.convolution_weight_grad(images, grads, shape, name, place), dtype, False, out)


def bias_grad(rank: int, grad_output: Any) -> Array:
    """The sum of grad_output over all axes but the channels'."""
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    grad_output, _ = checks.batched(grad_output, rank, "grad_output")
    return checks.back(backends.module("convolution", grad_output).convolution_bias_grad(grad_output), dtype)
