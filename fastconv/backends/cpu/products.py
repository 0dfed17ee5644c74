"""Matrix products in register tiles: what linear layers are made of, from matrices as they lie.

- `dots`: y[i, j] = bias[j] + sum over k of a[i, k] b[j, k], with k in the lanes: both are read along their rows.
- `outers`: y[i, j] = bias[j] + sum over k of a[i, k] b[k, j], with j in the lanes; `a` may lie in any order, and what
  lies turned is turned first;
- `sums`: y[j] = sum over i of a[i, j].

A task is a strip of columns of y, so that the greater matrix is read once, along its rows; or some rows of a strip,
where strips are few.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from fastconv.backends.cpu.moves import sum_rows
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.optimizer_steps import adapt, descend
from fastconv.backends.cpu.tiles import add_product, store_dots
from fastconv.backends.cpu.turns import turn_block

ROWS, COLUMNS, DEPTH, STRIP = range(4)  # of y, of the sum, and columns of a task
A_ROW, A_STEP, B_ROW, BLOCK = range(4, 8)  # bytes; and steps of the sum that are taken together
BIASED, PARTS = 8, 9  # whether there is a bias; parts of the rows
LEFT, RIGHT, RESULT = 10, 11, 12  # which of the call's arrays are a, b and y; or what is turned (RIGHT) to where
STAYS = 13  # whether b stays in cache
SHARED, PER_THREAD, PACK_BYTES = 14, 15, 16  # bytes before threads' packs, of a thread's, and of its pack of b
PLACES = 17
SUMMED = 4  # vectors of columns that are summed together
A, B, BIAS, Y, WORKSPACE, OWN = range(6)
NUMBERS = OWN + 4  # behind the arrays of an optimizer's step
SGD, ADAM = 1, 2  # what moves a parameter, if y is its gradient


def words(values: dict[int, int]) -> list[int]:
    """A plan's parameters: these, and 0 in all other places."""
    return [values.get(place, 0) for place in range(PLACES)]


@njit
def rectangle(plan, task, rows):  # type: ignore[no-untyped-def]
    """The rows of y that a task computes, whole tiles of so many, and its columns.

    Neighbouring tasks have the same rows where `b` stays in cache: where rows are images, threads meet their own ones
    in every layer. Else they have the same columns, and a thread reads its own ones of `b` alone.
    """
    parts, tiles = word(plan, PARTS), (word(plan, ROWS) + rows - 1) // rows
    strips = (word(plan, COLUMNS) + word(plan, STRIP) - 1) // word(plan, STRIP)
    part, strip = (task // strips, task % strips) if word(plan, STAYS) else (task % parts, task // parts)
    begin = strip * word(plan, STRIP)
    low, high = part * tiles // parts * rows, min(word(plan, ROWS), (part + 1) * tiles // parts * rows)
    return low, high, begin, min(word(plan, COLUMNS), begin + word(plan, STRIP))


def moves(update: int) -> Any:
    """What moves a parameter's numbers by this optimizer."""
    return adapt if update == ADAM else descend


@cache
def dots_body(item: int, lanes: int, rows: int, columns: int) -> Any:
    """Dot products of rows."""

    @body
    def dots(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        wide, depth = word(plan, COLUMNS), word(plan, DEPTH)
        for task in range(first, end):
            low, high, begin, stop = rectangle(plan, task, rows)
            for j in range(begin, stop, columns):
                b, bias, valid = word(arrays, B) + j * depth * item, word(arrays, BIAS) + j * item, stop - j
                for i in range(low, high, rows):
                    a, y = word(arrays, A) + i * depth * item, word(arrays, Y) + (i * wide + j) * item
                    store_dots(
                        item, lanes, rows, columns, a, b, depth, bias, y, wide * item,
                        min(rows, high - i), min(columns, valid),
                    )  # fmt: skip

    return dots


@cache
def outers_body(item: int, lanes: int, rows: int, vectors: int, update: int = 0) -> Any:
    """Sums of rows of `b`, a block of them at a time, so that a strip of them stays in cache for all rows of y.

    With an `update` y is a gradient, and its parameter moves a tile at a time, while the tile is near.
    """
    across = vectors * lanes
    move = moves(update)

    @body
    def outers(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        wide, depth, most = word(plan, COLUMNS), word(plan, DEPTH), word(plan, BLOCK)
        a_row, a_step, b_row, biased = word(plan, A_ROW), word(plan, A_STEP), word(plan, B_ROW), word(plan, BIASED)
        factor, matrix, result = (
            word(arrays, word(plan, LEFT)), word(arrays, word(plan, RIGHT)), word(arrays, word(plan, RESULT)),
        )  # fmt: skip
        for task in range(first, end):
            low, high, begin, stop = rectangle(plan, task, rows)
            for k in range(0, depth, most):
                count = min(most, depth - k)
                for left in range(begin, stop, across):
                    again = update == 0 and k == 0 and depth <= most  # columns may be computed twice
                    j = max(begin, min(left, stop - across)) if again else left
                    last = min(stop - j, across)
                    for i in range(low, high, rows):
                        a, b = factor + i * a_row + k * a_step, matrix + k * b_row + j * item
                        y = result + (i * wide + j) * item
                        start, start_row = y, wide * item
                        if biased and k == 0:
                            start, start_row = word(arrays, BIAS) + j * item, 0
                        add_product(
                            item, lanes, rows, vectors, 0, 1, a, a_row, a_step, b, b_row, count, y, wide * item,
                            min(rows, high - i), last, k + biased, start, start_row,
                        )  # fmt: skip
                        if update != 0 and k + count == depth:
                            for row in range(i, min(i + rows, high)):
                                move(item, lanes, arrays + 8 * NUMBERS, arrays + 8 * OWN, row * wide + j, last)

    return outers


@cache
def turned_body(item: int, lanes: int) -> Any:
    """A matrix (columns, depth), such as `b`, turned into another array."""

    @body
    def turned(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a vector of y's columns."""
        wide, depth = word(plan, COLUMNS), word(plan, DEPTH)
        for task in range(first, end):
            j = task * lanes
            count = min(lanes, wide - j)
            for k in range(0, depth, lanes):
                source = word(arrays, word(plan, RIGHT)) + (j * depth + k) * item
                target = word(arrays, word(plan, RESULT)) + (k * wide + j) * item
                turn_block(item, lanes, source, depth * item, count, min(lanes, depth - k), target, wide * item, count)

    return turned


@cache
def sums_body(item: int, lanes: int) -> Any:
    """Sums of the rows of `a`, in float64."""
    width = SUMMED * lanes

    @body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is some vectors of columns."""
        high, wide = word(plan, ROWS), word(plan, COLUMNS)
        for task in range(first, end):
            place = task * width * item
            a, y = word(arrays, A) + place, word(arrays, Y) + place
            sum_rows(item, lanes, SUMMED, a, wide * item, high, wide - task * width, y)

    return sums
