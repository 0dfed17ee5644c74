"""Resampling of signals, images and volumes to another size, and its gradient.

Names, arguments and defaults are those of `torch.nn.functional`. Interpolation is linear in x and separable: each
axis has a table of the pixels that an output pixel is made of, and of their weights.
Index letters: `n` image, `c` channel, `h w` input pixel, `p q` output pixel; capitals are extents.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from fastconv import arguments, backends
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike, Shape, Size

__all__ = ["interpolate", "interpolate_input_grad"]

RANKS = {"nearest": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}  # spatial axes, by mode

Tables = tuple[tuple[Array, ...], tuple[Array, ...]]  # sources and weights: for each axis (output pixels, taps)


def interpolate(
    x: ArrayLike,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:
    """Resample signals, images or volumes to another size (PyTorch's interpolate).

    With `scale` the input pixels for each output pixel, "nearest" takes y[n, c, p] = x[n, c, floor(p * scale)]. The
    linear modes look at h = max((p + 1/2) * scale - 1/2, 0), or at h = p * scale with align_corners, and weigh the
    pixels on both sides by their nearness: y[n, c, p] = (1 - w) * x[n, c, floor(h)] + w * x[n, c, floor(h) + 1], with
    w = h - floor(h); beyond the last pixel it is that one's value. For more axes, one after the other; an axis that
    keeps its size is copied.

    Parameters
    ----------
    x : array (N, C, W), (N, C, H, W) or (N, C, D, H, W), float32, float64 or float16
    size : int or one for each spatial axis, optional
        Pixels of the output; then scale = input / output.
    scale_factor : float or one for each spatial axis, optional
        The output has floor(input * scale_factor) pixels; then scale = 1 / scale_factor. Exactly one of `size` and
        `scale_factor` is given.
    mode : {"nearest", "linear", "bilinear", "trilinear"}
        The linear ones are for 1, 2 and 3 spatial axes.
    align_corners : bool, optional
        For the linear modes: whether the first pixels' centres coincide, and the last ones'; then scale =
        (input - 1) / (output - 1). By default False: the images' borders coincide.

    Returns
    -------
    array (N, C, *size), dtype of x

    Raises
    ------
    TypeError
        If x's dtype is none of the three; if a number is expected and something else comes.
    ValueError
        If x has other axes than the mode is for, a size is not positive, both or none of `size` and `scale_factor`
        are given, the mode is another, or align_corners comes with "nearest".

    References
    ----------
    Szeliski, "Computer Vision: Algorithms and Applications", 2nd edition, 2022, section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0, 3.0]]])
    >>> interpolate(x, scale_factor=2)
    array([[[1., 1., 3., 3.]]])
    >>> interpolate(x, 4, mode="linear")
    array([[[1. , 1.5, 2.5, 3. ]]])
    """
    return _interpolate(x, size, scale_factor, mode, align_corners)


def interpolate_input_grad(
    grad_output: ArrayLike,
    input_size: Size,
    size: Size | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:
    """Gradient of `interpolate` with respect to x: its adjoint.

    Parameters
    ----------
    grad_output : array (N, C, *size), float32, float64 or float16
        The loss's gradient with respect to y.
    input_size : (N, C, W), (N, C, H, W) or (N, C, D, H, W)
        The shape of x.
    size, scale_factor, mode, align_corners
        As in `interpolate`.

    Returns
    -------
    array of shape `input_size`, dtype of grad_output

    Raises
    ------
    TypeError, ValueError
        As `interpolate`, and if grad_output's shape is not y's.
    """
    return _interpolate_input_grad(grad_output, input_size, size, scale_factor, mode, align_corners)


def _interpolate(x: Any, size: Any, scale_factor: Any, mode: str, align_corners: bool | None) -> Array:
    dtype, (x,) = checks.floats(x=x)
    sources, weights = _tables(x.shape, "x", size, scale_factor, mode, align_corners, x.dtype)
    return checks.back(backends.module("resampling", x).interpolate(x, sources, weights), dtype)


def _interpolate_input_grad(
    grad_output: Any, input_size: Size, size: Any, scale_factor: Any, mode: str, align_corners: bool | None
) -> Array:
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    x_shape = checks.size(input_size, "input_size")
    sources, weights = _tables(x_shape, "input_size", size, scale_factor, mode, align_corners, grad_output.dtype)
    checks.shaped(grad_output, (*x_shape[:2], *(len(source) for source in sources)), "grad_output")
    module = backends.module("resampling", grad_output)
    grad_x = module.interpolate_input_grad(grad_output, x_shape[2:], sources, weights)
    return checks.back(grad_x, dtype)


def _tables(
    x_shape: Shape,
    name: str,
    size: object,
    scale_factor: object,
    mode: object,
    align_corners: bool | None,
    dtype: np.dtype[Any],
) -> Tables:
    """For each spatial axis, the pixels of x that each output pixel is made of, and their weights."""
    if not isinstance(mode, str) or mode not in RANKS:
        raise ValueError(f"mode is {mode!r}: one of {', '.join(RANKS)} is accepted")
    rank = len(x_shape) - 2
    if rank not in RANKS[mode]:
        accepted = " or ".join(str(r + 2) for r in RANKS[mode])
        raise ValueError(f"{name} has {rank + 2} axes, shape {x_shape}: mode {mode!r} accepts {accepted}")
    if min(x_shape[2:]) < 1:
        raise ValueError(f"{name} has {x_shape[2:]} pixels: at least 1 on each axis is accepted")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"align_corners is {align_corners!r}, mode 'nearest': None is accepted, or a linear mode")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"size is {size!r}, scale_factor is {scale_factor!r}: exactly one of them is accepted")
    if size is None:
        factors: tuple[float | None, ...] = _factors(scale_factor, rank)
        sizes = tuple(int(h * factor) for h, factor in zip(x_shape[2:], factors, strict=True) if factor)
        if min(sizes) < 1:
            raise ValueError(
                f"scale_factor is {scale_factor!r}, {name} has {x_shape[2:]} pixels: what leaves at least 1 pixel on "
                "each axis is accepted"
            )
    else:
        factors, sizes = (None,) * rank, arguments.per_axis(size, rank, "size", 1)
    axes = zip(x_shape[2:], sizes, factors, strict=True)
    rows = [_axis(*axis, mode == "nearest", bool(align_corners), dtype) for axis in axes]
    return tuple(source for source, _ in rows), tuple(weight for _, weight in rows)


def _factors(scale_factor: Any, rank: int) -> tuple[float, ...]:
    """One positive float for each axis, from one number for all or one for each."""
    given = tuple(scale_factor) if hasattr(scale_factor, "__iter__") else (scale_factor,) * rank
    numbers = int, float, np.integer, np.floating
    if not all(isinstance(factor, numbers) and not isinstance(factor, bool) for factor in given):
        raise TypeError(f"scale_factor is {scale_factor!r}: a number is accepted, or a sequence of them")
    if len(given) != rank or not all(isfinite(factor) and factor > 0 for factor in given):
        raise ValueError(f"scale_factor is {scale_factor!r}: a number above 0 is accepted, or {rank} of them")
    return tuple(float(factor) for factor in given)


@lru_cache(maxsize=1024)
def _axis(
    h: int, size: int, factor: float | None, nearest: bool, align_corners: bool, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Sources and weights of one axis, (size, taps): one tap for "nearest", two for the linear modes."""
    pixels = np.arange(size)
    if nearest or size == h:  # PyTorch copies an axis that keeps its size, whatever the scale factor
        source = _nearest(h, size, factor)
        return source[:, None], np.ones((size, 1), dtype)
    if align_corners:
        places = pixels * ((h - 1) / (size - 1) if size > 1 else 0.0)
    else:
        places = np.maximum((pixels + 0.5) * (1 / factor if factor else h / size) - 0.5, 0)
    below = np.minimum(places.astype(np.int64), h - 1)
    weight = np.minimum(places - below, 1)
    source = np.stack([below, np.minimum(below + 1, h - 1)], axis=1)
    return source, np.ascontiguousarray(np.stack([1 - weight, weight], axis=1), dtype)


def _nearest(h: int, size: int, factor: float | None) -> Array:
    """floor(p * scale) as PyTorch rounds it: in float32, but exactly where the size stays or doubles."""
    pixels = np.arange(size, dtype=np.int64)
    if size in (h, 2 * h):
        return pixels * h // size
    scale = np.float32(1 / factor) if factor else np.float32(h) / np.float32(size)
    return np.minimum((pixels.astype(np.float32) * scale).astype(np.int64), h - 1)
