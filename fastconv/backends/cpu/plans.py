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
from fastconv.backends.cpu.layout import Strip, greatest, up
from fastconv.backends.cpu.machine import LINE, PAGE, Vectors, cache_bytes
from fastconv.backends.cpu.native import code
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.tile_choice import FARTHER, FETCHED, PACKED, Sum, Tile, best_tile, cut_of, described
from fastconv.geometry import Convolution
from fastconv.typing import Array

NARROW = 16  # bytes of which a strip's row has a multiple, where its pixels are loaded as single numbers
RUN = 16  # small groups, or images, of a task at most
TOGETHER = 2048  # bytes from a channel to the next up to which the processor expects what is loaded
COPIED = 32  # filters of a group for which a copy of the input pays that is aligned and lies together
GRAIN = 40_000.0  # cycles below which a task is not split further
PARTS = 4  # tasks of each thread, for balance
TASK = 2000.0  # cycles of a task
COPY = 0.5  # cycles to copy a number into a strip
FOREIGN = 1.0  # cycles to read a packed weight, of which other threads packed most
CHECKED = 0.3  # cycles to look at a weight that padding must not meet
FOLLOWED = 32  # rows of pixels that the processor expects to be read on, each by itself
FAR = 16 << 20  # bytes of a source that is read from memory, where the last cache's size is not known
WHOLE = 4  # times the second cache, that a strip has at most of which each panel fetches all again
STRIP = 3 << 18  # bytes that a task may go through again and again, even if the second cache is hardly larger
SMALL = 45_000.0  # cycles of a whole call below which one thread does it


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
    finite_weights: bool  # whether it must not be used for others; the workspace begins with what was found
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
    tile = best_tile(sum_, lanes, registers.registers)
    layout = Layout(sum_, tile, lanes, threads, leaves_out)
    return layout.plan()


class Layout:
    """Blocks, strips and tables of a sum with a tile."""

    def __init__(self, sum_: Sum, tile: Tile, lanes: int, threads: int, leaves_out: bool = True) -> None:
        self.sum, self.tile, self.lanes = sum_, tile, lanes
        self.phases = [len(a.phases) for a in sum_.axes]
        self.buffered = prod(self.phases) > 1 and tile.kind == "pixels"
        self.panels = -(-sum_.filters // tile.filters)
        self.inside = all(a.inside for a in sum_.axes)
        self.far = self.from_afar()
        self.in_place = self.inside and sum_.axes[2].step == 1 and (sum_.filters < COPIED or self.together)
        self.looks_ahead = self.far and not self.in_place
        self.fetches = self.many_streams()
        self.heavy = sum_.weights > sum_.channels * self.source_channel  # then a share has less to move than a block
        repeats = sum_.images * sum_.groups * sum_.axes[0].count
        self.cycles = tile.cycles * sum_.images * sum_.groups * prod(self.phases) * sum_.axes[0].count
        self.threads = threads if self.cycles > SMALL else 1
        self.row_blocks, self.column_blocks, self.shares = self.blocks(repeats)
        self.run = self.neighbours(repeats * self.row_blocks * self.column_blocks * self.shares)
        self.tasks = repeats * self.row_blocks * self.column_blocks * self.shares // self.run
        self.rows = greatest(sum_.axes[1].count, tile.rows, self.row_blocks)
        self.columns = greatest(sum_.axes[2].count, tile.columns, self.column_blocks)
        self.by_rows = leaves_out and tile.kind == "filters"
        self.by_rows &= self.cycles * left_out.part_of_rows(sum_, tile) > self.checked
        # With few registers the sums that are left would wait for each other.
        self.kinds = left_out.kinds(sum_, tile) if self.by_rows and not machine.vectors().few else 1

    def strip(self, rows: int, columns: int) -> Strip:
        """The strip of a block."""
        align = LINE if self.tile.kind == "pixels" else NARROW
        return Strip.of(self.sum.axes, rows, columns, self.sum.item, align)

    def footprint(self, rows: int, columns: int) -> int:
        """Bytes that a task goes through again and again."""
        waiting = prod(self.phases) if self.buffered else self.phases[2]  # phases, until they are put together
        sums = waiting * rows * up(columns * self.sum.item, LINE) * self.tile.filters
        return self.strip(rows, columns).channel * self.sum.channels + (sums if waiting > 1 else 0)

    def blocks(self, repeats: int) -> tuple[int, int, int]:
        """Blocks of rows and of columns, and shares of the panels."""
        _, high, wide = self.sum.axes
        limit = self.limit()
        most_rows, most_columns = max(1, high.count // self.tile.rows), max(1, wide.count // self.tile.columns)
        down = across = 1

        def size() -> int:
            rows, columns = self.tile.rows, self.tile.columns
            return self.footprint(greatest(high.count, rows, down), greatest(wide.count, columns, across))

        while size() > limit and (down < most_rows or across < most_columns):
            if down < most_rows:
                down = min(most_rows, max(down + 1, round(down * min(2.0, size() / limit))))
            else:
                across = min(most_columns, max(across + 1, round(across * min(2.0, size() / limit))))
        wanted = min(PARTS * self.threads, max(self.threads, int(self.cycles / GRAIN))) if self.threads > 1 else 1
        enough = self.threads == 1 or repeats * down * across >= 2 * wanted
        if self.heavy and repeats > 1 and down * across == 1 and not enough:
            share = 1  # and a task takes its share through several images
            while repeats * share < wanted and 2 * share <= self.panels:
                share *= 2
            return 1, 1, share
        found = [(down, across, 1)] if enough else self.splits(repeats, down, across, wanted)
        behind, whole = cache_bytes(2, 1 << 20), self.footprint(high.count, wide.count)
        fits = whole <= WHOLE * behind if self.sum.weights > whole else whole <= behind and not enough
        if fits and self.tile.kind == "filters":  # then a block's weights may be more to fetch than its pixels
            found += [(1, 1, n) for n in self.some_shares(wanted)]
        return min(found, key=lambda split: self.slowest(repeats, *split))

    def splits(self, repeats: int, down: int, across: int, wanted: int) -> list[tuple[int, int, int]]:
        """Some ways to share work out: so many blocks or more, and shares of panels."""
        _, high, wide = self.sum.axes
        rows, columns = max(1, high.count // self.tile.rows), max(1, wide.count // self.tile.columns)
        blocks = [(n, across) for n in range(down, min(rows, max(down, 2 * wanted)) + 1)]
        if rows == 1:
            blocks = [(1, n) for n in range(across, min(columns, max(across, 2 * wanted)) + 1)]
        pairs = product(blocks, self.some_shares(wanted))
        return [(*b, n) for b, n in pairs if n == 1 or repeats * prod(b) * n <= 2 * wanted]

    def some_shares(self, wanted: int) -> list[int]:
        """Into how many shares the panels may be divided."""
        return [n for n in range(1, min(self.panels, wanted) + 1) if n == 1 or n % self.threads == 0]

    def slowest(self, repeats: int, down: int, across: int, share: int) -> float:
        """Cycles that the thread with most work takes, in this split of an image's and group's work."""
        _, high, wide = self.sum.axes
        tile, item = self.tile, self.sum.item
        rows, columns = greatest(high.count, tile.rows, down), greatest(wide.count, tile.columns, across)
        tiles = -(-rows // tile.rows) * -(-columns // tile.columns)
        part = tiles / (-(-high.count // tile.rows) * -(-wide.count // tile.columns))
        some = -(-self.panels // share) / self.panels
        packing, fetching = tile.parts.get(PACKED, 0.0) / tile.cycles, tile.parts.get(FETCHED, 0.0) / tile.cycles
        each = self.cycles / repeats
        tasks = repeats * down * across * share
        chunk = max(1, tasks // (self.threads * PARTS))
        rounds = -(-tasks // self.threads)
        images, blocks = divmod(rounds / share, down * across)
        sums = some * share * (images + min(1.0, blocks * part))
        cycles = each * ((1 - packing - fetching) * sums + fetching * some * rounds)
        fills = -(-rounds // min(chunk, share))
        size = self.strip(rows, columns).channel * self.sum.channels
        copy = 0.0 if self.in_place else COPY * size / item * (1 + (size > cache_bytes(2, 1 << 20) * 3 // 8))
        again = FARTHER * size / LINE * -(-self.panels // share) * (size > cache_bytes(2, 1 << 20))
        total = cycles + rounds * (again + TASK) + fills * copy
        weights = self.sum.groups * self.sum.weights / item
        if repeats * down * across == 1:  # each panel is packed by the task that wants it
            return total + each * packing * some * rounds
        return total + self.cycles * packing / self.threads + (FOREIGN * weights if packing else 0.0)

    def neighbours(self, tasks: int) -> int:
        """Groups of a task that are neighbours, where they are small; or images, where weights come from far."""
        each = self.footprint(
            -(-self.sum.axes[1].count // self.row_blocks), -(-self.sum.axes[2].count // self.column_blocks)
        )
        single = self.sum.groups == 1
        near = not self.heavy or self.sum.weights + each <= cache_bytes(1, 1 << 15) * 3 // 4
        if single and (near or self.row_blocks * self.column_blocks * self.sum.axes[0].count > 1):
            return 1
        space = cache_bytes(2, 1 << 20) * 5 // 8 if single else cache_bytes(1, 1 << 15)
        most = min(RUN, space // max(1, each), tasks // ((2 if single else 8) * self.threads))
        count = self.sum.images if single else self.sum.groups
        return max([run for run in range(1, most + 1) if count % run == 0], default=1)

    def limit(self, least: int = STRIP) -> int:
        """Bytes that a block may go through: most of the second cache, or less where several panels' results pass it.

        It is `least` or more, if the second cache is not much smaller.
        """
        behind = cache_bytes(2, 1 << 20)
        some, most = behind // 8, max(behind * 3 // 8, min(least, 2 * behind))
        small = 8 * self.sum.weights <= behind
        if prod(self.sum.kernel) == 1 and self.tile.kind == "filters" and small:
            most //= 6 if self.far else 2  # the next strip's source is there as well
        several = self.panels > 1 and prod(self.sum.kernel) > 1 and not self.buffered
        smallest = self.footprint(self.tile.rows, self.tile.columns)
        return some if self.tile.kind == "pixels" and several and smallest <= some else most

    def from_afar(self) -> bool:
        """Whether the source comes from memory, and line by line, as the processor does not expect."""
        deep, high, wide = self.sum.axes
        sampled = max(high.step, wide.step) > 1 and deep.shifts == [0]
        near = cache_bytes(3, 2 * FAR) // 2
        return self.tile.kind == "filters" and not machine.vectors().few and sampled and self.source > near

    def many_streams(self) -> bool:
        """Whether a tile meets pixels of more channels, from behind the second cache, than the processor follows."""
        single = self.in_place and self.tile.kind == "pixels" and prod(self.sum.kernel) == 1
        return single and self.sum.channels > FOLLOWED and self.source > cache_bytes(2, 1 << 20)

    @property
    def source(self) -> int:
        """Bytes of the whole source."""
        return self.sum.images * self.sum.groups * self.sum.channels * self.source_channel

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

    @property
    def together(self) -> bool:
        """Whether single taps' pixels lie near each other as they are; loaded in vectors, copies had better align."""
        near = self.source_channel <= TOGETHER and self.source_channel * self.sum.channels <= self.limit(0)
        return near and prod(self.sum.kernel) == 1 and self.tile.kind == "filters"

    @property
    def source_channel(self) -> int:
        """Bytes of a channel of the source."""
        return prod(a.source for a in self.sum.axes) * self.sum.item

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
            finite_weights=careful,
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
