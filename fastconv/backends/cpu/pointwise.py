"""Convolution by filters of a single tap, where an image has many pixels: a product of matrices.

y[n, o, p] = bias[o] + sum over c of weight[o, c] x[n, c, p], pixels in the lanes. A task is a block of some tiles of an
image's pixels, and a share of the filters. The first filters' tiles load the pixels where they lie, a channel far from
the next, and leave them behind each other for the others. All fetch the next block, a few lines at a time: many at once
would hold up the loads, and the processor does not expect them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import (
    clear_numbers,
    copy_apart,
    copy_between,
    copy_numbers,
    copy_rows,
    turn_block,
)
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import I8, READ, Emit, Value, instruction

# A plan's words: groups; channels, filters and pixels of a group; tiles and blocks of pixels; panels and shares of the
# filters; channels' rows that are fetched at each step between a tile's parts;
GROUPS, CHANNELS, FILTERS, PIXELS, TILES, BLOCKS, PANELS, SHARES, FETCHED = range(9)
# bytes of a panel of filters, of a thread's part of the workspace and before it; and in the weights from a filter, a
# channel and a group to the next.
PANEL_BYTES, PER_THREAD, SHARED, FILTER_STEP, CHANNEL_STEP, GROUP_STEP = range(9, 15)
# Where each filter has 2 x 2 taps, each for an output pixel of its own: pixels of a row, 0 where it has a single tap.
# Where every so many pixels of x are taken: where in the workspace they are left, 0 where all are; x's and their
# extents, and the steps; planes of a task, and all.
SAMPLES, EXTENTS, TAKEN, STEPS, TOGETHER, PLANES, WIDTH = 15, 16, 19, 22, 25, 26, 27
PLACES = 28
TAPS = 4  # of a filter whose stride is its size


@instruction(6)
def points_tile(
    e: Emit,
    filters: int,
    vectors: int,
    packs: int,
    whole: int,
    x: Value,
    x_row: Value,
    own: Value,
    weights: Value,
    depth: Value,
    bias: Value,
    y: Value,
    y_row: Value,
    valid: Value,
    columns: Value,
    ahead: Value,
    ahead_row: Value,
    fetched: Value,
) -> None:
    """y[f, :] = bias[f] + sum over k < depth of weights[k, f] * x[k, :].

    There are `columns` pixels, all that there can be if `whole`. A tile that `packs` leaves the pixels at `own`, row
    behind row. So many rows of other pixels, `ahead`, are fetched before each of `filters` parts of the sum. Of the
    filters only `valid` are there; the others write where the last one does, before it.
    """
    width = e.lanes * e.item
    masks = [e.first(e.lanes) if whole else e.leading(e.b.sub(columns, e.long(v * e.lanes))) for v in range(vectors)]
    limit = e.b.sub(valid, e.long(1))
    chosen = [e.least(f, limit) for f in range(filters)]

    def step(k: Value, carried: list[Value]) -> list[Value]:
        line, place, numbers, *sums = carried
        if packs and not whole:
            row = [e.masked_load(mask, line, v * width) for v, mask in enumerate(masks)]
        else:
            row = [e.load(line, v * width) for v in range(vectors)]
        for v, pixels in enumerate(row if packs else []):
            e.store(pixels, place, v * width)
        following: list[Value] = []
        for f in range(filters):
            weight = e.splat(e.number(numbers, f * e.item))
            following += [e.fma(weight, pixels, sums[len(following) + v]) for v, pixels in enumerate(row)]
        place = e.at(place, vectors * width) if packs else place
        return [e.at(line, x_row), place, e.at(numbers, filters * e.item), *following]

    def fetch(_: Value, places: list[Value]) -> list[Value]:
        for offset in range(0, vectors * width, LINE):
            e.fetch(e.element(places[0], offset, I8), READ, 2)
        return [e.at(places[0], ahead_row)]

    def part(_: Value, carried: list[Value]) -> list[Value]:
        place, *rest = carried
        return [*e.loop(fetched, [place], fetch), *e.loop(each, rest, step)]

    each = e.b.udiv(depth, e.long(filters))
    start = [e.splat(e.number(e.at(bias, (f, e.long(e.item))))) for f in chosen for _ in range(vectors)]
    _, *carried = e.loop(filters, [ahead, x, own, weights, *start], part)
    _, _, _, *sums = e.loop(e.b.sub(depth, e.b.mul(each, e.long(filters))), carried, step)
    for f in reversed(range(filters)):
        for v, mask in enumerate(masks):
            total, place = sums[f * vectors + v], e.at(y, (chosen[f], y_row))
            if whole:
                e.store(total, place, v * width)
            else:
                e.masked_store(total, mask, place, v * width)


def spread_for(item: int, lanes: int) -> Any:
    """`spread` for numbers of `item` bytes in vectors of so many lanes."""

    @njit
    def spread(tile, across, filters, first, count, width, y, plane):  # type: ignore[no-untyped-def]
        """y[f, 2 i + a, 2 j + b] = tile[f, a, b, p] for the pixels p of (i, j), `count` of them from the first on."""
        for number in range(2 * filters):
            even, target = tile + 2 * number * across * item, y + number // 2 * TAPS * plane
            begin = first
            while begin < first + count:
                line = begin // width
                some = min(first + count, (line + 1) * width) - begin
                place = target + 2 * (begin + (line + number % 2) * width) * item
                shift = (begin - first) * item
                copy_between(item, lanes, even + shift, even + across * item + shift, some, place)
                begin += some

    return spread


@cache
def points_body(item: int, lanes: int, filters: int, vectors: int, rest: int, spreads: bool = False) -> Any:
    """The sums, by tiles of so many filters and vectors; an image's last tile has `rest` vectors.

    If it `spreads` them, filters are TAPS of each of the output's channels.
    """
    across = vectors * lanes
    spread = spread_for(item, lanes)

    @njit
    def tiles(plan, packs, x, own, begin, end, weights, bias, y, valid, ahead, fetched, sums):  # type: ignore[no-untyped-def]
        """A panel's tiles of a block; x, y and what is ahead are those of its first pixel, but for y that is spread."""
        channels, pixels = word(plan, CHANNELS), word(plan, PIXELS)
        row = pixels * item
        y_row = across * item if spreads else row
        for tile in range(begin, end):
            shift = (tile - begin) * across * item
            at, place, packed = x + shift, sums if spreads else y + shift, own + shift * channels
            left = pixels - tile * across
            if left >= across:
                if packs:
                    points_tile(
                        item, lanes, filters, vectors, 1, 1, at, row, packed, weights, channels, bias, place, y_row,
                        valid, across, ahead + shift, row, fetched,
                    )  # fmt: skip
                else:
                    points_tile(
                        item, lanes, filters, vectors, 0, 1, packed, across * item, 0, weights, channels, bias, place,
                        y_row, valid, across, ahead + shift, row, fetched,
                    )  # fmt: skip
            elif packs:
                points_tile(
                    item, lanes, filters, rest, 1, 0, at, row, packed, weights, channels, bias, place, y_row, valid,
                    left, ahead + shift, row, fetched,
                )  # fmt: skip
            else:
                points_tile(
                    item, lanes, filters, rest, 0, 0, packed, rest * lanes * item, 0, weights, channels, bias, place,
                    y_row, valid, left, ahead + shift, row, fetched,
                )  # fmt: skip
            if spreads:
                spread(sums, across, valid // TAPS, tile * across, min(across, left), word(plan, WIDTH), y, row)

    @body
    def points(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, group, block of pixels, share of the filters)."""
        channels, many, row = word(plan, CHANNELS), word(plan, FILTERS), word(plan, PIXELS) * item
        blocks, panels, shares = word(plan, BLOCKS), word(plan, PANELS), word(plan, SHARES)
        own = word(arrays, s.WORKSPACE) + word(plan, SHARED) + thread * word(plan, PER_THREAD)
        images = word(arrays, s.WORKSPACE) + word(plan, SAMPLES) if word(plan, SAMPLES) else word(arrays, s.X)
        biases, sums = own - 2 * LINE, own - 2 * LINE - filters * across * item
        for task in range(first, end):
            share, block, image = task % shares, task // shares % blocks, task // shares // blocks
            begin, stop = block * word(plan, TILES) // blocks, (block + 1) * word(plan, TILES) // blocks
            group = image % word(plan, GROUPS)
            x = images + image * channels * row + begin * across * item
            ahead = x + (stop - begin) * across * item
            if block + 1 == blocks:
                ahead = images + (image + 1) * channels * row
            y = word(arrays, s.Y) + image * many * row + (0 if spreads else begin * across * item)
            low, high = share * panels // shares, (share + 1) * panels // shares
            for panel in range(low, high):
                number = panel * filters
                weights = word(arrays, s.WORKSPACE) + (group * panels + panel) * word(plan, PANEL_BYTES)
                bias = word(arrays, s.BIAS) + (group * many + number) * item
                if spreads:  # TAPS of them have one
                    for f in range(min(filters, many - number)):
                        place = word(arrays, s.BIAS) + (group * many + number + f) // TAPS * item
                        copy_numbers(item, lanes, place, 1, biases + f * item)
                    bias = biases
                done = (panel - low) * word(plan, FETCHED) * filters
                packs = panel == low and (task == first or share == 0)
                tiles(
                    plan, packs, x, own, begin, stop, weights, bias, y + number * row, min(filters, many - number),
                    ahead + done * row, word(plan, FETCHED) if done < channels else 0, sums,
                )  # fmt: skip

    return points


@cache
def sample_body(item: int, lanes: int) -> Any:
    """Every so many pixels of x, one behind the other. A task is some planes."""

    @body
    def sample(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        deep, high, wide = word(plan, EXTENTS), word(plan, EXTENTS + 1), word(plan, EXTENTS + 2)
        planes, rows, columns = word(plan, TAKEN), word(plan, TAKEN + 1), word(plan, TAKEN + 2)
        pitch, step = word(plan, STEPS + 1) * wide * item, word(plan, STEPS + 2)
        for task in range(first, end):
            begin = task * word(plan, TOGETHER)
            for number in range(begin, min(begin + word(plan, TOGETHER), word(plan, PLANES))):
                for i in range(planes):
                    source = word(arrays, s.X) + (number * deep + i * word(plan, STEPS)) * high * wide * item
                    target = (number * planes + i) * rows * columns * item
                    target += word(arrays, s.WORKSPACE) + word(plan, SAMPLES)
                    if step == 1:
                        for j in range(rows):
                            copy_numbers(item, lanes, source + j * pitch, columns, target + j * columns * item)
                    elif step == 2:
                        copy_rows(
                            item, lanes, 2, source, pitch, rows, 0, columns, columns, target, columns * item, 1, 0, 0
                        )
                    else:
                        for j in range(rows):
                            to = target + j * columns * item
                            copy_apart(item, lanes, source + j * pitch, step * item, columns, to, item)

    return sample


@cache
def pack_body(item: int, lanes: int, filters: int) -> Any:
    """Panels of filters: (channels, filters), zeros for those that are not there. A task is a panel."""

    @body
    def pack(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        channels, panels = word(plan, CHANNELS), word(plan, PANELS)
        filter_step, channel_step = word(plan, FILTER_STEP), word(plan, CHANNEL_STEP)
        for task in range(first, end):
            number = task % panels * filters
            valid = min(filters, word(plan, FILTERS) - number)
            source = word(arrays, s.WEIGHT) + task // panels * word(plan, GROUP_STEP) + number * filter_step
            target = word(arrays, s.WORKSPACE) + task * word(plan, PANEL_BYTES)
            if channel_step == item:
                for k in range(0, channels, lanes):
                    for f in range(0, filters, lanes):
                        turn_block(
                            item, lanes, source + k * item + f * filter_step, filter_step, max(0, valid - f),
                            min(lanes, channels - k), target + (k * filters + f) * item, filters * item,
                            min(lanes, filters - f),
                        )  # fmt: skip
            else:
                if valid < filters:
                    clear_numbers(item, lanes, channels * filters, target)
                for k in range(channels):
                    copy_numbers(item, lanes, source + k * channel_step, valid, target + k * filters * item)

    return pack
