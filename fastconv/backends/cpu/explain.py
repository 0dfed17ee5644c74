"""What plans say of themselves: algorithm, tile, blocks, tasks, workspace, expected time, machine code."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np
from numba import njit

from fastconv import threads
from fastconv.backends.cpu import (
    depthwise_plans,
    fourier,
    launching,
    linear,
    pointwise_plans,
    strips,
    weight_plans,
    winograd,
    winograd_bodies,
    winograd_gradient,
    winograd_plans,
)
from fastconv.backends.cpu import roof as roofs
from fastconv.backends.cpu.algorithms import choose
from fastconv.backends.cpu.algorithms import direct_plan as planned
from fastconv.backends.cpu.blocks import COPY
from fastconv.backends.cpu.machine import vectors
from fastconv.backends.cpu.native import BODY
from fastconv.backends.cpu.shortcuts import PLAIN, is_product, trimmed
from fastconv.backends.cpu.tile_choice import ARITHMETIC
from fastconv.backends.cpu.winograd_plans import M
from fastconv.geometry import Convolution
from fastconv.transforms import transforms

COPIES = "copies of the input"
DENSE = 0.4  # of a loop's lines that are multiply-adds: 0.45 to 0.7 in products, 0.1 to 0.3 in transforms
MULTIPLY_ADD = re.compile(r"\s+(vf[n]?m(add|sub)|fml[as]\b|fn?m(add|sub)\b)")
LABEL = re.compile(r"([.\w$]+):")
JUMP = re.compile(r"\s+(?:j\w+|b|b\.\w+|cbn?z|tbn?z)\s+(?:.*[\s,])?([.\w$]+)\s*$")


def plan(geometry: Convolution, which: str, dtype: np.dtype[Any], algorithm: str) -> dict[str, Any]:
    """What carries out the "forward" pass, the "input_grad" or the "weight_grad" of a geometry."""
    if not geometry.flops:
        return {"algorithm": "direct"}  # which has nothing to do
    inner = trimmed(geometry) if algorithm in PLAIN else None
    geometry = inner[0] if inner else geometry
    count = threads.get_num_threads()
    name = choose(geometry, which, dtype.itemsize, count, algorithm)
    describe = {"direct": direct_plan, "winograd": winograd_plan, "fft": fourier_plan}[name]
    if algorithm in PLAIN and is_product(geometry):
        name, describe = "direct", product_plan
    found = describe(geometry, which, dtype.itemsize, min(count, launching.LIMIT))
    share = -(-found["tasks"] // found["threads"]) / found["tasks"]  # the last round of tasks may leave threads idle
    parts = {part: cycles * share / roofs.cycles_a_second() for part, cycles in found.pop("parts").items() if cycles}
    return {"algorithm": name, **found, "expected": sum(parts.values()), "parts": parts}


def roof(dtype: np.dtype[Any]) -> float | None:
    """FLOP/s that the processor's threads can do at most."""
    return roofs.fma_roof(dtype.itemsize, min(threads.get_num_threads(), launching.LIMIT))


def hot_loop(geometry: Convolution, which: str, dtype: np.dtype[Any], algorithm: str) -> str:
    """The machine code of the loop that does most of the work."""
    if not geometry.flops:
        return ""
    count, item = threads.get_num_threads(), dtype.itemsize
    name = choose(geometry, which, item, count, algorithm)
    if algorithm in PLAIN and is_product(geometry):
        return "that of a linear layer"
    if name == "fft":
        return f"that of {transforms().__name__}, and of NumPy's matrix product"
    direct = planned(geometry, which, item, count)
    kernel = winograd_body(geometry, which, count) if name == "winograd" else direct.kernel
    # Numba tells no code of what it has loaded from disk.
    options = {option: value for option, value in kernel.targetoptions.items() if option != "nopython"}
    fresh = njit(**options)(kernel.py_func)
    fresh.compile(BODY)
    return innermost(fresh.inspect_asm(BODY.args))


def direct_plan(geometry: Convolution, which: str, item: int, count: int) -> dict[str, Any]:
    """That of the direct algorithm."""
    found = planned(geometry, which, item, count)
    if isinstance(found, pointwise_plans.Plan):
        names = "tile", "blocks", "tasks", "threads", "workspace", "parts"
        return {name: getattr(found, name) for name in names}
    if isinstance(found, depthwise_plans.Plan):
        return depthwise_plan(found, geometry.flops / (4 * vectors().lanes(item)))
    if isinstance(found, weight_plans.WeightPlan):
        return weight_plan(found, vectors().lanes(item))
    words, tile = found.program.parameters[-1], found.tile
    places = strips.ROW_BLOCKS, strips.COLUMN_BLOCKS, strips.SHARES, strips.PANELS
    rows, columns, shares, panels = (int(words[place]) for place in places)
    scale = found.program.work / tile.cycles
    return {
        "tile": f"{tile.filters} filters x {tile.rows} x {tile.columns} pixels, {tile.kind} in the vectors' lanes",
        "blocks": f"{rows} x {columns} of pixels x {shares} of the filters, which are {panels} tiles" + ahead(found),
        "tasks": found.tasks,
        "threads": found.threads,
        "workspace": found.workspace,
        "parts": {name: cycles * scale for name, cycles in tile.parts.items()} | {COPIES: COPY * found.copied},
    }


def product_plan(geometry: Convolution, which: str, item: int, count: int) -> dict[str, Any]:
    """That of a convolution with filters as large as the images: a product of matrices."""
    rows, columns = geometry.batch, geometry.out_channels
    depth, workspace = geometry.in_channels * prod(geometry.kernel_size), 0
    if which == "forward":
        found = linear.forward(rows, columns, depth, item, count)
        program, used, workspace = found.program, found.threads, found.workspace
    elif which == "input_grad":
        program, used, workspace = linear.input_grad(rows, depth, columns, item, count)
    else:
        program, used, workspace = linear.weight_grad(columns, depth, rows, item, count)
    return {
        "tile": "a product of matrices, as in a linear layer",
        "blocks": f"{rows} x {columns} x {depth}",
        "tasks": int(program.table[-1, 2]),
        "threads": used,
        "workspace": workspace,
        "parts": {ARITHMETIC: geometry.flops / (4 * vectors().lanes(item))},
    }


def depthwise_plan(found: depthwise_plans.Plan, useful: float) -> dict[str, Any]:
    """That of a depthwise layer, whose multiply-adds take so many cycles at least."""
    return {
        "tile": found.tile,
        "blocks": "channels x rows",
        "tasks": found.tasks,
        "threads": found.threads,
        "workspace": found.workspace,
        "parts": {ARITHMETIC: useful, "copies and loads": found.program.work - useful},
    }


def ahead(found: Any) -> str:
    """What to say of a plan's next block."""
    return ", the next one's input fetched ahead" if found.looks_ahead else ""


def weight_plan(found: weight_plans.WeightPlan, lanes: int) -> dict[str, Any]:
    """That of the direct algorithm's weight gradient."""
    form = found.form
    tile = f"{form.starts * form.columns} taps x {form.vectors * lanes} {form.kind}"
    tile += f" x {form.filters} filters" if form.kind == "pixels" else ""
    return {
        "tile": f"{tile}, {form.kind} in the vectors' lanes",
        "blocks": f"{found.chunks} of images x {found.parts} of channels x {found.panels} of filters" + ahead(found),
        "tasks": found.tasks,
        "threads": found.threads,
        "workspace": found.workspace,
        "parts": {"sums over pixels": float(found.program.work)},
    }


def winograd_plan(geometry: Convolution, which: str, item: int, count: int) -> dict[str, Any]:
    """That of Winograd's algorithm."""
    if which == "weight_grad":
        gradient = winograd_gradient.plan(geometry)
        sizes, workspace = gradient.sizes, gradient.workspace(count)
        tile = "3 x 3 taps from 4 x 4 pixels, 36 products"
        blocks = f"{sizes.parts} of tiles x {sizes.c_blocks} of channels x {sizes.o_blocks} of filters"
        tasks = gradient.program.table[0, 2]
    else:
        found = winograd_plans.plan(winograd_plans.problem(geometry, which == "input_grad"), count, M, False)
        tile, workspace = f"{M} x {M} pixels from {M + 2} x {M + 2}, {(M + 2) ** 2} products", found.workspace
        order, parts = "filters" if found.by_filters else "tiles", found.sizes.parts
        blocks = f"{found.sizes.blocks} of tiles, {order} in the outer loop" + f", {parts} parts" * (parts > 1)
        tasks = found.program.table[-1, 2]
    return {
        "tile": tile,
        "blocks": blocks,
        "tasks": int(tasks),
        "threads": count,
        "workspace": workspace,
        "parts": {"transforms and products": winograd.cost(geometry, which)},
    }


def fourier_plan(geometry: Convolution, which: str, item: int, count: int) -> dict[str, Any]:
    """That of the Fourier transforms, which are those of a library."""
    found = fourier.planned(geometry, item)
    return {
        "tile": " x ".join(map(str, found.lengths)) + " numbers in a transform",
        "blocks": f"{found.images} images x {found.filters} filters x {found.groups} groups at a time",
        "tasks": 1,
        "threads": 1,
        "workspace": found.workspace,
        "parts": {"transforms and products": fourier.cost(geometry, item)},
    }


def winograd_body(geometry: Convolution, which: str, count: int) -> Any:
    """The body with the products of Winograd's algorithm."""
    lanes, registers = vectors().lanes(4), vectors().registers
    if which == "weight_grad":
        return winograd_gradient.blocks_body(lanes, registers)
    found = winograd_plans.plan(winograd_plans.problem(geometry, which == "input_grad"), count, M, False)
    if found.by_filters:
        return winograd_bodies.blocks_body(lanes, registers, M, False)
    return winograd_bodies.tiles_body(lanes, registers, M)


def innermost(code: str) -> str:
    """The loop without a loop in it that has most multiply-adds, of a function's machine code.

    Winograd's transforms have many too, beside more of other instructions: they come last.
    """
    lines = code.splitlines()
    places = {found[1]: number for number, line in enumerate(lines) if (found := LABEL.match(line))}
    loops = []
    for number, line in enumerate(lines):
        jump = JUMP.match(line)
        if jump and places.get(jump[1], number) < number:
            loops.append((places[jump[1]], number + 1))
    loops = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    if not loops:
        return ""

    def worth(loop: tuple[int, int]) -> tuple[bool, int]:
        count = sum(bool(MULTIPLY_ADD.match(line)) for line in lines[slice(*loop)])
        return count >= DENSE * (loop[1] - loop[0]), count

    begin, end = max(loops, key=worth)
    return "\n".join(line.expandtabs(8).rstrip() for line in lines[begin:end])
