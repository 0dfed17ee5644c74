"""NumPy's functions of each number, for arrays on the device: what `a + b` and `np.exp(a)` come to.

Results have the dtype that NumPy gives them, and the shape that the operands spread to. Index letter: `i` number.
"""

from collections.abc import Callable
from inspect import isfunction
from typing import Any

import numpy as np

from fastconv.backends.cuda import mathematics
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.elementwise import mapping, overlap, place_of, table
from fastconv.backends.cuda.launching import MASK, device_function
from fastconv.backends.cuda.mathematics import greater, lesser
from fastconv.backends.cuda.moves import broadcast_strides, spread

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.add: lambda a, b: a + b,
    np.subtract: lambda a, b: a - b,
    np.multiply: lambda a, b: a * b,
    np.divide: lambda a, b: a / b,
    np.power: lambda a, b: a**b,
    np.maximum: greater,
    np.minimum: lesser,
    np.equal: lambda a, b: a == b,
    np.not_equal: lambda a, b: a != b,
    np.less: lambda a, b: a < b,
    np.less_equal: lambda a, b: a <= b,
    np.greater: lambda a, b: a > b,
    np.greater_equal: lambda a, b: a >= b,
    np.negative: lambda a: -a,
    np.positive: lambda a: a,
    np.absolute: lambda a: abs(a),
    np.square: lambda a: a * a,
    np.sqrt: mathematics.sqrt,
    np.exp: mathematics.exp,
    np.log: mathematics.log,
    np.tanh: mathematics.tanh,
}
OF_BOOL = {np.add: np.maximum, np.multiply: np.minimum}  # "or" and "and"
FLOATS_ONLY = {np.power}  # integers to negative powers are an error in NumPy, which is told before anything runs


def call(function: Any, inputs: tuple[Any, ...], out: DeviceArray | None = None) -> Any:
    """The ufunc of arrays on the device and numbers; NotImplemented if it isn't known here."""
    if function not in FUNCTIONS:
        return NotImplemented
    _all_on_device(function, inputs)
    *loop, dtype = function.resolve_dtypes((*[_kind(value) for value in inputs], None))
    if function in FLOATS_ONLY and loop[0].kind != "f":
        return NotImplemented
    shape = np.broadcast_shapes(*[getattr(value, "shape", ()) for value in inputs])
    y = empty(shape, dtype) if out is None else _checked(out, shape, dtype)
    operands = [a.copy() if isinstance(a, DeviceArray) and overlap(a, y) else a for a in inputs]
    if y.size:
        _launch(OF_BOOL.get(function, function) if loop[0].char == "?" else function, loop[0], operands, y)
    return y


def _launch(function: Any, loop: np.dtype[Any], inputs: list[Any], y: DeviceArray) -> None:
    compute = np.dtype(np.float32) if loop.char == "e" else loop
    operands = [a if isinstance(a, DeviceArray) else compute.type(np.asarray(a).astype(loop)[()]) for a in inputs]
    arrays = tuple([isinstance(a, DeviceArray) for a in inputs])
    if len(inputs) == 1:
        _unary(compute, function)(*operands, out=y)
    elif not all(arrays):
        operands = [spread(a, y.shape) if isinstance(a, DeviceArray) and a.shape != y.shape else a for a in operands]
        _binary(compute, function, *arrays)(*operands, out=y)
    elif operands[0].shape == operands[1].shape == y.shape:
        _binary(compute, function, True, True)(*operands, out=y)
    else:
        rows, axes = table(y.shape, *[broadcast_strides(a.shape, y.shape) for a in operands])
        _spread_binary(compute, function)(*operands, rows, axes, out=y)


def _compiled(function: Any) -> Any:
    """The ufunc for kernels; CUDA's own functions are there already."""
    found = FUNCTIONS[function]
    return device_function(found) if isfunction(found) else found


@mapping
def _unary(t: Any, function: Any) -> Callable[..., Any]:
    """y[i] = function(a[i])."""
    f = _compiled(function)
    return lambda i, a: f(t(a[i]))


@mapping
def _binary(t: Any, function: Any, left: bool, right: bool) -> Callable[..., Any]:
    """y[i] = function(a[i], b[i]); a or b is a number where it isn't an array."""
    f = _compiled(function)
    if not left:
        return lambda i, a, b: f(a, t(b[i]))
    if not right:
        return lambda i, a, b: f(t(a[i]), b)
    return lambda i, a, b: f(t(a[i]), t(b[i]))


@mapping
def _spread_binary(t: Any, function: Any) -> Callable[..., Any]:
    """y[i] = function(a, b) of the numbers that NumPy's broadcasting brings together in place i."""
    f = _compiled(function)
    return lambda i, a, b, rows, axes: f(
        t(a[place_of(i, rows, axes, 0) & MASK]), t(b[place_of(i, rows, axes, 1) & MASK])
    )


def _kind(value: Any) -> Any:
    """A dtype, or Python's type of a number, which adapts to others."""
    if isinstance(value, bool):
        return np.dtype(np.bool)
    return type(value) if type(value) in (int, float) else value.dtype


def _all_on_device(function: Any, inputs: tuple[Any, ...]) -> None:
    """Raise if one of the operands is an array of the host's."""
    if any(isinstance(value, np.ndarray) and value.ndim for value in inputs):
        places = [
            f"operand {count} ({type(value).__name__}, shape {value.shape}) lives "
            + ("on the GPU" if isinstance(value, DeviceArray) else "in the computer's memory")
            for count, value in enumerate(inputs, 1)
            if getattr(value, "ndim", 0)
        ]
        raise TypeError(f"np.{function.__name__}: {' and '.join(places)}: arrays of one side and numbers are accepted")
    for count, value in enumerate(inputs, 1):
        if not isinstance(value, DeviceArray | np.ndarray | np.generic | int | float):
            raise TypeError(f"np.{function.__name__}: operand {count} is {value!r}: arrays and numbers are accepted")


def _checked(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> DeviceArray:
    """`out` if it can take a result of this shape and dtype."""
    if not isinstance(out, DeviceArray):
        raise TypeError(f"out is {type(out).__name__}: an array on the GPU is accepted")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}: {shape} is accepted, the result's")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(f"out is {out.dtype}: what {dtype} can be rounded to is accepted")
    return out
