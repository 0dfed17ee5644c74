"""Activations and their gradients; names, arguments and defaults are `torch.nn.functional`'s.

Each takes an array of any shape, of float32, float64 or float16, and returns one of its shape and dtype. A gradient
takes grad_output, the loss's gradient with respect to the activation's output y, and then y where y alone tells the
slope (tanh, sigmoid, softmax, log_softmax), else x; it returns the loss's gradient with respect to x. All raise
TypeError if a dtype is another, or two differ, or an option is no number, and ValueError if two shapes differ.
"""

from typing import Any

from fastconv import backends
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike

__all__ = [
    "elu",
    "elu_input_grad",
    "gelu",
    "gelu_input_grad",
    "leaky_relu",
    "leaky_relu_input_grad",
    "log_softmax",
    "log_softmax_input_grad",
    "relu",
    "relu_input_grad",
    "sigmoid",
    "sigmoid_input_grad",
    "softmax",
    "softmax_input_grad",
    "softplus",
    "softplus_input_grad",
    "tanh",
    "tanh_input_grad",
]


def tanh(x: ArrayLike) -> Array:
    """Hyperbolic tangent of each element: y = (exp x - exp -x) / (exp x + exp -x).

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998.

    >>> import numpy as np
    >>> tanh(np.array([-np.inf, 0.0, 1.0])).round(3)
    array([-1.   ,  0.   ,  0.762])
    """
    return _elementwise("tanh", x=x)


def tanh_input_grad(grad_output: ArrayLike, y: ArrayLike) -> Array:
    """Gradient of `tanh` from its output: grad_x = grad_output (1 - y²).

    >>> import numpy as np
    >>> tanh_input_grad(np.array([1.0, 2.0]), np.array([0.0, 0.5]))
    array([1. , 1.5])
    """
    return _elementwise("tanh_input_grad", grad_output=grad_output, y=y)


def sigmoid(x: ArrayLike) -> Array:
    """Logistic function of each element: y = 1 / (1 + exp(-x)).

    Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, section 3.10.

    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1.0])).round(3)
    array([0.   , 0.5  , 0.731])
    """
    return _elementwise("sigmoid", x=x)


def sigmoid_input_grad(grad_output: ArrayLike, y: ArrayLike) -> Array:
    """Gradient of `sigmoid` from its output: grad_x = grad_output y (1 - y).

    >>> import numpy as np
    >>> sigmoid_input_grad(np.array([1.0, 2.0]), np.array([0.5, 1.0]))
    array([0.25, 0.  ])
    """
    return _elementwise("sigmoid_input_grad", grad_output=grad_output, y=y)


def relu(x: ArrayLike) -> Array:
    """Rectifier of each element: y = max(x, 0), and NaN stays NaN.

    Source: Nair, Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    >>> import numpy as np
    >>> relu(np.array([-1.0, 0.0, 2.0, np.nan]))
    array([ 0.,  0.,  2., nan])
    """
    return _elementwise("relu", x=x)


def relu_input_grad(grad_output: ArrayLike, x: ArrayLike) -> Array:
    """Gradient of `relu`: grad_x = 0 where x <= 0, else grad_output.

    >>> import numpy as np
    >>> relu_input_grad(np.array([5.0, 6.0]), np.array([-1.0, 2.0]))
    array([0., 6.])
    """
    return _elementwise("relu_input_grad", grad_output=grad_output, x=x)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Rectifier that leaks: y = x where x > 0, else negative_slope x.

    Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.

    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 2.0]))
    array([-0.01,  2.  ])
    """
    slope = checks.real(negative_slope, "negative_slope")
    return _elementwise("leaky_relu", slope, x=x)


def leaky_relu_input_grad(grad_output: ArrayLike, x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Gradient of `leaky_relu`: grad_x = grad_output where x > 0, else negative_slope grad_output.

    >>> import numpy as np
    >>> leaky_relu_input_grad(np.array([5.0, 6.0]), np.array([-1.0, 2.0]))
    array([0.05, 6.  ])
    """
    return _elementwise(
        "leaky_relu_input_grad", checks.real(negative_slope, "negative_slope"), grad_output=grad_output, x=x
    )


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """Exponential linear unit: y = x where x > 0, else alpha (exp x - 1).

    Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units",
    ICLR 2016.

    >>> import numpy as np
    >>> elu(np.array([-np.inf, 0.0, 2.0]), alpha=0.5)
    array([-0.5,  0. ,  2. ])
    """
    return _elementwise("elu", checks.real(alpha, "alpha"), x=x)


def elu_input_grad(grad_output: ArrayLike, x: ArrayLike, alpha: float = 1.0) -> Array:
    """Gradient of `elu`: grad_x = grad_output where x > 0, else grad_output alpha exp x.

    >>> import numpy as np
    >>> elu_input_grad(np.array([5.0, 6.0]), np.array([0.0, 2.0]), alpha=0.5)
    array([2.5, 6. ])
    """
    return _elementwise("elu_input_grad", checks.real(alpha, "alpha"), grad_output=grad_output, x=x)


def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """Gaussian error linear unit: y = x times the probability that a standard normal variable is less than x.

    With `approximate` "tanh" that probability is (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2. Any other word but
    "none" is a ValueError. Source: Hendrycks, Gimpel, "Gaussian error linear units", 2016.

    >>> import numpy as np
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    return _elementwise("gelu", _form(approximate), x=x)


def gelu_input_grad(grad_output: ArrayLike, x: ArrayLike, approximate: str = "none") -> Array:
    """Gradient of `gelu`: grad_x = grad_output (P(less than x) + x density(x)), or the derivative of the other form.

    >>> import numpy as np
    >>> gelu_input_grad(np.array([1.0, 1.0]), np.array([0.0, 1.0])).round(4)
    array([0.5   , 1.0833])
    """
    return _elementwise("gelu_input_grad", _form(approximate), grad_output=grad_output, x=x)


def softplus(x: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Smooth rectifier: y = log(1 + exp(beta x)) / beta, and y = x where beta x > threshold.

    Source: Dugas, Bengio, Bélisle, Nadeau, Garcia, "Incorporating second-order functional knowledge for better option
    pricing", NIPS 2000.

    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    options = checks.real(beta, "beta"), checks.real(threshold, "threshold")
    return _elementwise("softplus", *options, x=x)


def softplus_input_grad(grad_output: ArrayLike, x: ArrayLike, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Gradient of `softplus`: grad_x = grad_output / (1 + exp(-beta x)), or grad_output where beta x > threshold.

    >>> import numpy as np
    >>> softplus_input_grad(np.array([1.0, 1.0]), np.array([0.0, 30.0]))
    array([0.5, 1. ])
    """
    options = checks.real(beta, "beta"), checks.real(threshold, "threshold")
    return _elementwise("softplus_input_grad", *options, grad_output=grad_output, x=x)


def softmax(x: ArrayLike, dim: int | None = None) -> Array:
    """Probabilities from scores along one axis: y = exp x / sum of exp x.

    The largest score is subtracted first, so that nothing overflows.

    Parameters
    ----------
    x : array of any shape, float32, float64 or float16
    dim : int, optional
        The axis whose entries sum to 1; without it the first for arrays of 0, 1 or 3 axes, else the second.

    Returns
    -------
    array, shape and dtype of x

    Raises
    ------
    TypeError
        If x's dtype is none of the three, or dim is no int.
    ValueError
        If x has no such axis.

    References
    ----------
    Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.log([[1.0, 3.0], [1.0, 1.0]]), dim=1)
    array([[0.25, 0.75],
           [0.5 , 0.5 ]])
    """
    return _along("softmax", dim, x=x)


def softmax_input_grad(grad_output: ArrayLike, y: ArrayLike, dim: int | None = None) -> Array:
    """Gradient of `softmax` from its output: grad_x = y (grad_output - sum of grad_output y along dim).

    >>> import numpy as np
    >>> softmax_input_grad(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    return _along("softmax_input_grad", dim, grad_output=grad_output, y=y)


def log_softmax(x: ArrayLike, dim: int | None = None) -> Array:
    """Logarithm of `softmax`, without its rounding: y = x - log(sum of exp x); arguments as there.

    >>> import numpy as np
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    return _along("log_softmax", dim, x=x)


def log_softmax_input_grad(grad_output: ArrayLike, y: ArrayLike, dim: int | None = None) -> Array:
    """Gradient of `log_softmax` from its output: grad_x = grad_output - exp(y) sum of grad_output along dim.

    >>> import numpy as np
    >>> log_softmax_input_grad(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    return _along("log_softmax_input_grad", dim, grad_output=grad_output, y=y)


def _form(approximate: object) -> str:
    return checks.choice(approximate, "approximate", ("none", "tanh"))


def _elementwise(name: str, *options: object, **arguments: object) -> Array:
    """The backend's function of that name, of arrays of one shape."""
    dtype, arrays = checks.floats(**arguments)
    function = getattr(backends.module("activation", arrays[0]), name)
    for argument, array in zip(arguments, arrays, strict=True):
        checks.shaped(array, arrays[-1].shape, argument)
    return checks.back(function(*arrays, *options).reshape(arrays[0].shape), dtype)


def _along(name: str, dim: Any, **arguments: object) -> Array:
    """The backend's function of that name, of arrays of one shape, along one axis."""
    dtype, arrays = checks.floats(**arguments)
    function = getattr(backends.module("activation", arrays[0]), name)
    for argument, array in zip(arguments, arrays, strict=True):
        checks.shaped(array, arrays[-1].shape, argument)
    count = arrays[0].ndim
    place = checks.axis((0 if count in (0, 1, 3) else 1) if dim is None else dim, count, "dim")
    lines = [array.reshape(array.shape or (1,)) for array in arrays]  # a number is a line of one
    return checks.back(function(*lines, place).reshape(arrays[0].shape), dtype)
