"""The fully connected layer and its gradients, as the slide writes them: matrix products.

Index letters: `n` row (an image), `c`/`o` feature in/out.
"""

import numpy as np

from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents


@IEEE
def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y[n, o] = bias[o] + sum over c of weight[o, c] x[n, c]."""
    y: Array = x @ weight.T
    return y if bias is None else y + bias


@IEEE
def linear_input_grad(weight: Array, grad_output: Array) -> Array:
    """grad_x[n, c] = sum over o of grad_output[n, o] weight[o, c]."""
    grad_x: Array = grad_output @ weight
    return grad_x


@IEEE
def linear_weight_grad(x: Array, grad_output: Array) -> Array:
    """grad_weight[o, c] = sum over n of grad_output[n, o] x[n, c]."""
    grad_weight: Array = grad_output.T @ x
    return grad_weight


@IEEE
def linear_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n of grad_output[n, o]."""
    grad_bias: Array = grad_output.sum(axis=0)
    return grad_bias
