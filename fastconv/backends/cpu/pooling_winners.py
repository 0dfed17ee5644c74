"""Max pooling's gradient: what a window receives goes to its winner.

Where windows tile the image and a winner is known by its number in the window, each pixel is written once; else the
windows of a plane add to it in their order.

Index letters: `n` plane (an image's channel), `a p q` window, or `p` of all windows in their order, `i j k` pixel.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fastconv.backends.cpu import native
from fastconv.backends.cpu import windows as w
from fastconv.backends.cpu.moves import clear_numbers
from fastconv.backends.cpu.pooling_spread import interleaved
from fastconv.backends.cpu.vectors import I8, I64, Emit, Value, instruction
from fastconv.geometry import Pooling
from fastconv.typing import Array

WIDEST = 4  # windows whose pixels are put together in registers, if a row has enough of them
BARE, OTHERS = w.COLUMNS + 1, w.COLUMNS + 2  # rows of pixels without windows, and where their table begins


def tiles(geometry: Pooling) -> bool:
    """Whether windows touch and don't overlap, so that a winner's number is enough."""
    adjoining = geometry.stride == geometry.kernel_size and max(geometry.dilation) == 1
    return adjoining and prod(geometry.kernel_size) <= 256


def bare_rows(geometry: Pooling) -> Array:
    """The rows of pixels that no window has."""
    height = w.three(geometry.input_size, 1)[1]
    (deep, down, _), depth = w.boxes(geometry), w.three(geometry.input_size, 1)[0]
    covered = np.zeros((depth, height), bool)
    for first, count, _ in deep:
        for begin, rows, _ in down:
            covered[first : first + count, begin : begin + rows] = True
    return np.flatnonzero(~covered)


def distances(geometry: Pooling) -> Array:
    """From a window's first pixel to each, in the plane."""
    _, height, width = w.three(geometry.input_size, 1)
    taps = np.indices(w.three(geometry.kernel_size, 1)).reshape(3, -1)
    found: Array = taps[0] * height * width + taps[1] * width + taps[2]
    return found


@instruction(4)
def give_winners(
    e: Emit,
    deep: int,
    taps: int,
    plan: Value,
    grad: Value,
    codes: Value,
    table: Value,
    x: Value,
    low: Value,
    high: Value,
) -> None:
    """x[pixel] = grad[window] where the window's winner is the pixel, else 0; windows tile the plane."""
    b, small = e.b, ir.VectorType(I8, e.lanes)
    width, before, windows = (e.word(plan, I64(index)) for index in (w.WIDTH, w.BEFORE, w.WINDOWS))
    each = e.lanes * taps

    def vector(v: Value, _: list[Value]) -> list[Value]:
        place, first = b.mul(v, I64(e.lanes)), b.sub(b.mul(v, I64(each)), before)
        firsts = [e.at(first, part * e.lanes) for part in range(taps)]
        masks = [w.inside(e, pixel, width) for pixel in firsts]
        valid = e.leading(b.sub(windows, place))

        def row(i: Value, _: list[Value]) -> list[Value]:
            number = b.add(low, i)
            entry = e.at(table, b.mul(number, I64(8 * w.ROW)))
            at = e.at(b.mul(number, windows), place)
            grads = b.fadd(e.masked_load(valid, grad, b.mul(at, I64(e.item))), e.zero)  # as sums start: no -0
            won = e.masked_load(valid, codes, at, ir.Constant(small, [0] * e.lanes))

            def pixels(address: Value, code: Value, values: list[Value]) -> list[Value]:
                code = b.add(code, e.word(entry, I64(w.START)))
                mine = [
                    b.select(b.icmp_signed("==", won, e.splat(b.trunc(e.at(code, k), I8))), grads, e.zero)
                    for k in range(taps)
                ]
                for found, mask, pixel in zip(interleaved(e, mine), masks, firsts, strict=True):
                    e.masked_store(found, mask, address, b.mul(pixel, I64(e.item)))
                return values

            corner = e.at(x, b.mul(e.word(entry, I64(w.CORNER)), I64(e.item)))
            w.over_rows(e, deep, 0 if deep else taps, plan, corner, entry, [], pixels)
            return []

        e.loop(b.sub(high, low), [], row)
        return []

    e.loop(b.sdiv(b.add(b.add(width, before), I64(each - 1)), I64(each)), [], vector)


@instruction(2)
def scatter_winners(
    e: Emit, plan: Value, grad: Value, codes: Value, table: Value, distance: Value, x: Value, low: Value, high: Value
) -> None:
    """x[pixel] = grad[window] where the window's winner is the pixel, in a plane of zeros; windows tile the plane."""
    b = e.b
    windows, step, before = (e.word(plan, I64(index)) for index in (w.WINDOWS, w.STEP, w.BEFORE))

    def row(i: Value, _: list[Value]) -> list[Value]:
        number = b.add(low, i)
        entry, begin = e.at(table, b.mul(number, I64(8 * w.ROW))), b.mul(number, windows)
        first = b.sub(b.sub(e.word(entry, I64(w.CORNER)), before), e.word(distance, e.word(entry, I64(w.START))))

        def window(q: Value, _: list[Value]) -> list[Value]:
            at = b.add(begin, q)
            code = b.zext(b.load(e.element(codes, at, I8)), I64)
            pixel = e.at(first, b.mul(q, step), e.word(distance, code))
            value = b.fadd(e.number(grad, b.mul(at, I64(e.item))), ir.Constant(e.scalar, 0.0))
            e.save(value, x, b.mul(pixel, I64(e.item)))
            return []

        e.loop(windows, [], window)
        return []

    e.loop(b.sub(high, low), [], row)


@instruction(2)
def add_at(e: Emit, grad: Value, indices: Value, count: Value, x: Value) -> None:
    """x[indices[p]] += grad[p] in the order of p < count; -1 is nowhere."""
    b = e.b

    def window(p: Value, _: list[Value]) -> list[Value]:
        place = e.word(indices, p)
        with b.if_then(b.icmp_signed(">=", place, I64(0)), likely=True):
            offset = b.mul(place, I64(e.item))
            e.save(b.fadd(e.number(x, offset), e.number(grad, b.mul(p, I64(e.item)))), x, offset)
        return []

    e.loop(count, [], window)


@cache
def give_body(item: int, lanes: int, deep: int, taps: int) -> Any:
    """The body of the gradient where windows tile the image: a task is some rows of a plane's windows."""

    @native.body
    def max_pooling_grad(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """grad_x[n, i, j, k] = grad[n, a, p, q] if the pixel won its window, else 0."""
        grad, codes, grad_x, table = (
            native.word(arrays, 0),
            native.word(arrays, 1),
            native.word(arrays, 2),
            native.word(arrays, 3),
        )
        pieces, rows, bare = native.word(plan, w.PIECES), native.word(plan, w.ROWS), native.word(plan, BARE)
        others, width = table + native.word(plan, OTHERS), native.word(plan, w.WIDTH) * item
        for task in range(first, end):
            n, piece = task // pieces, task % pieces
            pixels, target = n * native.word(plan, w.Y_PIXELS), grad_x + n * native.word(plan, w.X_BYTES)
            low, high = piece * rows // pieces, (piece + 1) * rows // pieces
            give_winners(item, lanes, deep, taps, plan, grad + pixels * item, codes + pixels, table, target, low, high)
            for index in range(piece * bare // pieces, (piece + 1) * bare // pieces):
                clear_numbers(item, lanes, native.word(plan, w.WIDTH), target + native.word(others, index) * width)

    return max_pooling_grad


@cache
def scatter_body(item: int, lanes: int) -> Any:
    """The body for windows too wide for registers: a task is a plane."""

    @native.body
    def max_pooling_grad(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """grad_x[n, i, j, k] = grad[n, a, p, q] if the pixel won its window, else 0."""
        grad, codes, grad_x, table = (
            native.word(arrays, 0),
            native.word(arrays, 1),
            native.word(arrays, 2),
            native.word(arrays, 3),
        )
        rows, size = native.word(plan, w.ROWS), native.word(plan, w.X_BYTES)
        distance = table + native.word(plan, OTHERS)
        for n in range(first, end):
            pixels, target = n * native.word(plan, w.Y_PIXELS), grad_x + n * size
            clear_numbers(item, lanes, size // item, target)
            scatter_winners(item, lanes, plan, grad + pixels * item, codes + pixels, table, distance, target, 0, rows)

    return max_pooling_grad


@cache
def add_body(item: int, lanes: int) -> Any:
    """The body for winners by their places: a task is a plane; parameters are its windows and its pixels."""

    @native.body
    def add_winners(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """grad_x[n, indices[n, p]] = the sum of grad[n, p] over all p with that index; -1 is nowhere."""
        grad, indices, grad_x = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
        count, size = native.word(plan, 0), native.word(plan, 1)
        for n in range(first, end):
            target = grad_x + n * size * item
            clear_numbers(item, lanes, size, target)
            add_at(item, lanes, grad + n * count * item, indices + n * count * 8, count, target)

    return add_winners


def tiled(geometry: Pooling, planes: int, item: int, lanes: int) -> tuple[Any, tuple[int, ...], Array, int]:
    """The body, parameters, table and tasks of the gradient where windows tile the image."""
    table = w.table_of(geometry, True, None, np.zeros(0))
    parameters, tasks = w.parameters_of(geometry, planes, item, w.CODES)
    deep, taps = int(len(geometry.input_size) == 3), geometry.kernel_size[-1]
    one_by_one = taps > WIDEST or 2 * geometry.output_size[-1] < lanes
    others = distances(geometry) if one_by_one else bare_rows(geometry)
    body = scatter_body(item, lanes) if one_by_one else give_body(item, lanes, deep, taps)
    found = (*parameters, len(others), 8 * len(table))
    return body, found, np.concatenate([table, others]), planes if one_by_one else tasks
