"""Which algorithm a filter takes: found from its numbers and from the dtypes, whatever it was called.

A matrix that is the product of a column and a row is filtered down and then across. Sums of integers that can't round
are computed as is quickest. What is cut off to integers else is summed in SciPy's own order, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.backends.cpu import bands, machine
from fastconv.backends.cpu.filter_fourier import Transformed, best_lengths
from fastconv.backends.cpu.filter_grids import Layout, grid_of
from fastconv.backends.cpu.filter_plans import Plan, build
from fastconv.backends.cpu.filter_rank import ROUNDINGS, products, whole_bits
from fastconv.backends.cpu.filter_stages import doubted, down_stage, side_stage, term_stage
from fastconv.backends.cpu.filter_terms import ALONE, FUSED, MINUS, PLUS, Term
from fastconv.backends.cpu.machine import LINE
from fastconv.borders import Border
from fastconv.typing import Array, Shape

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
BITS: dict[np.dtype[Any], int] = {SINGLE: 24, DOUBLE: 53}  # of the whole numbers that a dtype holds
EPSILON = float(np.finfo(np.float64).eps)
# Cycles of a vector: for each tap of a dense filter, of a column, of a row; and of what lies between two stages.
DENSE, DOWN, BETWEEN = 0.56, 0.65, 3.0
# Taps from which on quick sums pay; results that are summed anew together; cycles of a tap for as many as a vector has.
FEWEST, ANEW, SINGLY = 5, 32, 2.6
SPARSE = 1.3  # of a tap that is not 0, where the others are left out
FOLDED, ALONG = 0.45, 0.6  # of a row: those, and others that are shared by as many taps as lie a vector apart
LEAST, GAIN = 30.0, 1.1  # cycles of a pixel below which, and by what factor, Fourier transforms are not worth it
Packed = tuple[bytes, Border]  # taps along an axis, as a cache's key, and its border


@lru_cache(maxsize=512)
def correlation(
    x: Layout,
    y: Layout,
    taps: Shape,
    packed: bytes,
    borders: tuple[Border, ...],
    cval: float,
    skip_zeros: bool,
    exact: bool,
    threads: int,
) -> Plan | Transformed | None:
    """The plan of a correlation over two axes or more; `exact`: term by term. None: all results are 0."""
    weights = np.frombuffer(packed).reshape(taps)
    places, before = [border.places for border in borders], borders[-1].before
    zeros = skip_zeros and not weights.all()
    if zeros:
        weights, cut = trimmed(weights)
        if not weights.size:
            return None
        places = [table[begin : table.size - end] for table, (begin, end) in zip(places, cut, strict=True)]
        before -= cut[-1][0]
    computed = None if exact else summed_in(x.dtype, y.dtype, weights, cval)
    matrices = np.ascontiguousarray(weights).reshape(-1, *weights.shape[-2:])
    doubt, pairs, alone = None, [], len(matrices) == 1
    if computed is None and not exact and x.dtype.kind != "f" and alone and weights.size >= FEWEST:
        pairs = worthwhile(matrices[0], SINGLE)
        computed, limit = doubtful(x.dtype, weights, cval, pairs)
        positive = never_negative(x.dtype, weights, cval)
        doubt = doubted(in_order(matrices[0], skip_zeros), ALONE, computed.itemsize, limit, positive)
    elif computed is not None and alone and "f" in (x.dtype.kind, y.dtype.kind):  # others are exact, a product is not
        pairs = worthwhile(matrices[0], computed)
    grid = grid_of(x, y, computed or DOUBLE, places, weights.shape, before, cval)
    if computed is None:
        rows, columns = matrices.shape[1:]
        terms = [in_order(matrix, skip_zeros) for matrix in matrices]
        return build(grid, term_stage(terms, ALONE, rows, columns), None, threads)
    item, checked = computed.itemsize, zeros and not weights.all()
    if checked and not doubt and SPARSE * np.count_nonzero(weights) < DENSE * weights.size:
        terms = [in_order(matrix, True) for matrix in matrices]
        return build(grid, term_stage(terms, FUSED, matrices.shape[1], matrices.shape[2], item), None, threads)
    if alone:
        planned = transformed(matrices[0], places[-2:], x, y, cval, len(pairs), threads)
        if planned:
            return planned
        if matrices.shape[1] == 1:
            return build(grid, None, side_stage([matrices[0, 0]], item), threads, checked, doubt)
        if pairs:
            columns_, rows_ = [column[:, None] for column, _ in pairs], [row for _, row in pairs]
            return build(
                grid, down_stage(columns_, item), side_stage(rows_, item), threads, checked or len(pairs) > 1, doubt
            )
    return build(grid, down_stage(list(matrices), item), None, threads, checked, doubt)


@lru_cache(maxsize=512)
def line_filter(x: Layout, y: Layout, down: Packed | None, side: Packed | None, cval: float, threads: int) -> Plan:
    """The plan of a correlation along the last axis but one, along the last one, or along one and then the other."""
    nothing = np.ones(1)
    column, row = (np.frombuffer(found[0]) if found else nothing for found in (down, side))
    borders = [Border(extent, 0, 0) for extent in x.shape]
    for axis, found in ((-2, down), (-1, side)):
        if found:
            borders[axis] = found[1]
    if down and side:
        computed = together(x.dtype, y.dtype, column, row, cval)
    else:
        computed = summed_in(x.dtype, y.dtype, column if down else row, cval)
    taps = (*(1,) * (len(x.shape) - 2), column.size, row.size)
    between = bool(down and side) and borders[-1].constant
    places = [border.places for border in borders]
    doubt, line = None, column if down else row
    kind, terms = as_scipy(line, bool(down))
    if computed is None and x.dtype.kind != "f" and line.size >= FEWEST:
        computed, limit = doubtful(x.dtype, line, cval, [])
        doubt = doubted(terms, kind, computed.itemsize, limit, never_negative(x.dtype, line, cval))
    grid = grid_of(x, y, computed or DOUBLE, places, taps, borders[-1].before, cval, between)
    if computed is None:
        return build(grid, term_stage([terms], kind, *taps[-2:]), None, threads)
    first = down_stage([column[:, None]], computed.itemsize) if down else None
    second = side_stage([row], computed.itemsize) if side else None
    return build(grid, first, second, threads, False, doubt)


def trimmed(weights: Array) -> tuple[Array, list[tuple[int, int]]]:
    """The weights without the zeros around them, and how many were cut off before and after along each axis."""
    cut = []
    for axis in range(weights.ndim):
        used = np.flatnonzero(weights.any(axis=tuple(other for other in range(weights.ndim) if other != axis)))
        begin, end = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
        cut.append((begin, weights.shape[axis] - end))
        weights = weights[(slice(None),) * axis + (slice(begin, end),)]
    return weights, cut


def summed_in(x: np.dtype[Any], y: np.dtype[Any], weights: Array, cval: float) -> np.dtype[Any] | None:
    """The dtype of fused sums in any order; None where only SciPy's own order gives its results."""
    if x.kind == "f":
        if y.kind != "f":
            return None
        return SINGLE if x == y == SINGLE and not abs(cval) > np.finfo(np.float32).max else DOUBLE
    if float(cval).is_integer():
        bits = whole_bits(weights, max(largest(x), abs(cval)))
        for dtype, room in BITS.items():
            if bits <= room:
                return dtype
    return DOUBLE if y.kind == "f" else None


def doubtful(
    x: np.dtype[Any], weights: Array, cval: float, pairs: list[tuple[Array, Array]]
) -> tuple[np.dtype[Any], float]:
    """The dtype for quick sums of integers that are cut off to such, and how far they and SciPy's may be apart."""
    size, count = float(np.abs(weights).sum()) * max(largest(x), abs(cval)), weights.size
    # Roundings that a term may pass: in its part, or in a column and a row; between parts; of itself and its weight.
    part = min(max(count // bands.PARTS, bands.TOGETHER), bands.MOST) + weights.shape[-1]
    steps = max(part, sum(weights.shape)) + bands.PARTS + count // bands.MOST + 8
    limit = 2.0**-24 * steps * size
    if x.itemsize <= 2 and np.float32(cval) == cval:
        dense = DENSE * count
        quick = len(pairs) * pair_cost(weights.shape[-2], weights.shape[-1], 4) if pairs else dense
        if quick + min(1.0, 2 * limit * ANEW) * SINGLY * count < 2 * quick:
            return SINGLE, limit
    apart = 2.0**-24 * ROUNDINGS if pairs else 0.0  # a product from its tap
    return DOUBLE, (apart + 2.0**-53 * (steps + 2 * count)) * size


def never_negative(x: np.dtype[Any], weights: Array, cval: float) -> bool:
    """Whether no term can be negative."""
    return x.kind in "ub" and cval >= 0 and bool((weights >= 0).all())


def together(x: np.dtype[Any], y: np.dtype[Any], first: Array, second: Array, cval: float) -> np.dtype[Any] | None:
    """The dtype for two passes without what lies between them being held in y's dtype; None where that would differ."""
    if x.kind == "f":
        return summed_in(x, y, first, cval) if x == y else None
    if y.kind in "fb" or not float(cval).is_integer():
        return None
    limits = np.iinfo(y)
    low, high = reach(x, first, cval)
    fits = limits.min <= low and high <= limits.max
    return summed_in(x, y, np.outer(first, second), cval) if fits else None


def reach(x: np.dtype[Any], taps: Array, cval: float) -> tuple[float, float]:
    """The least and the greatest sum of taps times numbers of a dtype, and the constant."""
    smallest = float(np.iinfo(x).min) if x.kind == "i" else 0.0
    least, most = min(smallest, cval), max(largest(x), cval)
    ends = np.stack([taps * least, taps * most])
    return float(ends.min(axis=0).sum()), float(ends.max(axis=0).sum())


def largest(dtype: np.dtype[Any]) -> float:
    """The greatest magnitude of an integer's dtype."""
    return 1.0 if dtype.kind == "b" else float(max(np.iinfo(dtype).max, -np.iinfo(dtype).min))


def worthwhile(matrix: Array, computed: np.dtype[Any]) -> list[tuple[Array, Array]]:
    """The columns and rows that a matrix is made of, where filtering down and across is quicker."""
    high, wide = matrix.shape
    dense = DENSE * high * wide
    if min(high, wide) == 1 or pair_cost(high, wide, computed.itemsize) >= dense:
        return []
    pairs = products(matrix, computed == SINGLE)
    return pairs if len(pairs) * pair_cost(high, wide, computed.itemsize) < dense else []


def pair_cost(high: int, wide: int, item: int) -> float:
    """Cycles of a vector for a column and a row: each load of the latter serves the taps that are a vector apart."""
    return DOWN * high + wide * (FOLDED + ALONG / -(-wide * item // LINE)) + BETWEEN


def transformed(
    matrix: Array, places: Sequence[Array], x: Layout, y: Layout, cval: float, pairs: int, threads: int
) -> Transformed | None:
    """The plan of Fourier transforms where they are quicker; what has no finite weights must not spread by them."""
    high, wide = matrix.shape
    item = 8 if DOUBLE in (x.dtype, y.dtype) or x.dtype != y.dtype else 4
    lanes = machine.vectors().lanes(item)
    direct = min(DENSE * high * wide, pairs * pair_cost(high, wide, item) if pairs else np.inf) / lanes
    if len(x.shape) > 2 or y.dtype.kind != "f" or direct < LEAST or not np.isfinite([*matrix.flat, cval]).all():
        return None
    lengths, cycles = best_lengths((high, wide), (y.shape[0], y.shape[1]), threads)
    if GAIN * cycles > direct:
        return None
    pixels = float(y.shape[0] * y.shape[1])
    return Transformed((places[0], places[1]), matrix, cval, lengths, threads, cycles * pixels)


def in_order(matrix: Array, skip_zeros: bool) -> list[Term]:
    """The terms of a matrix, row after row."""
    places = np.argwhere(matrix) if skip_zeros else np.argwhere(np.ones(matrix.shape))
    return [(float(matrix[r, t]), int(r), int(t), 0, 0) for r, t in places]


def as_scipy(taps: Array, down: bool) -> tuple[int, list[Term]]:
    """The terms of a line's filter: the middle one, then pairs of equal taps; or the last one, then the others.

    Their kind, and the terms, of which the first alone is single where others are pairs.
    """
    size, middle = taps.size, taps.size // 2

    def place(k: int) -> tuple[int, int]:
        return (k, 0) if down else (0, k)

    before, after = taps[:middle], taps[::-1][:middle]
    for kind, sign in ((PLUS, 1.0), (MINUS, -1.0)):
        if size % 2 and (np.abs(after - sign * before) <= EPSILON).all():
            pairs = [(float(taps[k]), *place(k), *place(size - 1 - k)) for k in range(middle)]
            return kind, [(float(taps[middle]), *place(middle), 0, 0), *pairs]
    return ALONE, [(float(taps[k]), *place(k), 0, 0) for k in (size - 1, *range(size - 1))]
