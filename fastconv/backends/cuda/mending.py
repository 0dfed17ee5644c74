"""Entries of the input's gradient that came out as NaN, summed again without the zeros around the output's gradient.

A product multiplies the frame of zeros too, which makes NaN of a weight that is infinite. No pixel's gradient has such
terms, so entries that are NaN are summed anew, from their own terms; all others are right.

Letters: `n` image, `c`/`o` channel in/out (of a group), `d h w` input pixel, `r s t` tap, `p q a` output pixel.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device
from fastconv.backends.cuda.array import DeviceArray, from_host
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, device_function, kernel, threads
from fastconv.backends.cuda.sweeps import MOST, sweep
from fastconv.geometry import Convolution
from fastconv.typing import Shape

THREADS = threads(256)
AHEAD = 8  # entries that a thread reads at a time
CHANNELS, FILTERS = 0, 1  # of a group; then what each of three axes has
INPUT, TAPS, OUTPUT, STRIDE, DILATION, BEFORE = 2, 5, 8, 11, 14, 17


@device_function
def met(numbers, axis, pixel, tap):  # type: ignore[no-untyped-def]
    """The output pixel that brings an input pixel to a tap, or -1."""
    shifted = pixel + numbers[BEFORE + axis] - tap * numbers[DILATION + axis]
    stride = numbers[STRIDE + axis] & MASK
    found = (shifted & MASK) // stride
    return found if shifted >= 0 and found * stride == shifted and found < numbers[OUTPUT + axis] else -1


@cache
def mend(dtype: np.dtype[Any], biased: bool) -> Kernel:
    """The kernel that sums again."""
    zero = dtype.type(0)

    @device_function
    def terms(weight, grad, numbers, weight_at, grad_at, d, h, w):  # type: ignore[no-untyped-def]
        """The sum over the taps that have an output pixel, of one pair of channels."""
        total, tap = zero, 0
        for t in range(numbers[TAPS]):
            a = met(numbers, 0, d, t)
            for r in range(numbers[TAPS + 1]):
                p = met(numbers, 1, h, r)
                for s in range(numbers[TAPS + 2]):
                    q = met(numbers, 2, w, s)
                    if a >= 0 and p >= 0 and q >= 0:
                        pixel = (a * numbers[OUTPUT + 1] + p) * numbers[OUTPUT + 2] + q
                        total += weight[(weight_at + tap) & MASK] * grad[(grad_at + pixel) & MASK]
                    tap += 1
        return total

    @kernel(THREADS)
    def mended(weight, grad, bias, grad_x, numbers, groups, size):  # type: ignore[no-untyped-def]
        """grad_x[n, c, h] = bias[c] + sum over o, r of weight[o, c, r] grad[n, o, p], where it is NaN."""
        channels, filters = numbers[CHANNELS] & MASK, numbers[FILTERS] & MASK
        wide, high, deep = numbers[INPUT + 2] & MASK, numbers[INPUT + 1] & MASK, numbers[INPUT] & MASK
        taps = numbers[TAPS] * numbers[TAPS + 1] * numbers[TAPS + 2]
        pixels = numbers[OUTPUT] * numbers[OUTPUT + 1] * numbers[OUTPUT + 2]
        first, step = cuda.blockIdx.x * THREADS + cuda.threadIdx.x, cuda.gridDim.x * THREADS
        while first < size:
            spoiled = False
            for i in range(AHEAD):  # on their way together, for none of them waits for a branch
                ahead = first + i * step
                found = grad_x[(ahead if ahead < size else first) & MASK]
                spoiled = spoiled or found != found
            end = min(first + AHEAD * step, size) if spoiled else 0
            for place in range(first, end, step):
                found = grad_x[place & MASK]
                if found != found:
                    row = (place & MASK) // wide
                    plane = row // high
                    channel = plane // deep
                    block = channel // channels
                    c, image = channel - block * channels, block // (groups & MASK)
                    group = block - image * groups
                    total = zero
                    for o in range(filters):
                        weight_at = ((group * filters + o) * channels + c) * taps
                        grad_at = (block * filters + o) * pixels
                        d, h, w = plane - channel * deep, row - plane * high, place - row * wide
                        total += terms(weight, grad, numbers, weight_at, grad_at, d, h, w)
                    if biased:
                        total += bias[(group * channels + c) & MASK]
                    grad_x[place & MASK] = total
            first += AHEAD * step

    return mended


def mend_padding(weight: Any, grad_output: Any, bias: Any, grad_x: Any, geometry: Convolution) -> None:
    """Sum again what is NaN in grad_x."""
    added, where = (weight if bias is None else bias), numbers(geometry)
    function = mend(grad_x.dtype, bias is not None)
    most = MOST if device.SIMULATED else blocks_for(grad_x.size, AHEAD * THREADS)
    sweep(function, grad_x.size, weight, grad_output, added, grad_x, where, geometry.groups, most=most)


@lru_cache(maxsize=512)
def numbers(geometry: Convolution) -> DeviceArray:
    """What the kernel reads of a geometry."""
    before = tuple(pair[0] for pair in geometry.padding)
    lead = 3 - len(before)

    def volume(sizes: Shape, other: int) -> Shape:
        return (*(other,) * lead, *sizes)

    found = [geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups]
    for sizes in (geometry.input_size, geometry.kernel_size, geometry.output_size, geometry.stride, geometry.dilation):
        found += volume(sizes, 1)
    return from_host(np.array([*found, *volume(before, 0)], np.int64))
