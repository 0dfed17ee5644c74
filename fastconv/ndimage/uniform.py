"""The moving mean."""
# ruff: noqa: A002 - `input` is the name that SciPy's users write

from operator import index
from typing import Any

from fastconv import placement
from fastconv.ndimage.arguments import axes_of, check_size, line_border, one_axis, output_array, per_axis
from fastconv.ndimage.passes import filter_lines
from fastconv.typing import Array

__all__ = ["uniform_filter", "uniform_filter1d"]


def uniform_filter1d(
    input: Any, size: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0
) -> Array:
    """The mean of a window along an axis: y[p] = sum over r of input[p + r - size // 2 - origin] / size.

    The sum runs along in float64, as one pixel enters and another leaves: NaN and infinity reach all pixels after them.

    Parameters
    ----------
    input : array_like
        A signal, or an image of any rank: bool, integers, float32, float64 or complex.
    size : int
        The window's pixels.
    axis : int
        The axis along which the window lies.
    output, mode, cval, origin
        As in `correlate`.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError
        If size is below 1, or shapes, a mode or a type do not fit.
    ValueError, TypeError
        As `correlate1d`.

    References
    ----------
    scipy.ndimage.uniform_filter1d.

    Examples
    --------
    >>> uniform_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3)
    array([4, 3, 4, 1, 4, 6, 6, 3])
    """
    x = placement.as_array(input)
    axis = one_axis(axis, x.ndim)
    check_size(size)
    out = output_array(output, x, x.dtype.kind == "c")
    border = line_border(x, axis, size, origin, mode, window=True)
    return filter_lines("uniform_lines", x, [(axis, index(size), border)], out, cval)


def uniform_filter(
    input: Any,
    size: Any = 3,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """The mean of a window of any rank: `uniform_filter1d` along one axis after the other.

    Parameters
    ----------
    input : array_like
        An image of any rank: bool, integers, float32, float64 or complex.
    size, mode, origin : one value, or a sequence with one for each axis that is filtered
        As in `uniform_filter1d`; an axis with a size of at most 1 is left as it is.
    output, cval
        As in `correlate`; what an axis gives is held in the output's type.
    axes : int, sequence of ints or None
        The axes that are filtered, all for None.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `correlate`.

    References
    ----------
    scipy.ndimage.uniform_filter.

    Examples
    --------
    >>> import numpy as np
    >>> uniform_filter(np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]]))
    array([[1, 1, 1],
           [1, 1, 1],
           [1, 1, 1]])
    """
    x = placement.as_array(input)
    out = output_array(output, x, x.dtype.kind == "c")
    where = axes_of(axes, x.ndim)
    count = len(where)
    sizes, origins = per_axis(size, count, "size"), per_axis(origin, count, "origin")
    modes, passes = per_axis(mode, count, "mode"), []
    for axis, pixels, shift, beyond in zip(where, sizes, origins, modes, strict=True):
        if pixels > 1:
            place, taps = one_axis(axis, x.ndim), int(pixels)
            passes.append((place, taps, line_border(x, place, taps, shift, beyond, window=True)))
    return filter_lines("uniform_lines", x, passes, out, cval)
