"""The fully connected layer's operation and its gradients; names, arguments and defaults are `torch.nn.functional`'s.

Index letters: `n` row (an image), `c`/`o` feature in/out; capitals are extents.
"""

from math import prod
from typing import Any

from fastconv import backends
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike

__all__ = ["linear", "linear_bias_grad", "linear_input_grad", "linear_weight_grad"]


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """Affine map of the last axis: y = x weightᵀ + bias (PyTorch's linear).

    y[n, o] = bias[o] + sum over c of weight[o, c] * x[n, c].

    Parameters
    ----------
    x : array (*, C), float32, float64 or float16
        Rows of C features; any number of axes before them.
    weight : array (O, C), dtype of x
    bias : array (O,), dtype of x, optional

    Returns
    -------
    array (*, O), dtype of x

    Raises
    ------
    TypeError
        If a dtype is none of the three, or not x's.
    ValueError
        If the shapes do not fit.

    References
    ----------
    Goodfellow, Bengio, Courville, "Deep Learning", 2016, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([1.0, 2.0]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, 0.0]))
    array([11.5, 17. ])
    """
    return _linear(x, weight, bias)


def linear_input_grad(weight: ArrayLike, grad_output: ArrayLike) -> Array:
    """Gradient of `linear` with respect to x: grad_output weight.

    grad_x[n, c] = sum over o of grad_output[n, o] * weight[o, c].

    Parameters
    ----------
    weight : array (O, C), float32, float64 or float16
    grad_output : array (*, O), dtype of weight
        The loss's gradient with respect to y.

    Returns
    -------
    array (*, C), dtype of grad_output

    Raises
    ------
    TypeError, ValueError
        As `linear`.

    Examples
    --------
    >>> import numpy as np
    >>> linear_input_grad(np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([1.0, 10.0]))
    array([53., 64.])
    """
    return _input_grad(weight, grad_output)


def linear_weight_grad(x: ArrayLike, grad_output: ArrayLike) -> Array:
    """Gradient of `linear` with respect to weight: grad_outputᵀ x.

    grad_weight[o, c] = sum over n of grad_output[n, o] * x[n, c].

    Parameters
    ----------
    x : array (*, C), float32, float64 or float16
    grad_output : array (*, O), dtype of x
        The loss's gradient with respect to y.

    Returns
    -------
    array (O, C), dtype of x

    Raises
    ------
    TypeError, ValueError
        As `linear`.

    Examples
    --------
    >>> import numpy as np
    >>> linear_weight_grad(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([[ 1.,  2.],
           [10., 20.]])
    """
    return _weight_grad(x, grad_output)


def linear_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `linear` with respect to bias: the sum of grad_output over all axes but the last.

    Parameters
    ----------
    grad_output : array (*, O), float32, float64 or float16

    Returns
    -------
    array (O,), dtype of grad_output

    Examples
    --------
    >>> import numpy as np
    >>> linear_bias_grad(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    return _bias_grad(grad_output)


def _linear(x: Any, weight: Any, bias: Any) -> Array:
    dtype, (x, weight, bias) = checks.floats({"bias"}, x=x, weight=weight, bias=bias)
    checks.axes(weight, 2, "weight", "(O, C)")
    _last_axis(x, weight.shape[1], "x", "weight's features in")
    if bias is not None:
        checks.shaped(bias, weight.shape[:1], "bias")
    y = backends.module("linear", x).linear(_rows(x), weight, bias)
    return checks.back(_as_before(y, x), dtype)


def _input_grad(weight: Any, grad_output: Any) -> Array:
    dtype, (weight, grad_output) = checks.floats(weight=weight, grad_output=grad_output)
    checks.axes(weight, 2, "weight", "(O, C)")
    _last_axis(grad_output, weight.shape[0], "grad_output", "weight's features out")
    grad_x = backends.module("linear", weight).linear_input_grad(weight, _rows(grad_output))
    return checks.back(_as_before(grad_x, grad_output), dtype)


def _weight_grad(x: Any, grad_output: Any) -> Array:
    dtype, (x, grad_output) = checks.floats(x=x, grad_output=grad_output)
    _last_axis(x, None, "x")
    _last_axis(grad_output, None, "grad_output")
    checks.shaped(grad_output, (*x.shape[:-1], grad_output.shape[-1]), "grad_output")
    grad_weight = backends.module("linear", x).linear_weight_grad(_rows(x), _rows(grad_output))
    return checks.back(grad_weight, dtype)


def _bias_grad(grad_output: Any) -> Array:
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    _last_axis(grad_output, None, "grad_output")
    return checks.back(backends.module("linear", grad_output).linear_bias_grad(_rows(grad_output)), dtype)


def _last_axis(array: Array, features: int | None, name: str, meaning: str = "") -> None:
    """Raise unless `array` has a last axis, of this many features where they are given."""
    if array.ndim == 0:
        raise ValueError(f"{name} is one number, without axes: at least 1 axis is accepted")
    if features is not None and array.shape[-1] != features:
        raise ValueError(f"{name} has shape {array.shape}: {features} along the last axis, {meaning}, is accepted")


def _rows(array: Array) -> Array:
    """All axes but the last as one."""
    return array if array.ndim == 2 else array.reshape(prod(array.shape[:-1]), array.shape[-1])


def _as_before(rows: Array, array: Array) -> Array:
    """Rows with the axes that an array's had."""
    return rows if array.ndim == 2 else rows.reshape(*array.shape[:-1], rows.shape[1])
