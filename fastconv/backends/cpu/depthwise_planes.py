"""Depthwise layers: planes are filtered one after the other, with pixels in the lanes.

Pixels are loaded where they lie, once for each column of taps, and none is copied or turned: what comes from far comes
at the memory's pace. Lanes beyond a row's ends are masked, and for rows beyond a plane's there is a row of zeros. A
plane is gone through down its columns of tiles, or, where masks take registers from the sums, along its rows of tiles,
whose inner ones go without.

Index letters: `c` channel, `p q` output pixel, `r t` filter tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.moves import clear_numbers, flag_unless_finite
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import Emit, Value, instruction

# A plan's words: channels; rows and columns of the source and of the target; how far the first row of taps, and the
# first column, is from an output pixel; bytes of a channel's weights; columns of taps, and a table of them: how far its
# pixels are from the first output pixel, and where its taps' weights lie, in bytes; rows of which there are blocks, and
# lines of output that each makes; channels of a task, and how many such sets there are; numbers of the row of zeros.
CHANNELS, HEIGHT, WIDTH, OUT_HEIGHT, OUT_WIDTH, TOP, LEFT, FILTER, ACROSS, TABLE = range(10)
ROWS, LINES, BLOCKS, TOGETHER, SETS, CHECKED, SHARED, PER_THREAD, ZEROS = range(10, 19)
WORDS = 19
X, WEIGHT, BIAS, Y, WORKSPACE, FLAG = range(6)
AHEAD = 1  # rows of tiles, whose pixels are fetched before they are met
MOST = 7  # rows of taps, at most: a column's weights stay in registers


@dataclass
class Taps:
    """Writes the sums of a tile's rows and vectors, with `some` columns of taps at a time.

    Of every second pixel of a `narrow` row, all columns' pixels are in so many vectors of it, which are loaded once.
    """

    e: Emit
    rows: int
    vectors: int
    high: int
    down: int
    across: int
    some: int
    narrow: int

    def begin(self, number: Value, last: Value) -> Value:
        """The first row of a tile: the last tile begins earlier rather than being smaller."""
        row = self.e.b.mul(number, self.e.long(self.rows))
        return self.e.b.select(self.e.b.icmp_signed("<", row, last), row, last)

    def prepared(self, left: Value, width: Value, weights: Value, entries: Value) -> tuple[Any, Any, Any]:
        """Their weights, the masks of what is loaded, by its place in a row, and how far the first of it is."""
        return self.factors(weights, entries), *self.masks(left, width, entries)

    def factors(self, weights: Value, entries: Value) -> list[list[Value]]:
        """Their weights, which a table's entries tell the places of."""
        e, words = self.e, 1 + self.high
        return [
            [e.splat(e.number(weights, e.word(entries, e.long(t * words + 1 + r)))) for r in range(self.high)]
            for t in range(self.some)
        ]

    def masks(self, left: Value, width: Value, entries: Value) -> tuple[dict[int, Value], Value]:
        """Which lanes of what is loaded lie in a row, by its place, and how far the first of it is; no width, all."""
        e = self.e
        first = e.at(left, e.word(entries, e.long(0)))
        found = dict.fromkeys(sorted({place for t in range(self.some) for place in self.places(t)}), e.first(e.lanes))
        for place in found if width is not None else ():
            found[place] = e.within(e.at(first, place), width)
        return found, e.b.mul(first, e.long(e.item))

    def places(self, t: int) -> list[int]:
        """Where in a row the vectors begin that a column of taps needs; an odd one's pixels are in an even one's."""
        if self.narrow:
            return [n * self.e.lanes for n in range(self.narrow)]
        return [t // self.across * self.across + n * self.e.lanes for n in range(self.vectors * self.across)]

    def added(
        self, ready: tuple[Any, Any, Any], x: Value, height: Value, pitch: Value, above: Value, zeros: Value, sums: Any
    ) -> list[Value]:
        """The sums with what these taps meet, from the row `above` on."""
        e, (factors, masks, shift) = self.e, ready
        line = e.at(x, shift, e.b.mul(above, pitch))
        for q in range((self.rows - 1) * self.down + self.high):
            inside = e.b.icmp_unsigned("<", e.at(above, q), height)
            source = e.b.select(inside, line, zeros)
            line = e.at(line, pitch)
            loaded = {place: e.masked_load(mask, source, place * e.item) for place, mask in masks.items()}
            for t in range(self.some):
                pixels = [loaded[place] for place in self.places(t)]
                if self.narrow:
                    wanted = [min(t + 2 * lane, self.narrow * e.lanes - 1) for lane in range(e.lanes)]
                    pixels = [e.shuffle(pixels[0], pixels[-1], wanted)]
                elif self.across == 2:
                    lanes = list(range(t % 2, 2 * e.lanes, 2))
                    pixels = [e.shuffle(*pair, lanes) for pair in zip(pixels[::2], pixels[1::2], strict=True)]
                for p in range(max(0, -((self.high - 1 - q) // self.down)), min(self.rows, q // self.down + 1)):
                    for v, pixel in enumerate(pixels, p * self.vectors):
                        sums[v] = e.fma(factors[t][q - p * self.down], pixel, sums[v])
        return list(sums)


@instruction(9)
def plane_columns(
    e: Emit,
    rows: int,
    vectors: int,
    high: int,
    down: int,
    across: int,
    some: int,
    narrow: int,
    x: Value,
    height: Value,
    width: Value,
    top: Value,
    left: Value,
    weights: Value,
    table: Value,
    taps: Value,
    bias: Value,
    zeros: Value,
    y: Value,
    y_pitch: Value,
    count: Value,
    keep: Value,
) -> None:
    """y[p, q] = bias + sum over r, t of w[t, r] x[top + p * down + r, left + q * across + table[t, 0]] for p < count.

    w[t, r] is the weight at the byte table[t, 1 + r]; beyond the rows and columns of x it is 0. Columns of taps, which
    are neighbours, are all taken at once if `some` is more than 1. Of a row `keep` pixels are stored, of so many
    vectors. At `zeros` there are as many as are loaded of a row. Rows are taken `rows` at a time; the last ones begin
    earlier and give the same numbers twice.
    """
    write = Taps(e, rows, vectors, high, down, across, some, narrow)
    start, last = e.splat(e.number(bias)), e.at(count, -rows)
    pitch = e.b.mul(width, e.long(e.item))
    kept = [e.leading(e.b.sub(keep, e.long(v * e.lanes))) for v in range(vectors)]

    def ready(t: Value) -> tuple[Any, Any, Any]:
        return write.prepared(left, width, weights, e.at(table, (8 * (1 + high), t)))

    once = ready(e.long(0)) if some > 1 else None

    def tile(number: Value, _: list[Value]) -> list[Value]:
        begin = write.begin(number, last)
        above, sums = e.at(top, (down, begin)), [start] * (rows * vectors)
        if once:
            sums = write.added(once, x, height, pitch, above, zeros, sums)
        else:
            sums = e.loop(taps, sums, lambda t, inner: write.added(ready(t), x, height, pitch, above, zeros, inner))
        for p in range(rows):
            for v, mask in enumerate(kept):
                e.masked_store(sums[p * vectors + v], mask, e.at(y, (e.at(begin, p), y_pitch)), v * e.lanes * e.item)
        return []

    e.loop(e.b.sdiv(e.at(count, rows - 1), e.long(rows)), [], tile)


@instruction(9)
def plane_rows(
    e: Emit,
    rows: int,
    vectors: int,
    high: int,
    down: int,
    across: int,
    some: int,
    narrow: int,
    planes: Value,
    x: Value,
    x_plane: Value,
    height: Value,
    width: Value,
    top: Value,
    weights: Value,
    table: Value,
    taps: Value,
    bias: Value,
    zeros: Value,
    y: Value,
    y_plane: Value,
    y_width: Value,
    count: Value,
) -> None:
    """As `plane_columns`, for some planes' whole rows, whose first and last tiles alone meet what is beyond their ends.

    The last tile of a row comes first: what it stores too much, others store after it, but for the last rows.
    """
    write, last, wide = Taps(e, rows, vectors, high, down, across, some, narrow), e.at(count, -rows), vectors * e.lanes
    pitch, y_pitch = e.b.mul(width, e.long(e.item)), e.b.mul(y_width, e.long(e.item))
    tiles = e.b.sdiv(e.at(y_width, wide - 1), e.long(wide))
    final = e.b.mul(e.at(tiles, -1), e.long(wide))
    kept = [e.leading(e.b.sub(e.b.sub(y_width, final), e.long(v * e.lanes))) for v in range(vectors)]
    ends = [write.masks(e.b.mul(place, e.long(across)), width, table) for place in (e.long(0), final)]

    def plane(_: Value, places: list[Value]) -> list[Value]:
        image, numbers, first, out = places
        once, start = write.factors(numbers, table) if some > 1 else None, e.splat(e.number(first))

        def row(number: Value, _: list[Value]) -> list[Value]:
            begin = write.begin(number, last)
            above = e.at(top, (down, begin))

            def tile(place: Value, end: Any = None) -> None:
                left, limit, sums = e.b.mul(place, e.long(across)), width if end else None, [start] * (rows * vectors)
                ahead = e.at(image, (e.at(above, AHEAD * rows * down), pitch), (left, e.long(e.item)))
                for r in range(rows * down):
                    e.will_load(e.at(ahead, (r, pitch)))

                def met(t: Value, inner: list[Value]) -> list[Value]:
                    entry = e.at(table, (8 * (1 + high), t))
                    ready = write.factors(numbers, entry), *write.masks(left, limit, entry)
                    return write.added(ready, image, height, pitch, above, zeros, inner)

                if once:
                    ready = once, *(end or write.masks(left, limit, table))
                    sums = write.added(ready, image, height, pitch, above, zeros, sums)
                else:
                    sums = e.loop(taps, sums, met)
                line = e.at(out, (begin, y_pitch), (place, e.long(e.item)))
                for p in range(rows):
                    for v, total in enumerate(sums[p * vectors : (p + 1) * vectors]):
                        store(total, v, p, e.at(line, (p, y_pitch)), end is ends[1])

            def store(total: Value, v: int, p: int, line: Value, some_lanes: bool) -> None:
                if not some_lanes:
                    e.store(total, line, v * e.lanes * e.item)
                    return
                left = e.b.sub(e.b.mul(e.b.sub(count, e.at(begin, p)), y_width), final)  # pixels, to the end of all
                with e.b.if_else(e.b.icmp_signed(">=", left, e.long((v + 1) * e.lanes))) as (before, at_end):
                    with before:
                        e.store(total, line, v * e.lanes * e.item)
                    with at_end:
                        e.masked_store(total, kept[v], line, v * e.lanes * e.item, rarely=True)

            def inside(number: Value, _: list[Value]) -> list[Value]:
                tile(e.b.mul(e.at(number, 1), e.long(wide)))
                return []

            tile(final, ends[1])
            with e.b.if_then(e.b.icmp_signed(">", tiles, e.long(1))):
                tile(e.long(0), ends[0])
            e.loop(e.at(tiles, -2), [], inside)
            return []

        e.loop(e.b.sdiv(e.at(count, rows - 1), e.long(rows)), [], row)
        following = (image, x_plane), (numbers, e.b.mul(taps, e.long(high * e.item))), (first, e.item), (out, y_plane)
        return [e.at(place, step) for place, step in following]

    e.loop(planes, [x, weights, bias, y], plane)


@cache
def planes_body(
    item: int,
    lanes: int,
    rows: int,
    vectors: int,
    high: int,
    down: int,
    across: int,
    some: int,
    narrow: int,
    along: bool,
) -> Any:
    """The forward pass or the input gradient, by tiles of so many rows and vectors, strides down and across.

    A plane's tiles are taken `along` its rows, or down its columns.
    """
    wide = vectors * lanes

    @njit
    def by_rows(plan, planes, x, x_plane, row, weights, bias, zeros, y, y_plane, count):  # type: ignore[no-untyped-def]
        plane_rows(
            item, lanes, rows, vectors, high, down, across, some, narrow, planes, x, x_plane, word(plan, HEIGHT),
            word(plan, WIDTH), row * down + word(plan, TOP), weights, word(plan, TABLE), word(plan, ACROSS), bias,
            zeros, y, y_plane, word(plan, OUT_WIDTH), count,
        )  # fmt: skip

    @njit
    def by_columns(plan, planes, x, x_plane, row, weights, bias, zeros, y, y_plane, count):  # type: ignore[no-untyped-def]
        taps, width = word(plan, FILTER), word(plan, OUT_WIDTH)
        for left in range(0, width, wide):
            for k in range(planes):
                plane_columns(
                    item, lanes, rows, vectors, high, down, across, some, narrow, x + k * x_plane,
                    word(plan, HEIGHT), word(plan, WIDTH), row * down + word(plan, TOP), left * across,
                    weights + k * taps, word(plan, TABLE), word(plan, ACROSS), bias + k * item, zeros,
                    y + k * y_plane + left * item, width * item, count, width - left,
                )  # fmt: skip

    return over_planes(item, lanes, by_rows if along else by_columns)


def over_planes(item: int, lanes: int, filtered: Any) -> Any:
    """The body that goes through planes, some of which, or a block of their rows, are `filtered`."""

    @body
    def planes(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, set of channels, block of rows)."""
        blocks, sets, together = word(plan, BLOCKS), word(plan, SETS), word(plan, TOGETHER)
        taps, width, high = word(plan, FILTER), word(plan, OUT_WIDTH), word(plan, ROWS)
        pixels, outputs = word(plan, HEIGHT) * word(plan, WIDTH), word(plan, OUT_HEIGHT) * width
        zeros = word(arrays, WORKSPACE) + word(plan, SHARED) + thread * word(plan, PER_THREAD)
        clear_numbers(item, lanes, word(plan, ZEROS), zeros)
        for task in range(first, end):
            block, rest = task % blocks, task // blocks
            channel, image = rest % sets * together, rest // sets
            count, own = min(together, word(plan, CHANNELS) - channel), image * word(plan, CHANNELS) + channel
            row, row_end = block * high // blocks, (block + 1) * high // blocks
            line, line_end = row * word(plan, LINES), min(row_end * word(plan, LINES), word(plan, OUT_HEIGHT))
            if word(plan, CHECKED) and image == block == 0:  # all images meet the same weights
                all_taps = count * taps // item
                flag_unless_finite(item, lanes, 0, word(arrays, WEIGHT) + channel * taps, all_taps, word(arrays, FLAG))
            filtered(
                plan, count, word(arrays, X) + own * pixels * item, pixels * item, row,
                word(arrays, WEIGHT) + channel * taps, word(arrays, BIAS) + channel * item, zeros,
                word(arrays, Y) + (own * outputs + line * width) * item, outputs * item, line_end - line,
            )  # fmt: skip

    return planes
