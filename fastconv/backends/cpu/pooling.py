"""Pooling and its gradients: the kernel that serves a geometry, with its tables.

Signals and images are volumes of one pixel along the axes that they lack, so that every kernel serves ranks 1, 2 and 3.
A function, and its step in a bound network, run the same body.

Index letters: `n` image (in kernels a plane, which is an image's channel), `c` channel, `p q` output pixel, `r s` tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import machine, outputs, plane_means
from fastconv.backends.cpu import pooling_rows as rows
from fastconv.backends.cpu import pooling_spread as spread
from fastconv.backends.cpu import pooling_winners as winners
from fastconv.backends.cpu import windows as w
from fastconv.backends.cpu.kernels import SMALL, kernel
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.steps import Step
from fastconv.geometry import Pooling
from fastconv.typing import Array, Shape

Counts = tuple[Shape, ...]  # for each axis and window, a factor of the divisor


class Plan(NamedTuple):
    """A kernel for a geometry: its body, parameters, tables (an array behind those of a call), and tasks."""

    body: Any
    parameters: tuple[int, ...]
    table: Array | None
    tasks: int
    program: Program

    def run(self, *arrays: Array | None) -> None:
        """Run it on these arrays, with threads where that is worth it."""
        wanted = threads.get_num_threads() if self.program.work >= SMALL else 1
        self.program.on(wanted, *arrays, self.table)

    def step(self, name: str, arrays: Sequence[Array | None], images: int) -> Step:
        """It as a step of a bound network."""
        parts = 4 if self.program.work >= SMALL else 0
        return Step(
            name, self.body, self.parameters, (*arrays, self.table), self.tasks, parts, images, self.program.work
        )


def planned(body: Any, parameters: tuple[int, ...], table: Array | None, tasks: int, work: int) -> Plan:
    """A plan and its program; `work` counts the numbers moved."""
    return Plan(body, parameters, table, tasks, Program([(body, parameters, tasks, 4)], work))


def max_pool(x: Array, geometry: Pooling, with_indices: bool = True) -> tuple[Array, Array | None]:
    """y[n, c, p] = max over r of x[n, c, p * stride + r * dilation - padding], and the flat index of the first such."""
    y = outputs.empty((*x.shape[:2], *geometry.output_size), x.dtype)
    indices = outputs.empty(y.shape, np.dtype(np.int64)) if with_indices else None
    what = w.INDICES if with_indices else w.NOTHING
    max_plan(geometry, x.shape[0] * x.shape[1], x.itemsize, what).run(x, y, indices)
    return y, indices


def max_pool_steps(x: Array, y: Array, codes: Array | None, geometry: Pooling, images: int) -> list[Step]:
    """The steps of `max_pool`: winners by their indices where `codes` is int64, by their numbers where it is uint8."""
    what = w.NOTHING if codes is None else w.CODES if codes.itemsize == 1 else w.INDICES
    plan = max_plan(geometry, x.shape[0] * x.shape[1], x.itemsize, what)
    return [plan.step("max_pool", (x, y, codes), images)]


def max_pool_input_grad(grad_output: Array, indices: Array, input_size: Shape) -> Array:
    """grad_x[n, c, indices[n, c, p]] += grad_output[n, c, p]; an index of -1 adds nowhere."""
    grad_x = outputs.empty((*grad_output.shape[:2], *input_size), grad_output.dtype)
    add_plan(grad_output.shape, prod(input_size), grad_output.itemsize).run(grad_output, indices, grad_x)
    return grad_x


def max_pool_grad_steps(grad: Array, codes: Array, grad_x: Array, geometry: Pooling, images: int) -> list[Step]:
    """The steps of `max_pool_input_grad`; winners' numbers (uint8) serve windows that tile the image, see `tiles`."""
    if codes.itemsize == 1:
        plan = winners_plan(geometry, grad.shape[0] * grad.shape[1], grad.itemsize)
    else:
        plan = add_plan(grad.shape, prod(geometry.input_size), grad.itemsize)
    return [plan.step("max_pool_grad", (grad, codes, grad_x), images)]


def tiles(geometry: Pooling) -> bool:
    """Whether a winner's number in its window is enough for the gradient."""
    return winners.tiles(geometry)


def avg_pool(x: Array, geometry: Pooling, counts: Counts) -> Array:
    """y[n, c, p, q] = sum over r, s of x[n, c, p * stride + r - padding, ...] / (counts[0][p] * counts[1][q])."""
    y = outputs.empty((*x.shape[:2], *geometry.output_size), x.dtype)
    avg_plan(geometry, counts, x.shape[:2], x.itemsize).run(x, y)
    return y


def avg_pool_steps(x: Array, y: Array, geometry: Pooling, counts: Counts, images: int) -> list[Step]:
    """The steps of `avg_pool`."""
    return [avg_plan(geometry, counts, x.shape[:2], x.itemsize).step("avg_pool", (x, y), images)]


def avg_pool_input_grad(grad_output: Array, geometry: Pooling, counts: Counts) -> Array:
    """grad_x[n, c, p * stride + r - padding, ...] += grad_output[n, c, p, q] / (counts[0][p] * counts[1][q]).

    Seen from a pixel of x, the windows over it are a box too: their shares are summed, and no two sums meet.
    """
    grad_x = outputs.empty((*grad_output.shape[:2], *geometry.input_size), grad_output.dtype)
    plan = spread_plan(geometry, counts, grad_output.shape[0] * grad_output.shape[1], grad_output.itemsize)
    plan.run(grad_output, grad_x)
    return grad_x


def avg_pool_grad_steps(grad: Array, grad_x: Array, geometry: Pooling, counts: Counts, images: int) -> list[Step]:
    """The steps of `avg_pool_input_grad`."""
    plan = spread_plan(geometry, counts, grad.shape[0] * grad.shape[1], grad.itemsize)
    return [plan.step("avg_pool_grad", (grad, grad_x), images)]


def max_unpool(x: Array, indices: Array, output_size: Shape) -> Array:
    """y[n, c, indices[n, c, p]] = x[n, c, p], zeros elsewhere; of equal indices the last one holds."""
    y = outputs.empty((*x.shape[:2], *output_size), x.dtype)
    out = planes(y)
    put_at(len(out), planes(x), planes(indices), out)
    return y


def max_unpool_input_grad(grad_output: Array, indices: Array) -> Array:
    """grad_x[n, c, p] = grad_output[n, c, indices[n, c, p]]; of equal indices the last one alone receives it."""
    grad_x = np.empty(indices.shape, grad_output.dtype)
    out = planes(grad_x)
    take_last(len(out), planes(grad_output), planes(indices), out)
    return grad_x


@lru_cache(maxsize=1024)
def max_plan(geometry: Pooling, planes: int, item: int, what: int) -> Plan:
    """The plan of max pooling."""
    table = w.table_of(geometry, what == w.CODES, None, w.first_places(geometry, what == w.CODES))
    parameters, tasks = w.parameters_of(geometry, planes, item, what)
    lanes = machine.vectors().lanes(item)
    body = rows.highest_body(item, lanes, what, *w.kind_of(geometry, lanes))
    return planned(body, parameters, table, tasks, planes * prod(geometry.input_size))


@lru_cache(maxsize=1024)
def winners_plan(geometry: Pooling, planes: int, item: int) -> Plan:
    """The plan of max pooling's gradient by winners' numbers."""
    found = winners.tiled(geometry, planes, item, machine.vectors().lanes(item))
    return planned(*found, planes * prod(geometry.input_size))


@lru_cache(maxsize=1024)
def add_plan(shape: Shape, pixels: int, item: int) -> Plan:
    """The plan of max pooling's gradient by indices."""
    planes = shape[0] * shape[1]
    body = winners.add_body(item, machine.vectors().lanes(item))
    return planned(body, (prod(shape[2:]), pixels), None, planes, planes * pixels)


@lru_cache(maxsize=1024)
def avg_plan(geometry: Pooling, counts: Counts, shape: Shape, item: int) -> Plan:
    """The plan of average pooling of so many images and channels."""
    count, lanes, pixels = shape[0] * shape[1], machine.vectors().lanes(8), prod(geometry.input_size)
    if is_global(geometry):
        body, groups = plane_means.means_body(item, lanes), -(-shape[1] // lanes)
        return planned(body, (shape[1], pixels), divisor_of(counts, item), shape[0] * groups, count * pixels)
    few = max(geometry.kernel_size) <= w.UNROLLED
    deep, taps, kind = w.kind_of(geometry, machine.vectors().lanes(item))
    if not (taps and few):
        taps, kind = 0, min(kind, geometry.stride[-1])
    (by_row, by_column) = factors(counts, 8 if taps else item)
    by_column = by_column.astype(f"f{item}") if taps else by_column
    table = w.table_of(geometry, False, by_row.reshape(w.three(geometry.output_size, 1)[:2]), by_column)
    parameters, tasks = w.parameters_of(geometry, count, item, w.NOTHING)
    body = rows.sums_body(item, machine.vectors().lanes(item) if taps else lanes, deep, taps, kind)
    return planned(body, parameters, table, tasks, count * pixels)


@lru_cache(maxsize=1024)
def spread_plan(geometry: Pooling, counts: Counts, count: int, item: int) -> Plan:
    """The plan of average pooling's gradient of so many planes."""
    pixels = prod(geometry.input_size)
    if is_global(geometry):
        body = plane_means.fill_body(item, machine.vectors().lanes(item))
        return planned(body, (pixels,), divisor_of(counts, item), count, count * pixels)
    parameters, table, tasks = spread.tables(geometry, count, *factors(counts, item))
    body = spread.spread_body(item, machine.vectors().lanes(8), spread.way_of(geometry))
    return planned(body, parameters, table, tasks, count * pixels)


def factors(counts: Counts, item: int) -> tuple[Array, Array]:
    """What sums are multiplied by (float32) or divided by (float64), for each row of windows and each column."""
    deep, down, across = w.three([np.array(count, np.float64) for count in counts], np.ones(1))
    found = np.multiply.outer(deep, down).reshape(-1), across
    return found if item == 8 else (1 / found[0], 1 / found[1])


def divisor_of(counts: Counts, item: int) -> Array:
    """The same for the only window of a plane."""
    by_row, by_column = factors(counts, item)
    found: Array = by_row * by_column
    return found


def is_global(geometry: Pooling) -> bool:
    """Whether one window has the whole plane."""
    boxes = w.boxes(geometry)
    sizes = w.three(geometry.input_size, 1)
    return all(len(box) == 1 and box[0, 1] == size for box, size in zip(boxes, sizes, strict=True))


def volumes(array: Array) -> Array:
    """(N, C, *spatial) as (N * C, D, H, W)."""
    spatial = array.shape[2:]
    return array.reshape(prod(array.shape[:2]), *(1,) * (3 - len(spatial)), *spatial)


def planes(array: Array) -> Array:
    """(N, C, *spatial) as (N * C, pixels)."""
    return array.reshape(prod(array.shape[:2]), prod(array.shape[2:]))


@kernel
def put_at(values, indices, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, indices[n, p]] = values[n, p], the last p where several have that index; 0 elsewhere."""
    for n in range(first, end):
        y[n] = 0
        for p in range(values.shape[1]):
            y[n, indices[n, p]] = values[n, p]


@kernel
def take_last(values, indices, y, first, end):  # type: ignore[no-untyped-def]
    """y[n, p] = values[n, indices[n, p]] if p is the last with that index, else 0."""
    for n in range(first, end):
        last = np.empty(values.shape[1], np.int64)
        for p in range(y.shape[1]):
            last[indices[n, p]] = p
        for p in range(y.shape[1]):
            place = indices[n, p]
            y[n, p] = values[n, place] if last[place] == p else 0
