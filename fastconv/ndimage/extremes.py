"""The least and the greatest pixel of a window of any shape: erosion and dilation of grey images."""
# ruff: noqa: A002 - `input` is the name that SciPy's users write

import warnings
from operator import index
from typing import Any

import numpy as np

from fastconv import placement
from fastconv.ndimage.arguments import (
    axes_of,
    check_filter,
    check_origin,
    check_size,
    image_borders,
    line_border,
    one_axis,
    one_mode,
    output_array,
    per_axis,
    place_filter,
    place_origins,
    whole_origins,
)
from fastconv.ndimage.passes import check_types, constant_into, filter_lines, run
from fastconv.typing import Array, Shape

__all__ = ["maximum_filter", "maximum_filter1d", "minimum_filter", "minimum_filter1d"]


def maximum_filter1d(
    input: Any, size: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0
) -> Array:
    """The greatest pixel of a window along an axis: y[p] = max over r of input[p + r - size // 2 - origin].

    Pixels are compared as float64. NaN is neither less nor greater than any pixel: of which windows it is the result,
    the order of comparisons decides, and that is SciPy's.

    Parameters
    ----------
    input : array_like
        A signal, or an image of any rank: bool, integers, float32 or float64.
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
    TypeError
        If the input is complex, or a number is none.
    ValueError
        As `correlate1d`.

    References
    ----------
    scipy.ndimage.maximum_filter1d.

    Examples
    --------
    >>> maximum_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3)
    array([8, 8, 8, 4, 9, 9, 9, 9])
    """
    return _along_axis(input, size, axis, output, mode, cval, origin, minimum=False)


def minimum_filter1d(
    input: Any, size: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0
) -> Array:
    """The least pixel of a window along an axis: y[p] = min over r of input[p + r - size // 2 - origin].

    Parameters, returns and errors are those of `maximum_filter1d`.

    References
    ----------
    scipy.ndimage.minimum_filter1d.

    Examples
    --------
    >>> minimum_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3)
    array([2, 0, 0, 0, 1, 1, 0, 0])
    """
    return _along_axis(input, size, axis, output, mode, cval, origin, minimum=True)


def maximum_filter(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """The greatest pixel of a window: y[p] = max over r in the footprint of input[p + r - K // 2 - origin].

    Parameters
    ----------
    input : array_like
        An image of any rank: bool, integers, float32 or float64.
    size : int or sequence of ints
        The extents of a window that is a box; an axis with a size of at most 1 is left as it is.
    footprint : array_like of bool
        The window's pixels instead, with as many axes as are filtered.
    output, cval
        As in `correlate`.
    mode, origin : one value, or a sequence with one for each axis that is filtered
        As in `correlate`; a footprint with gaps has one mode for all axes.
    axes : int, sequence of ints or None
        The axes that are filtered, all for None.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError
        If there is neither size nor footprint, or shapes, a mode or a type do not fit.
    ValueError
        If the footprint is empty, an origin puts the middle outside the window, `axes` repeats one or leaves the image,
        or `output` is read-only.
    TypeError
        If the input is complex, or a number is none.

    References
    ----------
    scipy.ndimage.maximum_filter.

    Examples
    --------
    >>> maximum_filter(np.array([[0, 0, 0], [0, 9, 0], [0, 0, 0]]), footprint=[[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    array([[0, 9, 0],
           [9, 9, 9],
           [0, 9, 0]])
    """
    return _over_axes(input, size, footprint, output, mode, cval, origin, axes, minimum=False)


def minimum_filter(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """The least pixel of a window: y[p] = min over r in the footprint of input[p + r - K // 2 - origin].

    Parameters, returns and errors are those of `maximum_filter`.

    References
    ----------
    scipy.ndimage.minimum_filter.

    Examples
    --------
    >>> minimum_filter(np.array([[9, 9, 9], [9, 0, 9], [9, 9, 9]]), size=(1, 3))
    array([[9, 9, 9],
           [0, 0, 0],
           [9, 9, 9]])
    """
    return _over_axes(input, size, footprint, output, mode, cval, origin, axes, minimum=True)


def _along_axis(
    input: Any, size: Any, axis: Any, output: Any, mode: Any, cval: Any, origin: Any, minimum: bool
) -> Array:
    x = _real(input)
    axis = one_axis(axis, x.ndim)
    check_size(size)
    out = output_array(output, x)
    border = line_border(x, axis, size, origin, mode, window=True)
    return filter_lines("extreme_lines", x, [(axis, index(size), border)], out, cval, minimum)


def _over_axes(
    input: Any,
    size: Any,
    footprint: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
    minimum: bool,
) -> Array:
    if footprint is not None:
        if size is not None:
            warnings.warn("size is ignored because footprint is given", UserWarning, stacklevel=3)
        footprint = np.asarray(footprint, bool)
        if not footprint.any():
            raise ValueError(f"footprint has shape {footprint.shape} and no pixel: one at least is accepted")
        if footprint.all():
            size, footprint = footprint.shape, None
    elif size is None:
        raise RuntimeError("size is None, footprint too: one of them is accepted")
    x = _real(input)
    out = output_array(output, x)
    where = axes_of(axes, x.ndim)
    if footprint is None:
        return _over_box(x, where, size, out, mode, cval, origin, minimum)
    footprint = place_filter(footprint, where, x.ndim, "footprint")
    origins = place_origins(origin, where, x.ndim)
    check_filter(footprint, x.ndim, "footprint")
    for shift, k in zip(origins, footprint.shape, strict=False):
        check_origin(shift, k, window=True)
    mode = one_mode(mode)
    value = constant_into(out, cval)
    borders = image_borders(x.shape, footprint.shape, whole_origins(origins, x.ndim), mode)
    if out.size:
        check_types(x, out)
    run("extreme", x, np.asarray(footprint, order="C"), out, borders, value, minimum)
    return out


def _over_box(x: Array, axes: Shape, size: Any, out: Array, mode: Any, cval: Any, origin: Any, minimum: bool) -> Array:
    """A box's extremes are those along one axis after the other."""
    count = len(axes)
    sizes, origins = per_axis(size, count, "size"), per_axis(origin, count, "origin")
    modes, passes = per_axis(mode, count, "mode"), []
    for axis, pixels, shift, beyond in zip(axes, sizes, origins, modes, strict=True):
        if pixels > 1:
            place, taps = one_axis(axis, x.ndim), int(pixels)
            passes.append((place, taps, line_border(x, place, taps, shift, beyond, window=True)))
    return filter_lines("extreme_lines", x, passes, out, cval, minimum)


def _real(input: Any) -> Array:
    x: Array = placement.as_array(input)
    if x.dtype.kind == "c":
        raise TypeError(f"input is {x.dtype}: real numbers are accepted")
    return x
