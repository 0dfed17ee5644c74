"""Transposed convolution and its gradients, for signals, images and volumes.

It is the adjoint of cross-correlation (never its inverse): the operation is the input gradient of the convolution
whose output is x, its input gradient is that convolution, and its weight gradient is that convolution's with x and
grad_output exchanged. So it needs no kernels of its own. Names, arguments and defaults are `torch.nn.functional`'s.
"""

from typing import Any

from fastconv import algorithms, backends, geometry
from fastconv.functional import checks
from fastconv.functional.convolution import OPTIONAL, bias_grad
from fastconv.typing import Algorithm, Array, ArrayLike, Padding, Size

__all__ = [
    "conv_transpose1d",
    "conv_transpose1d_bias_grad",
    "conv_transpose1d_input_grad",
    "conv_transpose1d_weight_grad",
    "conv_transpose2d",
    "conv_transpose2d_bias_grad",
    "conv_transpose2d_input_grad",
    "conv_transpose2d_weight_grad",
    "conv_transpose3d",
    "conv_transpose3d_bias_grad",
    "conv_transpose3d_input_grad",
    "conv_transpose3d_weight_grad",
]

WEIGHT_AXES = {rank: f"(C, O / groups and {rank} spatial)" for rank in (1, 2, 3)}


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Transposed convolution of images: the adjoint of cross-correlation (PyTorch's conv_transpose2d).

    Every pixel of x puts a copy of the filter, times its value, on the output; where copies overlap they add up:
    y[n, o, p * stride + r * dilation - padding, ...] += weight[c, o, r, s] * x[n, c, p, q], and then bias[o].

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W), float32, float64 or float16
    weight : array (C, O / groups, R, S), dtype of x
    bias : array (O,), dtype of x, optional
    stride : int or (int, int)
        Output pixels between the copies of two neighbours.
    padding : int, (int, int), ((before, after), (before, after)), "valid" or "same"
        Pixels cut from the output's sides; "same" makes it `input * stride` pixels (the odd one is cut after).
    output_padding : int or (int, int), less than stride or dilation
        Pixels added after, which no copy or only a part of one reaches.
    groups : int
    dilation : int or (int, int)
    algorithm, out
        As in `conv2d`.

    Returns
    -------
    array (N, O, P, Q) or (O, P, Q), dtype of x
        With P = (H - 1) * stride - 2 * padding + R + output_padding, R being the dilated filter.

    Raises
    ------
    TypeError
        If a dtype is none of the three, or not x's; if an int is expected and something else comes; as `conv2d`.
    ValueError
        If the shapes do not fit, the output would be empty, or an int is out of range; as `conv2d`.

    References
    ----------
    Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[0.0, 1.0], [2.0, 3.0]]]])
    >>> conv_transpose2d(x, np.array([[[[9.0, 8.0], [7.0, 6.0]]]]))
    array([[[[ 0.,  9.,  8.],
             [18., 50., 30.],
             [14., 33., 18.]]]])
    """
    return _transpose(2, x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm, out)


def conv_transpose1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Transposed convolution of signals: the adjoint of cross-correlation (PyTorch's conv_transpose1d).

    As `conv_transpose2d`, for x (N, C, W) or (C, W) and weight (C, O / groups, S).
    """
    return _transpose(1, x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm, out)


def conv_transpose3d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Transposed convolution of volumes: the adjoint of cross-correlation (PyTorch's conv_transpose3d).

    As `conv_transpose2d`, for x (N, C, D, H, W) or (C, D, H, W) and weight (C, O / groups, T, R, S).
    """
    return _transpose(3, x, weight, bias, stride, padding, output_padding, groups, dilation, algorithm, out)


def conv_transpose2d_input_grad(
    input_size: Size,
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to x: the cross-correlation of grad_output with weight.

    Parameters
    ----------
    input_size : (N, C, H, W) or (C, H, W)
        The shape of x.
    weight : array (C, O / groups, R, S)
    grad_output : array (N, O, P, Q) or (O, P, Q), dtype of weight
        The loss's gradient with respect to y.
    stride, padding, output_padding, groups, dilation, algorithm, out
        As in `conv_transpose2d`.

    Returns
    -------
    array of shape `input_size`, dtype of grad_output

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`, and if grad_output's shape is not y's.
    """
    return _input_grad(
        2, input_size, weight, grad_output, stride, padding, output_padding, groups, dilation, algorithm, out
    )


def conv_transpose1d_input_grad(
    input_size: Size,
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose1d` with respect to x (a cross-correlation); as `conv_transpose2d_input_grad`."""
    return _input_grad(
        1, input_size, weight, grad_output, stride, padding, output_padding, groups, dilation, algorithm, out
    )


def conv_transpose3d_input_grad(
    input_size: Size,
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose3d` with respect to x (a cross-correlation); as `conv_transpose2d_input_grad`."""
    return _input_grad(
        3, input_size, weight, grad_output, stride, padding, output_padding, groups, dilation, algorithm, out
    )


def conv_transpose2d_weight_grad(
    x: ArrayLike,
    weight_size: Size,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to weight: `conv2d_weight_grad` with x and grad_output exchanged.

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W)
    weight_size : (C, O / groups, R, S)
        The shape of weight.
    grad_output : array (N, O, P, Q) or (O, P, Q), dtype of x
        The loss's gradient with respect to y.
    stride, padding, output_padding, groups, dilation, algorithm, out
        As in `conv_transpose2d`.

    Returns
    -------
    array of shape `weight_size`, dtype of x

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`, and if grad_output's shape is not y's.
    """
    return _weight_grad(
        2, x, weight_size, grad_output, stride, padding, output_padding, groups, dilation, algorithm, out
    )


def conv_transpose1d_weight_grad(
    x: ArrayLike,
    weight_size: Size,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose1d` with respect to weight; as `conv_transpose2d_weight_grad`."""
    return _weight_grad(
        1, x, weight_size, grad_output, stride, padding, output_padding, groups, dilation, algorithm, out
    )


def conv_transpose3d_weight_grad(
    x: ArrayLike,
    weight_size: Size,
    grad_output: ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose3d` with respect to weight; as `conv_transpose2d_weight_grad`."""
    return _weight_grad(
        3, x, weight_size, grad_output, stride, padding, output_padding, groups, dilation, algorithm, out
    )


def conv_transpose2d_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `conv_transpose2d` with respect to bias: the sum of grad_output over images and pixels."""
    return bias_grad(2, grad_output)


def conv_transpose1d_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `conv_transpose1d` with respect to bias: the sum of grad_output over signals and samples."""
    return bias_grad(1, grad_output)


def conv_transpose3d_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `conv_transpose3d` with respect to bias: the sum of grad_output over volumes and voxels."""
    return bias_grad(3, grad_output)


def _transpose(
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
    algorithm: str,
    out: Array | None,
) -> Array:
    dtype, (images, filters, start) = checks.floats(OPTIONAL, x=x, weight=weight, bias=bias)
    images, unbatched = checks.layer(images, filters, rank, "x", WEIGHT_AXES[rank])
    shape = geometry.conv_transpose(images.shape, filters.shape, stride, padding, output_padding, groups, dilation)
    if bias is not None:
        checks.shaped(start, (shape.in_channels,), "bias")
    backend = backends.module("convolution", images)
    if out is None and algorithm == algorithms.preferred == "auto":  # as most often
        return checks.back(backend.convolution_input_grad(filters, images, shape, start), dtype, unbatched)
    given = {"x": x, "weight": weight, "bias": bias}
    name, place = checks.asked(algorithm, out, shape.input_shape, dtype, unbatched, shape, given)
    y = backend.convolution_input_grad(filters, images, shape, start, name, place)
    return checks.back(y, dtype, unbatched, out)


def _input_grad(
    rank: int,
    input_size: Size,
    weight: Any,
    grad_output: Any,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
    algorithm: str,
    out: Array | None,
) -> Array:
    dtype, (filters, grads) = checks.floats(weight=weight, grad_output=grad_output)
    grads, unbatched = checks.layer(grads, filters, rank, "grad_output", WEIGHT_AXES[rank])
    x_shape = checks.x_shape(input_size, rank, unbatched)
    shape = geometry.conv_transpose(x_shape, filters.shape, stride, padding, output_padding, groups, dilation)
    checks.shaped(grads, shape.input_shape, "grad_output")
    backend = backends.module("convolution", grads)
    if out is None and algorithm == algorithms.preferred == "auto":
        return checks.back(backend.convolution(grads, filters, None, shape), dtype, unbatched)
    given = {"weight": weight, "grad_output": grad_output}
    name, place = checks.asked(algorithm, out, shape.output_shape, dtype, unbatched, shape, given)
    return checks.back(backend.convolution(grads, filters, None, shape, name, place), dtype, unbatched, out)


def _weight_grad(
    rank: int,
    x: Any,
    weight_size: Size,
    grad_output: Any,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
    algorithm: str,
    out: Array | None,
) -> Array:
    dtype, (images, grads) = checks.floats(x=x, grad_output=grad_output)
    images, _ = checks.batched(images, rank, "x")
    grads, _ = checks.batched(grads, rank, "grad_output")
    weight_shape = checks.weight_shape(weight_size, rank)
    shape = geometry.conv_transpose(images.shape, weight_shape, stride, padding, output_padding, groups, dilation)
    checks.shaped(grads, shape.input_shape, "grad_output")
    backend = backends.module("convolution", grads)
    if out is None and algorithm == algorithms.preferred == "auto":
        return checks.back(backend.convolution_weight_grad(grads, images, shape), dtype)
    given = {"x": x, "grad_output": grad_output}
    name, place = checks.asked(algorithm, out, shape.weight_shape, dtype, False, shape, given)
    return checks.back(backend.convolution_weight_grad(grads, images, shape, name, place), dtype, False, out)
