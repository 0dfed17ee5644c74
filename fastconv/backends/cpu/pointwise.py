"""Convolution by filters of a single tap, where an image has many pixels: a product of matrices.

y[n, o, p] = bias[o] + sum over c of weight[o, c] x[n, c, p], pixels in the lanes. A task is a block of some tiles of an
image's pixels, and a share of the filters. The first filters' tiles load the pixels where they lie, a channel far from
the next, and leave them behind each other for the others. All fetch the next block, a line or some more with each
step: of many at once most would be dropped, and the processor does not expect them.

An image's last tile has another width, and so many filters that its sums fill as many registers. Filters come from
packs of as many as a whole tile has, or each from its own row of the weights.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu import pointwise_moves as at
from fastconv.backends.cpu import strips as s
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.moves import copy_numbers
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.vectors import I8, READ, Emit, Value, instruction


@instruction(8)
def points_tile(
    e: Emit,
    filters: int,
    vectors: int,
    packs: int,
    whole: int,
    together: int,
    lines: int,
    x: Value,
    x_row: Value,
    own: Value,
    weights: Value,
    pack_bytes: Value,
    begin: Value,
    depth: Value,
    bias: Value,
    y: Value,
    y_row: Value,
    valid: Value,
    columns: Value,
    ahead: Value,
    ahead_row: Value,
) -> None:
    """y[f, :] = bias[f] + sum over k < depth of weights[k, begin + f] * x[k, :], for filters f of a panel.

    Weights are in packs (k, filter) of so many filters `together`. There are `columns` pixels, all that there can be if
    `whole`, or the last vector has some of its own. A tile that `packs` leaves the pixels at `own`, row behind row.
    Each step fetches so many `lines` of a row `ahead`. Of the filters only `valid` are there; the others write where
    the last one does, before it.
    """
    width = e.lanes * e.item
    last = e.leading(e.b.sub(columns, e.long((vectors - 1) * e.lanes)))  # lanes of the last vector
    limit = e.b.sub(valid, e.long(1))
    chosen = [e.least(f, limit) for f in range(filters)]
    places = [e.long(f * e.item) for f in range(filters)]  # of a step's weights
    if filters != together:
        places = weights_apart(e, together, [e.at(begin, f) for f in chosen], pack_bytes)

    def step(k: Value, carried: list[Value]) -> list[Value]:
        line, place, numbers, later, *sums = carried
        for n in range(lines):
            e.fetch(e.element(later, n * LINE, I8), READ, 2)

        def pixels(v: int) -> Value:
            some = packs and not whole and v + 1 == vectors
            row = e.masked_load(last, line, v * width) if some else e.load(line, v * width)
            if packs:
                e.store(row, place, v * width)
            return row

        def weight(f: int) -> Value:
            return e.splat(e.number(numbers, places[f]))

        by_filter = vectors <= filters  # the fewer of them have registers all the time
        held = [pixels(v) for v in range(vectors)] if by_filter else [weight(f) for f in range(filters)]
        for i in range(filters if by_filter else vectors):
            one = weight(i) if by_filter else pixels(i)
            for j, other in enumerate(held):
                number = i * vectors + j if by_filter else j * vectors + i
                sums[number] = e.fma(one, other, sums[number])
        place = e.at(place, vectors * width) if packs else place
        return [e.at(line, x_row), place, e.at(numbers, together * e.item), e.at(later, ahead_row), *sums]

    start = [e.splat(e.number(e.at(bias, (f, e.long(e.item))))) for f in chosen for _ in range(vectors)]
    _, _, _, _, *sums = e.loop(depth, [x, own, weights, ahead, *start], step)
    for f in reversed(range(filters)):
        for v in range(vectors):
            total, place = sums[f * vectors + v], e.at(y, (chosen[f], y_row))
            if whole or v + 1 < vectors:
                e.store(total, place, v * width)
            else:
                e.masked_store(total, last, place, v * width)


def weights_apart(e: Emit, together: int, numbers: list[Value], pack_bytes: Value) -> list[Value]:
    """Where a step's weights lie, if no pack has a tile's filters, of which these are the numbers."""
    packs = [e.b.udiv(number, e.long(together)) for number in numbers]
    rests = [e.b.urem(number, e.long(together)) for number in numbers]
    return [e.at(e.b.mul(pack, pack_bytes), (rest, e.item)) for pack, rest in zip(packs, rests, strict=True)]


def tiles_for(
    item: int, lanes: int, filters: int, vectors: int, lines: int, whole: int, together: int, spreads: bool
) -> Any:
    """`tiles` of so many filters and vectors, of which the last has some of its numbers if they are not `whole`.

    Each tile of a share's filters fetches so many `lines` of each row ahead, until all are.
    """
    across = vectors * lanes
    apart = filters != together
    spread = at.spread_for(item, lanes)

    @njit
    def tiles(plan, packs, x, own, begin, end, count, weights, bias, y, valid, ahead, slot, sums):  # type: ignore[no-untyped-def]
        """All of a panel's filters, for tiles of `count` pixels each; x, own, y, and what is ahead are the first's.

        y that is spread is the image's.
        """
        channels, row, pack = word(plan, at.CHANNELS), word(plan, at.PIXELS) * item, word(plan, at.PACK_BYTES)
        for first in range(0, valid, filters):
            done = (slot + first) // filters * lines * LINE  # bytes of each row ahead
            begun = first if apart else 0
            numbers, start = weights + (first - begun) // together * pack, bias + first * item
            for tile in range(begin, end):
                shift = (tile - begin) * across * item
                place, pitch = (sums, across * item) if spreads else (y + first * row + shift, row)
                packed = own + shift * channels
                later, later_row = (ahead + shift + done, row) if done < across * item else (packed, 0)
                if packs and first == 0:
                    points_tile(
                        item, lanes, filters, vectors, 1, whole, together, lines, x + shift, row, packed, numbers, pack,
                        begun, channels, start, place, pitch, valid - first, count, later, later_row,
                    )  # fmt: skip
                else:
                    points_tile(
                        item, lanes, filters, vectors, 0, whole, together, lines, packed, across * item, 0, numbers,
                        pack, begun, channels, start, place, pitch, valid - first, count, later, later_row,
                    )  # fmt: skip
                if spreads:
                    some, pixel = min(filters, valid - first) // at.TAPS, word(plan, at.ACROSS) * begin + shift // item
                    spread(sums, across, some, pixel, count, word(plan, at.WIDTH), y + first * row, row)

    return tiles


@cache
def points_body(
    item: int, lanes: int, tile: tuple[int, int, int], rest: tuple[int, int, int], together: int, spreads: bool
) -> Any:
    """The sums, by tiles of so many filters, vectors and lines ahead: whole ones, and an image's last, which is not.

    Weights are in packs of so many filters `together`, a whole tile's or single ones. If it `spreads` the sums, filters
    are TAPS of each of the output's channels.
    """
    filters, across = tile[0], tile[1] * lanes
    panel = panel_filters(tile, rest)
    in_place = together != filters
    whole_tiles = tiles_for(item, lanes, *tile, 1, together, spreads)
    last_tile = tiles_for(item, lanes, *rest, 0, together, spreads)

    @body
    def points(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """Tasks in the order (image, group, block of pixels, share of the filters)."""
        channels, many, row = word(plan, at.CHANNELS), word(plan, at.FILTERS), word(plan, at.PIXELS) * item
        blocks, panels, shares = word(plan, at.BLOCKS), word(plan, at.PANELS), word(plan, at.SHARES)
        own = word(arrays, s.WORKSPACE) + word(plan, at.SHARED) + thread * word(plan, at.PER_THREAD)
        images = word(arrays, s.WORKSPACE) + word(plan, at.SAMPLES) if word(plan, at.SAMPLES) else word(arrays, s.X)
        biases, sums = own - 2 * LINE, own - 2 * LINE - filters * across * item
        results = word(arrays, s.WORKSPACE) + word(plan, at.SUMS) if word(plan, at.SUMS) else word(arrays, s.Y)
        all_weights = word(arrays, s.WEIGHT) if in_place else word(arrays, s.WORKSPACE)
        for task in range(first, end):
            share, block, image = task % shares, task // shares % blocks, task // shares // blocks
            begin, stop = block * word(plan, at.TILES) // blocks, (block + 1) * word(plan, at.TILES) // blocks
            group, whole = image % word(plan, at.GROUPS), min(stop, word(plan, at.WHOLE))
            x = images + image * channels * row + begin * across * item
            ahead = x + (stop - begin) * across * item
            if block + 1 == blocks:
                ahead = images + (image + 1) * channels * row
            shift, left = (whole - begin) * across * item, word(plan, at.PIXELS) - whole * across
            low, high = share * panels // shares, (share + 1) * panels // shares
            for index in range(low, high):
                number = index * panel
                valid, slot = min(panel, many - number), (index - low) * panel
                weights = (
                    all_weights + group * word(plan, at.GROUP_BYTES) + number // together * word(plan, at.PACK_BYTES)
                )
                bias = word(arrays, s.BIAS) + (group * many + number) * item
                if spreads:  # TAPS of them have one
                    for f in range(valid):
                        place = word(arrays, s.BIAS) + (group * many + number + f) // at.TAPS * item
                        copy_numbers(item, lanes, place, 1, biases + f * item)
                    bias = biases
                y = results + (image * many + number) * row + (0 if spreads else begin * across * item)
                packs = index == low and (task == first or share == 0)
                whole_tiles(plan, packs, x, own, begin, whole, across, weights, bias, y, valid, ahead, slot, sums)
                if stop > whole:
                    to = y if spreads else y + shift
                    last_tile(
                        plan, packs, x + shift, own + shift * channels, whole, stop, left, weights, bias, to, valid,
                        ahead + shift, slot, sums,
                    )  # fmt: skip

    return points


def panel_filters(tile: tuple[int, ...], rest: tuple[int, ...]) -> int:
    """Filters that whole tiles and the last one both share out evenly."""
    return tile[0] if tile[0] == rest[0] else tile[0] * tile[1]
