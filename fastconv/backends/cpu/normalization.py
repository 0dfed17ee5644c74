"""Batch normalisation and its gradients for x (N, C, pixels).

A kernel has stages: sums of each channel, what follows of them, and a pass over the numbers. With many channels one
task does all stages of a channel, whose numbers are then still in a cache; with few, each stage is a step of its own,
over chunks of images that the shapes alone decide. Index letters: `n` image, `c` channel, `p` pixel.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import machine, native, outputs
from fastconv.backends.cpu.channel_moments import (
    MOMENTS,
    SUM,
    bias_gradient,
    finish_moments,
    finish_sums,
    gradient_sums,
    moments,
    move_average,
    normalise_rows,
    project_rows,
    weight_gradient,
)
from fastconv.backends.cpu.kernels import SMALL
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.steps import Step
from fastconv.typing import Array, Shape

IEEE = np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
MANY = 16  # channels from which on one task has one whole
BLOCK = 1 << 14  # bytes of a channel that stay in the nearest cache

# Parameters of both kernels, and their stages.
CHANNELS, PIXELS, IMAGES, CHUNKS, PARTS, BLOCK_IMAGES, STAGES = range(7)
SUMS, FINISH, ROWS, MORE = 1, 2, 4, 8  # MORE: running statistics, or the bias's gradient
# Numbers (float64) that the forward kernel reads, and the gradient's.
EPS, MOMENTUM, ONE, FACTOR = range(4)
COUNT = 1
NUMBERS = 4


def batch_statistics(x: Array) -> tuple[Array, Array]:
    """The mean and the (biased) variance of each channel, over n and p."""
    mean, var = np.full((2, x.shape[1]), np.nan, x.dtype)  # a quotient of nothing
    if x.size:
        space = np.empty(chunks_of(x.shape) * x.shape[1] * MOMENTS)
        run(forward_program(x.shape, x.itemsize, SUMS | FINISH), x, None, mean, var, None, None, None, space)
    return mean, var


@IEEE
def running_average(running: Array, value: Array, momentum: float, factor: float = 1.0) -> Array:
    """(1 - momentum) running + momentum factor value."""
    return ((1 - momentum) * running + momentum * factor * value).astype(running.dtype)


def batch_norm(x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float) -> Array:
    """y[n, c, p] = weight[c] (x[n, c, p] - mean[c]) / sqrt(var[c] + eps) + bias[c]."""
    y, numbers = outputs.empty(x.shape, x.dtype), np.array([eps])
    run(forward_program(x.shape, x.itemsize, ROWS), x, y, mean, var, weight, bias, numbers)
    return y


def batch_norm_steps(
    x: Array,
    y: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    numbers: Array,
    eps: float,
    momentum: float,
    relu: bool = False,
    images: int = 0,
) -> list[Step]:
    """The steps of `batch_norm` in training, with the rectifier of its output if `relu`.

    They set mean and var, and move the running statistics, if there are any. `numbers` (4,) of float64 is filled here
    and read by each run: its entry MOMENTUM may change in between. With `images`, the last step goes image by image.
    """
    count = x.shape[0] * x.shape[2]
    numbers[:] = eps, momentum, 1.0, count / max(count - 1, 1)
    more = 0 if running_mean is None else MORE
    chunks = chunks_of(x.shape)
    arrays = (
        x,
        y,
        mean,
        var,
        weight,
        bias,
        numbers,
        np.empty(chunks * x.shape[1] * MOMENTS),
        running_mean,
        running_var,
    )
    stages = [SUMS | FINISH | ROWS | more] if chunks == 1 and not images else [SUMS, FINISH | more, ROWS]
    body = forward_body(x.itemsize, machine.vectors().lanes(x.itemsize), int(relu))
    return [_step("batch_norm", body, x.shape, x.itemsize, stage, arrays, images) for stage in stages]


def evaluated_steps(
    x: Array,
    y: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool = False,
    images: int = 0,
) -> list[Step]:
    """The steps of `batch_norm` with given statistics."""
    arrays = (x, y, mean, var, weight, bias, np.array([eps]), None)
    body = forward_body(x.itemsize, machine.vectors().lanes(x.itemsize), int(relu))
    return [_step("batch_norm", body, x.shape, x.itemsize, ROWS, arrays, images)]


@IEEE
def batch_norm_input_grad(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, training: bool, eps: float
) -> Array:
    """grad_x = weight / sqrt(var + eps) (g - mean of g - x̂ mean of g x̂) with x̂ the normalised x and g = grad_output.

    Outside of training the statistics don't depend on x, so the means drop out.
    """
    if not training:
        return batch_norm(grad_output, np.zeros_like(mean), var, weight, None, eps)
    return batch_norm_grads(grad_output, x, mean, var, weight, eps)[0]


def batch_norm_weight_grad(grad_output: Array, x: Array, mean: Array, var: Array, eps: float) -> Array:
    """grad_weight[c] = sum over n, p of grad_output[n, c, p] x̂[n, c, p], with x̂ the normalised x."""
    grad_weight = np.zeros_like(mean)  # a sum over nothing, even where the variance of nothing is NaN
    if x.size:
        space = gradient_space(x.shape, eps)
        stages = SUMS | FINISH
        run(backward_program(x.shape, x.itemsize, stages), grad_output, x, None, mean, var, None, space, grad_weight)
    return grad_weight


def batch_norm_bias_grad(grad_output: Array) -> Array:
    """grad_bias[c] = sum over n, p of grad_output[n, c, p]."""
    shape, zeros = grad_output.shape, np.zeros(grad_output.shape[1], grad_output.dtype)
    space = gradient_space(shape, 1.0)
    program = backward_program(shape, grad_output.itemsize, SUMS | FINISH)
    run(program, grad_output, grad_output, None, zeros, zeros, None, space, None)
    return _sums(space, shape).astype(grad_output.dtype)


def batch_norm_grads(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """The gradients with respect to x, in training, weight and bias: all of one pass over the sums."""
    grad_x, grad_weight = outputs.empty(x.shape, x.dtype), np.zeros_like(mean)
    space = gradient_space(x.shape, eps)
    program = backward_program(x.shape, x.itemsize, SUMS | FINISH | ROWS)
    run(program, grad_output, x, grad_x, mean, var, weight, space, grad_weight if x.size else None)
    return grad_x, grad_weight, _sums(space, x.shape).astype(x.dtype)


def batch_norm_grad_steps(
    grad: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    grad_x: Array,
    grad_weight: Array | None,
    grad_bias: Array | None,
    eps: float,
    relu: bool = False,
    images: int = 0,
) -> list[Step]:
    """The steps of `batch_norm_grads`; grad_x may be grad. With `images`, the last step goes image by image.

    With `relu`, grad is that of the rectifier's output, which is computed again: nobody keeps it for this.
    """
    chunks, more = chunks_of(x.shape), 0 if grad_bias is None else MORE
    arrays = (grad, x, grad_x, mean, var, weight, gradient_space(x.shape, eps), grad_weight, grad_bias, bias)
    stages = [SUMS | FINISH | ROWS | more] if chunks == 1 and not images else [SUMS, FINISH | more, ROWS]
    body = backward_body(x.itemsize, machine.vectors().lanes(x.itemsize), int(relu))
    return [_step("batch_norm_grad", body, x.shape, x.itemsize, stage, arrays, images) for stage in stages]


def chunks_of(shape: Shape) -> int:
    """Into how many chunks of images the sums of a channel fall."""
    return 1 if shape[1] >= MANY else max(1, min(shape[0], -(-MANY // max(shape[1], 1))))


def gradient_space(shape: Shape, eps: float) -> Array:
    """What the gradient's kernel reads and keeps: eps, the numbers of a channel, its sums, and those of its chunks."""
    space = np.empty(2 + 2 * shape[1] * (1 + chunks_of(shape)))
    space[:2] = eps, shape[0] * shape[2]
    return space


def _sums(space: Array, shape: Shape) -> Array:
    """The sums of the gradient itself."""
    return space[2 : 2 + 2 * shape[1]].reshape(-1, 2)[:, SUM]


def _parameters(shape: Shape, item: int, stages: int, images: int) -> tuple[tuple[int, ...], int]:
    """A kernel's parameters and tasks."""
    chunks, (n, channels, pixels) = chunks_of(shape), shape
    block = max(1, BLOCK // max(1, pixels * item))
    parts = chunks if stages & SUMS else 1 if stages & FINISH else max(images, 1) if stages == ROWS else 1
    return (channels, pixels, n, chunks, parts, block, stages), parts * channels


def _step(name: str, body: Any, shape: Shape, item: int, stages: int, arrays: Any, images: int) -> Step:
    """Some stages as a step of a bound network."""
    parameters, tasks = _parameters(shape, item, stages, images or (shape[0] if stages == ROWS else 0))
    work = shape[0] * shape[1] * shape[2] if stages & (SUMS | ROWS) else 0
    return Step(name, body, parameters, arrays, tasks, 4 if work >= SMALL else 0, images if stages == ROWS else 0, work)


@lru_cache(maxsize=1024)
def forward_program(shape: Shape, item: int, stages: int) -> Program:
    """The stages, one after another where there are chunks."""
    return _program(forward_body(item, machine.vectors().lanes(item), 0), shape, item, stages)


@lru_cache(maxsize=1024)
def backward_program(shape: Shape, item: int, stages: int) -> Program:
    """The stages, one after another where there are chunks."""
    return _program(backward_body(item, machine.vectors().lanes(item), 0), shape, item, stages)


def _program(body: Any, shape: Shape, item: int, stages: int) -> Program:
    apart = chunks_of(shape) > 1
    several = [stage for stage in (SUMS, FINISH, ROWS) if stages & stage] if apart else [stages]
    steps = []
    for stage in several:
        parameters, tasks = _parameters(shape, item, stage, shape[0] if stage == ROWS else 0)
        steps.append((body, parameters, tasks, 4 if stage != FINISH else 0))
    return Program(steps, shape[0] * shape[1] * shape[2])


def run(program: Program, *arrays: Array | None) -> None:
    """Run it, with threads where that is worth it."""
    program.on(threads.get_num_threads() if program.work >= SMALL else 1, *arrays)


@cache
def forward_body(item: int, lanes: int, relu: int) -> Any:
    """The body of batch normalisation: a task is a channel of a part of the images."""
    doubles = lanes * item // 8

    @native.body
    def batch_norm(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[n, c, p] = weight[c] (x[n, c, p] - mean[c]) / sqrt(var[c] + eps) + bias[c], by stages."""
        channels, pixels = native.word(plan, CHANNELS), native.word(plan, PIXELS)
        images, parts, stages = native.word(plan, IMAGES), native.word(plan, PARTS), native.word(plan, STAGES)
        x, y, mean, var = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2), native.word(arrays, 3)
        weight, bias, numbers = native.word(arrays, 4), native.word(arrays, 5), native.word(arrays, 6)
        chunks, step = native.word(arrays, 7), channels * pixels * item
        each, all_chunks, block = 8 * MOMENTS, native.word(plan, CHUNKS), native.word(plan, BLOCK_IMAGES)
        for task in range(first, end):
            part, c = task // channels, task % channels
            low, start = part * images // parts, x + c * pixels * item
            count, begin = (part + 1) * images // parts - low, (low * channels + c) * pixels * item
            if stages & SUMS:
                moments(item, doubles, start, x + begin, step, pixels, count, block, chunks + each * task)
            if stages & FINISH:
                own, pitch = chunks + each * c, each * channels
                finish_moments(item, doubles, start, own, all_chunks, pitch, c, mean, var)
                if stages & MORE:
                    momentum, one = numbers + 8 * MOMENTUM, numbers + 8 * ONE
                    move_average(item, doubles, native.word(arrays, 8), mean, c, momentum, one)
                    move_average(item, doubles, native.word(arrays, 9), var, c, momentum, numbers + 8 * FACTOR)
            if stages & ROWS:
                source, target = x + begin, y + begin
                normalise_rows(
                    item, lanes, relu, source, target, step, pixels, count, c, mean, var, weight, bias, numbers
                )

    return batch_norm


@cache
def backward_body(item: int, lanes: int, relu: int) -> Any:
    """The body of batch normalisation's gradients: a task is a channel of a part of the images."""
    doubles = lanes * item // 8

    @native.body
    def batch_norm_grad(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """The sums of a channel, its weight's and bias's gradients, and grad_x, by stages."""
        channels, pixels = native.word(plan, CHANNELS), native.word(plan, PIXELS)
        images, parts, stages = native.word(plan, IMAGES), native.word(plan, PARTS), native.word(plan, STAGES)
        grad, x, grad_x = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
        mean, var, weight = native.word(arrays, 3), native.word(arrays, 4), native.word(arrays, 5)
        eps, step, bias = native.word(arrays, 6), channels * pixels * item, 0
        whole = eps + 8 * (COUNT + 1)
        chunks = whole + 16 * channels
        if relu:
            bias = native.word(arrays, 9)
        for task in range(first, end):
            part, c = task // channels, task % channels
            low, sums = part * images // parts, whole + 16 * c
            count, begin = (part + 1) * images // parts - low, (low * channels + c) * pixels * item
            slopes, numbers = grad + begin, x + begin
            if stages & SUMS:
                gradient_sums(
                    item, doubles, relu, slopes, numbers, step, pixels, count,
                    c, mean, var, weight, bias, eps, chunks + 16 * task,
                )  # fmt: skip
            if stages & FINISH:
                finish_sums(item, doubles, chunks + 16 * c, native.word(plan, CHUNKS), 16 * channels, sums)
                if native.word(arrays, 7) != 0:
                    weight_gradient(item, doubles, sums, c, var, eps, native.word(arrays, 7))
                if stages & MORE:
                    bias_gradient(item, doubles, sums, c, native.word(arrays, 8))
            if stages & ROWS:
                project_rows(
                    item, lanes, relu, slopes, numbers, grad_x + begin, step, pixels, count,
                    c, mean, var, weight, bias, eps, eps + 8 * COUNT, sums,
                )  # fmt: skip

    return batch_norm_grad
