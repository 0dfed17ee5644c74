"""Cross-correlation and its two gradients, as the slide writes them, which is the one algorithm that is here.

Index letters: `n` image, `g` group, `c`/`o` channel in/out, `p q a` output pixel, `r s t` filter tap.
"""

import numpy as np

from fastconv.backends.reference.windows import padded, windows
from fastconv.geometry import Convolution
from fastconv.typing import Array

PIXELS, TAPS = "pqa", "rst"
IEEE = np.errstate(all="ignore")  # infinities and NaN travel without warnings


@IEEE
def convolution(
    x: Array,
    weight: Array,
    bias: Array | None,
    geometry: Convolution,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """y[n, o, p] = bias[o] + sum over c, r of weight[o, c, r] x[n, c, p * stride + r * dilation - padding]."""
    pixels, taps = _letters(geometry)
    patches = _grouped(windows(padded(x, geometry), geometry), geometry.groups, axis=1)
    filters = _grouped(weight, geometry.groups, axis=0)
    y: Array = np.einsum(f"ngc{pixels}{taps},goc{taps}->ngo{pixels}", patches, filters, optimize=True)
    y = y.reshape(geometry.output_shape)
    return _into(out, y if bias is None else y + bias.reshape(1, -1, *[1] * len(pixels)))


@IEEE
def convolution_input_grad(
    weight: Array,
    grad_output: Array,
    geometry: Convolution,
    bias: Array | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """grad_x[n, c, p * stride + r * dilation - padding] += weight[o, c, r] grad_output[n, o, p].

    A bias is added to each channel: then it is the transposed convolution, whose output this gradient is.
    """
    _, taps = _letters(geometry)
    grad_padded = padded(np.zeros(geometry.input_shape, grad_output.dtype), geometry)
    patches = _grouped(windows(grad_padded, geometry), geometry.groups, axis=1)
    filters = _grouped(weight, geometry.groups, axis=0)
    grads = _grouped(grad_output, geometry.groups, axis=1)
    for tap in np.ndindex(geometry.kernel_size):  # one tap at a time: the windows of one tap do not overlap
        patches[(..., *tap)] += np.einsum("goc,ngo...->ngc...", filters[(..., *tap)], grads, optimize=True)
    inner = [slice(b, b + h) for (b, _), h in zip(geometry.padding, geometry.input_size, strict=True)]
    grad_x = np.ascontiguousarray(grad_padded[(slice(None), slice(None), *inner)])
    return _into(out, grad_x if bias is None else grad_x + bias.reshape(1, -1, *[1] * len(taps)))


@IEEE
def convolution_weight_grad(
    x: Array, grad_output: Array, geometry: Convolution, algorithm: str = "auto", out: Array | None = None
) -> Array:
    """grad_weight[o, c, r] = sum over n, p of grad_output[n, o, p] x[n, c, p * stride + r * dilation - padding]."""
    pixels, taps = _letters(geometry)
    patches = _grouped(windows(padded(x, geometry), geometry), geometry.groups, axis=1)
    grads = _grouped(grad_output, geometry.groups, axis=1)
    subscripts = f"ngc{pixels}{taps},ngo{pixels}->goc{taps}"
    grad_weight: Array = np.einsum(subscripts, patches, grads, optimize=True)
    return _into(out, grad_weight.reshape(geometry.weight_shape))


@IEEE
def convolution_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n, p of grad_output[n, o, p]."""
    total: Array = grad_output.sum(axis=(0, *range(2, grad_output.ndim)), dtype=grad_output.dtype)
    return total


def _into(out: Array | None, result: Array) -> Array:
    """The result, in `out` where there is one."""
    if out is None:
        return result
    out[...] = result
    return out


def _letters(geometry: Convolution) -> tuple[str, str]:
    rank = len(geometry.kernel_size)
    return PIXELS[:rank], TAPS[:rank]


def _grouped(array: Array, groups: int, axis: int) -> Array:
    """The channels of `axis` as (group, channel in the group): always a view, so that it can be written through."""
    channels = array.shape[axis] // groups
    shape = (*array.shape[:axis], groups, channels, *array.shape[axis + 1 :])
    strides = (*array.strides[:axis], array.strides[axis] * channels, *array.strides[axis:])
    return np.lib.stride_tricks.as_strided(array, shape, strides, writeable=array.flags.writeable)
