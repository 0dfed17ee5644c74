"""Plans of filters: panels, blocks and tasks; everything that one set of addresses needs to run."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from fastconv.backends.cpu import filter_strips as s
from fastconv.backends.cpu import machine, workspace
from fastconv.backends.cpu.bands import JOB
from fastconv.backends.cpu.filter_rows import BEFORE, CONSTANT, EXTENT, PLACES, filling, giving, kind_of
from fastconv.backends.cpu.filter_stages import Doubt, Grid, Stage
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.machine import LINE, cache_bytes
from fastconv.backends.cpu.native import code
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.sure_rows import SPACE, giving_surely
from fastconv.typing import Array

PARTS = 4  # tasks of each thread, for balance
# Cycles of a tap for a vector of results, with and without fused sums; of a byte of image and results; of a row.
TAP, SINGLY, MOVED, ROW = 0.7, 1.3, 0.1, 30.0
SMALL = 30_000.0  # cycles of a call below which one thread does it
PANEL = cache_bytes(2, 1 << 20) // 4  # bytes of a thread's rings, about
SLACK = 12  # vectors behind a row that tiles may read


@dataclass(frozen=True, eq=False)
class Plan:
    """A program with what it needs and what it is."""

    program: Program
    threads: int
    workspace: int
    checked: bool  # whether it tells of results that are not finite
    kept: tuple[Array, ...]  # what the program refers to by addresses
    told: dict[str, Any]  # what `explain` says of it

    def run(self, x: Array, y: Array) -> bool:
        """Compute; whether all results are finite, if that is checked."""
        flag = np.zeros(1, np.int64) if self.checked else None
        space = workspace.take(self.workspace * self.threads)
        try:
            self.program.on(self.threads, x, y, space, flag)
        finally:
            workspace.give(space)
        return flag is None or not flag[0]


class Cut:
    """A filter's work in tasks, and a thread's buffers.

    A task is some tiles of rows by a panel of columns; of neither the size depends on more than the number of threads.
    """

    def __init__(self, grid: Grid, down: Stage | None, side: Stage | None, threads: int) -> None:
        self.item = grid.computed.itemsize
        self.lanes = machine.vectors().lanes(self.item)
        self.planes, self.deep = grid.planes.shape
        self.rows, self.columns = grid.shape
        self.high, self.tile_rows = (down.high, down.rows) if down else (1, 1)
        self.across = side.taps - 1 if side else 0
        self.span = self.across + (down.taps - 1 if down else 0)
        self.ring_rows = self.tile_rows + self.high - 1
        self.parts = self.costs(grid, down, side)
        self.cycles = sum(self.parts.values())
        self.threads = threads if self.cycles > SMALL else 1
        self.wide = self.panel(side)
        self.panels = -(-self.columns // self.wide)
        tiles, wanted = -(-self.rows // self.tile_rows), PARTS * self.threads if self.threads > 1 else 1
        blocks = max(1, -(-wanted // (self.panels * self.planes)))
        even = self.threads // gcd(
            self.threads, self.panels * self.planes
        )  # blocks that give all threads as many tasks
        self.blocks = min(tiles, -(-blocks // even) * even)
        self.tasks = self.planes * self.blocks * self.panels

    def costs(self, grid: Grid, down: Stage | None, side: Stage | None) -> dict[str, float]:
        """Cycles, about, of one thread, by what needs them."""
        pixels = self.planes * self.rows * self.columns
        taps = sum(stage.weights.shape[0] * stage.high * stage.taps for stage in (down, side) if stage)
        sums = SINGLY * down.count if down and down.terms else TAP * taps
        moved = MOVED * (grid.x.itemsize + grid.y.itemsize) * pixels + ROW * self.planes * self.rows
        return {"sums": sums * pixels / self.lanes, "rows in and out": moved}

    def panel(self, side: Stage | None) -> int:
        """Columns of a panel, all about as wide: whole tiles, so that bits never depend on it."""
        step = side.folded * self.lanes if side and side.folded else 4 * self.lanes
        tiles = -(-self.rows // self.tile_rows)
        least = -(-(PARTS * self.threads if self.threads > 1 else 1) // (self.planes * tiles))  # panels
        buffers = (self.ring_rows * self.deep + 2 * self.tile_rows) * self.item
        room = max(min(PANEL // buffers, -(-self.columns // least)), 4 * self.span)
        return self.columns if self.columns <= room else up(-(-self.columns // -(-self.columns // room)), step)

    def pitch(self, numbers: int) -> int:
        """Bytes from a buffer's row to the next: an odd number of lines, so that no two rows share a cache's set."""
        lines = -(-(numbers + SLACK * self.lanes) * self.item // LINE)
        return (lines | 1) * LINE

    def words(self) -> dict[int, int]:
        """What a plan says of it."""
        ring, line = self.pitch(self.wide + self.span), self.pitch(self.wide + self.across)
        sizes = {
            s.JOB: 2 * 8 * JOB,
            s.TABLE: 8 * self.ring_rows,
            s.OUT_TABLE: 8 * self.tile_rows,
            s.RING: self.deep * self.ring_rows * ring,
            s.LINES: self.tile_rows * line,
            s.SPARE: self.tile_rows * line,
            s.UNWANTED: line,
            s.AGAIN: SPACE,
        }
        places, place = {}, 0
        for name, size in sizes.items():
            places[name] = place
            place = up(place + size, LINE)
        return {
            s.DEEP: self.deep, s.HIGH: self.high, s.ROWS_OUT: self.rows, s.COLUMNS_OUT: self.columns,
            s.BLOCKS: self.blocks, s.PANELS: self.panels, s.WIDE: self.wide, s.TILE_ROWS: self.tile_rows,
            s.ACROSS: self.across, s.SPAN: self.span, s.RING_ROWS: self.ring_rows,
            s.RING_PITCH: ring, s.LINE_PITCH: line, s.PER_THREAD: place + 8 * LINE, **places,
        }  # fmt: skip


def build(
    grid: Grid, down: Stage | None, side: Stage | None, threads: int, checked: bool = False, doubt: Doubt | None = None
) -> Plan:
    """The program of one or two stages; with a doubt, of which no result that it may concern is left as it is."""
    cut = Cut(grid, down, side, threads)
    kept = [grid.planes, grid.y_planes, grid.row_places, grid.column_places]

    def keep(array: Array) -> int:
        kept.append(array)
        return array.ctypes.data

    values = cut.words() | {
        BEFORE: grid.before, EXTENT: grid.extent, PLACES: grid.column_places.ctypes.data,
        CONSTANT: keep(np.array([grid.constant], grid.computed)), s.Y_ITEM: grid.y.itemsize,
        s.ROW_STRIDE: grid.strides[0], s.Y_STRIDE: grid.strides[1],
        s.PLANES: grid.planes.ctypes.data, s.Y_PLANES: grid.y_planes.ctypes.data,
        s.ROW_PLACES: grid.row_places.ctypes.data,
        s.FILL: code(filling(cut.item, cut.lanes, kind_of(grid.x))),
        s.GIVE: 0 if grid.y == grid.computed else code(giving(cut.item, cut.lanes, kind_of(grid.y))),
        s.PAIRS: side.weights.shape[0] if side else 1,
        s.CONSTANT_BETWEEN: grid.constant_between, s.CHECKED: checked,
    }  # fmt: skip
    for stage, names in (
        (down, (s.DOWN, s.DOWN_MORE, s.DOWN_PLAN, s.DOWN_WEIGHTS, s.DOWN_BYTES)),
        (side, (s.SIDE, s.SIDE_MORE, s.SIDE_PLAN, s.SIDE_WEIGHTS, s.SIDE_BYTES)),
    ):
        if stage:
            found = (stage.code, stage.more, keep(stage.parameters), keep(stage.weights), stage.weights.shape[1])
            values.update(zip(names, found, strict=True))
    if side:
        values[s.FOLDED] = keep(np.arange(side.folded + -(-side.taps // cut.lanes) + 1) * cut.lanes * cut.item)
    if doubt:
        lanes, kind = machine.vectors().lanes(8), kind_of(grid.y)
        values |= {
            s.GIVE: code(giving_surely(cut.item, cut.lanes, lanes, kind, doubt.kind)),
            s.TERMS: keep(doubt.terms),
            s.LIMIT: keep(np.array(doubt.limits, grid.computed)),
        }
    words = [int(values.get(place, 0)) for place in range(s.WORDS)]
    program = Program([(s.strips_body(cut.item, cut.lanes), words, cut.tasks, PARTS)], int(cut.cycles))
    told = {
        "algorithm": described(down, side) + (", what is in doubt term by term" if doubt else ""),
        "tile": " then ".join(stage.what for stage in (down, side) if stage),
        "blocks": f"{cut.planes} planes x {cut.blocks} of rows x {cut.panels} of {cut.wide} columns",
        "tasks": cut.tasks,
        "threads": cut.threads,
        "workspace": words[s.PER_THREAD] * cut.threads,
        "parts": cut.parts,
    }
    return Plan(program, cut.threads, words[s.PER_THREAD], checked, tuple(kept), told)


def described(down: Stage | None, side: Stage | None) -> str:
    """The name of what these stages do."""
    if down and side:
        pairs = side.weights.shape[0]
        return f"down and across, {pairs} pair{'s' * (pairs > 1)} of columns and rows"
    if down and down.terms:
        return down.terms
    return "along rows" if side else "down columns" if down and down.taps == 1 else "dense"
