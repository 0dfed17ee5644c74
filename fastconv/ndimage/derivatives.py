"""Derivatives of images by differences of neighbours: Sobel's, Prewitt's and Laplace's filters, and sums of any."""
# ruff: noqa: A002 - `input` is the name that SciPy's users write

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv import placement
from fastconv.ndimage.arguments import HELD, axes_of, border, line_border, mode_of, one_axis, output_array, per_axis
from fastconv.ndimage.correlation import correlate1d
from fastconv.ndimage.passes import apart, check_types, constant_into, filter_lines, run
from fastconv.typing import Array, Shape

__all__ = ["generic_gradient_magnitude", "generic_laplace", "laplace", "prewitt", "sobel"]

DIFFERENCE, SECOND_DIFFERENCE = np.array([-1.0, 0.0, 1.0]), np.array([1.0, -2.0, 1.0])
IEEE = np.errstate(
    all="ignore"
)  # infinities are results here; squares of integers wrap around, and may lose their root
SMALL, NEAR = frozenset("?bBhH"), 1 << 16


def sobel(input: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0) -> Array:
    """Sobel's filter, a cross-correlation: the difference [-1, 0, 1] along `axis`, then [1, 2, 1] along the others.

    Parameters
    ----------
    input : array_like
        An image of any rank: bool, integers, float32, float64 or complex.
    axis : int
        The axis of the derivative; 0 answers to horizontal edges, 1 to vertical ones.
    output, cval
        As in `correlate`; what an axis gives is held in the output's type, in which negative numbers may wrap around.
    mode : str or sequence of str
        As in `correlate`, for all axes or one for each.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `correlate1d`.

    References
    ----------
    scipy.ndimage.sobel; Sobel, Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.

    Examples
    --------
    >>> sobel(np.array([[0, 0, 0], [0, 0, 0], [5, 5, 5]]), axis=0)
    array([[ 0,  0,  0],
           [20, 20, 20],
           [20, 20, 20]])
    """
    return _smoothed_difference(input, np.array([1.0, 2.0, 1.0]), axis, output, mode, cval)


def prewitt(input: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0) -> Array:
    """Prewitt's filter, a cross-correlation: the difference [-1, 0, 1] along `axis`, then [1, 1, 1] along the others.

    Parameters, returns and errors are those of `sobel`.

    References
    ----------
    scipy.ndimage.prewitt.

    Examples
    --------
    >>> prewitt(np.array([[0, 0, 0], [0, 0, 0], [5, 5, 5]]), axis=0)
    array([[ 0,  0,  0],
           [15, 15, 15],
           [15, 15, 15]])
    """
    return _smoothed_difference(input, np.ones(3), axis, output, mode, cval)


def laplace(input: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None) -> Array:
    """Laplace's filter, a cross-correlation: the sum of [1, -2, 1] along the axes.

    Parameters
    ----------
    input : array_like
        An image of any rank: bool, integers, float32, float64 or complex.
    output, cval
        As in `correlate`.
    mode : str or sequence of str
        As in `correlate`, for all axes or one for each that is filtered.
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
    scipy.ndimage.laplace.

    Examples
    --------
    >>> laplace(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    """
    x = placement.as_array(input)
    out = output_array(output, x)
    where = axes_of(axes, x.ndim)
    if len(where) < 2 or not _sums_alike(x, out, cval):
        return generic_laplace(x, _second_difference, out, mode, cval, axes=axes)
    modes = per_axis(mode, len(where), "mode")
    found = dict(zip(where, map(mode_of, modes), strict=True))
    value = constant_into(out, cval)
    check_types(x, out)
    cross = _cross(x.ndim, where)
    axes_taps = enumerate(zip(x.shape, cross.shape, strict=True))
    borders = tuple(border(h, k, 0, found.get(axis, "reflect")) for axis, (h, k) in axes_taps)
    run("correlate", x, cross, out, borders, value, True)
    return out


def generic_laplace(
    input: Any,
    derivative2: Callable[..., Array],
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: Any = None,
) -> Array:
    """The sum of second derivatives along the axes, which a function gives.

    Parameters
    ----------
    input, output, mode, cval, axes
        As in `laplace`.
    derivative2 : function
        derivative2(input, axis, output, mode, cval, *extra_arguments, **extra_keywords) puts the derivative along an
        axis into `output`, or returns an array of that type.
    extra_arguments, extra_keywords
        More arguments of it.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `laplace`, or what the function raises.

    References
    ----------
    scipy.ndimage.generic_laplace.

    Examples
    --------
    >>> def second(x, axis, output, mode, cval):
    ...     return correlate1d(x, [1, -2, 1], axis, output, mode, cval)
    >>> generic_laplace(np.array([0, 0, 1, 0, 0]), second)
    array([ 0,  1, -2,  1,  0])
    """
    x = placement.as_array(input)
    out = output_array(output, x)
    for found in _derivatives(x, derivative2, out, mode, cval, axes, extra_arguments, extra_keywords):
        if found is not out:
            _add(found, out)
    return out


def generic_gradient_magnitude(
    input: Any,
    derivative: Callable[..., Array],
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: Any = None,
) -> Array:
    """The length of the gradient whose parts, the derivatives along the axes, a function gives.

    Parameters
    ----------
    input, output, mode, cval, axes
        As in `laplace`.
    derivative : function
        derivative(input, axis, output, mode, cval, *extra_arguments, **extra_keywords) puts the derivative along an
        axis into `output`, or returns an array of that type, which is written to.
    extra_arguments, extra_keywords
        More arguments of it.

    Returns
    -------
    array, with the shape of `input`

    Raises
    ------
    RuntimeError, ValueError, TypeError
        As `laplace`, or what the function raises.

    References
    ----------
    scipy.ndimage.generic_gradient_magnitude.

    Examples
    --------
    >>> generic_gradient_magnitude(np.array([[0.0, 0, 0], [0, 0, 0], [5, 5, 5]]), sobel)
    array([[ 0.,  0.,  0.],
           [20., 20., 20.],
           [20., 20., 20.]])
    """
    x = placement.as_array(input)
    out = output_array(output, x)
    for found in _derivatives(x, derivative, out, mode, cval, axes, extra_arguments, extra_keywords):
        _add_square(found, out)
    if axes_of(axes, x.ndim):
        _take_root(out)
    return out


@IEEE
def _add(derivative: Array, out: Array) -> None:
    out += derivative


@IEEE
def _add_square(derivative: Array, out: Array) -> None:
    np.multiply(derivative, derivative, derivative)
    if derivative is not out:
        out += derivative


@IEEE
def _take_root(out: Array) -> None:
    if placement.on_gpu(out):
        out[...] = np.sqrt(out)
    else:
        np.sqrt(out, out, casting="unsafe")


def _derivatives(
    x: Array,
    derivative: Callable[..., Array],
    out: Array,
    mode: Any,
    cval: Any,
    axes: Any,
    extra_arguments: Sequence[Any],
    extra_keywords: Mapping[str, Any] | None,
) -> Iterator[Array]:
    """The derivative along each axis, the first one in `out`, which is a copy of x where there are no axes."""
    where = axes_of(axes, x.ndim)
    modes = per_axis(mode, len(where), "mode") if where else []
    x = apart(x, out)
    into: Any = out
    if not where:
        out[...] = x
    for axis, beyond in zip(where, modes, strict=True):
        found = derivative(x, axis, into, beyond, cval, *extra_arguments, **(extra_keywords or {}))
        yield out if into is out else found
        into = out.dtype


def _smoothed_difference(input: Any, smoothing: Array, axis: Any, output: Any, mode: Any, cval: Any) -> Array:
    x = placement.as_array(input)
    axis = one_axis(axis, x.ndim)
    out = output_array(output, x)
    modes = per_axis(mode, x.ndim, "mode")
    passes = [(axis, DIFFERENCE, line_border(x, axis, 3, 0, modes[axis]))]
    for other in range(x.ndim):
        if other != axis:
            passes.append((other, smoothing, line_border(x, other, 3, 0, modes[other])))
    return filter_lines("correlate_lines", x, passes, out, cval)


def _second_difference(x: Array, axis: int, output: Any, mode: Any, cval: Any) -> Array:
    return correlate1d(x, SECOND_DIFFERENCE, axis, output, mode, cval)


def _sums_alike(x: Array, out: Array, cval: Any) -> bool:
    """Whether one sum over all axes is stored as the sum of what is stored for each axis."""
    if out.dtype.kind == "f":
        return x.dtype.char in HELD
    # So small integers fit into every type's way of wrapping around; a fraction would be cut from each sum.
    small = x.dtype.char in SMALL and isinstance(cval, int | float) and abs(cval) < NEAR and cval == int(cval)
    return small and out.dtype.kind in "iu"


@lru_cache(maxsize=64)
def _cross(ndim: int, axes: Shape) -> Array:
    """The sum of [1, -2, 1] along the axes, as a filter of 3 taps along them and 1 along others."""
    far = np.abs(np.indices((3,) * len(axes)) - 1).sum(axis=0)
    arms: Array = np.where(far == 0, -2.0 * len(axes), far == 1)
    cross = arms.reshape([3 if axis in axes else 1 for axis in range(ndim)])
    cross.flags.writeable = False
    return cross
