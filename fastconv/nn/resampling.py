"""Upsampling as a layer: images made larger (or smaller) by repeating or interpolating pixels."""

from collections.abc import Sequence
from math import floor, isfinite, prod
from typing import Any

import numpy as np

from fastconv import arguments, functional
from fastconv.functional.resampling import RANKS
from fastconv.nn import checks
from fastconv.nn.module import Module
from fastconv.typing import Array, Shape, Size

__all__ = ["Upsample"]


class Upsample(Module):
    """Resampling of signals, images or volumes to another size (PyTorch's Upsample); see `functional.interpolate`.

    Parameters
    ----------
    size : int or tuple of int, optional
        Pixels of y, on each spatial axis.
    scale_factor : float or tuple of float, optional
        Or how many times x's; exactly one of the two.
    mode : {"nearest", "linear", "bilinear", "trilinear"}
        Any number of axes, 1, 2 and 3.
    align_corners : bool, optional
        For the linear modes: whether the outermost pixels' centres stay, instead of the image's edges.

    Raises
    ------
    TypeError, ValueError
        At construction, if an argument is not accepted; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> Upsample(scale_factor=2)(np.array([[[1.0, 2.0]]]))
    array([[[1., 1., 2., 2.]]])
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        self.mode = checks.choice(mode, "mode", tuple(RANKS))
        if (size is None) == (scale_factor is None):
            raise ValueError(f"size is {size!r} and scale_factor {scale_factor!r}: exactly one of them is accepted")
        if align_corners is not None and self.mode == "nearest":
            raise ValueError(f"align_corners is {align_corners!r}: None is accepted in mode 'nearest'")
        self.align_corners = None if align_corners is None else checks.flag(align_corners, "align_corners")
        self.size: int | Shape | None = None if size is None else arguments.hashable(size, "size")
        sizes = (self.size,) if isinstance(self.size, int) else self.size or ()
        if size is not None and (not sizes or not all(isinstance(s, int) and s >= 1 for s in sizes)):
            raise ValueError(f"size is {size!r}: an int of at least 1 is accepted, or one for each spatial axis")
        self.scale_factor: float | tuple[float, ...] | None = None if scale_factor is None else _factors(scale_factor)

    def forward(self, x: Array) -> Array:
        """y of shape (N, C, *spatial)."""
        y = functional.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)
        self.keep(np.shape(x))
        return y

    def backward(self, grad_output: Array) -> Array:
        """The gradient with respect to x: each output pixel's goes where its value came from."""
        (input_size,) = self.kept()
        return functional.interpolate_input_grad(
            grad_output, input_size, self.size, self.scale_factor, self.mode, self.align_corners
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        """(N, C, *spatial)."""
        rank = len(checks.any_shape(input_shape)) - 2
        if rank not in RANKS[self.mode]:
            accepted = " or ".join(str(r + 2) for r in RANKS[self.mode])
            raise ValueError(f"input_shape is {input_shape}: {accepted} axes are accepted in mode {self.mode!r}")
        shape = checks.image_shape(input_shape, rank)
        given = self.scale_factor if self.size is None else self.size
        numbers: tuple[Any, ...] = given if isinstance(given, tuple) else (given,) * rank
        if len(numbers) != rank:
            name = "scale_factor" if self.size is None else "size"
            raise ValueError(f"{name} is {given!r}, input_shape {shape}: one number is accepted, or {rank} of them")
        if self.size is None:
            numbers = tuple(floor(h * factor) for h, factor in zip(shape[2:], numbers, strict=True))
        return (*shape[:2], *numbers)

    def flops(self, input_shape: Shape) -> int:
        """In the linear modes 2 for each of the pixels that are mixed, 2 along each axis; 0 for "nearest"."""
        shape = self.output_shape(input_shape)
        return 0 if self.mode == "nearest" else 2 * 2 ** (len(shape) - 2) * prod(shape)

    def extra_repr(self) -> str:
        """What is not the default, and the mode."""
        shown = checks.layer_options(self, size=None, scale_factor=None).removeprefix(", ")
        return f"{shown}, mode={self.mode!r}{checks.layer_options(self, align_corners=None)}"


def _factors(scale_factor: Any) -> float | tuple[float, ...]:
    """One finite factor above 0, or a tuple of them."""
    several = isinstance(scale_factor, Sequence) and not isinstance(scale_factor, str)
    factors = tuple(checks.real(factor, "scale_factor") for factor in (scale_factor if several else [scale_factor]))
    if not factors or not all(isfinite(factor) and factor > 0 for factor in factors):
        raise ValueError(
            f"scale_factor is {scale_factor!r}: a number above 0 is accepted, or one for each spatial axis"
        )
    return factors if several else factors[0]
