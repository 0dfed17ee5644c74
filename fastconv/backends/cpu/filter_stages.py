"""What is filtered, and the stages of a filter: tiles with their packed weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.cpu import machine, shifted_rows
from fastconv.backends.cpu.bands import band_body, parameters, tile_for
from fastconv.backends.cpu.filter_terms import FUSED, MINUS, PLUS, Term, packed, terms_body
from fastconv.backends.cpu.machine import LINE
from fastconv.backends.cpu.native import code
from fastconv.typing import Array, Shape


@dataclass(frozen=True, eq=False)
class Grid:
    """What is filtered: planes of rows of columns, where they lie, and their borders.

    Attributes
    ----------
    x, y : dtype
        Of the image and of the results.
    computed : dtype
        That sums are computed in.
    planes : (planes of y, deep) int64
        The bytes from x to the planes that an output plane needs, -1 for one that is all constant.
    y_planes : (planes of y,) int64
        The bytes from y to its planes.
    row_places, column_places : int64
        Tables of borders.
    strides : (int, int)
        Bytes from a row to the next, of x and y.
    before, extent : int
        Columns before the image's first one, and columns of it.
    shape : (int, int)
        Rows and columns of an output plane.
    constant : float
    constant_between : bool
        Whether the constant also surrounds what the first of two stages gives.
    """

    x: np.dtype[Any]
    y: np.dtype[Any]
    computed: np.dtype[Any]
    planes: Array
    y_planes: Array
    row_places: Array
    column_places: Array
    strides: tuple[int, int]
    before: int
    extent: int
    shape: Shape
    constant: float
    constant_between: bool = False


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage's code, for the first of its sums and for those that are added, its parameters and packed weights."""

    code: int
    more: int
    parameters: Array
    weights: Array  # (sums, bytes)
    rows: int  # of its tile
    high: int  # rows of taps
    taps: int  # of a row
    folded: int  # vectors of a row that are its tile's rows; 0 for one that looks down
    what: str
    terms: str = ""  # how it sums them, one after the other
    count: int = 0  # of terms


@dataclass(frozen=True, eq=False)
class Doubt:
    """When a sum may be cut off to another integer than SciPy's, and what that one's terms are."""

    limits: tuple[float, float]  # how close to a whole number; the same for a sum that is 0
    kind: int
    terms: Array


def doubted(terms: Sequence[Term], kind: int, item: int, limit: float, positive: bool) -> Doubt:
    """The doubt about sums in `item` bytes of pixels of as many; `positive`: a sum of 0 has no term that is not 0."""
    return Doubt((limit, -1.0 if positive else limit), kind, block_of(terms, kind, item, 8))


def block_of(terms: Sequence[Term], kind: int, source_item: int, item: int) -> Array:
    """The words of terms of pixels of `source_item` bytes; of a kind that has pairs, the first alone is single."""
    table = [(weight, row, source_item * t, other, source_item * u) for weight, row, t, other, u in terms]
    return packed(table, 1 if kind in (PLUS, MINUS) else len(terms), item)


def down_stage(weights: Sequence[Array], item: int) -> Stage:
    """A dense stage: each of the weights, (R, S), is one sum of a row."""
    vectors = machine.vectors()
    lanes = vectors.lanes(item)
    high, taps = weights[0].shape
    tile = tile_for(high, taps, False, vectors.registers)
    dtype = np.dtype(f"f{item}")
    columns = [np.ascontiguousarray((w if tile.high else w[::-1]).T, dtype) for w in weights]
    return Stage(
        code(band_body(item, lanes, tile, 0, 0)),
        code(band_body(item, lanes, tile, 0, 1)) if len(weights) > 1 else 0,
        parameters(taps, taps, high, item),
        np.stack([w.reshape(-1).view(np.uint8) for w in columns]),
        tile.rows,
        high,
        taps,
        0,
        f"{tile.rows} rows x {tile.vectors} vectors of {lanes}",
    )


def side_stage(weights: Sequence[Array], item: int) -> Stage:
    """A stage along rows, folded after a vector: each of the weights, (S,), is one sum."""
    vectors = machine.vectors()
    lanes, taps = vectors.lanes(item), weights[0].size
    high = -(-taps // lanes)
    across = lanes if high > 1 else taps
    if high <= shifted_rows.MOST and lanes * item == LINE:
        rows, bottom_up = shifted_rows.VECTORS[high], False
        kernel = partial(shifted_rows.shifted_body, item, lanes, high)
    else:
        tile = tile_for(high, across, True, vectors.registers)
        rows, bottom_up = tile.rows, not tile.high
        kernel = partial(band_body, item, lanes, tile, 1)
    columns = []
    for w in weights:
        folded = np.zeros(high * across, np.dtype(f"f{item}"))
        folded[:taps] = w
        folded = folded.reshape(high, across)
        columns.append(np.ascontiguousarray((folded[::-1] if bottom_up else folded).T).reshape(-1).view(np.uint8))
    return Stage(
        code(kernel(0)),
        code(kernel(1)) if len(weights) > 1 else 0,
        parameters(across, taps - lanes * (high - 1), high, item),
        np.stack(columns),
        1,
        1,
        taps,
        rows,
        f"{rows} vectors of {lanes} along a row",
    )


def term_stage(sums: Sequence[Sequence[Term]], kind: int, high: int, taps: int, item: int = 8) -> Stage:
    """A stage of terms in order, for each sum."""
    lanes = machine.vectors().lanes(item)
    blocks = [block_of(terms, kind, item, item) for terms in sums]
    weights = np.zeros((len(blocks), max(block.size for block in blocks)), np.int64)
    for row, block in zip(weights, blocks, strict=True):
        row[: block.size] = block
    return Stage(
        code(terms_body(item, lanes, kind, 0)),
        code(terms_body(item, lanes, kind, 1)) if len(blocks) > 1 else 0,
        np.zeros(1, np.int64),
        weights.view(np.uint8),
        1,
        high,
        taps,
        0,
        f"1 row x 8 vectors of {lanes}",
        "term by term" if kind == FUSED else "term by term, in float64",
        sum(len(terms) for terms in sums),
    )
