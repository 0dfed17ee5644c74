"""What every layer asks of its constructor's arguments and of the shapes it is shown, before anything is computed."""

from operator import index
from typing import Any

import numpy as np

from fastconv import arguments
from fastconv.functional.checks import choice, fraction, generator, real
from fastconv.typing import Shape

__all__ = [
    "any_shape",
    "at_least",
    "axis",
    "choice",
    "count",
    "flag",
    "float_dtype",
    "fraction",
    "generator",
    "image_shape",
    "layer_options",
    "padding",
    "real",
]


def count(value: Any, name: str, least: int = 1) -> int:
    """`value` as an int of at least `least`."""
    accepted = f"{name} is {value!r}: an int of at least {least} is accepted"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(accepted)
    if index(value) < least:
        raise ValueError(accepted)
    return index(value)


def axis(value: Any, name: str) -> int:
    """`value` as an int of either sign, which names an axis."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}: an int is accepted")
    return index(value)


def flag(value: Any, name: str) -> bool:
    """`value` as a bool; an int in its place is most often an argument at the wrong position."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}: True and False are accepted")
    return bool(value)


def at_least(value: Any, name: str, least: float) -> float:
    """`value` as a float of at least `least`."""
    number = real(value, name)
    if not number >= least:
        raise ValueError(f"{name} is {value!r}: a number of at least {least} is accepted")
    return number


def float_dtype(value: Any) -> np.dtype[Any]:
    """`value` as the dtype of a layer's parameters."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind != "f" or dtype.itemsize > 8 or not dtype.isnative:
        raise TypeError(f"dtype is {value!r}: float32, float64 and float16 are accepted")
    return dtype


def padding(value: Any, rank: int) -> Any:
    """`value` in the form it came, ints made Python's, if it is an accepted form of padding."""
    form = arguments.hashable(value, "padding")
    if form not in ("same", "valid"):
        arguments.explicit_pairs(form, rank, "padding")
    return form


def image_shape(input_shape: Any, rank: int, channels: int | None = None) -> Shape:
    """`input_shape` as (N, C, *spatial) of `rank` spatial axes, with `channels` channels."""
    shape = any_shape(input_shape)
    meaning = f"(N, C and {rank} spatial)"
    if len(shape) != rank + 2:
        raise ValueError(f"input_shape is {shape}: {rank + 2} axes {meaning} are accepted")
    if channels is not None and shape[1] != channels:
        raise ValueError(f"input_shape is {shape}, of {shape[1]} channels: {channels} are accepted")
    return shape


def any_shape(input_shape: Any) -> Shape:
    """`input_shape` as a tuple of ints of at least 0, at least one of them."""
    shape = arguments.hashable(input_shape, "input_shape")
    if not isinstance(shape, tuple) or not shape or not all(isinstance(s, int) and s >= 0 for s in shape):
        raise ValueError(f"input_shape is {input_shape!r}: a sequence of ints of at least 0, N first, is accepted")
    return shape


def layer_options(layer: Any, **defaults: object) -> str:
    """Those of the layer's attributes that are not the defaults, as `name=value`, for its repr."""
    shown = {name: vars(layer)[name] for name in defaults if name in vars(layer)}
    return "".join(f", {name}={value!r}" for name, value in shown.items() if value != defaults[name])
