"""Convolution and cross-correlation of images, whose borders are filled, wrapped or mirrored: `scipy.signal`'s."""

from typing import Any

import numpy as np

from fastconv.signal import modes, sums
from fastconv.typing import Array, ArrayLike, Shape

BORDERS = {
    "fill": "constant", "pad": "constant",
    "wrap": "wrap", "circular": "wrap",
    "symm": "reflect", "symmetric": "reflect",
}  # fmt: skip


def convolve2d(in1: ArrayLike, in2: ArrayLike, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """Convolution of two images, which flips the second: y[p, q] = sum over r, s of in1[p - r, q - s] * in2[r, s].

    Parameters
    ----------
    in1, in2 : array (H, W)
        Real, complex or integer; long doubles too.
    mode : {"full", "same", "valid"}
        Which part is returned: all of it, what is centred and of in1's shape, or the sums that need no border (then one
        input is at least as large as the other along both axes).
    boundary : {"fill", "wrap", "symm"}
        What lies beyond in1's edges: `fillvalue`, the image again, or its mirror image. "pad", "circular" and
        "symmetric" mean the same.
    fillvalue : number
        Taken in the result's dtype; not looked at for other boundaries.

    Returns
    -------
    array (P, Q), of the inputs' common dtype
        Integers are exact, modulo the dtype's number of bits.

    Raises
    ------
    ValueError
        If an input has not two axes, neither contains the other in mode "valid", the dtype has no sums, an option is
        none of the words, or the result's dtype can't hold fillvalue.
    TypeError
        If mode or boundary has no hash, such as a list.

    References
    ----------
    `scipy.signal.convolve2d`.

    Examples
    --------
    >>> convolve2d([[1, 2], [3, 4]], [[1, 0, -1]], mode="same", boundary="symm")
    array([[1, 1],
           [1, 1]])
    """
    x, h = _images(in1, in2)
    x, h = modes.ordered(x, h, mode)
    modes.word(mode, "mode", modes.MODES)
    return _filtered(x, h, *modes.part(x.shape, h.shape, mode), boundary, fillvalue)


def correlate2d(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Array:
    """Cross-correlation of two images: y[p, q] = sum over r, s of in1[p + r, q + s] * conj(in2[r, s]).

    In mode "same" with an even number of taps it is one pixel off `correlate`, and in mode "valid" with the larger
    image second it is the conjugate of it: both as in SciPy.

    Parameters
    ----------
    in1, in2, mode, boundary, fillvalue
        As in `convolve2d`.

    Returns
    -------
    array (P, Q), of the inputs' common dtype

    Raises
    ------
    ValueError, TypeError
        As `convolve2d`.

    References
    ----------
    `scipy.signal.correlate2d`.

    Examples
    --------
    >>> correlate2d([[1, 2, 3]], [[1, 0, -1]])
    array([[-1, -2, -2,  2,  3]])
    """
    given = _images(in1, in2)
    x, h = modes.ordered(*given, mode)
    modes.word(mode, "mode", modes.MODES)
    begin, shape = modes.part(x.shape, h.shape, mode)
    if mode == "same":
        begin = tuple([k // 2 for k in h.shape])
    y = _filtered(x, h.conj()[::-1, ::-1], begin, shape, boundary, fillvalue)
    return y if x is given[0] else y[::-1, ::-1]


def _images(in1: object, in2: object) -> tuple[Array, Array]:
    x, h = modes.two(in1, in2)
    if not x.ndim == h.ndim == 2:
        raise ValueError(f"in1 has shape {x.shape}, in2 has shape {h.shape}: two axes each are accepted")
    return x, h


def _filtered(x: Array, h: Array, begin: Shape, shape: Shape, boundary: str, fillvalue: Any) -> Array:
    """The full convolution from `begin` on, of this shape; x is the image, which has the border."""
    border = BORDERS[modes.word(boundary, "boundary", tuple(BORDERS))]
    dtype = sums.common(x, h)
    if not sums.supported(dtype):
        raise ValueError(
            f"in1 is {x.dtype}, in2 is {h.dtype}: integers, float32, float64, long double and their complex dtypes are "
            "accepted"
        )
    fill = _filling(fillvalue, dtype) if border == "constant" else dtype.type(0)
    if min(shape) < 0 or (border != "constant" and h.size and not x.size):
        raise ValueError(f"in1 has shape {x.shape}, in2 has shape {h.shape}: at least one element is accepted")
    if not (x.size and h.size):
        return np.full(shape, (fill * h.astype(dtype)).sum(dtype=dtype), dtype)
    if border == "constant" and fill == 0:
        return sums.convolved(x, h, begin, shape, dtype)
    return sums.correlated(x, h[::-1, ::-1], begin, shape, dtype, border, fill)


def _filling(value: Any, dtype: np.dtype[Any]) -> Any:
    """The border's value in the result's dtype: arrays are converted where that loses nothing, numbers as C does."""
    if type(value) is int and value == 0:
        return dtype.type(0)
    try:
        safe = not isinstance(value, np.ndarray) or np.can_cast(value.dtype, dtype)
        number = np.array(value, dtype) if safe else None
    except (TypeError, ValueError, OverflowError):
        np.array(value, np.complex128)  # what is no number at all tells so itself
        number = None
    if number is None or number.size != 1:
        raise ValueError(f"fillvalue is {value!r}: one number that {dtype} can hold is accepted")
    return number.reshape(())[()]
