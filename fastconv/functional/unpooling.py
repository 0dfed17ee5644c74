"""Max unpooling of signals, images and volumes, and its gradients: the way back of max pooling.

Names, arguments and defaults are those of `torch.nn.functional`; padding takes the forms that pooling's does.
Index letters: `n` image, `c` channel, `p q` pixel of x, `h w` pixel of y; capitals are extents.
"""

from math import prod
from typing import Any

from fastconv import backends, geometry
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike, Padding, Shape, Size

__all__ = [
    "max_unpool1d",
    "max_unpool1d_input_grad",
    "max_unpool2d",
    "max_unpool2d_input_grad",
    "max_unpool3d",
    "max_unpool3d_input_grad",
]


def max_unpool2d(
    x: ArrayLike,
    indices: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    output_size: Size | None = None,
) -> Array:
    """Max unpooling of images: each pixel goes back to the place that it won; all others are 0.

    y[n, c, indices[n, c, p, q]] = x[n, c, p, q], the index being flat: h * W + w. Windows that overlap can have the
    same winner: of equal indices the last holds, and it alone receives the gradient.

    Parameters
    ----------
    x : array (N, C, P, Q) or (C, P, Q), float32, float64 or float16
    indices : array of x's shape, integers
        What `max_pool2d` returned.
    kernel_size, stride, padding
        What `max_pool2d` was given; they say how large y is.
    output_size : (H, W) or the full shape of y, optional
        Less than a stride from the default, on each axis.

    Returns
    -------
    array (N, C, H, W) or (C, H, W), dtype of x
        By default with H = (P - 1) * stride - padding + R, padding counting both sides; P * stride for "same".

    Raises
    ------
    TypeError, ValueError
        If a dtype is not accepted, the shapes do not fit, an int is out of range, or an index lies outside of y.

    References
    ----------
    Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2014, section 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool2d(np.array([[[[4.0, 5.0]]]]), np.array([[[[4, 2]]]]), 2)
    array([[[[0., 0., 5., 0.],
             [4., 0., 0., 0.]]]])
    """
    return _max_unpool(2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    x: ArrayLike,
    indices: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    output_size: Size | None = None,
) -> Array:
    """Max unpooling of signals, x (N, C, W) or (C, W); as `max_unpool2d`."""
    return _max_unpool(1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    x: ArrayLike,
    indices: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    output_size: Size | None = None,
) -> Array:
    """Max unpooling of volumes, x (N, C, D, H, W) or (C, D, H, W); as `max_unpool2d`."""
    return _max_unpool(3, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d_input_grad(grad_output: ArrayLike, indices: ArrayLike) -> Array:
    """Gradient of `max_unpool2d` with respect to x: grad_output at the indices, 0 where a later one is the same.

    grad_output has y's shape; the gradient has that of `indices`, and grad_output's dtype. ValueError or TypeError as
    `max_unpool2d`.
    """
    return _max_unpool_input_grad(2, grad_output, indices)


def max_unpool1d_input_grad(grad_output: ArrayLike, indices: ArrayLike) -> Array:
    """Gradient of `max_unpool1d` with respect to x; as `max_unpool2d_input_grad`."""
    return _max_unpool_input_grad(1, grad_output, indices)


def max_unpool3d_input_grad(grad_output: ArrayLike, indices: ArrayLike) -> Array:
    """Gradient of `max_unpool3d` with respect to x; as `max_unpool2d_input_grad`."""
    return _max_unpool_input_grad(3, grad_output, indices)


def _max_unpool(
    rank: int,
    x: Any,
    indices: Any,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    output_size: Size | None,
) -> Array:
    dtype, (x,) = checks.floats(x=x)
    indices = checks.integers(indices, "indices", x=x)
    checks.shaped(indices, x.shape, "indices")
    x, unbatched = checks.batched(x, rank, "x")
    chosen = None if output_size is None else _spatial(rank, output_size, x, unbatched)
    spatial = geometry.unpooling(x.shape[2:], kernel_size, stride, padding, chosen)
    checks.within(indices, 0, prod(spatial), "indices")
    y = backends.module("pooling", x).max_unpool(x, indices.reshape(x.shape), spatial)
    return checks.back(y, dtype, unbatched)


def _max_unpool_input_grad(rank: int, grad_output: Any, indices: Any) -> Array:
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    grad_output, unbatched = checks.batched(grad_output, rank, "grad_output")
    indices = checks.integers(indices, "indices", grad_output=grad_output)
    if indices.ndim != grad_output.ndim - unbatched or indices.shape[:-rank] != grad_output.shape[unbatched:2]:
        raise ValueError(
            f"indices has shape {indices.shape}, grad_output {grad_output.shape[unbatched:]}: the shape of x is "
            "accepted, with grad_output's images and channels"
        )
    checks.within(indices, 0, prod(grad_output.shape[2:]), "indices")
    indices = indices[None] if unbatched else indices
    grad_x = backends.module("pooling", grad_output).max_unpool_input_grad(grad_output, indices)
    return checks.back(grad_x, dtype, unbatched)


def _spatial(rank: int, output_size: Size, x: Array, unbatched: bool) -> Shape:
    """output_size's spatial part: all of it, or what follows x's images and channels."""
    sizes = checks.size((output_size,) * rank if isinstance(output_size, int) else output_size, "output_size")
    leading = x.shape[unbatched:2]
    if len(sizes) == rank or (len(sizes) == rank + len(leading) and sizes[:-rank] == leading):
        return sizes[-rank:]
    raise ValueError(
        f"output_size is {output_size}, x has shape {x.shape[unbatched:]}: {rank} ints are accepted, or y's "
        "full shape, with x's images and channels"
    )
