"""Batch normalisation and its gradients; name, arguments and defaults are `torch.nn.functional`'s.

Index letters: `n` image, `c` channel, `p` pixel; capitals are extents.
"""

from math import prod
from typing import Any, Literal, NamedTuple, overload

from fastconv import backends
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike

__all__ = ["BatchStatistics", "batch_norm", "batch_norm_bias_grad", "batch_norm_input_grad", "batch_norm_weight_grad"]


class BatchStatistics(NamedTuple):
    """What `batch_norm` normalised with, and the running values after it; arrays (C,), or None where none came."""

    mean: Array
    var: Array
    running_mean: Array | None
    running_var: Array | None


@overload
def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_statistics: Literal[False] = False,
) -> Array: ...
@overload
def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_statistics: Literal[True],
) -> tuple[Array, BatchStatistics]: ...
def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    return_statistics: bool = False,
) -> Array | tuple[Array, BatchStatistics]:
    """Shift and scale each channel to mean 0 and variance 1, then by bias and weight (PyTorch's batch_norm).

    y[n, c, p] = weight[c] * (x[n, c, p] - mean[c]) / sqrt(var[c] + eps) + bias[c], with the mean and the variance of
    the batch itself in training, else the running ones.

    Parameters
    ----------
    x : array (N, C) or (N, C, *spatial), float32, float64 or float16
    running_mean, running_var : array (C,), dtype of x, or None for both
        Means over earlier batches. Nothing is written to them: their new values are among the statistics.
    weight, bias : array (C,), dtype of x, optional
        1 and 0 where they are None.
    training : bool
        Whether to normalise with the batch's own mean and (biased) variance.
    momentum : float
        New running values are (1 - momentum) * old + momentum * the batch's, the variance's the unbiased one.
    eps : float, above 0 in training
        Added to the variance.
    return_statistics : bool
        Whether to return what the gradients and the next call need.

    Returns
    -------
    y : array, shape and dtype of x
    statistics : BatchStatistics, only with `return_statistics`

    Raises
    ------
    TypeError
        If a dtype is none of the three, or not x's; if an option is no number.
    ValueError
        If the shapes do not fit, there is one value per channel to train on, or running values are missing.

    References
    ----------
    Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift",
    ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 10.0], [3.0, 10.0]])
    >>> y, statistics = batch_norm(x, np.zeros(2), np.ones(2), training=True, eps=1e-12, return_statistics=True)
    >>> y.round(6)
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> statistics.running_mean, statistics.running_var
    (array([0.2, 1. ]), array([1.1, 0.9]))
    """
    y, statistics = _batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return (y, statistics) if return_statistics else y


def batch_norm_input_grad(
    grad_output: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    weight: ArrayLike | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Array:
    """Gradient of `batch_norm` with respect to x.

    grad_x = weight / sqrt(var + eps) * (g - mean of g - x̂ * mean of g x̂), with g = grad_output and x̂ the normalised x;
    outside of training the two means drop out.

    Parameters
    ----------
    grad_output : array, shape and dtype of x
        The loss's gradient with respect to y.
    x : array (N, C) or (N, C, *spatial), float32, float64 or float16
    mean, var : array (C,), dtype of x
        Of the statistics that `batch_norm` returned.
    weight, training, eps
        As in `batch_norm`.

    Returns
    -------
    array, shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        As `batch_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(1)
    >>> batch_norm_input_grad(np.array([[1.0], [2.0]]), np.array([[0.0], [4.0]]), 2 * one, 4 * one, 6 * one, eps=0)
    array([[3.],
           [6.]])
    """
    return _input_grad(grad_output, x, mean, var, weight, training, eps)


def batch_norm_weight_grad(
    grad_output: ArrayLike, x: ArrayLike, mean: ArrayLike, var: ArrayLike, eps: float = 1e-5
) -> Array:
    """Gradient of `batch_norm` with respect to weight: the sum of grad_output times the normalised x.

    Arguments as in `batch_norm_input_grad`; the result is an array (C,).

    >>> import numpy as np
    >>> one = np.ones(1)
    >>> batch_norm_weight_grad(np.array([[1.0], [2.0]]), np.array([[0.0], [4.0]]), 2 * one, 4 * one, eps=0)
    array([1.])
    """
    return _weight_grad(grad_output, x, mean, var, eps)


def batch_norm_bias_grad(grad_output: ArrayLike) -> Array:
    """Gradient of `batch_norm` with respect to bias: the sum of grad_output over images and pixels, an array (C,).

    >>> import numpy as np
    >>> batch_norm_bias_grad(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    dtype, (grad,) = checks.floats(grad_output=grad_output)
    return checks.back(backends.module("normalization", grad).batch_norm_bias_grad(_flat(grad, "grad_output")), dtype)


def _batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool, momentum: Any, eps: Any
) -> tuple[Array, BatchStatistics]:
    dtype, (x, running_mean, running_var, weight, bias) = checks.floats(
        {"running_mean", "running_var", "weight", "bias"},
        x=x,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    momentum, eps, flat = checks.real(momentum, "momentum"), checks.real(eps, "eps"), _flat(x, "x")
    _per_channel(x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if (running_mean is None) != (running_var is None):
        raise ValueError("one of running_mean and running_var is None: both or neither are accepted")
    if running_mean is None and not training:
        raise ValueError("running_mean is None outside of training: an array (C,) is accepted")
    count = flat.shape[0] * flat.shape[2]
    if training and count == 1:
        raise ValueError(f"x has shape {x.shape}: Expected more than 1 value per channel when training")
    if training and eps <= 0:
        raise ValueError(f"eps is {eps}: a number above 0 is accepted in training")
    backend = backends.module("normalization", flat)
    mean, var = backend.batch_statistics(flat) if training else (running_mean, running_var)
    y = checks.back(backend.batch_norm(flat, mean, var, weight, bias, eps).reshape(x.shape), dtype)
    if training and running_mean is not None and count > 1:
        unbiased = count / (count - 1)
        running_var = backend.running_average(running_var, var, momentum, unbiased)
        running_mean = backend.running_average(running_mean, mean, momentum)
    running = [None if a is None else checks.back(a.copy(), dtype) for a in (running_mean, running_var)]
    return y, BatchStatistics(checks.back(mean.copy(), dtype), checks.back(var.copy(), dtype), *running)


def _input_grad(grad_output: Any, x: Any, mean: Any, var: Any, weight: Any, training: bool, eps: Any) -> Array:
    dtype, (grad_output, x, mean, var, weight) = checks.floats(
        {"weight"}, grad_output=grad_output, x=x, mean=mean, var=var, weight=weight
    )
    flat, eps = _flat(x, "x"), checks.real(eps, "eps")
    checks.shaped(grad_output, x.shape, "grad_output")
    _per_channel(x, mean=mean, var=var, weight=weight)
    grad_x = backends.module("normalization", flat).batch_norm_input_grad(
        grad_output.reshape(flat.shape), flat, mean, var, weight, bool(training), eps
    )
    return checks.back(grad_x.reshape(x.shape), dtype)


def _weight_grad(grad_output: Any, x: Any, mean: Any, var: Any, eps: Any) -> Array:
    dtype, (grad_output, x, mean, var) = checks.floats(grad_output=grad_output, x=x, mean=mean, var=var)
    flat, eps = _flat(x, "x"), checks.real(eps, "eps")
    checks.shaped(grad_output, x.shape, "grad_output")
    _per_channel(x, mean=mean, var=var)
    function = backends.module("normalization", flat).batch_norm_weight_grad
    return checks.back(function(grad_output.reshape(flat.shape), flat, mean, var, eps), dtype)


def _flat(x: Array, name: str) -> Array:
    """x as (N, C, pixels)."""
    if x.ndim < 2:
        raise ValueError(f"{name} has {x.ndim} axes, shape {x.shape}: at least 2 (N, C and any spatial) are accepted")
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


def _per_channel(x: Array, **arguments: Array | None) -> None:
    """Raise unless each argument has one entry for each channel of x."""
    for name, array in arguments.items():
        if array is not None:
            checks.shaped(array, x.shape[1:2], name)
