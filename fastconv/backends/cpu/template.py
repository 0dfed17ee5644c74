"""Template matching: sums over each window, and the scores that they make of the products with the template.

Sums are taken in float64, down blocks of rows and then across, and nothing is ever subtracted from one: so its error is
relative to itself, and a pixel, were it NaN or 1e30, reaches only the windows that hold it.

Index letters: `p q` window, by its first pixel; `r s` pixel in it; `k` channel; `i` place in a row, channels and all.
"""

from functools import cache
from math import sqrt
from typing import Any

import numpy as np
from numba import njit

from fastconv.backends.cpu.kernels import EXACT, SUMS, address, kernel
from fastconv.backends.cpu.machine import cache_bytes
from fastconv.typing import Array

ROWS = 64  # of windows in a task, at most
SPACE = cache_bytes(2, 1 << 20) // 2  # bytes of the sums that a task keeps, about
CENTRED, PRODUCT, DIFFERENCE, RELATIVE = range(4)
KINDS = {"ccoeff_normed": CENTRED, "ccorr_normed": PRODUCT, "sqdiff": DIFFERENCE, "sqdiff_normed": RELATIVE}
ENOUGH = 1e5  # times its rounding: a window's contrast that is as right as a score should be
RANGE = {4: (1e-36, 1e36), 8: (1e-300, 1e300)}  # of numbers whose root a float32 or float64 holds


def score(method: str, x: Array, weights: Array, shift: Array, doubt: float, y: Array) -> None:
    """Make scores of the products y[p, q] = sum over r, s, k of weights[r, s, k] x[p + r, q + s, k], in place.

    With u = x - shift, sums over the window and the template, energy = sum of weights² and var = sum of (u - mean)²:

        ccoeff_normed   y / sqrt(var energy); 0 where nothing but rounding tells var from 0, or energy is 0
        ccorr_normed    y / sqrt(sum of u² energy); 0 where that is 0
        sqdiff          sum of u² - 2 y + energy, the squared difference of u and the weights
        sqdiff_normed   the same / sqrt(sum of x² sum of (weights + shift)²), at most 1; 1 where that is 0

    Where var is less than `doubt` times the sum of u², y is too coarse: var and y are computed from pixels once more.
    """
    high, wide, channels = weights.shape
    energy, area = float(np.vdot(weights, weights)), high * wide
    rounding = 4 * (high + 2 * wide.bit_length() + 8) * 2.0**-53  # with room to spare, a sum's relative error
    doubt = max(doubt, ENOUGH * rounding)
    norm = sqrt(energy if method != "sqdiff_normed" else energy + area * float(np.vdot(shift, shift)))
    root = 1 / norm if norm else np.inf if method == "sqdiff_normed" else 0.0
    numbers = np.array([energy, root, rounding, doubt, *RANGE[y.itemsize]])
    pixels = np.ascontiguousarray(x).reshape(len(x), -1)
    filters = np.ascontiguousarray(weights).reshape(high, -1)
    rows, kept = min(high, ROWS), 2 if KINDS[method] in (CENTRED, RELATIVE) else 1
    panels = -(-y.shape[1] // max(SPACE // (8 * kept * rows * channels), wide))
    columns = -(-y.shape[1] // panels)
    tasks = -(-len(y) // rows) * panels
    scores(KINDS[method])(tasks, pixels, filters, shift, numbers, rows, columns, y)


@cache
def scores(kind: int) -> Any:
    """The kernel for one kind of score."""

    @kernel
    def score(x, weights, shift, numbers, rows, columns, y, first, end):  # type: ignore[no-untyped-def]
        """y[p, q] = the score of the product y[p, q] and the sums over the window, for blocks of windows.

        A block's windows share a row. Sums of the rows from a window's first on to the last that the block's first
        window has are kept for each of them; to these come sums of the rows after that.
        """
        channels, high, wide = shift.size, weights.shape[0], weights.shape[1]
        width, tiles = wide + (columns - 1) * channels, (y.shape[1] + columns - 1) // columns
        offsets = np.empty(width)
        for i in range(width):
            offsets[i] = shift[i % channels]
        pitch = (width + 7) // 8 * 8
        block = np.empty((2 * rows + 6) * pitch + 8)
        block = block[-(address(block) // 8) % 8 :][: (2 * rows + 6) * pitch].reshape(2 * rows + 6, pitch)
        kept, sums, work = block[6:].reshape(2, rows, pitch), block[:2], block[2:6]
        for task in range(first, end):
            top, left = task // tiles * rows, task % tiles * columns
            count, many = min(rows, y.shape[0] - top), min(columns, y.shape[1] - left)
            begin, span = left * channels, wide + (many - 1) * channels
            one, two = sums[0, :span], sums[1, :span]
            one[:], two[:] = 0.0, 0.0
            for r in range(high - 1, -1, -1):
                add_row(kind, x[top + r, begin : begin + span], offsets, one, two)
                if r < count:
                    if kind in (CENTRED, RELATIVE):
                        put(one, kept[0, r, :span])
                    put(two, kept[1, r, :span])
            one[:], two[:] = 0.0, 0.0
            for p in range(count):
                if p > 0:
                    add_row(kind, x[top + high + p - 1, begin : begin + span], offsets, one, two)
                size = many * channels
                if kind in (CENTRED, RELATIVE):
                    sum_across(kept[0, p], one, work[0], work[1], wide // channels, channels, work[2, :size])
                sum_across(kept[1, p], two, work[0], work[1], wide // channels, channels, work[3, :size])
                row = y[top + p, left : left + many]
                if kind == CENTRED:
                    for i in range(size):
                        work[2, i] *= work[2, i]
                if channels > 1:
                    sum_channels(work[2, :size], work[3, :size], channels)
                unsure = work[0, :many]
                score_row(kind, work[2], work[3], 1 / (wide // channels * high), numbers, row, unsure)
                if kind != DIFFERENCE and total(unsure) > 0:
                    score_again(kind, x, weights, top + p, begin, channels, numbers, row, work)

    return score


@njit(fastmath=EXACT, error_model="numpy", inline="always")
def add_row(kind, row, offsets, one, two):  # type: ignore[no-untyped-def]
    """Add u, or for RELATIVE x², to `one`, and u² to `two`."""
    for i in range(row.size):
        pixel = np.float64(row[i])
        less = pixel - offsets[i]
        if kind == CENTRED:
            one[i] += less
        if kind == RELATIVE:
            one[i] += pixel * pixel
        two[i] += less * less


@njit(fastmath=EXACT, error_model="numpy")
def sum_across(upper, lower, work, spare, taps, step, total):  # type: ignore[no-untyped-def]
    """total[i] = sum over s < taps of (upper + lower)[i + s * step], by sums of 4, 16, 64, ... of them."""
    size, done, empty = lower.size, 0, True
    for i in range(size):
        work[i] = upper[i] + lower[i]
    while taps > 0:
        alone = taps % 4 if taps > 4 else taps
        if alone > 1 and empty:
            add_two(work[done:], work[done + step :], total)
            alone, done, empty = alone - 2, done + 2 * step, False
        for _ in range(alone):
            put(work[done:], total) if empty else add(work[done:], total)
            done, empty = done + step, False
        if taps <= 4:
            return
        size -= 3 * step
        add_four(work, work[step:], work[2 * step :], work[3 * step :], spare[:size])
        work, spare, taps, step = spare, work, taps // 4, 4 * step


@njit(fastmath=EXACT, error_model="numpy")
def put(row, total):  # type: ignore[no-untyped-def]
    """total[i] = row[i]."""
    for i in range(total.size):
        total[i] = row[i]


@njit(fastmath=EXACT, error_model="numpy")
def add(row, total):  # type: ignore[no-untyped-def]
    """total[i] += row[i]."""
    for i in range(total.size):
        total[i] += row[i]


@njit(fastmath=EXACT, error_model="numpy")
def add_two(a, b, total):  # type: ignore[no-untyped-def]
    """total[i] = a[i] + b[i]."""
    for i in range(total.size):
        total[i] = a[i] + b[i]


@njit(fastmath=EXACT, error_model="numpy")
def add_four(a, b, c, d, total):  # type: ignore[no-untyped-def]
    """total[i] = a[i] + b[i] + c[i] + d[i], in pairs."""
    for i in range(total.size):
        total[i] = (a[i] + b[i]) + (c[i] + d[i])


@njit(fastmath=EXACT, error_model="numpy")
def sum_channels(one, two, channels):  # type: ignore[no-untyped-def]
    """Sums over the channels, in the first places."""
    for q in range(one.size // channels):
        first, second = one[q * channels], two[q * channels]
        for k in range(q * channels + 1, (q + 1) * channels):
            first += one[k]
            second += two[k]
        one[q], two[q] = first, second


@njit(fastmath=EXACT, error_model="numpy", inline="always")
def score_row(kind, one, two, share, numbers, row, unsure):  # type: ignore[no-untyped-def]
    """Scores in place of a row's products, in its dtype; those that need float64 are left alone, with `unsure` 1."""
    energy, root, rounding, doubt = numbers[0], numbers[1], numbers[2], numbers[3]
    low, high = numbers[4], numbers[5]
    number = row.dtype.type
    for q in range(row.size):
        product, second = row[q], two[q]
        square = one[q] if kind == RELATIVE else second
        value, nothing, slack = np.float64(product), number(0), 0.0
        if kind == CENTRED:
            square, slack = second - one[q] * share, rounding * second
        if kind in (DIFFERENCE, RELATIVE):
            value, nothing = max(second - 2 * value + energy, 0.0), number(1)
        if kind == DIFFERENCE:
            row[q] = np.inf if second == np.inf else value
            continue
        least = max(low, doubt * second) if kind == CENTRED else low
        found = number(value * root) / sqrt(number(square))
        found = number(1) if found > number(1) else found
        found = number(-1) if found < number(-1) else found
        found = nothing if square <= slack else found
        later = (square > slack) & ((square < least) | (square > high))
        row[q], unsure[q] = product if later else found, 1.0 if later else 0.0


@njit(fastmath=SUMS, error_model="numpy")
def total(row):  # type: ignore[no-untyped-def]
    """The sum."""
    found = 0.0
    for i in range(row.size):
        found += row[i]
    return found


@njit(fastmath=EXACT, error_model="numpy")
def score_again(kind, x, weights, p, begin, channels, numbers, row, work):  # type: ignore[no-untyped-def]
    """The scores that need float64, or a second look at the pixels."""
    energy, root, unsure, one, two = numbers[0], numbers[1], work[0], work[2], work[3]
    for q in range(row.size):
        if unsure[q] > 0:
            if kind == CENTRED:
                value = coefficient(x, p, begin + q * channels, weights, channels, work[1], work[2]) * root
            elif kind == PRODUCT:
                value = row[q] * root / sqrt(two[q])
            else:
                value = max(two[q] - 2 * np.float64(row[q]) + energy, 0.0) * root / sqrt(one[q])
            row[q] = 1.0 if value > 1 else -1.0 if value < -1 else value


@njit(fastmath=EXACT, error_model="numpy")
def coefficient(x, p, begin, weights, channels, base, one):  # type: ignore[no-untyped-def]
    """The product of one window and the weights over the root of the window's contrast, from pixels less the first."""
    two, product, wide = 0.0, 0.0, weights.shape[1]
    if channels == 1:
        first, plain = np.float64(x[p, begin]), 0.0
        for r in range(weights.shape[0]):
            found = sums_of_grey(x[p + r, begin : begin + wide], weights[r], first)
            plain, two, product = plain + found[0], two + found[1], product + found[2]
        two -= plain * plain / weights.size
        return product / sqrt(two) if two > 0 else 0.0
    for i in range(wide):
        base[i], one[i] = x[p, begin + i % channels], 0.0
    for r in range(weights.shape[0]):
        part = sums_of_colours(x[p + r, begin : begin + wide], weights[r], base, one)
        two, product = two + part[0], product + part[1]
    for k in range(channels):
        two -= one[k:wide:channels].sum() ** 2 * channels / weights.size
    return product / sqrt(two) if two > 0 else 0.0


@njit(fastmath=SUMS, error_model="numpy")
def sums_of_grey(row, taps, base):  # type: ignore[no-untyped-def]
    """Sums of u = row - base, u² and taps u."""
    one, two, product = 0.0, 0.0, 0.0
    for i in range(taps.size):
        less = row[i] - base
        one += less
        two += less * less
        product += taps[i] * less
    return one, two, product


@njit(fastmath=SUMS, error_model="numpy")
def sums_of_colours(row, taps, base, one):  # type: ignore[no-untyped-def]
    """Sums of u² and taps u with u = row - base, which is added to `one`."""
    two, product = 0.0, 0.0
    for i in range(taps.size):
        less = row[i] - base[i]
        one[i] += less
        two += less * less
        product += taps[i] * less
    return two, product
