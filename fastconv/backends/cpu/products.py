"""Matrix products in register tiles: what linear layers are made of, from matrices as they lie.

- `dots`: y[i, j] = bias[j] + sum over k of a[i, k] b[j, k], with k in the lanes: both are read along their rows.
- `outers`: y[i, j] = sum over k of a[i, k] b[k, j], with j in the lanes; `a` may lie in any order.

A task is a strip of columns of y, so that the greater matrix is read once, along its rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fastconv.backends.cpu.native import body, word
from fastconv.backends.cpu.tiles import add_product, store_dots

ROWS, COLUMNS, DEPTH, STRIP = range(4)  # of y, of the sum, and columns of a task
A_ROW, A_STEP, B_ROW, BIAS_STEP, BLOCK = range(4, 9)  # bytes; and steps of the sum that are taken together
A, B, BIAS, Y = range(4)


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
        a_row, a_step, b_row = word(plan, A_ROW), word(plan, A_STEP), word(plan, B_ROW)
        for task in range(first, end):
            begin = task * word(plan, STRIP)
            stop = min(wide, begin + word(plan, STRIP))
            for k in range(0, depth, word(plan, BLOCK)):
                count = min(word(plan, BLOCK), depth - k)
                for left in range(begin, stop, across):
                    j = max(begin, min(left, stop - across)) if k == 0 and depth <= word(plan, BLOCK) else left
                    last = min(stop - j, across)
                    for i in range(0, high, rows):
                        a, b = word(arrays, A) + i * a_row + k * a_step, word(arrays, B) + k * b_row + j * item
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
                            k,
                        )

    return outers
