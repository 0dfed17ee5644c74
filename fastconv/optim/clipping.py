"""Gradient clipping: steps that stay short where the loss is steep."""

import math
from collections.abc import Iterable

import numpy as np

from fastconv.nn import Parameter, checks
from fastconv.placement import to_host


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients by one factor so that their common L2 norm is at most `max_norm`.

    norm = sqrt(sum over all parameters of g ** 2), in float64; g <- g * min(1, max_norm / (norm + 1e-6)). As
    `torch.nn.utils.clip_grad_norm_`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those without a gradient are passed over.
    max_norm : float

    Returns
    -------
    float
        The norm before the scaling.

    Raises
    ------
    ValueError
        If max_norm is not a finite number of at least 0.

    References
    ----------
    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.nn import Parameter
    >>> w = Parameter(np.zeros(2))
    >>> w.grad = np.array([3.0, 4.0])
    >>> clip_grad_norm([w], 1.0)
    5.0
    >>> w.grad.round(6)
    array([0.6, 0.8])
    """
    limit = checks.at_least(max_norm, "max_norm", 0)
    moved = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    squares = sum(np.sum(np.square(grad.astype(np.float64))) for _, grad in moved)
    norm = math.sqrt(to_host(squares))  # of arrays on a GPU, one number in one copy
    scale = limit / (norm + 1e-6)
    if not scale >= 1:  # a norm that is not a number makes all gradients so
        for parameter, grad in moved:
            parameter.grad = grad * grad.dtype.type(scale)
    return norm
