"""Plans of the weights' gradient: which form and tile, which parts and chunks; once for each geometry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from math import gcd, prod
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
from fastconv.backends.cpu.weight_forms import Form, Forms, gradient_block, kinds, unit
from fastconv.geometry import Convolution
from fastconv.typing import Array

ENOUGH = 8  # tasks that keep some threads busy: where there can't be so many, blocks of pixels are summed in chunks
MOST = 16  # chunks
FINE = 8  # blocks for each chunk: of fewer, all chunks have as many
LEAST = 1024  # pixels of a block that is not split for the sake of tasks
FEWEST, MANY = 16, 64  # channels of a part, also where it is to have whole images
WIDEST = 4  # vectors of a panel of filters, of which a task has one: to copy a strip for fewer takes longer than chunks
END, END_LANES = 0.8, 9.4  # cycles to turn a weight's sum and store it, and to add lanes up, for each chunk
MOVE = 0.5  # cycles to copy a pixel of a channel, padding and all, or to turn one of the gradient
LARGEST = 64 << 20  # bytes of the chunks' sums


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
    finite_only: bool  # whether it must not be used for another gradient; the workspace begins with what was found
    workspace: int
    threads: int
    program: Program
    kept: tuple[Array, ...]


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, item: int, threads: int, leaves_out: bool = True) -> WeightPlan:
    """The plan of a geometry's weight gradient; it may leave out products with padding."""
    registers = vectors()
    samples = geometry if registers.few and sampled(geometry) else None
    return laid_out(single_taps(geometry) if samples else geometry, item, threads, samples, leaves_out).plan()


def laid_out(
    geometry: Convolution, item: int, threads: int, samples: Convolution | None = None, leaves_out: bool = True
) -> Layout:
    """The quickest layout; which one it is depends on the shape alone, as do the bits of the result."""
    channels, filters = geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups
    deep, high, wide = axes.forward(geometry)
    forms = Forms((deep, high, wide), channels, filters, item, vectors()).best()
    layouts = [Layout(geometry, item, vectors(), threads, form, samples, leaves_out) for form in forms]
    return min(layouts, key=lambda layout: layout.cycles * (1 + layout.is_one))


class Layout:
    """Blocks, parts, chunks and tables of a geometry, the pixels of which may be samples of another one's."""

    def __init__(
        self,
        geometry: Convolution,
        item: int,
        registers: Vectors,
        threads: int,
        form: Form,
        samples: Convolution | None = None,
        leaves_out: bool = True,
    ) -> None:
        deep, high, wide = axes.forward(geometry)
        self.axes = deep, high, wide
        self.item, self.lanes, self.images = item, registers.lanes(item), geometry.batch
        self.samples = samples
        self.groups = geometry.groups
        self.channels, self.filters = geometry.in_channels // self.groups, geometry.out_channels // self.groups
        self.taps = prod(len(a.phases[0]) for a in self.axes)
        self.form = form
        self.kinds = kinds(self.axes, self.form.apart if leaves_out else 0)
        self.unit = unit(self.form, self.kinds)
        self.in_place = all(a.step == 1 and a.shifts == [0] and a.source == a.target for a in self.axes)
        across = self.form.vectors * self.lanes
        self.panels = -(-self.filters // across) if self.form.kind == "filters" else 1
        sums, cache = self.channels * self.taps * self.filters * item, cache_bytes(2, 1 << 20) * 3 // 10
        self.near = max(1, -(-sums // cache))  # tasks, for their sums to stay in the second cache
        self.least_parts = -(-self.near // self.panels) if self.form.kind == "filters" else 1  # of the channels
        self.row_blocks, self.column_blocks = self.blocks()
        self.looks_ahead = self.form.kind == "filters" and not registers.few
        self.run = self.neighbours() if self.form.kind == "pixels" else 1
        self.chunks, self.beside = self.chunked(), registers.beside
        ends = geometry.out_channels * self.channels * self.taps * self.chunks
        end = self.beside * (END if self.form.kind == "filters" else END_LANES)
        self.cycles = self.form.cycles * self.pixels * self.groups + end * ends
        self.threads = threads if self.cycles > SMALL else 1
        self.parts, self.shares = self.split()
        self.tasks = self.groups // self.run * self.parts * self.shares * self.chunks

    def chunked(self) -> int:
        """Chunks of the blocks: where other tasks are few, each chunk has sums of its own.

        Their number depends on the shape alone, as do the bits of the result. Blocks become as many as fill them.
        """
        sums, fixed = self.channels * self.taps * self.filters, self.groups // self.run
        most_parts = 1 if self.form.kind == "pixels" else -(-self.channels // FEWEST)
        shares = -(-self.filters // (WIDEST * self.lanes)) if self.form.kind == "filters" else 1
        chunks, least = 1, min(ENOUGH, fixed * most_parts * shares)
        while least * chunks < ENOUGH and 2 * chunks <= min(MOST, self.all_blocks):
            if 2 * chunks * sums * self.groups * self.item > LARGEST:
                break
            chunks *= 2
        repeats, high = self.images * self.axes[0].count * self.column_blocks, self.axes[1].count
        if repeats < chunks and self.all_blocks < FINE * chunks:
            self.row_blocks = min(high, up(self.row_blocks, chunks // gcd(chunks, repeats)))
        return chunks

    @property
    def pixels(self) -> int:
        """Of the outputs of all images."""
        return self.images * prod(a.count for a in self.axes)

    @property
    def is_one(self) -> bool:
        """Whether it is a single task that would be worth sharing."""
        return self.form.kind == "pixels" and self.groups // self.run * self.chunks == 1 and self.cycles > SMALL

    @property
    def all_blocks(self) -> int:
        """Blocks of pixels of all images."""
        return self.images * self.axes[0].count * self.row_blocks * self.column_blocks

    def split(self) -> tuple[int, int]:
        """Parts of the channels and shares of the panels: those copy the whole strip, parts turn the whole gradient."""
        blocks = self.all_blocks
        strip = Strip.of(self.axes, self.rows, self.columns, self.item).channel // self.item
        units, fixed = -(-self.channels // self.unit), self.groups // self.run * self.chunks
        most_parts = 1 if self.form.kind == "pixels" else min(units, -(-self.channels // FEWEST))

        def slowest(way: tuple[int, int]) -> tuple[float, int]:
            parts, shares = way
            tasks = fixed * parts * shares
            copied = 0 if self.in_place else shares * self.channels * blocks * strip
            moved = self.beside * MOVE * self.groups * (copied + self.pixels * parts * self.filters)
            largest = -(-units // parts) * parts / units * -(-self.panels // shares) * shares / self.panels
            return -(-tasks // self.threads) * (self.cycles * largest + moved) / tasks, tasks

        least_parts = min(most_parts, self.least_parts)
        near = self.near if blocks > 1 else least_parts  # of a single block, each panel's are ended right away
        most = max(near, least_parts, 2 * self.threads)
        ways = [*product(counts(min(most_parts, most)), counts(min(self.panels, most)))]
        ways = [way for way in ways if way[0] >= least_parts]
        near = min(near, max(prod(way) for way in ways))
        return min((way for way in ways if near <= prod(way) <= 2 * most), key=slowest)

    def blocks(self) -> tuple[int, int]:
        """How many blocks of rows and of columns there are, so that gradient and strip of each one stay in cache."""
        high, wide = self.axes[1:]
        across = self.form.vectors * self.lanes * self.item if self.form.kind == "filters" else self.item
        rows, columns = gradient_block(self.axes, across, self.lanes)
        room, strip = cache_bytes(2, 1 << 20) // 2, Strip.of(self.axes, rows, columns, self.item).channel
        if self.form.kind == "filters":
            self.least_parts = max(self.least_parts, min(-(-strip * self.channels // room), self.channels // MANY))
        channels = -(-self.channels // self.least_parts)
        while rows > 1 and Strip.of(self.axes, rows, columns, self.item).channel * channels > room:
            rows = -(-rows // 2)
        if self.form.kind == "pixels":  # whose tasks are chunks of blocks, and groups
            repeats = self.groups * self.images * self.axes[0].count
            while repeats * -(-high.count // rows) * -(-wide.count // columns) < ENOUGH and rows * columns >= 2 * LEAST:
                rows, columns = (-(-rows // 2), columns) if rows > 1 else (1, up(columns // 2, self.lanes))
        return -(-high.count // rows), -(-wide.count // columns)

    @property
    def rows(self) -> int:
        """Of the greatest block."""
        return -(-self.axes[1].count // self.row_blocks)

    @property
    def columns(self) -> int:
        """Of the greatest block."""
        return -(-self.axes[2].count // self.column_blocks)

    def neighbours(self) -> int:
        """Groups of a task: more than one where they are small, as in a depthwise layer."""
        each = Strip.of(self.axes, self.rows, self.columns, self.item).channel * self.channels
        most = min(RUN, cache_bytes(1, 1 << 15) // max(1, each), self.groups // ENOUGH)
        return max([run for run in range(1, most + 1) if self.groups % run == 0], default=1)

    def tables(self, strip: Strip, channels: int) -> tuple[Array, list[Array]]:
        """The table of kinds of taps, and those that it refers to; with pixels in the lanes one of taps alone.

        Those have the tiles' starts, the first of each run of taps, of every channel in turn: places in the strip, and
        in the sums.
        """
        taps = list(product(*(a.phases[0] for a in self.axes)))
        places = np.array([strip.place((down, right, across)) for (_, down), (_, right), (_, across) in taps], np.int64)
        if self.form.kind == "pixels":
            return (np.arange(channels)[:, None] * self.channel(strip) + places).ravel(), []
        steps = np.array([self.channel(strip), self.taps * self.form.vectors * self.lanes * self.item])
        found, rows = [], []
        for kind in self.kinds:
            starts = np.array(kind.taps[:: self.form.columns])
            first = np.stack([places[starts], starts * (steps[1] // self.taps)], axis=1)
            found.append(np.arange(channels)[:, None, None] * steps + first)
            rows.append((len(starts), found[-1].ctypes.data, *chain(*kind.pixels)))
        return np.array(rows, np.int64), found

    def channel(self, strip: Strip) -> int:
        """Bytes from a channel's pixels to the next one's."""
        return prod(a.source for a in self.axes) * self.item if self.in_place else strip.channel

    @property
    def careful(self) -> bool:
        """Whether some products with padding are left out, which gradients make NaN of if they are not finite."""
        return any(kind.count < prod(a.count for a in self.axes) for kind in self.kinds)

    @property
    def alone(self) -> bool:
        """Whether each task ends its own sums, which are then in its thread's part of the workspace."""
        return self.form.kind == "filters" and self.chunks == 1

    @property
    def most_channels(self) -> int:
        """Of a part."""
        return up(-(-self.channels // self.parts), self.unit)

    def words(self, strip: Strip, table: Array) -> dict[int, int]:
        """A plan's words on the sums and their blocks."""
        source, target = (prod(getattr(a, name) for a in self.axes) for name in ("source", "target"))
        values = dict.fromkeys(range(weight_gradient.PLACES), 0) | strip.words() | strip.coming_words(self.looks_ahead)
        values |= {
            s.GROUPS: self.groups,
            s.FILTERS: self.filters,
            s.PANELS: self.panels,
            s.SHARES: self.shares,
            s.ROW_BLOCKS: self.row_blocks,
            s.COLUMN_BLOCKS: self.column_blocks,
            s.CHANNEL_BYTES: source * self.item,
            s.FILTER_BYTES: target * self.item,
            s.FILL_CODE: code(s.fill_body(self.item, self.lanes)),
            s.RUN: self.run,
            s.IN_PLACE: self.item if self.in_place else 0,
            s.STRIP_CHANNEL: self.channel(strip),
            weight_gradient.BLOCKS: self.all_blocks,
            weight_gradient.CHUNKS: self.chunks,
            weight_gradient.PARTS: self.parts,
            weight_gradient.UNIT: self.unit,
            weight_gradient.ALL_CHANNELS: self.channels,
            weight_gradient.TAPS: self.taps,
            weight_gradient.STARTS: max(len(kind.taps) for kind in self.kinds) // self.form.columns,
            weight_gradient.KINDS: len(self.kinds),
            weight_gradient.TABLE: table.ctypes.data,
            weight_gradient.CHECKED: int(self.careful),
        }
        return values | {s.DEPTHS + axis: a.count for axis, a in enumerate(self.axes)}

    def places(self, strip: Strip) -> dict[int, int]:
        """A plan's words on its workspace."""
        form, channels, width = self.form, self.channels, self.form.vectors * self.lanes * self.item
        if form.kind == "filters":
            panel = (self.most_channels if self.alone else channels) * self.taps * width
        else:
            panel = up(self.filters, form.filters) * up(channels * self.taps, form.starts) * width
        chunk = 0 if self.alone else up(self.groups * self.panels * panel, LINE)
        grads = 0 if self.in_place else up(strip.channel * self.most_channels * self.run + LINE, PAGE)
        turned = up(self.rows * self.columns * width, PAGE) if form.kind == "filters" else 0
        panels = -(-self.panels // self.shares) if self.all_blocks > 1 else 1  # whose sums a task has at a time
        own = up(panel * panels, PAGE) if self.alone else 0
        return {
            s.SHARED: up(LINE + chunk * self.chunks, PAGE),
            s.PER_THREAD: grads + turned + own + PAGE + s.JOB_BYTES,
            weight_gradient.GRADS: grads,
            weight_gradient.OWN_SUMS: grads + turned,
            weight_gradient.PANEL_SUMS: panel if panels > 1 or not self.alone else 0,
            weight_gradient.CHUNK_SUMS: chunk,
        }

    def plan(self) -> WeightPlan:
        """The program with its tables."""
        strip = Strip.of(self.axes, self.rows, self.columns, self.item)
        table, tables = self.tables(strip, self.most_channels)
        places = self.places(strip)
        values, (sums, end) = self.words(strip, table) | places, self.bodies()
        values[weight_gradient.END_CODE] = code(end) if self.alone else 0
        parameters = [values[place] for place in range(weight_gradient.PLACES)]
        steps: list[Any] = [(sums, parameters, self.tasks, 4)]
        if not self.alone:
            ends = self.groups * (self.panels * self.parts if self.form.kind == "filters" else 1)
            steps.append((end, parameters, ends, 4 if places[weight_gradient.CHUNK_SUMS] > 1 << 16 else 0))
        workspace = places[s.SHARED] + places[s.PER_THREAD] * self.threads
        if self.samples:
            words, tasks, taken = sampling(self.samples, self.item)
            words[at.SAMPLES] = parameters[weight_gradient.SAMPLES] = up(workspace, PAGE)
            workspace = up(workspace, PAGE) + taken
            steps.insert(0, (at.sample_body(self.item, self.lanes), at.words(words), tasks, 4))
        return WeightPlan(
            kernel=sums,
            form=self.form,
            tasks=self.tasks,
            chunks=self.chunks,
            parts=self.parts,
            panels=self.panels,
            looks_ahead=self.looks_ahead,
            finite_only=self.careful,
            workspace=workspace,
            threads=self.threads,
            program=Program(steps, int(self.cycles)),
            kept=(table, *tables, *strip.residues),
        )

    def bodies(self) -> tuple[Any, Any]:
        """The compiled sums, and what ends them."""
        form, item, lanes = self.form, self.item, self.lanes
        if form.kind == "pixels":
            shape = item, lanes, form.filters, form.starts
            return weight_gradient.pixels_sums(*shape), weight_gradient.pixels_end(*shape)
        tile = item, lanes, form.starts, form.columns, form.vectors, int(self.looks_ahead)
        return weight_gradient.filters_sums(*tile), weight_gradient.filters_end(item, lanes, form.vectors)


def counts(most: int) -> list[int]:
    """1, 2, 3, ... up to a number, at least 1; some are left out where it is large."""
    return [n for n in range(1, max(1, most) + 1) if n <= 8 or n % 4 == 0 or n == most]
