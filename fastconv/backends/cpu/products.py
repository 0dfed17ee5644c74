"""Matrix products in register tiles: what linear layers are made of, from matrices as they lie.

- `dots`: y[i, j] = bias[j] + sum over k of a[i, k] b[j, k], with k in the lanes: both are read along their rows.
- `outers`: y[i, j] = bias[j] + sum over k of a[i, k] b[k, j], with j in the lanes; `a` may lie in any order, and what
  lies turned is turned first;
- `sums`: y[j] = sum over i of a[i, j].

A task is a strip of columns of y, so that the greater matrix is read once, along its rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fastconv.backends.cpu.moves import repeat_row, sum_rows, turn_block
from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.tiles import add_product, store_dots

ROWS, COLUMNS, DEPTH, STRIP = range(4)  # of y, of the sum, and columns of a task
A_ROW, A_STEP, B_ROW, BIAS_STEP, BLOCK = range(4, 9)  # bytes; and steps of the sum that are taken together
TURNED = 9  # whether `b` is what `turned` left in the workspace, and there is a bias
PLACES = 10
A, B, BIAS, Y, WORKSPACE = range(5)


@cache
def dots_body(item: int, lanes: int, rows: int, columns: int) -> Any:
    """Dot products of rows."""

    @body
    def dots(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        high, wide, depth = word(plan, ROWS), word(plan, COLUMNS), word(plan, DEPTH)
        bias_step = word(plan, BIAS_STEP)
        for task in range(first, end):
            begin = task * word(plan, STRIP)
            for j in range(begin, min(wide, begin + word(plan, STRIP)), columns):
                b, bias = word(arrays, B) + j * depth * item, word(arrays, BIAS) + j * bias_step
                for i in range(0, high, rows):
                    a, y = word(arrays, A) + i * depth * item, word(arrays, Y) + (i * wide + j) * item
                    valid = min(columns, min(wide, begin + word(plan, STRIP)) - j)
                    store_dots(
                        item,
                        lanes,
                        rows,
                        columns,
                        a,
                        b,
                        depth,
                        bias,
                        bias_step,
                        y,
                        wide * item,
                        min(rows, high - i),
                        valid,
                    )

    return dots


@cache
def outers_body(item: int, lanes: int, rows: int, vectors: int) -> Any:
    """Sums of rows of `b`, a block of them at a time, so that a strip of them stays in cache for all rows of y."""
    across = vectors * lanes

    @body
    def outers(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        high, wide, depth = word(plan, ROWS), word(plan, COLUMNS), word(plan, DEPTH)
        a_row, a_step, b_row, turned = word(plan, A_ROW), word(plan, A_STEP), word(plan, B_ROW), word(plan, TURNED)
        matrix = word(arrays, WORKSPACE if turned else B)
        for task in range(first, end):
            begin = task * word(plan, STRIP)
            stop = min(wide, begin + word(plan, STRIP))
            if turned:
                repeat_row(
                    item, lanes, word(arrays, BIAS) + begin * item, stop - begin, word(arrays, Y) + begin * item,
                    wide * item, high,
                )  # fmt: skip
            for k in range(0, depth, word(plan, BLOCK)):
                count = min(word(plan, BLOCK), depth - k)
                for left in range(begin, stop, across):
                    again = not turned and k == 0 and depth <= word(plan, BLOCK)
                    j = max(begin, min(left, stop - across)) if again else left
                    last = min(stop - j, across)
                    for i in range(0, high, rows):
                        a, b = word(arrays, A) + i * a_row + k * a_step, matrix + k * b_row + j * item
                        y = word(arrays, Y) + (i * wide + j) * item
                        add_product(
                            item,
                            lanes,
                            rows,
                            vectors,
                            a,
                            a_row,
                            a_step,
                            b,
                            b_row,
                            count,
                            y,
                            wide * item,
                            min(rows, high - i),
                            last,
                            k + turned,
                        )

    return outers


@cache
def turned_body(item: int, lanes: int) -> Any:
    """`b` (columns, depth) turned, into the workspace."""

    @body
    def turned(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a vector of y's columns."""
        wide, depth = word(plan, COLUMNS), word(plan, DEPTH)
        for task in range(first, end):
            j = task * lanes
            count = min(lanes, wide - j)
            for k in range(0, depth, lanes):
                source = word(arrays, B) + (j * depth + k) * item
                target = word(arrays, WORKSPACE) + (k * wide + j) * item
                turn_block(item, lanes, source, depth * item, count, min(lanes, depth - k), target, wide * item, count)

    return turned


@cache
def sums_body(item: int, lanes: int) -> Any:
    """Sums of the rows of `a`, in float64."""

    @body
    def sums(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """A task is a vector of columns."""
        high, wide = word(plan, ROWS), word(plan, COLUMNS)
        for task in range(first, end):
            place = task * lanes * item
            a, y = word(arrays, A) + place, word(arrays, Y) + place
            sum_rows(item, lanes, a, wide * item, high, min(lanes, wide - task * lanes), y)

    return sums
