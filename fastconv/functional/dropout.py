"""Dropout and its gradient; name, arguments and defaults are `torch.nn.functional`'s."""

from typing import Any, Literal, overload

import numpy as np

from fastconv import backends, placement
from fastconv.functional import checks
from fastconv.typing import Array, ArrayLike, Random

__all__ = ["dropout", "dropout_input_grad"]


@overload
def dropout(
    x: ArrayLike, p: float = 0.5, training: bool = True, *, rng: Random = None, return_mask: Literal[False] = False
) -> Array: ...
@overload
def dropout(
    x: ArrayLike, p: float = 0.5, training: bool = True, *, rng: Random = None, return_mask: Literal[True]
) -> tuple[Array, Array]: ...
def dropout(
    x: ArrayLike, p: float = 0.5, training: bool = True, *, rng: Random = None, return_mask: bool = False
) -> Array | tuple[Array, Array]:
    """Zero each element of x with probability p, and scale the others so that the mean stays (PyTorch's dropout).

    y = x / (1 - p) where a number drawn from [0, 1) is at least p, else 0; outside of training y = x.

    Parameters
    ----------
    x : array of any shape, float32, float64 or float16
    p : float from 0 to 1
        The probability that an element is zeroed.
    training : bool
        Without it, nothing is zeroed and nothing scaled.
    rng : int, numpy.random.Generator or None
        A seed, the generator to draw from, or fresh entropy.
    return_mask : bool
        Whether to return what was kept, which `dropout_input_grad` needs.

    Returns
    -------
    y : array, shape and dtype of x
    mask : array of bool, shape of x, only with `return_mask`
        True where x was kept.

    Raises
    ------
    TypeError
        If x's dtype is none of the three, p is no number, or rng is nothing that draws.
    ValueError
        If p is not from 0 to 1, or a seed is negative.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> dropout(np.ones(8), 0.5, rng=0)
    array([2., 2., 2., 0., 0., 0., 0., 0.])
    """
    y, mask = _dropout(x, p, training, rng)
    return (y, mask) if return_mask else y


def dropout_input_grad(grad_output: ArrayLike, mask: ArrayLike, p: float = 0.5) -> Array:
    """Gradient of `dropout` with respect to x: grad_output / (1 - p) where the mask is True, else 0.

    Parameters
    ----------
    grad_output : array of any shape, float32, float64 or float16
        The loss's gradient with respect to y.
    mask : array of bool, shape of grad_output
        What `dropout` returned.
    p : float from 0 to 1
        As in `dropout`; 0 for what was computed outside of training.

    Returns
    -------
    array, shape and dtype of grad_output

    Raises
    ------
    TypeError
        If a dtype is not accepted.
    ValueError
        If the shapes differ, or p is not from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> dropout_input_grad(np.ones(3), np.array([True, False, True]), 0.75)
    array([4., 0., 4.])
    """
    return _input_grad(grad_output, mask, p)


def _dropout(x: Any, p: Any, training: bool, rng: Any) -> tuple[Array, Array]:
    dtype, (x,) = checks.floats(x=x)
    p, source = checks.fraction(p, "p"), checks.generator(rng, "rng")
    if not training or p == 0:
        return checks.back(x.copy(), dtype), placement.beside(np.ones(x.shape, np.bool), x)
    mask = placement.beside(np.asarray(source.random(x.shape, dtype=np.float32) >= p), x)
    y = backends.module("activation", x).dropout(x, mask, p)
    return checks.back(y, dtype), mask


def _input_grad(grad_output: Any, mask: Any, p: Any) -> Array:
    dtype, (grad_output,) = checks.floats(grad_output=grad_output)
    kept = checks.booleans(mask, "mask", grad_output=grad_output)
    checks.shaped(kept, grad_output.shape, "mask")
    grad_x = backends.module("activation", grad_output).dropout(grad_output, kept, checks.fraction(p, "p"))
    return checks.back(grad_x, dtype)
