"""How weights begin: PyTorch's rule, Xavier's and He's, by name.

A weight is (out, in, *taps): `fan_in` = in * taps is how many numbers feed one output, `fan_out` = out * taps how many
outputs one input feeds. The weight of a transposed convolution is (in, out, *taps), and as in PyTorch its first two
axes are read the same way. Numbers are drawn in float64 and rounded to the layer's dtype.
"""

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np

from fastconv.nn import checks
from fastconv.nn.parameter import Parameter
from fastconv.typing import Array, Random, Shape

__all__ = ["fans", "he_normal", "he_uniform", "pytorch", "xavier_normal", "xavier_uniform"]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, *taps).

    >>> fans((16, 6, 5, 5))
    (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"shape is {shape}: at least 2 axes (out, in, *taps) are accepted")
    taps = prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def pytorch(shape: Shape, rng: np.random.Generator) -> Array:
    """PyTorch's default: uniform within ±1 / sqrt(fan_in).

    There it is written as He's uniform rule with a = sqrt(5), whose gain is sqrt(2 / (1 + a²)) = sqrt(1 / 3).

    Parameters
    ----------
    shape : (out, in, *taps)
    rng : numpy.random.Generator

    Returns
    -------
    array of that shape, float64
    """
    return _uniform(shape, rng, 1 / sqrt(fans(shape)[0]))


def xavier_uniform(shape: Shape, rng: np.random.Generator) -> Array:
    """Xavier's rule: uniform within ±sqrt(6 / (fan_in + fan_out)), for layers followed by tanh or sigmoid.

    Parameters and result as `pytorch`. Glorot, Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", 2010.
    """
    return _uniform(shape, rng, sqrt(6 / sum(fans(shape))))


def xavier_normal(shape: Shape, rng: np.random.Generator) -> Array:
    """Xavier's rule: normal, with a standard deviation of sqrt(2 / (fan_in + fan_out)); as `xavier_uniform`."""
    return rng.normal(0.0, sqrt(2 / sum(fans(shape))), shape)


def he_uniform(shape: Shape, rng: np.random.Generator) -> Array:
    """He's rule: uniform within ±sqrt(6 / fan_in), for layers followed by relu.

    Parameters and result as `pytorch`. He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.
    """
    return _uniform(shape, rng, sqrt(6 / fans(shape)[0]))


def he_normal(shape: Shape, rng: np.random.Generator) -> Array:
    """He's rule: normal, with a standard deviation of sqrt(2 / fan_in); as `he_uniform`."""
    return rng.normal(0.0, sqrt(2 / fans(shape)[0]), shape)


RULES: dict[str, Callable[[Shape, np.random.Generator], Array]] = {
    "pytorch": pytorch,
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
}


def weight_and_bias(
    shape: Shape, bias_size: int | None, init: str, rng: Random, dtype: Any
) -> tuple[Parameter, Parameter | None]:
    """A layer's weight by the rule named `init`, and its bias; `bias_size` None means that it has none.

    PyTorch's rule draws the bias within ±1 / sqrt(fan_in) too; with the others it begins at zero.
    """
    rule = RULES[checks.choice(init, "init", tuple(RULES))]
    dtype, rng = checks.float_dtype(dtype), checks.generator(rng, "rng")
    weight = Parameter(rule(shape, rng).astype(dtype))
    if bias_size is None:
        return weight, None
    bias = _uniform((bias_size,), rng, 1 / sqrt(fans(shape)[0])) if init == "pytorch" else np.zeros(bias_size)
    return weight, Parameter(bias.astype(dtype))


def _uniform(shape: Shape, rng: np.random.Generator, bound: float) -> Array:
    return rng.uniform(-bound, bound, shape)
