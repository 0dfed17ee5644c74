"""How a sum is shared out: blocks of pixels whose strips stay in a cache, shares of the filters, and tasks."""

from __future__ import annotations

from itertools import product
from math import prod

from fastconv.backends.cpu import machine
from fastconv.backends.cpu.layout import Strip, greatest, up
from fastconv.backends.cpu.machine import LINE, cache_bytes
from fastconv.backends.cpu.tile_choice import FARTHER, FETCHED, PACKED, Sum, Tile

NARROW = 16  # bytes of which a strip's row has a multiple, where its pixels are loaded as single numbers
RUN = 16  # small groups, or images, of a task at most
TOGETHER = 2048  # bytes from a channel to the next up to which the processor expects what is loaded
COPIED = 32  # filters of a group for which a copy of the input pays that is aligned and lies together
GRAIN = 40_000.0  # cycles below which a task is not split further
PARTS = 4  # tasks of each thread, for balance
TASK = 2000.0  # cycles of a task
COPY = 0.5  # cycles to copy a number into a strip
FOREIGN = 1.0  # cycles to read a packed weight, of which other threads packed most
FOLLOWED = 32  # rows of pixels that the processor expects to be read on, each by itself
FAR = 16 << 20  # bytes of a source that is read from memory, where the last cache's size is not known
WHOLE = 4  # times the second cache, that a strip has at most of which each panel fetches all again
STRIP = 3 << 18  # bytes that a task may go through again and again, even if the second cache is hardly larger
SMALL = 45_000.0  # cycles of a whole call below which one thread does it


class Blocks:
    """The blocks of a sum with a tile, and the tasks that they make."""

    def __init__(self, sum_: Sum, tile: Tile, lanes: int, threads: int) -> None:
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
        other = machine.vectors().beside
        total = cycles + other * (rounds * (again + TASK) + fills * copy)
        weights = self.sum.groups * self.sum.weights / item
        if repeats * down * across == 1:  # each panel is packed by the task that wants it
            return total + each * packing * some * rounds
        return total + self.cycles * packing / self.threads + (other * FOREIGN * weights if packing else 0.0)

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
    def together(self) -> bool:
        """Whether single taps' pixels lie near each other as they are; loaded in vectors, copies had better align."""
        near = self.source_channel <= TOGETHER and self.source_channel * self.sum.channels <= self.limit(0)
        return near and prod(self.sum.kernel) == 1 and self.tile.kind == "filters"

    @property
    def source(self) -> int:
        """Bytes of the whole source."""
        return self.sum.images * self.sum.groups * self.sum.channels * self.source_channel

    @property
    def source_channel(self) -> int:
        """Bytes of a channel of the source."""
        return prod(a.source for a in self.sum.axes) * self.sum.item
