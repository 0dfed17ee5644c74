"""Plans of the weights' gradient: which form and tile, which parts and chunks; once for each geometry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import axes, weight_gradient
from fastconv.backends.cpu import pointwise_moves as at
from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.blocks import RUN, SMALL
from fastconv.backends.cpu.layout import Strip, up
from fastconv.backends.cpu.machine import LINE, PAGE, Vectors, cache_bytes, vectors
from fastconv.backends.cpu.native import code
from fastconv.backends.cpu.pointwise_plans import sampled, sampling, single_taps
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.tile_choice import ALIGNED, LOAD, rate
from fastconv.geometry import Convolution
from fastconv.typing import Array

ENOUGH = 8  # tasks that keep some threads busy: where there can't be so many, blocks of pixels are summed in chunks
MOST = 16  # chunks
LEAST = 1024  # pixels of a block that is not split for the sake of tasks
TURN = 8.0  # cycles to turn a vector of gradients
AGAIN = 0.5  # cycles of a line that comes from the second cache, of what several filters' tiles meet again
APART = 0.7  # and of a vector, where the taps are of several channels
SUM, SUM_FAR = 2.0, 40.0  # to go on with a vector of sums, in the second cache or from behind it
STREAMS = 9  # rows that are read side by side, of which many lie in the same sets of the first cache
FEWEST = 16  # channels of a part
END = 1.6  # cycles to turn a weight's sum and store it where they do not fit the second cache
MOVE = 0.5  # cycles to copy a pixel of a channel, padding and all, or to turn one of the gradient
LARGEST = 64 << 20  # bytes of the chunks' sums
PART = 16  # of the second-level cache, for a block of the gradient


@dataclass(frozen=True)
class Form:
    """A tile of sums: `starts` times `columns` taps, vectors of filters; with pixels in the lanes, taps and filters."""

    kind: str  # what is in its lanes: "filters" or "pixels"
    starts: int
    columns: int
    vectors: int
    filters: int  # beside those in the lanes
    cycles: float  # for an output pixel of a group


@dataclass(frozen=True, eq=False)
class WeightPlan:
    """A program with what it needs and what it is."""

    kernel: Any  # the body of the sums
    form: Form
    tasks: int
    chunks: int  # of images
    parts: int  # of channels
    panels: int  # of filters
    looks_ahead: bool  # whether tiles fetch the next block's source
    workspace: int
    threads: int
    program: Program
    kept: tuple[Array, ...]


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, item: int, threads: int) -> WeightPlan:
    """The plan of a geometry's weight gradient."""
    registers = vectors()
    samples = geometry if registers.few and sampled(geometry) else None
    return Layout(single_taps(geometry) if samples else geometry, item, registers, threads, samples).plan()


class Layout:
    """Blocks, parts, chunks and tables of a geometry, the pixels of which may be samples of another one's."""

    def __init__(
        self,
        geometry: Convolution,
        item: int,
        registers: Vectors,
        threads: int,
        samples: Convolution | None = None,
    ) -> None:
        deep, high, wide = axes.forward(geometry)
        self.axes = deep, high, wide
        self.item, self.lanes, self.images = item, registers.lanes(item), geometry.batch
        self.samples = samples
        self.groups = geometry.groups
        self.channels, self.filters = geometry.in_channels // self.groups, geometry.out_channels // self.groups
        self.taps = prod(len(a.phases[0]) for a in self.axes)
        forms = [*self.filter_forms(registers), *self.pixel_forms(registers)]
        self.form = min(forms, key=lambda form: form.cycles)
        self.in_place = all(a.step == 1 and a.shifts == [0] and a.source == a.target for a in self.axes)
        pixels = geometry.batch * prod(a.count for a in self.axes)
        weights = geometry.out_channels * self.channels * self.taps
        far = weights * item > cache_bytes(2, 1 << 20)
        self.cycles = self.form.cycles * pixels * self.groups + END * weights * far
        self.threads = threads if self.cycles > SMALL else 1
        across = self.form.vectors * self.lanes
        self.panels = -(-self.filters // across) if self.form.kind == "filters" else 1
        sums, cache = self.channels * self.taps * self.filters * item, cache_bytes(2, 1 << 20) * 3 // 10
        self.near = max(1, -(-sums // cache))  # tasks, for their sums to stay in the second cache
        self.least_parts = -(-self.near // self.panels) if self.form.kind == "filters" else 1  # of the channels
        self.rows, self.columns = self.blocks()
        self.looks_ahead = self.form.kind == "filters" and not registers.few
        self.run = self.neighbours() if self.form.kind == "pixels" else 1
        self.parts, self.shares, self.chunks = self.split(deep.count)
        self.tasks = self.groups // self.run * self.parts * self.shares * self.chunks

    def split(self, depths: int) -> tuple[int, int, int]:
        """Parts of the channels, shares of the panels and chunks of the blocks.

        Each share copies the whole strip, each part turns the whole gradient, each chunk has sums of its own: their
        number depends on the shape alone, as do the bits of the result.
        """
        blocks = self.images * depths * self.row_blocks * self.column_blocks
        pixels = self.images * prod(a.count for a in self.axes)
        strip = Strip.of(self.axes, self.rows, self.columns, self.item).channel // self.item
        sums, fixed = self.channels * self.taps * self.filters, self.groups // self.run
        most_parts = 1 if self.form.kind == "pixels" else -(-self.channels // FEWEST)
        chunks, least = 1, min(ENOUGH, fixed * most_parts * self.panels)
        while least * chunks < ENOUGH and 2 * chunks <= min(MOST, blocks):
            if 2 * chunks * sums * self.groups * self.item > LARGEST:
                break
            chunks *= 2

        def slowest(way: tuple[int, int]) -> tuple[float, int]:
            parts, shares = way
            tasks = fixed * parts * shares * chunks
            copied = 0 if self.in_place else shares * self.channels * blocks * strip
            moved = MOVE * self.groups * (copied + pixels * parts * self.filters)
            return -(-tasks // self.threads) * (self.cycles + moved) / tasks, tasks

        least_parts = min(most_parts, self.least_parts)
        near = self.near if blocks > 1 else least_parts  # of a single block, each panel's are ended right away
        most = max(near, 2 * self.threads)
        ways = [*product(counts(min(most_parts, most)), counts(min(self.panels, most)))]
        ways = [way for way in ways if way[0] >= least_parts]
        near = min(near, max(prod(way) for way in ways))
        return *min((way for way in ways if near <= prod(way) <= 2 * most), key=slowest), chunks

    def across(self) -> int:
        """Taps across that are neighbours in a strip."""
        shifts = [shift for _, shift in self.axes[2].phases[0]]
        together = self.axes[2].step == 1 and shifts == list(range(shifts[0], shifts[0] + len(shifts)))
        return len(shifts) if together and len(shifts) <= 7 else 1

    def filter_forms(self, registers: Vectors) -> list[Form]:
        """Tiles with filters in the lanes."""
        found = []
        for columns, count, across in product({1, self.across()}, (1, 2, 3, 4, 6, 8), (1, 2, 3, 4)):
            sums = count * columns * across
            if sums + across + 1 > registers.registers or (
                across > 1 and across * self.lanes >= self.filters + self.lanes
            ):
                continue
            starts = self.channels * self.taps // columns
            tiles = -(-starts // count) * -(-self.filters // (across * self.lanes))
            turning = TURN * across * -(-self.filters // (across * self.lanes))
            cycles = tiles * rate(sums, count * columns + across, registers) + turning
            found.append(Form("filters", count, columns, across, 1, cycles))
        return found

    def pixel_forms(self, registers: Vectors) -> list[Form]:
        """Tiles with pixels in the lanes: a vector of them, which crosses lines of the cache, for some filters."""
        width = self.axes[2].count
        used = width / (-(-width // self.lanes) * self.lanes)
        lines, block = self.lanes * self.item / LINE, cache_bytes(2, 1 << 20) // PART // self.item
        found = []
        for filters, taps in product((1, 2, 3, 4), range(1, 11)):
            sums, planes = filters * taps, min(self.channels, -(-taps // self.taps))  # channels of the taps
            if sums + filters + (filters > 1) > registers.registers or filters > self.filters:
                continue
            if planes > 1 and filters + planes > STREAMS:
                continue
            tiles = -(-self.taps * self.channels // taps) * -(-self.filters // filters)
            step = max(sums / 2 + LOAD * (filters + taps), 4.0, ALIGNED * filters + (0.5 + 0.5 * lines) * taps)
            step += (filters + planes) * (APART if planes > 1 else AGAIN * lines if filters > 1 else 0.0)
            far = tiles * sums * self.lanes * self.item > cache_bytes(2, 1 << 20) // 2
            ends = 20 / width + sums * (SUM_FAR if far else SUM) / block
            found.append(Form("pixels", taps, 1, 1, filters, tiles * (step / self.lanes / used + ends)))
        return found

    def blocks(self) -> tuple[int, int]:
        """Rows and columns of a block of pixels, the gradient of which stays in cache."""
        high, wide = self.axes[1:]
        across = self.form.vectors * self.lanes * self.item if self.form.kind == "filters" else self.item
        limit = cache_bytes(2, 1 << 20) // PART // across
        columns = min(wide.count, max(self.lanes, limit))
        rows = min(high.count, max(1, limit // columns))
        room = cache_bytes(2, 1 << 20) // 2
        channels = -(-self.channels // self.least_parts)
        while rows > 1 and Strip.of(self.axes, rows, columns, self.item).channel * channels > room:
            rows = -(-rows // 2)
        if self.form.kind == "pixels":  # whose tasks are chunks of blocks, and groups
            repeats = self.groups * self.images * self.axes[0].count
            while repeats * -(-high.count // rows) * -(-wide.count // columns) < ENOUGH and rows * columns >= 2 * LEAST:
                rows, columns = (-(-rows // 2), columns) if rows > 1 else (1, up(columns // 2, self.lanes))
        self.row_blocks, self.column_blocks = -(-high.count // rows), -(-wide.count // columns)
        return -(-high.count // self.row_blocks), -(-wide.count // self.column_blocks)

    def neighbours(self) -> int:
        """Groups of a task: more than one where they are small, as in a depthwise layer."""
        each = Strip.of(self.axes, self.rows, self.columns, self.item).channel * self.channels
        most = min(RUN, cache_bytes(1, 1 << 15) // max(1, each), self.groups // ENOUGH)
        return max([run for run in range(1, most + 1) if self.groups % run == 0], default=1)

    def table(self, strip: Strip, channels: int) -> Array:
        """Places of the tiles' starts: the first of each run of taps, of every channel in turn."""
        taps = list(product(*(a.phases[0] for a in self.axes)))[:: self.form.columns]
        places = np.array([strip.place((down, right, across)) for (_, down), (_, right), (_, across) in taps], np.int64)
        return (np.arange(channels)[:, None] * self.channel(strip) + places).ravel()

    def channel(self, strip: Strip) -> int:
        """Bytes from a channel's pixels to the next one's."""
        return prod(a.source for a in self.axes) * self.item if self.in_place else strip.channel

    def plan(self) -> WeightPlan:
        """The program with its tables."""
        form, item = self.form, self.item
        strip = Strip.of(self.axes, self.rows, self.columns, item)
        channels = -(-self.channels // self.parts)
        table = self.table(strip, channels)
        source, target = (prod(getattr(a, name) for a in self.axes) for name in ("source", "target"))
        width = form.vectors * self.lanes * item
        if form.kind == "filters":
            panel = (self.channels * self.taps + self.parts * form.starts * form.columns) * width
        else:
            panel = up(self.filters, form.filters) * up(self.channels * self.taps, form.starts) * width
        chunk = up(self.groups * self.panels * panel, LINE)
        grads = 0 if self.in_place else up(strip.channel * channels * self.run + LINE, PAGE)
        turned = up(self.rows * self.columns * width, PAGE) if form.kind == "filters" else 0
        shared, thread = up(chunk * self.chunks, PAGE), grads + turned + PAGE + s.JOB_BYTES
        values = dict.fromkeys(range(weight_gradient.PLACES), 0) | strip.words() | strip.coming_words(self.looks_ahead)
        values |= {
            s.GROUPS: self.groups,
            s.FILTERS: self.filters,
            s.PANELS: self.panels,
            s.SHARES: self.shares,
            s.ROW_BLOCKS: self.row_blocks,
            s.COLUMN_BLOCKS: self.column_blocks,
            s.CHANNEL_BYTES: source * item,
            s.FILTER_BYTES: target * item,
            s.FILL_CODE: code(s.fill_body(item, self.lanes)),
            s.RUN: self.run,
            s.IN_PLACE: item if self.in_place else 0,
            s.SHARED: shared,
            s.PER_THREAD: thread,
            s.STRIP_CHANNEL: self.channel(strip),
            weight_gradient.GRADS: grads,
            weight_gradient.BLOCKS: self.images * self.axes[0].count * self.row_blocks * self.column_blocks,
            weight_gradient.CHUNKS: self.chunks,
            weight_gradient.PARTS: self.parts,
            weight_gradient.ALL_CHANNELS: self.channels,
            weight_gradient.STARTS: self.taps // form.columns,
            weight_gradient.START_TABLE: table.ctypes.data,
            weight_gradient.TAPS: self.taps,
            weight_gradient.PANEL_SUMS: panel,
            weight_gradient.CHUNK_SUMS: chunk,
        }
        for axis, a in enumerate(self.axes):
            values[s.DEPTHS + axis] = a.count
        sums, end = self.bodies()
        alone = form.kind == "filters" and self.chunks == 1
        values[weight_gradient.END_CODE] = code(end) if alone else 0
        parameters = [values[place] for place in range(weight_gradient.PLACES)]
        ends = self.groups * (self.panels * self.parts if form.kind == "filters" else 1)
        steps: list[Any] = [(sums, parameters, self.tasks, 4)]
        if not alone:
            steps.append((end, parameters, ends, 4 if chunk > 1 << 16 else 0))
        workspace = shared + thread * self.threads
        if self.samples:
            words, tasks, taken = sampling(self.samples, item)
            words[at.SAMPLES] = parameters[weight_gradient.SAMPLES] = up(workspace, PAGE)
            workspace = up(workspace, PAGE) + taken
            steps.insert(0, (at.sample_body(item, self.lanes), at.words(words), tasks, 4))
        program = Program(steps, int(self.cycles))
        kept = (table, *strip.residues)
        return WeightPlan(
            kernel=sums,
            form=form,
            tasks=self.tasks,
            chunks=self.chunks,
            parts=self.parts,
            panels=self.panels,
            looks_ahead=self.looks_ahead,
            workspace=workspace,
            threads=self.threads,
            program=program,
            kept=kept,
        )

    def bodies(self) -> tuple[Any, Any]:
        """The compiled sums, and what ends them."""
        form, item, lanes = self.form, self.item, self.lanes
        if form.kind == "pixels":
            shape = item, lanes, form.filters, form.starts
            return weight_gradient.pixels_sums(*shape), weight_gradient.pixels_end(*shape)
        tile = item, lanes, form.starts, form.columns, form.vectors
        return weight_gradient.filters_sums(*tile, int(self.looks_ahead)), weight_gradient.filters_end(*tile)


def counts(most: int) -> list[int]:
    """1, 2, 3, ... up to a number, at least 1; some are left out where it is large."""
    return [n for n in range(1, max(1, most) + 1) if n <= 8 or n % 4 == 0 or n == most]
