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


def passes(geometry, dtype, planned, into=np.asarray, empty=np.empty, backward=True):
    """What `planned(back, bytes of a number)` makes of the arrays: forward, and `backward` if that is wanted too."""
    x, weight, grad, bias, back_bias = map(into, arrays(geometry, dtype))
    found = []
    for back in (False, True)[: 1 + backward]:
        y = empty(geometry.input_shape if back else geometry.output_shape, dtype)
        source, start = (grad, back_bias) if back else (x, bias)
        assert cpu.run(planned(back, y.itemsize), source, weight, start, y)
        found.append(y)
    return found


def expected(geometry, dtype, backward=True):
    """The same by the reference, in float64."""
    x, weight, grad, bias, back_bias = (array.astype(np.float64) for array in arrays(geometry, dtype))
    found = [reference.convolution(x, weight, bias, geometry)]
    if backward:
        found.append(reference.convolution_input_grad(weight, grad, geometry, back_bias))
    return found
