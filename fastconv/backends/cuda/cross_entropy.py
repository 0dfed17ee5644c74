"""Cross-entropies of scores x (N, C, pixels), against classes or probabilities, and their gradients.

A pixel's scores are a line along C, which a team of threads reduces: see `teams`, also for the letters `q` line (here a
pixel), `k` number of a line (here a class), `j` thread of a team. shares[k] is what of a pixel's loss is class k's:

    w[k] ((1 - smoothing) [k is the target] + smoothing / C), or of probabilities
    w[k] ((1 - smoothing) target[k] + smoothing / C)

The loss of a pixel is -sum over k of shares[k] log_softmax(x)[k], w is `weight`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import reductions
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.elementwise import mapping
from fastconv.backends.cuda.launching import MASK, Kernel, device_function, kernel, operation
from fastconv.backends.cuda.mathematics import exp, log, plus
from fastconv.backends.cuda.softmax import statistics
from fastconv.backends.cuda.teams import LAST, Team, fold, team
from fastconv.typing import Array


@operation()
def cross_entropy(
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Any:
    """-sum over c of shares[n, c, p] log_softmax(x)[n, c, p]; the mean is over the weights of the pixels' classes.

    Pixels of class `ignore_index` do not count.
    """
    losses = _losses(x, target, weight, False, ignore_index, label_smoothing)
    if reduction == "none":
        return losses
    found = empty((2,), x.dtype)
    reductions.folded(reductions.itself(x.dtype), (losses,), (1, losses.size, 1), out=found[:1])
    if reduction == "sum":
        return np.float64(found[:1].to_host()[0])
    _count(x, target, weight, ignore_index, found[1:])
    total, count = found.to_host().astype(np.float64)
    with np.errstate(all="ignore"):
        return total / count


@operation()
def cross_entropy_input_grad(
    grad_output: Any,
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """grad_x = (softmax(x) sum of shares over the classes - shares) grad_output."""
    grad = grad_output
    if reduction == "mean":  # over a number that is on the device, and stays there
        grad = empty((1,), x.dtype)
        _count(x, target, weight, ignore_index, grad)
        divided_by(x.dtype)(grad, float(grad_output), out=grad)
    grad_x: Array = _slopes(grad, x, target, weight, False, ignore_index, label_smoothing)
    return grad_x


@operation()
def soft_cross_entropy(x: Array, target: Array, weight: Array | None, reduction: str, label_smoothing: float) -> Any:
    """-sum over c of shares[n, c, p] log_softmax(x)[n, c, p]."""
    losses = _losses(x, target, weight, True, 0, label_smoothing)
    if reduction == "none":
        return losses
    total = np.float64(reductions.total(losses).to_host()[()])
    with np.errstate(all="ignore"):
        return total if reduction == "sum" else total / np.float64(losses.size)


@operation()
def soft_cross_entropy_input_grad(
    grad_output: Any,
    x: Array,
    target: Array,
    weight: Array | None,
    reduction: str,
    label_smoothing: float,
) -> Array:
    """grad_x = (softmax(x) sum of shares over the classes - shares) grad_output."""
    pixels = x.shape[0] * x.shape[2]
    with np.errstate(all="ignore"):
        grad = float(np.float64(grad_output) / np.float64(pixels)) if reduction == "mean" else grad_output
    grad_x: Array = _slopes(grad, x, target, weight, True, 0, label_smoothing)
    return grad_x


@mapping
def divided_by(t: Any) -> Callable[..., Any]:
    """y = number / x."""
    return lambda i, x, number: number / x[i]


@mapping
def target_weight(t: Any, weighted: bool) -> Callable[..., Any]:
    """The weight of a pixel's class; 0 for a pixel that doesn't count."""
    zero, weight_of = t(0), _weight_of(t, weighted)
    return lambda i, target, weight, ignored: zero if target[i] == ignored else weight_of(target[i] & MASK, weight)


def _count(x: Array, target: Array, weight: Array | None, ignored: int, found: Any) -> None:
    """The sum of the weights of the pixels' classes."""
    operands = target, 0 if weight is None else weight, ignored
    reductions.folded(target_weight(x.dtype, weight is not None), operands, (1, target.size, 1), out=found)


def _weight_of(t: Any, weighted: bool) -> Any:
    """(class, weight) -> its weight: 1 without weights."""
    one = t(1)
    return device_function((lambda k, weight: weight[k]) if weighted else (lambda k, weight: one))


@cache
def _share_of(t: Any, weighted: bool, soft: bool) -> Any:
    """(k, i, q, target, weight, sure, even) -> shares[k] in two parts: the target's, and that of all classes.

    `sure` is 1 - smoothing, `even` smoothing / C; i is the place of class k in x, q that of the pixel.
    """
    zero, weight_of = t(0), _weight_of(t, weighted)
    if soft:
        return device_function(
            lambda k, i, q, target, weight, sure, even: (
                target[i] * sure * weight_of(k, weight) + even * weight_of(k, weight), zero
            )
        )  # fmt: skip
    return device_function(
        lambda k, i, q, target, weight, sure, even: (
            sure * weight_of(k, weight) if target[q] == k else zero, even * weight_of(k, weight)
        )
    )  # fmt: skip


def _losses(x: Array, target: Array, weight: Array | None, soft: bool, ignored: int, smoothing: float) -> Any:
    """The loss of each pixel, (N, pixels)."""
    images, classes, pixels = x.shape
    losses = empty((images, pixels), x.dtype)
    t: Any = x.dtype.type
    people = team(losses.size, classes, pixels)
    shares = t(1 - smoothing), t(smoothing / max(classes, 1))
    make = _loss_kernel(t, weight is not None, soft, smoothing != 0, people)
    make(
        people.blocks(losses.size),
        *(losses, losses.size, classes, pixels, x, target, 0 if weight is None else weight, ignored, *shares),
    )
    return losses


def _slopes(
    grad: Any,
    x: Array,
    target: Array,
    weight: Array | None,
    soft: bool,
    ignored: int,
    smoothing: float,
) -> Any:
    """The losses' gradient; grad is a number, an array of one, or one of a number for each pixel."""
    images, classes, pixels = x.shape
    grad_x = empty(x.shape, x.dtype)
    t: Any = x.dtype.type
    lines = images * pixels if classes else 0
    people = team(lines, classes, pixels)
    several = 1 if isinstance(grad, DeviceArray) and grad.shape != (1,) else 0
    grad = grad if isinstance(grad, DeviceArray) else t(grad)
    shares = t(1 - smoothing), t(smoothing / max(classes, 1))
    make = _slope_kernel(t, weight is not None, soft, isinstance(grad, DeviceArray), people)
    make(
        people.blocks(lines),
        *(grad_x, lines, classes, pixels, grad, several, x, target, 0 if weight is None else weight, ignored, *shares),
    )
    return grad_x


@cache
def _loss_kernel(t: Any, weighted: bool, soft: bool, smooth: bool, people: Team) -> Kernel:
    size, lanes, along = people
    threads, pitch, zero = size * lanes, people.pitch, t(0)
    of_line, sum_of, share_of = statistics(t, people), fold(plus, size), _share_of(t, weighted, soft)

    @kernel(threads)
    def run(losses, lines, count, inner, x, target, weight, ignored, sure, even):  # type: ignore[no-untyped-def]
        """losses[q] = -sum over k of shares[k] (x[k] - g - log s), with g and s of `statistics`."""
        shared = cuda.shared.array(threads, t)
        thread = cuda.threadIdx.x & LAST
        j = thread % size if along else thread // lanes
        lane = thread // size if along else thread % lanes
        tile = cuda.blockIdx.x & MASK
        while tile * lanes < lines:
            q = (tile * lanes + lane) & MASK
            start = q // inner * count * inner + q % inner
            numbers = count if q < lines else 0
            greatest, total = of_line(x, start, numbers, inner, j, shared, thread)
            total = log(total)
            loss = zero
            k = j
            while k < numbers:
                i = (start + k * inner) & MASK
                hot, spread = share_of(k & MASK, i, q, target, weight, sure, even)
                if soft or target[q] == k:  # elsewhere nothing counts, not even an infinity
                    loss -= hot * (x[i] - greatest - total)
                if smooth and not soft:
                    loss -= spread * (x[i] - greatest - total)
                k += size
            loss = sum_of(shared, thread, j, pitch, loss)
            if j == 0 and q < lines:
                losses[q] = loss if soft or target[q] != ignored else zero
            tile += cuda.gridDim.x

    return run


@cache
def _slope_kernel(t: Any, weighted: bool, soft: bool, on_device: bool, people: Team) -> Kernel:
    size, lanes, along = people
    threads, pitch, zero = size * lanes, people.pitch, t(0)
    of_line, sum_of, share_of = statistics(t, people), fold(plus, size), _share_of(t, weighted, soft)
    factor_of = device_function((lambda grad, place: grad[place]) if on_device else (lambda grad, place: grad))

    @kernel(threads)
    def run(grad_x, lines, count, inner, grad, several, x, target, weight, ignored, sure, even):  # type: ignore[no-untyped-def]
        """grad_x[k] = blame[k] - softmax(x)[k] sum of blame, with blame[k] = -grad shares[k]."""
        shared = cuda.shared.array(threads, t)
        thread = cuda.threadIdx.x & LAST
        j = thread % size if along else thread // lanes
        lane = thread // size if along else thread % lanes
        tile = cuda.blockIdx.x & MASK
        while tile * lanes < lines:
            q = (tile * lanes + lane) & MASK
            start = q // inner * count * inner + q % inner
            numbers = count if q < lines else 0
            greatest, total = of_line(x, start, numbers, inner, j, shared, thread)
            total = log(total)
            factor = zero
            if q < lines:
                factor = -factor_of(grad, q * several)
                if not soft and target[q] == ignored:
                    factor = zero
            blame = zero
            k = j
            while k < numbers:
                hot, spread = share_of(k & MASK, (start + k * inner) & MASK, q, target, weight, sure, even)
                blame += factor * (hot + spread)
                k += size
            blame = sum_of(shared, thread, j, pitch, blame)
            k = j
            while k < numbers:
                i = (start + k * inner) & MASK
                hot, spread = share_of(k & MASK, i, q, target, weight, sure, even)
                grad_x[i] = factor * (hot + spread) - exp(x[i] - greatest - total) * blame
                k += size
            tile += cuda.gridDim.x

    return run
