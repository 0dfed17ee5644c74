"""Plans of filters: which stages, tiles, panels and tasks; everything that one set of addresses needs to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.cpu import filter_strips as s
from fastconv.backends.cpu import machine, shifted_rows, workspace
from fastconv.backends.cpu.bands import JOB, band_body, parameters, tile_for
from fastconv.backends.cpu.filter_rows import BEFORE, CONSTANT, EXTENT, PLACES, filling, giving, kind_of
from fastconv.backends.cpu.filter_terms import FUSED, MINUS, PLUS, Term, packed, terms_body
from fastconv.backends.cpu.layout import LINE, up
from fastconv.backends.cpu.machine import cache_bytes
from fastconv.backends.cpu.native import Program, code
from fastconv.typing import Array, Shape

PARTS = 4  # tasks of each thread, for balance
# Cycles of a tap for a vector of results, with and without fused sums; of a byte of image and results; of a row.
TAP, SINGLY, MOVED, ROW = 0.7, 1.3, 0.1, 30.0
SMALL = 30_000.0  # cycles of a call below which one thread does it
PANEL = cache_bytes(2, 1 << 20) // 4  # bytes of a thread's rings, about
SLACK = 12  # vectors behind a row that tiles may read


@dataclass(frozen=True, eq=False)
class Grid:
    """What is filtered: planes of rows of columns, where they lie, and their borders.

    Attributes
    ----------
    x, y : dtype
        Of the image and of the results.
    computed : dtype
        That sums are computed in.
    planes : (planes of y, deep) int64
        The bytes from x to the planes that an output plane needs, -1 for one that is all constant.
    y_planes : (planes of y,) int64
        The bytes from y to its planes.
    row_places, column_places : int64
        Tables of borders.
    strides : (int, int)
        Bytes from a row to the next, of x and y.
    before, extent : int
        Columns before the image's first one, and columns of it.
    shape : (int, int)
        Rows and columns of an output plane.
    constant : float
    """

    x: np.dtype[Any]
    y: np.dtype[Any]
    computed: np.dtype[Any]
    planes: Array
    y_planes: Array
    row_places: Array
    column_places: Array
    strides: tuple[int, int]
    before: int
    extent: int
    shape: Shape
    constant: float
    constant_between: bool = False


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage's code, for the first of its sums and for those that are added, its parameters and packed weights."""

    code: int
    more: int
    parameters: Array
    weights: Array  # (sums, bytes)
    rows: int  # of its tile
    high: int  # rows of taps
    taps: int  # of a row
    folded: int  # vectors of a row that are its tile's rows; 0 for one that looks down
    what: str
    terms: str = ""  # how it sums them, one after the other
    count: int = 0  # of terms


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
        buffer = workspace.take(self.workspace * self.threads)
        flag = np.zeros(1, np.int64) if self.checked else None
        self.program.on(self.threads, x, y, buffer, flag)
        workspace.give(buffer)
        return flag is None or not flag[0]


def down_stage(weights: Sequence[Array], item: int) -> Stage:
    """A dense stage: each of the weights, (R, S), is one sum of a row."""
    vectors = machine.vectors()
    lanes = vectors.lanes(item)
    high, taps = weights[0].shape
    tile = tile_for(high, taps, False, vectors.registers)
    dtype = np.dtype(f"f{item}")
    columns = [np.ascontiguousarray((w if tile.high else w[::-1]).T, dtype) for w in weights]
    return Stage(
        code(band_body(item, lanes, tile, 0, 0)),
        code(band_body(item, lanes, tile, 0, 1)) if len(weights) > 1 else 0,
        parameters(taps, taps, high, item),
        np.stack([w.reshape(-1).view(np.uint8) for w in columns]),
        tile.rows,
        high,
        taps,
        0,
        f"{tile.rows} rows x {tile.vectors} vectors of {lanes}",
    )


def side_stage(weights: Sequence[Array], item: int) -> Stage:
    """A stage along rows, folded after a vector: each of the weights, (S,), is one sum."""
    vectors = machine.vectors()
    lanes, taps = vectors.lanes(item), weights[0].size
    high = -(-taps // lanes)
    across = lanes if high > 1 else taps
    if high <= shifted_rows.MOST and lanes * item == LINE:
        rows, bottom_up = shifted_rows.VECTORS[high], False
        kernel = partial(shifted_rows.shifted_body, item, lanes, high)
    else:
        tile = tile_for(high, across, True, vectors.registers)
        rows, bottom_up = tile.rows, not tile.high
        kernel = partial(band_body, item, lanes, tile, 1)
    columns = []
    for w in weights:
        folded = np.zeros(high * across, np.dtype(f"f{item}"))
        folded[:taps] = w
        folded = folded.reshape(high, across)
        columns.append(np.ascontiguousarray((folded[::-1] if bottom_up else folded).T).reshape(-1).view(np.uint8))
    return Stage(
        code(kernel(0)),
        code(kernel(1)) if len(weights) > 1 else 0,
        parameters(across, taps - lanes * (high - 1), high, item),
        np.stack(columns),
        1,
        1,
        taps,
        rows,
        f"{rows} vectors of {lanes} along a row",
    )


def term_stage(sums: Sequence[Sequence[Term]], kind: int, high: int, taps: int, item: int = 8) -> Stage:
    """A stage of terms in order, for each sum; of a kind that has pairs, the first term alone is single."""
    lanes = machine.vectors().lanes(item)
    blocks = []
    for terms in sums:
        table = [(weight, row, item * t, other, item * u) for weight, row, t, other, u in terms]
        blocks.append(packed(table, 1 if kind in (PLUS, MINUS) else len(terms), item))
    weights = np.zeros((len(blocks), max(block.size for block in blocks)), np.int64)
    for row, block in zip(weights, blocks, strict=True):
        row[: block.size] = block
    return Stage(
        code(terms_body(item, lanes, kind, 0)),
        code(terms_body(item, lanes, kind, 1)) if len(blocks) > 1 else 0,
        np.zeros(1, np.int64),
        weights.view(np.uint8),
        1,
        high,
        taps,
        0,
        f"1 row x 8 vectors of {lanes}",
        "term by term" if kind == FUSED else "term by term, in float64",
        sum(len(terms) for terms in sums),
    )


def build(grid: Grid, down: Stage | None, side: Stage | None, threads: int, checked: bool = False) -> Plan:
    """The program of one or two stages."""
    item = grid.computed.itemsize
    lanes = machine.vectors().lanes(item)
    planes, deep = grid.planes.shape
    high, tile_rows = (down.high, down.rows) if down else (1, 1)
    across = side.taps - 1 if side else 0
    span = across + (down.taps - 1 if down else 0)
    rows, columns = grid.shape
    ring_rows = tile_rows + high - 1
    taps = sum(stage.weights.shape[0] * stage.high * stage.taps for stage in (down, side) if stage)
    pixels = planes * rows * columns
    parts = {
        "sums": (SINGLY * down.count if down and down.terms else TAP * taps) * pixels / lanes,
        "rows in and out": MOVED * (grid.x.itemsize + grid.y.itemsize) * pixels + ROW * planes * rows,
    }
    cycles = sum(parts.values())
    count = threads if cycles > SMALL else 1
    wanted, tiles = PARTS * count if count > 1 else 1, -(-rows // tile_rows)
    room = min(PANEL // ((ring_rows * deep + 2 * tile_rows) * item), -(-columns // -(-wanted // (planes * tiles))))
    wide = panel(columns, max(room, 4 * span), side.folded * lanes if side and side.folded else 4 * lanes)
    panels = -(-columns // wide)
    ring_pitch, line_pitch = pitch(wide + span, item, lanes), pitch(wide + across, item, lanes)
    places: dict[int, int] = {}
    place = 0
    sizes = {
        s.JOB: 2 * 8 * JOB,
        s.TABLE: 8 * ring_rows,
        s.OUT_TABLE: 8 * tile_rows,
        s.RING: deep * ring_rows * ring_pitch,
        s.LINES: tile_rows * line_pitch,
        s.SPARE: tile_rows * line_pitch,
        s.UNWANTED: line_pitch,
    }
    for name, size in sizes.items():
        places[name] = place
        place = up(place + size, LINE)
    per_thread = place + LINE * 8
    blocks = min(tiles, max(1, -(-wanted // (panels * planes))))
    constant = np.array([grid.constant], grid.computed)
    kept = [constant, grid.planes, grid.y_planes, grid.row_places, grid.column_places]
    words = np.zeros(s.WORDS, np.int64)

    def keep(array: Array) -> int:
        kept.append(array)
        return array.ctypes.data

    values = {
        BEFORE: grid.before, EXTENT: grid.extent, PLACES: grid.column_places.ctypes.data,
        CONSTANT: constant.ctypes.data, s.Y_ITEM: grid.y.itemsize,
        s.ROW_STRIDE: grid.strides[0], s.Y_STRIDE: grid.strides[1],
        s.PLANES: grid.planes.ctypes.data, s.Y_PLANES: grid.y_planes.ctypes.data,
        s.ROW_PLACES: grid.row_places.ctypes.data,
        s.DEEP: deep, s.HIGH: high, s.ROWS_OUT: rows, s.COLUMNS_OUT: columns,
        s.BLOCKS: blocks, s.PANELS: panels, s.WIDE: wide, s.TILE_ROWS: tile_rows,
        s.ACROSS: across, s.SPAN: span, s.RING_ROWS: ring_rows, s.RING_PITCH: ring_pitch, s.LINE_PITCH: line_pitch,
        s.PER_THREAD: per_thread, **places,
        s.FILL: code(filling(item, lanes, kind_of(grid.x))),
        s.GIVE: 0 if grid.y == grid.computed else code(giving(item, lanes, kind_of(grid.y))),
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
        folds = np.arange(side.folded + -(-side.taps // lanes) + 1) * lanes * item
        values[s.FOLDED] = keep(folds)
    for name, value in values.items():
        words[name] = value
    program = Program([(s.strips_body(item, lanes), words.tolist(), planes * blocks * panels, PARTS)], int(cycles))
    tasks = planes * blocks * panels
    told = {
        "algorithm": described(down, side),
        "tile": " then ".join(stage.what for stage in (down, side) if stage),
        "blocks": f"{planes} planes x {blocks} of rows x {panels} of {wide} columns",
        "tasks": tasks,
        "threads": count,
        "workspace": per_thread * count,
        "parts": parts,
    }
    return Plan(program, count, per_thread, checked, tuple(kept), told)


def described(down: Stage | None, side: Stage | None) -> str:
    """The name of what these stages do."""
    if down and side:
        pairs = side.weights.shape[0]
        return f"down and across, {pairs} pair{'s' * (pairs > 1)} of columns and rows"
    if down and down.terms:
        return down.terms
    return "along rows" if side else "down columns" if down and down.taps == 1 else "dense"


def pitch(numbers: int, item: int, lanes: int) -> int:
    """Bytes from a buffer's row to the next: an odd number of lines, so that no two rows share a cache's set."""
    lines = -(-(numbers + SLACK * lanes) * item // LINE)
    return int(lines | 1) * LINE


def panel(columns: int, room: int, step: int) -> int:
    """Columns of a panel, all about as wide: whole tiles, so that bits never depend on it."""
    return int(columns if columns <= room else up(-(-columns // -(-columns // room)), step))
