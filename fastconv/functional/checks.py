"""What every operation asks of its arguments before anything is computed."""

from collections.abc import Collection
from typing import Any

import numpy as np

from fastconv import algorithms, placement
from fastconv.arguments import hashable
from fastconv.geometry import Convolution
from fastconv.typing import Array, Shape

HALF, SINGLE, DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
READY = 0x101  # flags of an array that is contiguous in C's order and aligned


def floats(optional: Collection[str] = (), /, **arguments: object) -> tuple[np.dtype[Any], list[Any]]:
    """The arguments' common dtype, and each as a contiguous array of the dtype that is computed in.

    float32 and float64 are computed as they are, float16 in float32. An argument that is None stays None if it is among
    the `optional` ones. A TypeError names an argument of another dtype, or the first two that differ.
    """
    dtype = None
    for name, value in arguments.items():  # arrays that are ready, as most often
        if type(value) is np.ndarray:
            if value.flags.num & READY != READY:
                break
            if value.dtype is not dtype:
                if dtype is not None:
                    break
                dtype = value.dtype
        elif value is not None or name not in optional:
            break
    else:
        if dtype is SINGLE or dtype is DOUBLE:
            return dtype, [*arguments.values()]
    dtype = _on_gpu(optional, arguments)
    if dtype is not None:
        return dtype, [*arguments.values()]
    for name, value in arguments.items():
        if value is None and name not in optional:
            raise TypeError(f"{name} is None: an array of float32, float64 or float16 is accepted")
    placement.together(**arguments)
    arrays = {name: None if value is None else floating(value, name) for name, value in arguments.items()}
    given = [(name, array.dtype) for name, array in arrays.items() if array is not None]
    for name, dtype in given:
        if dtype != given[0][1]:
            raise TypeError(f"{name} is {dtype}, {given[0][0]} is {given[0][1]}: one dtype for both is accepted")
    dtype = given[0][1]
    compute = SINGLE if dtype == HALF else dtype
    return dtype, [None if a is None else placement.ready(a, compute) for a in arrays.values()]


def _on_gpu(optional: Collection[str], arguments: dict[str, Any]) -> np.dtype[Any] | None:
    """The common dtype of arrays on a GPU, which all are ready, where nothing needs to be done or told; else None."""
    dtype = kind = None
    for name, value in arguments.items():
        if value is None and name in optional:
            continue
        if dtype is None:
            kind, dtype = type(value), getattr(value, "dtype", None)
        if type(value) is not kind or not getattr(kind, "on_gpu", False) or value.dtype is not dtype:
            return None
    return dtype if dtype is SINGLE or dtype is DOUBLE else None


def floating(value: object, name: str) -> Array:
    """`value` as an array of native float16, float32 or float64."""
    array: Array = placement.as_array(value)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} is {array.dtype}: float32, float64 and float16 are accepted")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def integers(value: Any, name: str, **beside: Any) -> Array:
    """`value` as a contiguous array of int64 where the arrays `beside` it live; a TypeError for anything else."""
    placement.together(**beside, **{name: value})
    array: Array = placement.as_array(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} is {array.dtype}: integers are accepted")
    return placement.ready(array, np.dtype(np.int64))


def booleans(value: Any, name: str, **beside: Any) -> Array:
    """`value` as a contiguous array of bool where the arrays `beside` it live; a TypeError for anything else."""
    placement.together(**beside, **{name: value})
    array: Array = placement.as_array(value)
    if array.dtype != np.bool:
        raise TypeError(f"{name} is {array.dtype}: bool is accepted")
    return placement.ready(array, array.dtype)


def host(value: object, name: str) -> Array:
    """`value` as an array in the computer's memory."""
    if placement.on_gpu(value):
        raise TypeError(f"{name} lives on a GPU: an array of the computer's is accepted (fastconv.to_host copies)")
    return np.asarray(value)


def batched(array: Array, rank: int, name: str) -> tuple[Array, bool]:
    """`array` as (N, C, *spatial), and whether it came without the batch axis."""
    if array.ndim == rank + 2:
        return array, False
    if array.ndim == rank + 1:
        return array[None], True
    raise ValueError(
        f"{name} has {array.ndim} axes, shape {array.shape}: {rank + 2} (N, C and {rank} spatial) are accepted, or "
        f"{rank + 1} (without N)"
    )


def layer(array: Array, filters: Array, rank: int, name: str, meaning: str) -> tuple[Array, bool]:
    """`batched`, and `axes` of the filters."""
    if array.ndim == filters.ndim == rank + 2:  # as most often
        return array, False
    found = batched(array, rank, name)
    axes(filters, rank + 2, "weight", meaning)
    return found


def axes(array: Array, count: int, name: str, meaning: str) -> None:
    """Raise unless `array` has `count` axes."""
    if array.ndim != count:
        raise ValueError(f"{name} has {array.ndim} axes, shape {array.shape}: {count} {meaning} are accepted")


def shaped(array: Array, shape: Shape, name: str) -> None:
    """Raise unless `array` has exactly this shape."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: {shape} is accepted")


def size(value: object, name: str) -> Shape:
    """A shape given as an argument, as a tuple of ints of at least 0."""
    sizes = hashable(value, name)
    if not isinstance(sizes, tuple) or not all(isinstance(s, int) and s >= 0 for s in sizes):
        raise ValueError(f"{name} is {value!r}: a sequence of ints of at least 0 is accepted")
    return sizes


def back(y: Array, dtype: np.dtype[Any], unbatched: bool = False, out: Array | None = None) -> Array:
    """A result in the caller's dtype, without the batch axis if x came without; `out` itself where there is one."""
    if y.dtype is dtype and out is None and not unbatched:  # as most often
        return y
    if out is not None:
        if y.dtype != dtype:
            with np.errstate(over="ignore"):
                out[...] = y.reshape(out.shape)
        return out
    if y.dtype != dtype:
        with np.errstate(over="ignore"):  # what float16 can't hold is an infinity, without a warning
            y = y.astype(dtype)
    return y[0] if unbatched else y


def asked(
    algorithm: object,
    out: object,
    shape: Shape,
    dtype: np.dtype[Any],
    unbatched: bool,
    geometry: Convolution,
    inputs: dict[str, Any],
) -> tuple[str, Any]:
    """The algorithm of a call, and where its result of this shape goes: `out`, or None for an array of its own.

    What is computed in another dtype than the caller's gets an array of its own too, which `back` copies.
    """
    computed = SINGLE if dtype == HALF else dtype
    name = algorithms.chosen(algorithm, geometry, computed)
    if out is None:
        return name, None
    result = output(out, shape[1:] if unbatched else shape, dtype, inputs)
    return name, result.reshape(shape) if dtype == computed else None


def output(out: Any, shape: Shape, dtype: np.dtype[Any], inputs: dict[str, Any]) -> Array:
    """`out` if a result of this shape and dtype can be written to it, and to none of the inputs."""
    if not isinstance(out, np.ndarray) and not placement.on_gpu(out):
        raise TypeError(f"out is {type(out).__name__}: a NumPy array is accepted")
    there = placement.together(**inputs, out=out)
    if out.dtype != dtype:
        raise TypeError(f"out is {out.dtype}: {dtype} is accepted, the result's dtype")
    shaped(out, shape, "out")
    if there:
        place: Array = _output_there(out, inputs)
        return place
    if out.flags.num & READY != READY:
        raise ValueError(f"out has strides {out.strides}: a C-contiguous and aligned array is accepted")
    if not out.flags.writeable:
        raise ValueError("out is read-only: a writeable array is accepted")
    result: Array = out
    for name, value in inputs.items():
        if value is not None and overlap(out, np.asarray(value)):
            raise ValueError(f"out overlaps {name} in memory: an array of its own is accepted")
    return result


def _output_there(out: Any, inputs: dict[str, Any]) -> Any:
    """`out` on a GPU, as fastconv's own array, if it is in C's order and shares no memory with an input."""
    place = placement.on_device(out)
    first = place.__cuda_array_interface__["data"][0]
    if first != out.__cuda_array_interface__["data"][0]:
        raise ValueError("out is not C-contiguous: an array whose numbers lie one after another is accepted")
    for name, value in inputs.items():
        if value is not None:
            other = placement.on_device(value)
            begin = other.__cuda_array_interface__["data"][0]
            if begin < first + place.nbytes and first < begin + other.nbytes:
                raise ValueError(f"out overlaps {name} in memory: an array of its own is accepted")
    return place


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share memory; also where that takes long to tell."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # NumPy takes any
    except np.exceptions.TooHardError:
        return True


def input_shape(value: object, grad_output: Array, unbatched: bool) -> Shape:
    """`input_size`, the shape of an x whose (N, C) are grad_output's, as (N, C, *spatial)."""
    given = size(value, "input_size")
    shape = (1, *given) if unbatched else given
    if len(shape) != grad_output.ndim or shape[:2] != grad_output.shape[:2]:
        came = grad_output.shape[1:] if unbatched else grad_output.shape
        raise ValueError(f"input_size is {given}, grad_output has shape {came}: x's shape is accepted")
    return shape


def x_shape(input_size: object, rank: int, unbatched: bool) -> Shape:
    """`input_size`, the shape of a convolution's x, as (N, C, *spatial)."""
    shape = (1,) * unbatched + size(input_size, "input_size")
    if len(shape) != rank + 2:
        raise ValueError(f"input_size is {input_size}: x's shape is accepted, with as many axes as grad_output")
    return shape


def weight_shape(weight_size: object, rank: int) -> Shape:
    """`weight_size`, the shape of a convolution's weight."""
    shape = size(weight_size, "weight_size")
    if len(shape) != rank + 2:
        raise ValueError(f"weight_size is {weight_size}: weight's shape, {rank + 2} ints, is accepted")
    return shape


def within(indices: Array, least: int, limit: int, name: str) -> None:
    """Raise unless all of `indices` are at least `least` and less than `limit`."""
    for extreme in ("min", "max"):
        index = getattr(indices, extreme)(initial=least)
        if not least <= index < limit and not isinstance(indices, np.ndarray):
            indices.bounds = None  # which may be wider than the numbers: the GPU is asked
            index = getattr(indices, extreme)(initial=least)
        if not least <= index < limit and indices.size:
            raise ValueError(f"{name} holds {index}: {least} to {limit - 1} are accepted")


def real(value: object, name: str) -> float:
    """A number given as an option, as a float; a TypeError for anything else."""
    if isinstance(value, (bool, np.bool)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}: a real number is accepted")
    return float(value)


def fraction(value: object, name: str) -> float:
    """A number from 0 to 1, such as a probability."""
    number = real(value, name)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {value!r}: a number from 0 to 1 is accepted")
    return number


def choice(value: object, name: str, accepted: tuple[str, ...]) -> str:
    """`value` if it is one of the accepted words."""
    if isinstance(value, str) and value in accepted:
        return value
    raise ValueError(f"{name} is {value!r}: one of {', '.join(map(repr, accepted))} is accepted")


def axis(value: object, count: int, name: str) -> int:
    """One of `count` axes, counted from the end if negative, as an int of at least 0; a number counts as one axis."""
    count = max(count, 1)
    place = hashable(value, name)
    if not isinstance(place, int) or not -count <= place < count:
        raise ValueError(f"{name} is {value!r}: an int from {-count} to {count - 1} is accepted")
    return place % count


def spread(array: Array, shape: Shape, name: str) -> Array:
    """`array` repeated along the axes where it has one entry (NumPy's broadcasting), contiguous in `shape`."""
    try:
        if not isinstance(array, np.ndarray):  # repeated by arithmetic: NumPy's views are not for a GPU's memory
            if np.broadcast_shapes(array.shape, shape) != shape:
                raise ValueError
            return array if array.shape == shape else array + placement.to_device(np.zeros(shape, array.dtype))
        return np.require(np.broadcast_to(array, shape), None, ["C", "A"])
    except ValueError:
        raise ValueError(f"{name} has shape {array.shape}: {shape} is accepted, or what broadcasts to it") from None


def generator(value: object, name: str) -> np.random.Generator:
    """What draws random numbers: the Generator given, one that starts from a seed, or a fresh one for None."""
    if isinstance(value, np.random.Generator):
        return value
    if value is None:
        return np.random.default_rng()
    if isinstance(value, (bool, np.bool)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: an int (the seed), a numpy.random.Generator or None is accepted")
    if value < 0:
        raise ValueError(f"{name} is {value!r}: a seed of at least 0 is accepted")
    return np.random.default_rng(int(value))
