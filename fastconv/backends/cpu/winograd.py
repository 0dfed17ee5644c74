"""Winograd's convolution: 3 x 3 filters, stride 1, float32; F(4 x 4, 3 x 3), or the more accurate F(2 x 2, 3 x 3).

The sum over channels costs 4 (or 2.25) times fewer products than a direct convolution. The input gradient is the same
with turned filters. Two orders of the work, whichever moves less memory:

- by tiles: filters are transformed first; a task transforms a block of tiles and multiplies it with all filters;
- by filters: tiles are transformed first; a task transforms a block of filters and multiplies it with all tiles.

A number that is not finite would spread over a tile, and makes some output of it not finite: what carries out a
convolution tells so, and whoever called it computes it directly. So nobody need look at the inputs.

Each number is one sum over the channels in their order, so the bits depend neither on the order nor on threads.

Index letters: `n` image, `c`/`o` channel in/out, `p` output pixel, `r` filter tap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastconv.backends.cpu import native, winograd_gradient, workspace
from fastconv.backends.cpu.vectors import aligned
from fastconv.backends.cpu.winograd_plans import M, Plan, Problem, accurate, cost, filters_plan, plan, problem
from fastconv.geometry import Convolution
from fastconv.typing import Array

__all__ = ["Filters", "accurate", "cost", "forward", "input_grad", "suits", "transformed", "weight_grad"]


@dataclass(frozen=True, eq=False)
class Filters:
    """Transformed filters, which stand for the weight in `forward`, or in `input_grad` if they are turned."""

    array: Array
    m: int
    turned: bool


def suits(geometry: Convolution) -> bool:
    """Whether a geometry is one that Winograd's convolution computes, for float32."""
    return geometry.kernel_size == (3, 3) and geometry.stride == (1, 1) and geometry.dilation == (1, 1)


def forward(
    x: Array, weight: Array | Filters, bias: Array | None, y: Array, geometry: Convolution, threads: int, m: int = M
) -> bool:
    """y[n, o, p] = bias[o] + sum over c, r of weight[o, c, r] x[n, c, p + r - padding]; whether it is all finite."""
    return run(problem(geometry, False), x, weight, bias, y, threads, m)


def input_grad(
    weight: Array | Filters,
    grad_output: Array,
    bias: Array | None,
    grad_x: Array,
    geometry: Convolution,
    threads: int,
    m: int = M,
) -> bool:
    """grad_x[n, c, p + r - padding] = bias[c] + sum over o, r of weight[o, c, r] grad_output[n, o, p].

    False if it is not all finite.
    """
    return run(problem(geometry, True), grad_output, weight, bias, grad_x, threads, m)


def weight_grad(x: Array, grad_output: Array, grad_weight: Array, geometry: Convolution, threads: int) -> bool:
    """grad_weight[o, c, r] = sum over n, p of grad_output[n, o, p] x[n, c, p + r - padding]; whether it is finite."""
    chosen, flag = winograd_gradient.plan(geometry), np.zeros(1, np.int64)
    space = workspace.take(chosen.workspace(threads))
    try:
        chosen.program(threads, *(native.address(array) for array in (x, grad_output, grad_weight, space, flag)))
    finally:
        workspace.give(space)
    return not flag[0]


def transformed(weight: Array, geometry: Convolution, threads: int, m: int = M, turned: bool = False) -> Filters:
    """U = G g G^T, for calls that use the same filters; `turned` for `input_grad`."""
    chosen, size = filters_plan(problem(geometry, turned), m, threads)
    array = aligned(size, "u1")
    launch(chosen, threads, 0, native.address(weight), 0, 0, native.address(array))
    return Filters(array, m, turned)


def run(task: Problem, x: Array, weight: Array | Filters, bias: Array | None, y: Array, threads: int, m: int) -> bool:
    """A forward pass or an input gradient; whether all of it is finite."""
    arrays = native.address(x), 0 if bias is None else native.address(bias), native.address(y)
    if isinstance(weight, Filters):
        if weight.turned != task.turned:
            raise ValueError(f"weight is transformed with turned={weight.turned}: {task.turned} is accepted here")
        chosen, filters = plan(task, threads, weight.m, True), native.address(weight.array)
        return launch(chosen, threads, arrays[0], 0, *arrays[1:], filters)
    return launch(plan(task, threads, m, False), threads, arrays[0], native.address(weight), *arrays[1:], 0)


def launch(chosen: Plan, threads: int, x: int, weight: int, bias: int, y: int, filters: int) -> bool:
    """Run a plan's program; filters that it transforms first begin its workspace. Whether what it made is finite."""
    space, flag = workspace.take(chosen.workspace), np.zeros(1, np.int64)
    try:
        start = native.address(space)
        chosen.program(threads, x, weight, bias, y, start, filters or start, native.address(flag))
    finally:
        workspace.give(space)
    return not flag[0]
