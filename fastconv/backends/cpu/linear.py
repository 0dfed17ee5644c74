"""The fully connected layer and its gradients: products of matrices as they lie.

Index letters: `n` row (an image), `c`/`o` feature in/out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv import threads
from fastconv.backends.cpu import far_products, outputs, products, workspace
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.machine import LINE, cache_bytes, vectors
from fastconv.backends.cpu.programs import Program
from fastconv.typing import Array

SMALL = 100_000  # multiply-adds, or numbers that are read, below which one thread is faster
STRIP = 512  # columns of a task of `outers`: a few kilobytes of each row
ENOUGH = 16  # tasks
FEW, NEAR = 32, 24 << 10  # tiles, and bytes of x's rows that stay in the nearest cache
MANY, SHORT = 8, 64  # rows of x from which on, and features in up to which, the weight is turned
BLOCK = 128  # rows that are summed at a time: a strip of them stays in the second-level cache
FEW_ROWS, STRIP_FEW = 4, 4096  # of y, to which a far matrix is added as it comes; and numbers of y that stay near
STRIP_ONCE, STRIP_AGAIN = 1024, 256  # columns of a packed strip, where y's rows are met once, or for each block


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """y[n, o] = bias[o] + sum over c of weight[o, c] x[n, c]."""
    y = outputs.empty((x.shape[0], weight.shape[0]), x.dtype)
    if not x.shape[1]:  # sums of nothing
        y[...] = 0 if bias is None else bias
    elif y.size:
        found = forward(*y.shape, x.shape[1], x.itemsize, threads.get_num_threads())
        start = found.no_bias if bias is None else bias
        computed(found.program, found.threads, found.workspace, x, weight, start, y)
    return y


def linear_input_grad(weight: Array, grad_output: Array) -> Array:
    """grad_x[n, c] = sum over o of grad_output[n, o] weight[o, c]."""
    (rows, depth), columns = grad_output.shape, weight.shape[1]
    if not (rows and columns and depth):
        return np.zeros((rows, columns), weight.dtype)
    found = input_grad(rows, columns, depth, weight.itemsize, threads.get_num_threads())
    return computed(*found, grad_output, weight, None, outputs.empty((rows, columns), weight.dtype))


def linear_weight_grad(x: Array, grad_output: Array) -> Array:
    """grad_weight[o, c] = sum over n of grad_output[n, o] x[n, c]."""
    (depth, rows), columns = grad_output.shape, x.shape[1]
    if not (rows and columns and depth):
        return np.zeros((rows, columns), x.dtype)
    found = weight_grad(rows, columns, depth, x.itemsize, threads.get_num_threads())
    return computed(*found, grad_output, x, None, outputs.empty((rows, columns), x.dtype))


def computed(program: Program, count: int, size: int, a: Array, b: Array, bias: Array | None, y: Array) -> Array:
    """The result of a program on so many threads that needs so much workspace."""
    space = workspace.take(size)
    try:
        program.on(count, a, b, bias, y, space)
    finally:
        workspace.give(space)
    return y


def linear_bias_grad(grad_output: Array) -> Array:
    """grad_bias[o] = sum over n of grad_output[n, o]."""
    grad_bias = np.empty(grad_output.shape[1], grad_output.dtype)
    if grad_bias.size:
        program, count = sums(*grad_output.shape, grad_output.itemsize, threads.get_num_threads())
        program.on(count, grad_output, None, None, grad_bias)
    return grad_bias


@dataclass(frozen=True, eq=False)
class Forward:
    """The program of y = bias + x weight^T, with what it needs."""

    program: Program
    threads: int
    workspace: int
    no_bias: Array


@lru_cache(maxsize=1024)
def forward(rows: int, columns: int, depth: int, item: int, count: int) -> Forward:
    """By dot products, which take both matrices as they lie; or by a turned weight, where rows are many and short."""
    no_bias = np.zeros(columns, f"f{item}")
    if rows < MANY or depth > SHORT:
        return Forward(*dots(rows, columns, depth, item, count), 0, no_bias)
    turned = up(columns * depth * item, LINE)
    places = {products.RIGHT: products.WORKSPACE, products.BIASED: 1, products.SHARED: turned}
    outer = outer_step(rows, columns, depth, item, False, places)
    steps = [turning(columns, depth, item, products.B, products.WORKSPACE), outer.step]
    found, used = program(steps, rows, columns, depth, count)
    return Forward(found, used, turned + used * outer.per_thread, no_bias)


def dots(rows: int, columns: int, depth: int, item: int, count: int) -> tuple[Program, int]:
    """The program of y (rows, columns) = bias + a (rows, depth) times b (columns, depth) turned, and its threads."""
    registers = vectors()
    high, wide = tile(rows, registers.registers)
    strip, several = wide * max(1, -(-columns // (wide * 32))), 1
    if rows >= FEW * high:  # some rows of x stay in the nearest cache while they meet all columns
        strip, most = columns, max(high, NEAR // (depth * item))
        several = -(-rows // (most // high * high))
    strips = -(-columns // strip)
    several = max(several, parts(rows, high, strips))
    values = {
        products.ROWS: rows,
        products.COLUMNS: columns,
        products.DEPTH: depth,
        products.STRIP: strip,
        products.PARTS: several,
        products.STAYS: stays(depth * columns * item),
    }
    kernel = products.dots_body(item, registers.lanes(item), high, wide)
    steps = [(kernel, products.words(values), strips * several, 8)]
    work = max(rows * columns * depth // 8, columns * depth)
    return Program(steps, work), count if work > SMALL else 1


def tile(rows: int, registers: int) -> tuple[int, int]:
    """Rows and columns of a tile of dot products."""
    if rows == 1:
        return 1, 8
    if rows < 4:
        return rows, 6 if registers > 16 else 4
    return (4, 6) if registers > 16 else (3, 3)


@dataclass(frozen=True)
class Outer:
    """A step of a sum of outer products, and bytes that it needs: of each thread, after as many that all share."""

    step: Any
    per_thread: int = 0


def outer_step(
    rows: int, columns: int, depth: int, item: int, turned: bool, places: dict[int, int], update: int = 0
) -> Outer:
    """The step of y (rows, columns) = a times b (depth, columns); `turned`: a is (depth, rows).

    `places` has what is not the default of the plan's words; for `update` see `products.outers_body`. Threads' packs
    begin in the workspace where `places` says that what is SHARED ends.
    """
    registers = vectors()
    lanes, near = registers.lanes(item), stays(depth * columns * item)
    values = {
        products.ROWS: rows,
        products.COLUMNS: columns,
        products.DEPTH: depth,
        products.A_ROW: item if turned else depth * item,
        products.A_STEP: rows * item if turned else item,
        products.B_ROW: columns * item,
        products.LEFT: products.A,
        products.RIGHT: products.B,
        products.RESULT: products.Y,
        products.STAYS: near,
    }
    far = not (near and stays(rows * columns * item))
    few, per_thread = rows <= FEW_ROWS and not update, 0
    if far and few:
        high, strip = rows, min(STRIP_FEW // rows, -(-columns // (4 * lanes)) * lanes)
        kernel = far_products.rows_body(item, lanes, high)
    elif far:
        high, across = (6, 2) if registers.few else (8, 3)
        unit = lanes * across
        strip = min((STRIP_ONCE if depth <= BLOCK else STRIP_AGAIN) // unit, -(-columns // (4 * unit))) * unit
        block = min(depth, BLOCK)
        pack = up(block * (strip + unit) * item, LINE)
        per_thread = pack + up(block * high * item, LINE)
        values |= {products.BLOCK: block, products.PACK_BYTES: pack, products.PER_THREAD: per_thread}
        kernel = far_products.packed_body(item, lanes, high, across, update)
    else:
        high, across = min(rows, 4 if registers.few else 8), 2 if registers.few else 3
        strip = min(STRIP, -(-columns // (4 * lanes * across)) * lanes * across)
        values[products.BLOCK] = max(BLOCK, BLOCK * STRIP // strip)
        kernel = products.outers_body(item, lanes, high, min(across, -(-columns // lanes)), update)
    strips = -(-columns // strip)
    values |= {products.STRIP: strip, products.PARTS: parts(rows, high, strips), **places}
    return Outer((kernel, products.words(values), strips * values[products.PARTS], 8), per_thread)


def turning(columns: int, depth: int, item: int, source: int, target: int) -> Any:
    """The step that turns one of the call's arrays, a matrix (columns, depth), into another one."""
    lanes = vectors().lanes(item)
    places = {products.COLUMNS: columns, products.DEPTH: depth, products.RIGHT: source, products.RESULT: target}
    return products.turned_body(item, lanes), products.words(places), -(-columns // lanes), 8


@lru_cache(maxsize=1024)
def input_grad(rows: int, columns: int, depth: int, item: int, count: int) -> tuple[Program, int, int]:
    """The program of y (rows, columns) = g (rows, depth) times weight (depth, columns), its threads, and workspace."""
    outer = outer_step(rows, columns, depth, item, False, {})
    found, used = program([outer.step], rows, columns, depth, count)
    return found, used, used * outer.per_thread


@lru_cache(maxsize=1024)
def weight_grad(
    rows: int, columns: int, depth: int, item: int, count: int, update: int = 0
) -> tuple[Program, int, int]:
    """The program of y (rows, columns) = g (depth, rows) turned times x (depth, columns), threads, and workspace."""
    if not is_tall(rows, columns, item) or update:
        turned, outer = 0, outer_step(rows, columns, depth, item, True, {}, update)
        steps = [outer.step]
    else:
        turned = up(rows * columns * item, LINE)
        places = {products.LEFT: products.B, products.RIGHT: products.A, products.RESULT: products.WORKSPACE}
        outer = outer_step(columns, rows, depth, item, True, places | {products.SHARED: turned})
        steps = [outer.step, turning(columns, rows, item, products.WORKSPACE, products.Y)]
    found, used = program(steps, rows, columns, depth, count)
    return found, used, turned + used * outer.per_thread


def is_tall(rows: int, columns: int, item: int) -> bool:
    """Whether a weight's gradient has rows so short that its columns had better lie in the lanes: it is made turned."""
    return columns <= vectors().lanes(item) and rows >= 4 * columns and rows >= STRIP // 4


def stays(size: int) -> int:
    """Whether so many bytes stay in the second-level cache, beside what else is read."""
    return int(size <= cache_bytes(2, 1 << 20) // 2)


@lru_cache(maxsize=1024)
def sums(rows: int, columns: int, item: int, count: int) -> tuple[Program, int]:
    """The program of y (columns,) = the sum of a's rows, and its threads."""
    lanes = vectors().lanes(item)
    step = products.sums_body(item, lanes), [rows, columns], -(-columns // (products.SUMMED * lanes)), 8
    return Program([step], rows * columns), count if rows * columns > SMALL else 1


def parts(rows: int, tile: int, strips: int) -> int:
    """Into how many parts rows fall, where strips alone are too few tasks for some threads."""
    return max(1, min(-(-rows // tile), -(-ENOUGH // strips))) if rows >= 2 * tile and strips < ENOUGH else 1


def program(steps: list[Any], rows: int, columns: int, depth: int, count: int) -> tuple[Program, int]:
    """The steps of a product, on threads where they have work for them; and how many."""
    work = max(rows * columns * depth // 8, (rows + depth) * columns)
    return Program(steps, work), count if work > SMALL else 1
