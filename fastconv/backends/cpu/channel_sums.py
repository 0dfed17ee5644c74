"""Sums of each channel over images and pixels, in float64: first of every plane, then over the images in their order.

Index letters: `n` image, `c` channel, `p` pixel.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.kernels import SMALL
from fastconv.backends.cpu.native import word
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import Emit, Value, instruction
from fastconv.typing import Array, Shape

CHAINS = 4  # sums of a plane that are independent
GRADS, PARTIAL, SUMS = range(3)


def channel_sums(x: Array) -> Array:
    """y[c] = sum over n, p of x[n, c, p], for (N, C, *spatial)."""
    y = np.empty(x.shape[1], x.dtype)
    partial = np.empty((x.shape[0], x.shape[1]))
    program(x.shape, x.itemsize).on(threads.get_num_threads() if x.size >= SMALL else 1, x, partial, y)
    return y


def channel_sum_steps(x: Array, y: Array) -> list[Step]:
    """The steps of `channel_sums` into y; the first goes image by image."""
    n = x.shape[0]
    arrays = [x, np.empty((n, x.shape[1])), y]
    (planes, first, tasks, parts), (images, last, *_) = bodies(x.shape, x.itemsize)
    wide = parts if x.size >= SMALL else 0
    return [
        Step("channel sums", planes, first, arrays, tasks, wide, n if n > 1 else 0, x.size),
        Step("channel sums' end", images, last, arrays, 1, 0),
    ]


@lru_cache(maxsize=1024)
def program(shape: Shape, item: int) -> Program:
    """Both steps."""
    return Program(bodies(shape, item), prod(shape))


def bodies(shape: Shape, item: int) -> list[tuple[Any, list[int], int, int]]:
    """The kernels, with parameters, tasks and parts."""
    lanes, parameters = machine.vectors().lanes(item), [shape[0], shape[1], prod(shape[2:])]
    return [(planes_body(item, lanes), parameters, shape[0], 4), (images_body(item, lanes), parameters, 1, 0)]


@cache
def planes_body(item: int, lanes: int) -> Any:
    """The body that sums planes."""

    @native.body
    def sums_of_planes(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """partial[n, c] = sum over p of x[n, c, p]; a task is an image."""
        channels, pixels = word(plan, 1), word(plan, 2)
        for plane in range(first * channels, end * channels):
            sum_plane(
                item, lanes, word(arrays, GRADS) + plane * pixels * item, pixels, word(arrays, PARTIAL) + 8 * plane
            )

    return sums_of_planes


@cache
def images_body(item: int, lanes: int) -> Any:
    """The body that sums over images."""

    @native.body
    def sums_of_images(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[c] = sum over n of partial[n, c]."""
        images, channels = word(plan, 0), word(plan, 1)
        for c in range(0, channels, lanes):
            sum_images(
                item, lanes, word(arrays, PARTIAL) + 8 * c, 8 * channels, images, channels - c,
                word(arrays, SUMS) + c * item,
            )  # fmt: skip

    return sums_of_images


@instruction(2)
def sum_plane(e: Emit, source: Value, count: Value, target: Value) -> None:
    """target[0] = sum over j < count of source[j], in float64."""
    d, width = Emit(e.b, 8, e.lanes), e.lanes * e.item

    def step(v: Value, totals: list[Value]) -> list[Value]:
        place = e.b.mul(v, e.long(CHAINS * width))
        numbers = [e.load(e.at(source, place), chain * width) for chain in range(CHAINS)]
        return [e.b.fadd(total, e.widened(number)) for total, number in zip(totals, numbers, strict=True)]

    whole = e.b.sdiv(count, e.long(CHAINS * e.lanes))
    totals = e.loop(whole, [d.zero] * CHAINS, step)
    done = e.b.mul(whole, e.long(CHAINS * e.lanes))
    rest = e.at(source, e.b.mul(done, e.long(e.item)))
    for chain in range(CHAINS):
        mask = e.leading(e.b.sub(e.b.sub(count, done), e.long(chain * e.lanes)))
        totals[chain] = e.b.fadd(totals[chain], e.widened(e.masked_load(mask, rest, chain * width)))
    total = e.b.fadd(e.b.fadd(totals[0], totals[1]), e.b.fadd(totals[2], totals[3]))
    d.save(d.total(total), target)


@instruction(2)
def sum_images(e: Emit, source: Value, pitch: Value, rows: Value, count: Value, target: Value) -> None:
    """target[j] = sum over i < rows of the float64 source[i * pitch + j], for j < count, of a vector at most."""
    d, mask = Emit(e.b, 8, e.lanes), e.leading(count)

    def row(i: Value, totals: list[Value]) -> list[Value]:
        return [e.b.fadd(totals[0], d.masked_load(mask, e.at(source, (pitch, i))))]

    (total,) = e.loop(rows, [d.zero], row)
    e.masked_store(e.narrowed(total), mask, target)
