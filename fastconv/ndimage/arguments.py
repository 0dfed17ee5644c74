"""What the filters accept: outputs, axes, one value or one per axis, modes, origins and the constant."""

import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np

from fastconv import backends, placement
from fastconv.borders import MODES, Border, around
from fastconv.typing import Array, Shape

HELD = frozenset("?bBhHiIlLqQfd")  # the types' letters: bool, integers, float32, float64
BOOLS, SINGLE = (bool, np.bool), (str, int, float)
WRONG_TYPE = "{} is {}: bool, integers, float32 and float64 are accepted"
border = lru_cache(maxsize=256)(around)


def output_array(output: Any, x: Array, complex_output: bool = False, callers: int = 1) -> Array:
    """The array that `output` asks for or is: x's shape, and x's type for None; its values are still to come.

    With `complex_output` it is complex: the type of None is promoted, and so is a type that is given, with a warning to
    whom is so many callers away.
    """
    if output is None:
        dtype = x.dtype
        if complex_output:
            dtype = np.promote_types(dtype, np.complex64)
        elif dtype.char not in HELD or not dtype.isnative:
            dtype = np.dtype(dtype.name)
        return fresh(x, dtype)
    if isinstance(output, type | np.dtype):
        dtype = np.dtype(output)
        if complex_output and dtype.kind != "c":
            warnings.warn(f"output is {dtype}, the result complex: promoted", stacklevel=callers + 2)
            dtype = np.promote_types(dtype, np.complex64)
        return fresh(x, dtype)
    if isinstance(output, str):
        dtype = np.dtype(output)
        if not issubclass(dtype.type, np.number):
            raise RuntimeError(f"output is {output!r}: a type of numbers is accepted")
        need_complex(dtype, complex_output)
        return fresh(x, dtype)
    out: Array = placement.as_array(output)
    placement.together(input=x, output=out)
    if out.shape != x.shape:
        raise RuntimeError(f"output has shape {out.shape}: that of the input is accepted, {x.shape}")
    need_complex(out.dtype, complex_output)
    return out


def fresh(x: Array, dtype: np.dtype[Any]) -> Array:
    """An array for a result of x's shape, where x lives, from the backend if it computes the type."""
    if placement.on_gpu(x):
        there: Array = backends.module("array", x).empty(x.shape, dtype)
        return there
    if dtype.char in HELD or dtype.kind == "c":
        array: Array = backends.module("filtering").empty(x.shape, dtype)
        return array
    return np.empty(x.shape, dtype)


def need_complex(dtype: np.dtype[Any], complex_output: bool = True) -> None:
    """Raise if the result is complex and the output's type is not."""
    if complex_output and dtype.kind != "c":
        raise RuntimeError(f"output is {dtype}: complex64 and complex128 are accepted for a complex result")


def axes_of(axes: Any, ndim: int) -> Shape:
    """The axes to filter, all for None, counted from 0; one that is not in a sequence stays as it is."""
    if axes is None:
        return tuple(range(ndim))
    if np.isscalar(axes):
        return (index(axes),)  # type: ignore[arg-type]  # of other scalars it raises
    if not isinstance(axes, Iterable):
        raise ValueError(f"axes is {axes!r}: an int, ints or None is accepted")
    found = tuple(index(axis) for axis in axes)
    if not all(-ndim <= axis < ndim for axis in found):
        raise ValueError(f"axes is {axes!r}: ints from {-ndim} to {ndim - 1} are accepted")
    found = tuple(axis % ndim for axis in found)
    if len(set(found)) != len(found):
        raise ValueError(f"axes is {axes!r}: ints that differ are accepted")
    return found


def per_axis(value: Any, count: int, name: str) -> list[Any]:
    """One value for each of `count` axes, from one for all or a sequence."""
    if isinstance(value, SINGLE) or not np.iterable(value):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise RuntimeError(f"{name} has {len(values)} entries: one value or {count}, one an axis, are accepted")
    return values


def mode_of(mode: Any) -> str:
    """`mode` if it is one of the modes."""
    if isinstance(mode, str) and mode in MODES:
        return mode
    raise RuntimeError(f"mode is {mode!r}: one of {', '.join(map(repr, MODES))} is accepted")


def one_mode(mode: Any) -> str:
    """The mode of a filter that has the same for all axes."""
    if not isinstance(mode, str) and isinstance(mode, Iterable):
        raise RuntimeError(f"mode is {mode!r}: one mode for all axes is accepted here")
    return mode_of(mode)


def check_origin(origin: Any, taps: Any, window: bool = False) -> None:
    """Raise if the filter would not lie over its pixel; a window takes more than a filter of what is no int."""
    most = (taps - 1) // 2
    if origin < -(taps // 2) or (taps // 2 + origin >= taps if window else origin > most):
        raise ValueError(f"origin is {origin!r}: {-(taps // 2)} to {most} are accepted for {taps} taps")


def check_size(size: Any) -> None:
    """Raise if a window has no pixels."""
    if size < 1:
        raise RuntimeError(f"size is {size!r}: an int of at least 1 is accepted")


def line_border(x: Array, axis: int, taps: int, origin: Any, mode: Any, window: bool = False) -> Border:
    """The border of x along an axis."""
    check_origin(origin, taps, window)
    beyond = mode_of(mode)
    return border(x.shape[axis], index(taps), index(origin), beyond)


@lru_cache(maxsize=256)
def image_borders(shape: Shape, taps: Shape, origins: Shape, mode: str) -> tuple[Border, ...]:
    """The borders of an image along all its axes; a single number is an image with one axis."""
    axes = zip(shape or (1,), taps or (1,), origins or (0,), strict=True)
    return tuple(around(extent, k, origin, mode) for extent, k, origin in axes)


def place_origins(origin: Any, axes: Shape, ndim: int) -> list[Any]:
    """One origin for each axis of the image, 0 for the axes that are not filtered."""
    given = per_axis(origin, len(axes), "origin")
    if len(axes) >= ndim:
        return given
    origins = [0] * ndim
    for axis, value in zip(axes, given, strict=True):
        origins[axis] = value
    return origins


def place_filter(taps: Array, axes: Shape, ndim: int, name: str) -> Array:
    """The filter with an axis for each of the image's, of one tap where it is not filtered."""
    if len(axes) < ndim:
        if taps.ndim != len(axes):
            raise RuntimeError(f"{name} has {taps.ndim} axes: one for each of axes is accepted, {len(axes)}")
        taps = np.expand_dims(taps, tuple(axis for axis in range(ndim) if axis not in axes))
    return taps


def check_filter(taps: Array, ndim: int, name: str) -> None:
    """Raise unless the filter has the image's axes, and pixels along all of them."""
    if taps.ndim != ndim or 0 in taps.shape:
        raise RuntimeError(f"{name} has shape {taps.shape}: {ndim} axes of at least 1 are accepted")


def whole_origins(origins: Sequence[Any], ndim: int) -> Shape:
    """The origins as ints, one for each axis of the image; SciPy takes no bool here."""
    for origin in origins:
        if isinstance(origin, BOOLS):
            raise TypeError(f"origin is {origin!r}: an int is accepted")
    found = tuple(map(index, origins))
    if len(found) != ndim:
        raise ValueError(f"axes names {len(found)} axes: {ndim} are accepted")
    return found


def constant(cval: Any) -> float:
    """`cval` as a float."""
    if isinstance(cval, str | bytes | bytearray):
        raise TypeError(f"cval is {cval!r}: a real number is accepted")
    return float(cval)


def one_axis(axis: Any, ndim: int) -> int:
    """An axis, counted from 0."""
    if axis < -ndim or axis >= ndim:
        raise np.exceptions.AxisError(axis, ndim, "axis")
    return index(axis) % ndim
