"""How a filter reaches the backend: from the array that was given into the array that was asked for.

The backend sees no byte order but the machine's, no bool (they are uint8 here, which SciPy's bytes are, too), no arrays
that share memory, and none without pixels. Arrays on a GPU it sees as they are, bool among them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import backends, placement
from fastconv.ndimage.arguments import HELD, WRONG_TYPE, constant, need_complex
from fastconv.typing import Array


def filter_lines(operation: str, x: Array, passes: Sequence[Any], out: Array, cval: Any, *options: bool) -> Array:
    """`out`, after the passes of a backend's operation along lines; of complex x each part for itself.

    Without any pass it is a copy of x.
    """
    if not passes:
        out[...] = x
        return out
    if x.dtype.kind == "c":
        need_complex(out.dtype)
        x = apart(x, out)
        filter_lines(operation, x.real, passes, out.real, np.real(cval), *options)
        filter_lines(operation, x.imag, passes, out.imag, np.imag(cval), *options)
        return out
    value = constant_into(out, cval)
    check_types(x, out)
    run(operation, x, passes, out, value, *options)
    return out


def run(operation: str, x: Array, what: Any, out: Array, *options: Any) -> None:
    """The backend's operation(x, what, out, *options); a single number is an image with one axis."""
    if not out.size:
        return
    if not x.ndim:
        x, what, out = x.reshape(1), what.reshape(1), out.reshape(1)
    if placement.on_gpu(out):
        getattr(backends.module("filtering", out), operation)(apart(x, out), what, out, *options)
        return
    dtype = out.dtype
    plain = dtype.isnative and out.flags.aligned
    y = out if plain else np.empty(out.shape, dtype.newbyteorder("="))
    if y.dtype.char == "?":
        y = y.view(np.uint8)
    getattr(backends.module("filtering"), operation)(readable(x, out), what, y, *options)
    if dtype.char == "?":
        np.not_equal(y, 0, out=out)
    elif not plain:
        out[...] = y


def readable(x: Array, out: Array) -> Array:
    """x as the backend reads it, apart from `out`."""
    if not x.dtype.isnative or not x.flags.aligned:
        return x.astype(x.dtype.newbyteorder("="))
    return apart(x.view(np.uint8) if x.dtype.char == "?" else x, out)


def apart(x: Array, out: Array) -> Array:
    """x, or a copy of it if it may share memory with `out`."""
    if placement.on_gpu(out):
        (one, size), (two, other) = _memory(x), _memory(out)
        return x.copy() if one < two + other and two < one + size else x
    return x.copy() if np.may_share_memory(x, out) else x


def _memory(array: Any) -> tuple[int, int]:
    """The address of an array on a GPU, and its bytes."""
    return array.__cuda_array_interface__["data"][0], array.nbytes


def constant_into(out: Array, cval: Any) -> float:
    """The constant of a filter that writes to `out`."""
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("output is read-only: a writeable array is accepted")
    return constant(cval)


def check_types(x: Array, out: Array) -> None:
    """Raise unless filters are computed for the types of x and of the output."""
    if x.dtype.char not in HELD:
        raise RuntimeError(WRONG_TYPE.format("input", x.dtype))
    if out.dtype.char not in HELD:
        raise RuntimeError(WRONG_TYPE.format("output", out.dtype))
