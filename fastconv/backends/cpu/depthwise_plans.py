"""Plans of depthwise layers: blocks of rows, tables of taps, workspace; once for each geometry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import axes, depthwise, depthwise_phases, depthwise_planes, machine
from fastconv.backends.cpu.axes import Axis
from fastconv.backends.cpu.blocks import PARTS, SMALL
from fastconv.backends.cpu.layout import up
from fastconv.backends.cpu.machine import LINE, PAGE, cache_bytes
from fastconv.backends.cpu.programs import Program
from fastconv.geometry import Convolution
from fastconv.typing import Array

TURN = 6.0  # cycles to turn a vector, in or out
COLUMNS = 8  # pixels of a tile at most
TAPS = 9  # of a tile that sums over pixels
SQUARES = 8  # turned together at most, where lines are short
NARROW = 3  # times a row's pixels must fill a vector for planes to be filtered one by one
PLANE = 0.7  # cycles of a tap, and of a copy, for a vector of a plane's pixels
TALL, LOW = 8, 4  # rows of a plane's tile, at most: less where several lie side by side, or too many lines are written
WHOLE = 7  # rows of a plane that are one tile even if its weights find no registers
TASKS = 8  # of a weight gradient, whose blocks, and so its bits, must not depend on the number of threads
FEW = 9  # taps whose weights stay in registers all together
CHUNKS = 16  # of the sums over pixels, where there are few channels


@dataclass(frozen=True, eq=False)
class Plan:
    """A program with what it needs."""

    kernel: Any  # the body of most of the work
    tile: str
    tasks: int
    workspace: int
    threads: int
    finite_only: bool  # whether it must not be used for others; the workspace begins with what was found
    no_bias: Array
    program: Program
    kept: tuple[Array, ...]


@lru_cache(maxsize=4096)
def suits(geometry: Convolution, which: str, item: int) -> bool:
    """Whether each channel has one filter and no other channel's, and the strip of a row fits the cache."""
    if not 1 < geometry.groups == geometry.in_channels == geometry.out_channels or min(geometry.input_shape) == 0:
        return False
    return Layout(geometry, which == "input_grad", item, 1, 1).strip(1) <= cache_bytes(2, 1 << 20) // 2


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, which: str, item: int, threads: int) -> Plan:
    """The plan of the "forward" pass, the "input_grad" or the "weight_grad"."""
    if which == "weight_grad":
        return Layout(geometry, False, item, threads, TASKS).gradient()
    layout = Layout(geometry, which == "input_grad", item, threads, 2 * threads)
    if layout.by_phases:
        return layout.joined()
    return layout.planes() if layout.by_planes else layout.sums()


class Layout:
    """Blocks and tables of a geometry, forward or backward: blocks for so many tasks, if there are rows enough."""

    def __init__(self, geometry: Convolution, backward: bool, item: int, threads: int, tasks: int) -> None:
        self.axes = axes.backward(geometry) if backward else axes.forward(geometry)
        self.backward, self.item, self.lanes = backward, item, machine.vectors().lanes(item)
        self.channels, self.images = geometry.in_channels, geometry.batch
        self.vectors, self.width = -(-self.channels // self.lanes), self.lanes * item
        self.taps = prod(geometry.kernel_size)
        kernel = (1, 1, 1, *geometry.kernel_size)[-3:] if self.taps > 1 else (1, 1, 1)
        self.strides = kernel[1] * kernel[2], kernel[2], 1
        pixels = prod(a.source for a in self.axes) + prod(a.target for a in self.axes) * (1 + self.taps / TURN / 1.5)
        self.cycles = self.images * self.vectors * pixels * TURN
        self.threads = threads if self.cycles > SMALL else 1
        high = self.axes[1].count
        most = cache_bytes(2, 1 << 20) // 8
        rows = high
        while rows > 1 and self.strip(rows) > most:
            rows = -(-rows // 2)
        self.blocks = -(-high // rows)
        whole = self.images * self.vectors * self.axes[0].count
        tasks = tasks if self.cycles > SMALL else 1
        while whole * self.blocks < tasks and 8 * self.blocks <= high:
            self.blocks *= 2
        self.rows = -(-high // self.blocks)

    def span(self, axis: Axis, count: int) -> int:
        """Source pixels that `count` pixels of the grid meet."""
        return (count - 1) * axis.step + axis.shifts[-1] - axis.shifts[0] + 1

    @property
    def left(self) -> int:
        """Zeros of a strip before a row's first pixel."""
        return max(0, -self.axes[2].shifts[0])

    def spans(self, rows: int) -> tuple[int, int, int]:
        """Planes, rows and columns of a strip, whose rows have all of the source's columns."""
        deep, high, wide = self.axes
        last = (wide.count - 1) * wide.step + wide.shifts[-1]
        return self.span(deep, 1), self.span(high, rows), self.left + max(last + 1, wide.source)

    def strip(self, rows: int) -> int:
        """Bytes of a strip."""
        return prod(self.spans(rows)) * self.width

    def places(self, phase: Any) -> tuple[list[int], list[int]]:
        """Of a phase's taps: bytes in a strip from the first pixel, and in the weights as they are packed."""
        deep, high, _ = self.axes
        _, rows, columns = self.spans(self.rows)
        places, weights = [], []
        for (t, down), (r, right), (c, across) in product(*phase):
            line = (down - deep.shifts[0]) * rows + right - high.shifts[0]
            places.append((line * columns + across + self.left) * self.width)
            weights.append((1 + t * self.strides[0] + r * self.strides[1] + c * self.strides[2]) * self.width)
        return places, weights

    def pixel_table(self) -> Array:
        """Of a strip's pixels that come from whole lines of the source, in their order: bytes from the first one."""
        _, rows, columns = self.spans(self.rows)
        places = np.arange(rows)[:, None] * columns + np.arange(self.axes[2].source)
        return np.ascontiguousarray(places * self.width, np.int64)

    def together(self) -> int:
        """Lines of output that are turned together: so many that squares have little to spare."""
        wide = self.axes[2].target
        some = range(1, max(1, SQUARES * self.lanes // wide) + 1)
        return min(some, key=lambda lines: up(lines * wide, self.lanes) / (lines * wide))

    def words(self, **more: int) -> list[int]:
        """A plan's parameters."""
        values = {depthwise.CHANNELS: self.channels, depthwise.BLOCKS: self.blocks, depthwise.TAPS: self.taps}
        for axis, (a, span) in enumerate(zip(self.axes, self.spans(self.rows), strict=True)):
            values |= {depthwise.SOURCE + axis: a.source, depthwise.TARGET + axis: a.target}
            values |= {depthwise.PHASES + axis: len(a.phases), depthwise.STEP + axis: a.step}
            values |= {depthwise.LEAST + axis: a.shifts[0], depthwise.SPAN + axis: span, depthwise.GRID + axis: a.count}
        values |= {getattr(depthwise, name): value for name, value in more.items()}
        return [values.get(place, 0) for place in range(depthwise.PLACES)]

    def sums(self) -> Plan:
        """The forward pass, or the input gradient."""
        tables = [
            np.ascontiguousarray(np.array(self.places(phase), np.int64).T)
            for phase in product(*(a.phases for a in self.axes))
        ]
        table = np.array([(len(found), found.ctypes.data) for found in tables], np.int64)
        pixels, wide = self.pixel_table(), self.axes[2]
        some = range(min(4, wide.count), min(COLUMNS, wide.count) + 1)
        columns = min(some, key=lambda count: -(-wide.count // count) * (count + 1))
        together = self.together()
        packed = up((self.taps + 1) * self.width, PAGE)
        scratch = packed + up(self.strip(self.rows), PAGE) + LINE
        thread = scratch + up((together * wide.target + len(wide.phases)) * self.width, PAGE) + LINE
        places = {"TABLE": table.ctypes.data, "CHECKED": int(self.backward), "SHARED": PAGE, "TOGETHER": together}
        places |= {"PIXEL_TABLE": pixels.ctypes.data, "LEFT": self.left}
        values = self.words(**places, PER_THREAD=thread, STRIP=packed, SCRATCH=scratch)
        tasks = self.images * self.vectors * self.axes[0].count * self.blocks
        kernel = depthwise.sums_body(self.item, self.lanes, columns, wide.step)
        tile = f"{self.lanes} channels x {columns} pixels, channels"
        return self.plan(tile, [(kernel, values, tasks, 4)], PAGE + thread * self.threads, (table, pixels, *tables))

    @property
    def flat(self) -> bool:
        """Whether a channel of an image is a single plane, read and written."""
        deep = self.axes[0]
        return deep.source == deep.target == len(deep.shifts) == 1

    @property
    def by_planes(self) -> bool:
        """Whether planes are filtered one by one: neighbouring rows of taps, and rows of pixels that fill lanes."""
        _, high, wide = self.axes
        rows = len(high.phases[0])
        return (
            self.flat
            and all(len(axis.phases) == 1 and axis.step <= 2 for axis in self.axes)
            and high.shifts[-1] - high.shifts[0] + 1 == rows
            and 1 < rows <= depthwise_planes.MOST
            and NARROW * wide.target >= self.lanes
        )

    def planes(self) -> Plan:
        """The forward pass, or the input gradient, plane by plane."""
        _, high, wide = self.axes
        rows_of_taps = [r for r, _ in sorted(high.phases[0], key=lambda tap: tap[1])]
        taps, across = len(rows_of_taps), sorted(wide.phases[0], key=lambda tap: tap[1])
        shifts = [shift for _, shift in across]
        some = len(across) if taps * len(across) <= FEW and np.all(np.diff(shifts) == 1) else 1
        few = machine.vectors().few  # registers, of which masks take some, so that there are columns without
        vectors = 1 if wide.target <= self.lanes or wide.step > 1 or few else 2
        weights = [[(r * len(across) + t) * self.item for r in rows_of_taps] for t, _ in across]
        table = np.array([[shift, *found] for (_, shift), found in zip(across, weights, strict=True)], np.int64)
        each = high.target * -(-wide.target // self.lanes)  # vectors of a plane
        self.cycles = PLANE * self.images * self.channels * each * (self.taps + 4)
        blocks, together = self.shares(high.target)
        rows = -(-high.target // blocks)
        alone = wide.target > vectors * self.lanes  # then a plane is gone through several times
        together = 1 if alone else together
        room = (machine.vectors().registers - 2 - taps * some - vectors * wide.step) // vectors
        tallest = min(room, high.target // blocks, LOW * high.step if alone else TALL)
        if few and not alone and rows <= WHOLE:  # then no row is loaded twice, and weights had better be spilled
            tallest = high.target // blocks
        tile = min(range(1, tallest + 1), key=lambda r: (-(-rows // r) * (r * high.step + taps), -r))
        sets = -(-self.channels // together)
        thread = up((vectors * wide.step + 1) * self.width, PAGE) + LINE
        words = self.plane_words(
            TOP=high.shifts[0], ACROSS=len(across), TABLE=table.ctypes.data, ROWS=high.target, LINES=1, BLOCKS=blocks,
            TOGETHER=together, SETS=sets, PER_THREAD=thread, ZEROS=vectors * self.lanes * wide.step + some,
        )  # fmt: skip
        along = few and self.ends(vectors * self.lanes, min(shifts), max(shifts) + wide.step - 1)
        met = wide.step * (wide.target - 1) + some  # pixels of a row
        narrow = -(-met // self.lanes) if wide.step == 2 and some > 1 and met <= 2 * self.lanes else 0
        sizes = tile, vectors, taps, high.step, wide.step, some, narrow, along
        kernel = depthwise_planes.planes_body(self.item, self.lanes, *sizes)
        described = f"{tile} rows x {vectors} vectors of {self.lanes} pixels, pixels"
        steps = [(kernel, words, self.images * sets * blocks, 4)]
        return self.plan(described, steps, PAGE + thread * self.threads, (table,))

    def shares(self, rows: int) -> tuple[int, int]:
        """Blocks of a plane of so many rows, and channels of a task where they may be several."""
        planes, wanted = self.images * self.channels, PARTS * self.threads if self.threads > 1 else 1
        blocks = max(1, min(rows // TALL, -(-wanted // planes)))
        share = planes * blocks // (8 * wanted) if self.threads > 1 else self.channels
        return blocks, max(1, min(share, self.channels))

    def plane_words(self, **more: int) -> list[int]:
        """A plan's parameters, plane by plane."""
        _, high, wide = self.axes
        values = {
            "CHANNELS": self.channels, "HEIGHT": high.source, "WIDTH": wide.source, "OUT_HEIGHT": high.target,
            "OUT_WIDTH": wide.target, "FILTER": self.taps * self.item, "CHECKED": int(self.backward), "SHARED": PAGE,
        }  # fmt: skip
        words = [0] * depthwise_planes.WORDS
        for name, value in (values | more).items():
            words[getattr(depthwise_planes, name)] = value
        return words

    @property
    def by_phases(self) -> bool:
        """Whether planes are filtered one by one, whose output has phases: few rows and columns of taps for each."""
        _, high, wide = self.axes
        return (
            self.flat
            and max(len(high.phases), len(wide.phases)) == 2
            and all(a.step == 1 and a.shifts[-1] - a.shifts[0] < depthwise_phases.MOST for a in (high, wide))
            and NARROW * wide.count >= self.lanes
        )

    def joined(self) -> Plan:
        """The input gradient plane by plane, where its output has phases."""
        _, high, wide = self.axes
        down, across = len(high.phases), len(wide.phases)
        met = [sum(1 << s - a.shifts[0] for _, s in (*a.phases, ())[b]) for a in (high, wide) for b in (0, 1)]
        order = [[sorted(taps, key=lambda tap: tap[1]) for taps in a.phases] for a in (high, wide)]
        found = [r * self.strides[1] + t for pair in product(*order) for (r, _), (t, _) in product(*pair)]
        table = np.array(found, np.int64) * self.item
        each = high.count * -(-wide.count // self.lanes)  # vectors of a plane
        self.cycles = PLANE * self.images * self.channels * each * (self.taps + 4 * down * across)
        blocks, together = self.shares(high.count)
        sets = -(-self.channels // together)
        zeros = self.lanes + depthwise_phases.MOST
        thread = up(zeros * self.item, PAGE) + LINE
        words = self.plane_words(
            TOP=high.shifts[0], LEFT=wide.shifts[0], TABLE=table.ctypes.data, ROWS=high.count, LINES=down,
            BLOCKS=blocks, TOGETHER=together, SETS=sets, PER_THREAD=thread, ZEROS=zeros,
        )  # fmt: skip
        kernel = depthwise_phases.phases_body(self.item, self.lanes, down, across, *met)
        described = f"{down} x {across} phases x a vector of {self.lanes} pixels, pixels"
        steps = [(kernel, words, self.images * sets * blocks, 4)]
        return self.plan(described, steps, PAGE + thread * self.threads, (table,))

    def ends(self, pixels: int, least: int, greatest: int) -> bool:
        """Whether only the first and the last tile of a row, of so many pixels, meet what lies beyond its ends."""
        wide = self.axes[2]
        tiles = -(-wide.target // pixels)
        last = (tiles - 1) * pixels * wide.step + greatest  # of the last but one
        return tiles <= 2 or (pixels * wide.step + least >= 0 and last <= wide.source)

    def gradient(self) -> Plan:
        """The gradient of the weights."""
        places, _ = self.places([a.phases[0] for a in self.axes])
        table, pixels, wide = np.array(places, np.int64), self.pixel_table(), self.axes[2]
        taps = min(6 if machine.vectors().few else TAPS, self.taps)
        total = self.images * self.axes[0].count * self.blocks
        chunks = max(1, min(CHUNKS // self.vectors, total))
        chunk = self.vectors * up(self.taps, taps) * self.width
        scratch = up(self.strip(self.rows), PAGE) + LINE
        thread = scratch + up(self.rows * wide.count * self.width, PAGE) + LINE
        shared = up(chunk * chunks, PAGE)
        sizes = {"SHARED": shared, "PER_THREAD": thread, "SCRATCH": scratch, "CHUNK_SUMS": chunk}
        sizes |= {"PIXEL_TABLE": pixels.ctypes.data, "LEFT": self.left}
        values = self.words(TABLE=table.ctypes.data, CHUNKS=chunks, ALL_BLOCKS=total, **sizes)
        sums = depthwise.gradient_body(self.item, self.lanes, taps, wide.step)
        end = depthwise.gradient_end(self.item, self.lanes, taps)
        steps = [(sums, values, chunks * self.vectors, 4), (end, values, self.vectors, 0)]
        tile = f"{self.lanes} channels x {taps} taps, channels"
        return self.plan(tile, steps, shared + thread * self.threads, (table, pixels))

    def plan(self, tile: str, steps: list[Any], workspace: int, kept: tuple[Array, ...]) -> Plan:
        """The program with what it needs."""
        program = Program(steps, int(self.cycles))
        no_bias = np.zeros(self.channels, f"f{self.item}")
        tile += " in the vectors' lanes"
        return Plan(steps[0][0], tile, steps[0][2], workspace, self.threads, self.backward, no_bias, program, kept)
