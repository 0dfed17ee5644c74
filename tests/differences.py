"""Central differences: the oracle of every hand-written gradient."""

import numpy as np

STEP = 1e-6
# In float64 a central difference is off by STEP² times the third derivative and by 1e-16 / STEP: about 1e-10 of the
# values' size for both. A formula that is wrong is off by its own size.
TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}


def central_difference(function, x, grad_output):
    """The gradient of sum(grad_output * function(x)), one entry of x at a time."""
    x = np.asarray(x)
    grad = np.empty_like(x)
    for place in np.ndindex(x.shape):
        up, down = np.array(x), np.array(x)
        up[place] += STEP
        down[place] -= STEP
        change = np.asarray(function(up), np.float64) - np.asarray(function(down), np.float64)
        grad[place] = np.sum(grad_output * change) / (2 * STEP)
    return grad
