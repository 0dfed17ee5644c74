"""What plans say of themselves: tiles, blocks, workspace, expected time, the code of the loop that does most."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np

from fastconv import precision as precisions
from fastconv.backends.cuda import convolution, device, lowering, tiles
from fastconv.backends.cuda.plans import Plan
from fastconv.geometry import Convolution

LABEL, JUMP = re.compile(r"(\$L\w+):"), re.compile(r"\s*(?:@!?%p\d+\s+)?bra(?:\.uni)?\s+(\$L\w+);")
MULTIPLY = re.compile(r"\s*(?:fma|mma)\.")
KINDS = {"entries": "an entry in each thread", "dots": "an entry in each block"}


def plan(geometry: Convolution, which: str, dtype: np.dtype[Any], algorithm: str) -> dict[str, Any]:
    """What carries out the "forward" pass, the "input_grad" or the "weight_grad" of a geometry."""
    convolution.direct(algorithm)
    if not geometry.flops:
        return {"algorithm": "direct"}  # which has nothing to do
    plans = convolution.planned(geometry, which, dtype, precisions.get_precision())
    most = busiest(plans)
    parts = f", the depth in {most.parts} parts" if most.parts > 1 else ""
    launches = f"{len(plans)} launches, of which the largest: " if len(plans) > 1 else ""
    rows, columns, _, batch = most.extents
    seconds = sum(part.cycles for part in plans) / tiles.machine().clock
    return {
        "algorithm": "direct",
        "tile": tile(most),
        "blocks": f"{launches}{rows} rows x {columns} columns x {batch} batches, depth {most.depth}{parts}",
        "tasks": sum(part.blocks for part in plans),
        "threads": most.kernel("").block,
        "workspace": workspace(geometry, which, dtype, plans),
        "expected": seconds,
        "parts": {"multiply-adds": seconds},
    }


def busiest(plans: list[Plan]) -> Plan:
    """The plan that does most of the work."""
    return max(plans, key=lambda part: part.entries * part.depth)


def tile(found: Plan) -> str:
    """What a block computes, in words."""
    if found.tile is None:
        return KINDS[found.form]
    shape, cores = found.tile, ", on tensor cores in TF32" if found.precision == "tf32" else ""
    return f"{shape.rows} x {shape.columns} entries, {shape.high} x {shape.wide} in each thread's registers{cores}"


def workspace(geometry: Convolution, which: str, dtype: np.dtype[Any], plans: list[Plan]) -> int:
    """Bytes of the padded copy and of partial sums."""
    gradient = which == "input_grad"
    shape = geometry.output_shape if gradient else geometry.input_shape
    frame = lowering.output_frame(geometry) if gradient else lowering.input_frame(geometry)
    copied = prod((*shape[:2], *frame.size)) if frame.size != shape[2:] else 0
    partial = max(part.parts * part.entries if part.parts > 1 else 0 for part in plans)
    return (copied + partial) * dtype.itemsize


def roof(dtype: np.dtype[Any]) -> float | None:
    """FLOP/s that all multiprocessors can do at most, by their number and clock; not known in the simulator."""
    if device.SIMULATED:
        return None
    machine = tiles.machine()
    return 2 * machine.multiprocessors * machine.lanes(dtype, precisions.get_precision()) * machine.clock


def hot_loop(geometry: Convolution, which: str, dtype: np.dtype[Any], algorithm: str) -> str:
    """The code (PTX) of the loop that does most of the work, of a kernel that was compiled for a call before."""
    convolution.direct(algorithm)
    if not geometry.flops:
        return ""
    if device.SIMULATED:
        return "the simulator compiles nothing"
    most = busiest(convolution.planned(geometry, which, dtype, precisions.get_precision()))
    for bias_on in ("", "rows"):
        for text in most.kernel(bias_on).compiled.inspect_asm().values():
            return innermost(text)
    return "compiled at the first call, which has not been made"


def innermost(text: str) -> str:
    """The shortest loop of a PTX text among those with the most multiply-adds."""
    lines = text.expandtabs(8).splitlines()
    labels = {found[1]: place for place, line in enumerate(lines) if (found := LABEL.match(line))}
    jumps = [(found[1], place) for place, line in enumerate(lines) if (found := JUMP.match(line))]
    loops = [(labels[to], place) for to, place in jumps if labels.get(to, len(lines)) <= place]
    counts = {(a, b): sum(bool(MULTIPLY.match(line)) for line in lines[a : b + 1]) for a, b in loops}
    best = max(counts, key=lambda loop: (counts[loop], loop[0] - loop[1]), default=None)
    return "\n".join(lines[best[0] : best[1] + 1]) if best and counts[best] else ""
