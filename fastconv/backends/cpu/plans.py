"""Plans of the direct algorithm: which tile, which blocks, how much workspace; computed once for each geometry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu import direct, left_out, machine
from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.blocks import Blocks
from fastconv.backends.cpu.layout import Strip, up
from fastconv.backends.cpu.machine import LINE, PAGE, Vectors
from fastconv.backends.cpu.native import code
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.tile_choice import Sum, Tile, best_tile, cut_of, described
from fastconv.geometry import Convolution
from fastconv.typing import Array

CHECKED = 0.3  # cycles to look at a weight that padding must not meet


@dataclass(frozen=True, eq=False)
class Plan:
    """A program with what it needs and what it is."""

    kernel: Any  # the body with the tile, which does most of the work
    sum: Sum
    tile: Tile
    tasks: int
    workspace: int
    threads: int
    in_place: bool
    finite_only: bool  # whether it must not be used for others; the workspace begins with what was found
    neighbours: int  # images of a task, or groups where there are several
    looks_ahead: bool  # whether tiles fetch the next task's source, or the next tile's
    copied: int  # numbers that all tasks copy into their strips
    no_bias: Array
    program: Program
    kept: tuple[Array, ...]  # tables that the program refers to by their addresses


@lru_cache(maxsize=1024)
def planned(geometry: Convolution, backward: bool, item: int, threads: int, leaves_out: bool = True) -> Plan:
    """The plan of a forward pass or an input gradient; it may leave out rows of taps that meet padding alone."""
    return build(described(geometry, backward, item), threads, machine.vectors(), leaves_out)


def build(sum_: Sum, threads: int, registers: Vectors, leaves_out: bool = True) -> Plan:
    """Choose tile and blocks, and write the program."""
    lanes = registers.lanes(sum_.item)
    tile = best_tile(sum_, lanes, registers)
    layout = Layout(sum_, tile, lanes, threads, leaves_out)
    return layout.plan()


class Layout(Blocks):
    """Blocks, strips and tables of a sum with a tile."""

    def __init__(self, sum_: Sum, tile: Tile, lanes: int, threads: int, leaves_out: bool = True) -> None:
        super().__init__(sum_, tile, lanes, threads)
        self.by_rows = leaves_out and tile.kind == "filters"
        self.by_rows &= self.cycles * sum_.axes[1].unseen(tile.rows) > self.checked
        # With few registers the sums that are left would wait for each other.
        self.kinds = left_out.kinds(sum_, tile) if self.by_rows and not machine.vectors().few else 1

    @property
    def checked(self) -> float:
        """Cycles of looking at all weights."""
        return CHECKED * self.sum.groups * self.sum.weights / self.sum.item

    def tables(self) -> tuple[Array, list[Array]]:
        """The table of phases, and those that it refers to."""
        deep, high, wide = self.sum.axes
        strip = self.strip(self.rows, self.columns)
        item, found, rows, offset = self.sum.item, [], [], LINE  # after the flag
        _, kernel_rows, kernel_columns = self.sum.kernel
        width = self.tile.vectors * self.lanes * item
        self.packed = np.zeros((self.sum.channels, prod(self.sum.kernel)), np.int64)  # each tap's place in a panel
        for phase in product(deep.phases, high.phases, wide.phases):
            places, taps, shifts = [], [], []
            for (t, down), (r, right), (c, across) in product(*phase):
                if self.in_place:
                    place = ((down * high.source + right) * wide.source + across) * item
                else:
                    place = strip.place((down, right, across))
                places.append(place)
                taps.append(((t * kernel_rows + r) * kernel_columns + c) * item)
                shifts.append(right)
            table = np.empty((self.sum.channels, len(taps), 2), np.int64)
            numbers = np.arange(self.sum.channels)[:, None]
            table[..., 0] = numbers * (self.source_channel if self.in_place else strip.channel) + np.array(
                places, np.int64
            )
            table[..., 1] = numbers * self.sum.channel_step + np.array(taps, np.int64)
            count = table.size // 2
            order = np.arange(count)
            ranges = np.array([[0, count]], np.int64)
            if self.by_rows:
                kinds = np.resize(left_out.kinds_of(wide, phase[2]), count) * (self.kinds > 1)
                rights = np.tile(shifts, self.sum.channels)
                order = np.lexsort((rights, kinds))
                table = table.reshape(-1, 2)[order]
                ranges = left_out.ranges(high, self.tile.rows, rights[order], kinds[order], self.kinds)
            found += [ranges, np.ascontiguousarray(table)]
            rows.append((count, found[-1].ctypes.data, offset, ranges.ctypes.data))
            among = np.tile(np.array(taps, np.int64) // item, self.sum.channels)[order]
            self.packed[np.repeat(numbers, len(taps))[order], among] = offset + np.arange(1, count + 1) * width
            offset += (count + 1) * width
        self.panel_numbers = (offset - LINE) // item
        self.panel_bytes = up(offset, LINE) + LINE
        return np.array(rows, np.int64), found

    @property
    def tiles(self) -> int:
        """Of the greatest block."""
        return -(-self.rows // self.tile.rows) * -(-self.columns // self.tile.columns)

    def cut(self, taps: int) -> int:
        """Taps that a panel sums at a time: their weights stay in the first cache while all tiles meet them."""
        most = cut_of(self.tile.vectors * self.lanes * self.sum.item, self.sum.item, self.sum.axes[2])
        if self.tile.kind == "pixels" or self.tiles == 1 or taps <= most:
            return max(1, taps)
        return -(-taps // -(-taps // most))

    def words(self, strip: Strip, phases: Array) -> dict[int, int]:
        """A plan's words on the sum, its blocks and its tile."""
        sum_, tile, item = self.sum, self.tile, self.sum.item
        values = {
            s.GROUPS: sum_.groups,
            s.CHANNELS: sum_.channels,
            s.FILTERS: sum_.filters,
            s.ROW_BLOCKS: self.row_blocks,
            s.COLUMN_BLOCKS: self.column_blocks,
            s.SHARES: self.shares,
            s.PANELS: self.panels,
            s.CHANNEL_BYTES: self.source_channel,
            s.IN_PLACE: int(self.in_place),
            s.FILTER_BYTES: prod(a.target for a in sum_.axes) * item,
            s.ALL_PHASES: prod(self.phases),
            s.BUFFERED: int(self.buffered),
            s.PHASE_TABLE: phases.ctypes.data,
            s.KINDS: self.kinds,
            s.RANGES: 16 * self.kinds * self.by_rows,
            s.PANEL_BYTES: self.panel_bytes,
            s.FILTER_STEP: sum_.filter_step,
            s.GROUP_WEIGHTS: sum_.group_step,
            s.BIAS_STEP: item,
            s.RUN: self.run,
            s.TILE_ROWS: tile.rows,
            s.TILE_COLUMNS: tile.columns,
            s.PANEL_FILTERS: tile.filters,
            s.FILL_CODE: code(s.fill_body(item, self.lanes)),
        }
        values |= strip.words() | strip.coming_words(self.looks_ahead)
        for axis, a in enumerate(sum_.axes):
            values |= {s.DEPTHS + axis: a.count, s.TARGET + axis: a.target, s.PHASES + axis: self.phases[axis]}
        if self.in_place:
            values[s.STRIP_CHANNEL] = self.source_channel
            values[s.STRIP_ROW] = sum_.axes[1].step * sum_.axes[2].source * item
        return values

    def places(self, strip: Strip, most: int, alone: bool) -> dict[int, int]:
        """A plan's words on its workspace, for phases of `most` taps; `alone`: each panel is wanted by one task."""
        sum_, tile, item, packed = self.sum, self.tile, self.sum.item, self.tile.kind == "filters"
        buffer_row = up(self.columns * item, LINE)
        buffer_phase = buffer_row * self.rows
        buffer_filter = buffer_phase * prod(self.phases) + LINE
        buffer = 0 if self.in_place else up(strip.channel * sum_.channels * self.run + LINE, PAGE)
        scratch = buffer + (up(buffer_filter * tile.filters, PAGE) if self.buffered else 0)
        cut = self.cut(most)
        down = -(-self.rows // tile.rows) if cut < most or self.phases[2] > 1 else 1
        sums = down * tile.rows * -(-self.columns // tile.columns) * tile.columns * self.phases[2] * tile.filters
        own = scratch + (up(sums * item, PAGE) if packed else 0)
        return {
            s.SHARED: up(LINE + (sum_.groups * self.panels * self.panel_bytes if packed and not alone else 0), PAGE),
            s.PER_THREAD: own + (self.panel_bytes if alone else 0) + PAGE + s.JOB_BYTES,
            s.BUFFER: buffer,
            s.SCRATCH: scratch,
            s.BUFFER_ROW: buffer_row,
            s.BUFFER_FILTER: buffer_filter,
            s.BUFFER_PHASE: buffer_phase,
            s.CUT: cut,
            s.OWN_PANEL: own,
        }

    def plan(self) -> Plan:
        """The program with its tables."""
        sum_, item, packed = self.sum, self.sum.item, self.tile.kind == "filters"
        phases, kept = self.tables()
        strip = self.strip(self.rows, self.columns)
        alone = packed and sum_.images * sum_.axes[0].count * self.row_blocks * self.column_blocks == 1
        values = self.words(strip, phases) | self.places(strip, int(phases[:, 0].max()), alone)
        kernel = self.panel_body()
        careful = self.by_rows or (sum_.gaps and not self.inside)
        packing = self.packing(phases, int(careful)) if packed else None
        values |= {s.PANEL_CODE: code(kernel), s.PACK_CODE: 0, s.PACK_PLAN: 0}
        if packing and alone:
            words = np.array(packing[1], np.int64)
            kept.append(words)
            values |= {s.PACK_CODE: code(packing[0]), s.PACK_PLAN: words.ctypes.data}
        parameters = [values[place] for place in range(s.PLACES)]
        steps: list[Any] = [(direct.direct_body(item, self.lanes), parameters, self.tasks, 4)]
        if packing and not alone:
            steps.insert(0, packing)
        elif careful and not packed:
            steps.insert(0, self.check())
        return Plan(
            kernel=kernel,
            sum=sum_,
            tile=self.tile,
            tasks=self.tasks,
            workspace=values[s.SHARED] + values[s.PER_THREAD] * self.threads,
            threads=self.threads,
            in_place=self.in_place,
            finite_only=careful,
            neighbours=self.run,
            looks_ahead=self.looks_ahead or self.fetches,
            copied=0 if self.in_place else self.tasks * self.run * strip.channel * sum_.channels // item,
            no_bias=np.zeros(sum_.groups * sum_.filters, f"f{item}"),
            program=Program(steps, int(self.cycles)),
            kept=(*kept, *strip.residues, phases, self.packed),
        )

    def panel_body(self) -> Any:
        """The body with the tile."""
        item, tile = self.sum.item, self.tile
        if tile.kind == "filters":
            return direct.filters_panel(item, self.lanes, tile.rows, tile.columns, tile.vectors, int(self.looks_ahead))
        return direct.pixels_panel(item, self.lanes, tile.filters, tile.rows, tile.vectors, int(self.fetches))

    def check(self) -> tuple[Any, list[int], int, int]:
        """The step that looks at the weights as they are."""
        count = self.sum.groups * self.sum.group_step // self.sum.item
        each = 1 << 15
        return direct.check_body(self.sum.item, self.lanes), [count, each], -(-count // each), count // each // 8

    def packing(self, phases: Array, flag: int) -> tuple[Any, list[int], int, int]:
        """The step that packs the weights."""
        sum_, taps, rows = self.sum, prod(self.sum.kernel), self.sum.channels
        if sum_.channel_step == taps * sum_.item != sum_.filter_step:  # all of a filter's are one row
            taps, rows = taps * rows, 1
        in_order = rows == 1 and prod(self.phases) == 1 and not self.by_rows
        parameters = [self.panels, sum_.filters, sum_.group_step, sum_.filter_step, self.panel_bytes, sum_.item]
        parameters += [prod(self.phases), phases.ctypes.data, flag, self.panel_numbers]
        parameters += [0 if in_order else self.packed.ctypes.data, rows, taps, sum_.channel_step]
        tasks = sum_.groups * self.panels
        parts = 4 if tasks * self.panel_bytes > 1 << 16 else 0
        return direct.pack_body(sum_.item, self.lanes, self.tile.vectors), parameters, tasks, parts
