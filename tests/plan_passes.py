"""The forward pass and the input gradient of plans that a test makes, and what they should be."""

import numpy as np

from fastconv.backends.cpu import convolution as cpu
from fastconv.backends.reference import convolution as reference

BOUND = {"f4": 1e-5, "f8": 1e-13}  # of the greatest number


def arrays(geometry, dtype):
    """Input, weight, output's gradient, and a bias for each channel of the output and of the input."""
    rng = np.random.default_rng(0)
    shapes = geometry.input_shape, geometry.weight_shape, geometry.output_shape
    biases = (geometry.out_channels,), (geometry.in_channels,)
    return [rng.standard_normal(shape).astype(dtype) for shape in (*shapes, *biases)]


def directions(geometry):
    """Forward, and backward where the stride is 1."""
    return (False, True) if max(geometry.stride) == 1 else (False,)


def passes(geometry, dtype, planned, into=np.asarray, empty=np.empty):
    """What `planned(backward, bytes of a number)` makes of the arrays, for each direction."""
    x, weight, grad, bias, back_bias = map(into, arrays(geometry, dtype))
    found = []
    for backward in directions(geometry):
        y = empty(geometry.input_shape if backward else geometry.output_shape, dtype)
        source, start = (grad, back_bias) if backward else (x, bias)
        assert cpu.run(planned(backward, y.itemsize), source, weight, start, y)
        found.append(y)
    return found


def expected(geometry, dtype):
    """The same by the reference, in float64."""
    x, weight, grad, bias, back_bias = (array.astype(np.float64) for array in arrays(geometry, dtype))
    found = [reference.convolution(x, weight, bias, geometry)]
    if len(directions(geometry)) > 1:
        found.append(reference.convolution_input_grad(weight, grad, geometry, back_bias))
    return found
