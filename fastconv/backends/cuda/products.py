"""The product of two matrices whose operands are gathered by tables, a tile of it in each block of threads.

While a block multiplies one slab of the depth, the next one is on its way from memory to registers, and then to the
other half of shared memory: one barrier a step. A thread's numbers of a slab are read 128 bits at a time. It computes
`high` x `wide` entries of C, which stay in its registers.

Letters: `m` row, `n` column, `k` depth.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device, tensor_cores
from fastconv.backends.cuda import offsets as at
from fastconv.backends.cuda.gathering import POSITION, SHARED, gatherer, unchanged
from fastconv.backends.cuda.launching import MASK, Kernel, inlined, kernel
from fastconv.backends.cuda.tiles import Tile

THREAD = 1023  # what a thread's index is masked with
A_STEP, B_STEP, SEGMENT, TOTAL = at.A_STEP, at.B_STEP, at.SEGMENT, at.TOTAL
ROWS, COLUMNS, BATCHES, FIELDS = at.ROWS, at.COLUMNS, at.BATCHES, at.FIELDS
A_AT, B_AT, C_AT, BIAS_AT, FILLED = at.A_AT, at.B_AT, at.C_AT, at.BIAS_AT, at.FILLED
BATCH, ROW_TILES, COLUMN_TILES = at.BATCH, at.ROW_TILES, at.COLUMN_TILES
SPARE, SEGMENT_STEPS, STEPS, PART_STEPS = at.SPARE, at.SEGMENT_STEPS, at.STEPS, at.PART_STEPS


@inlined
def place(numbers):  # type: ignore[no-untyped-def]
    """Which tile of which batch and part of the depth this block computes: its row and column of tiles, batch, part."""
    block = cuda.blockIdx.x & POSITION
    row_tiles, column_tiles = numbers[ROW_TILES] & POSITION, numbers[COLUMN_TILES] & POSITION
    rest = block // row_tiles
    row_tile, column_tile = block - rest * row_tiles, rest % column_tiles
    rest //= column_tiles
    batches = numbers[BATCH] & POSITION
    return row_tile, column_tile, rest % batches, rest // batches


@inlined
def depth_at(numbers, batch, begin, extent):  # type: ignore[no-untyped-def]
    """Where step `begin` of the depth is: offsets in A and B, the step's first k in its segment, and k's to its end."""
    steps = numbers[SEGMENT_STEPS] & POSITION
    segment = begin // steps
    first = (begin - segment * steps) * extent
    own = BATCHES + batch * FIELDS
    a_at = numbers[own + A_AT] + segment * numbers[A_STEP]
    b_at = numbers[own + B_AT] + segment * numbers[B_STEP]
    return a_at, b_at, first, numbers[TOTAL] - segment * numbers[SEGMENT]


@cache
def arithmetic(tile: Tile, dtype: np.dtype[Any], pitch_a: int, pitch_b: int) -> Any:
    """Functions of the device: `multiply` one slab by another one, and which row and column a register holds."""
    kind, high, wide, depth = dtype.type, tile.high, tile.wide, tile.depth
    # A thread's lines are in runs of 128 bits, which the threads of a row of threads read side by side.
    run_a, run_b = min(high, 16 // dtype.itemsize), min(wide, 16 // dtype.itemsize)
    apart_a, apart_b = tile.rows * run_a // high, tile.columns * run_b // wide
    across = tile.columns // wide
    even_a, even_b = SHARED & ~(run_a - 1), SHARED & ~(run_b - 1)  # tells that the reads are aligned

    @inlined
    def row_of(t, i):  # type: ignore[no-untyped-def]
        return i // run_a * apart_a + t // across * run_a + i % run_a

    @inlined
    def column_of(t, j):  # type: ignore[no-untyped-def]
        return j // run_b * apart_b + t % across * run_b + j % run_b

    @inlined
    def multiply_one(sums, slab_a, slab_b, row, column):  # type: ignore[no-untyped-def]
        a = cuda.local.array(high, kind)
        b = cuda.local.array(wide, kind)
        for i in range(high):
            a[i] = slab_a[row + (i // run_a * apart_a + i % run_a)]
        for j in range(wide):
            b[j] = slab_b[column + (j // run_b * apart_b + j % run_b)]
        for i in range(high):
            for j in range(wide):
                sums[i * wide + j] += a[i] * b[j]

    every = repeated(multiply_one, depth, pitch_a, pitch_b)

    @inlined
    def multiply(sums, slab_a, slab_b, half, t):  # type: ignore[no-untyped-def]
        """sums[m, n] += sum over k of the slabs' A[m, k] * B[k, n]."""
        row_at, column_at = half * (depth * pitch_a) + row_of(t, 0), half * (depth * pitch_b) + column_of(t, 0)
        every(sums, slab_a, slab_b, row_at & even_a, column_at & even_b)

    return row_of, column_of, multiply


def repeated(function: Any, count: int, row_step: int, column_step: int) -> Any:
    """A function of the device that calls one so many times, a power of two, written out; a loop would count."""
    if count == 1:
        return function
    half = repeated(function, count // 2, row_step, column_step)
    row_apart, column_apart = count // 2 * row_step, count // 2 * column_step

    @inlined
    def both(sums, slab_a, slab_b, row, column):  # type: ignore[no-untyped-def]
        half(sums, slab_a, slab_b, row, column)
        half(sums, slab_a, slab_b, row + row_apart, column + column_apart)

    return both


@cache
def storer(
    tile: Tile, dtype: np.dtype[Any], bias_on: str, split: bool, wide_offsets: bool, row_of: Any, column_of: Any
) -> Any:
    """The function of the device that stores a thread's sums: with a bias to C, or as a part's sums beside others'."""
    high, wide, kind, reach = tile.high, tile.wide, dtype.type, MASK if wide_offsets else POSITION
    row_bias, column_bias = bias_on == "rows", bias_on == "columns"

    @inlined
    def store(sums, c, bias, table, numbers, first_row, first_column, batch, part, t):  # type: ignore[no-untyped-def]
        rows, columns, own = numbers[ROWS], numbers[COLUMNS], BATCHES + batch * FIELDS
        filled, c_at, bias_at = numbers[own + FILLED], numbers[own + C_AT], numbers[own + BIAS_AT]
        part_at = (part * numbers[BATCH] + batch) * rows * columns
        column_at, added = cuda.local.array(wide, np.int64), cuda.local.array(wide, kind)
        for j in range(wide):
            n = min(first_column + column_of(t, j), filled - 1) & MASK
            column_at[j] = n if split else table[2 * rows + columns + n]
            added[j] = bias[n] if column_bias else kind(0)
        for i in range(high):
            m = (first_row + row_of(t, i)) & MASK
            if m < rows:
                row_at = m * columns if split else table[rows + m]
                start = bias[(bias_at + m) & MASK] if row_bias else kind(0)
                for j in range(wide):
                    if first_column + column_of(t, j) < filled:
                        value = sums[i * wide + j] + (added[j] if column_bias else start)
                        if split:
                            c[(part_at + row_at + column_at[j]) & MASK] = value
                        else:
                            c[(c_at + ((row_at + column_at[j]) & reach)) & MASK] = value

    return store


def pieces(
    tile: Tile, dtype: np.dtype[Any], along: tuple[bool, bool], wide: bool, precision: str
) -> tuple[tuple[int, int], Any, Any, Any]:
    """Of a tile's kernel: the pitches of its slabs, what gathers A's and B's, and what multiplies them."""
    rough = precision == "tf32"
    apart = 8 if rough else 4  # numbers between lines' ends: threads that read or write at once meet different banks
    rounded = tensor_cores.rounded if rough else unchanged
    pitches = tile.rows + apart, tile.columns + apart
    gather_a = gatherer(tile.rows, tile, along[0], pitches[0], wide, dtype, rounded)
    gather_b = gatherer(tile.columns, tile, along[1], pitches[1], wide, dtype, rounded)
    if rough and not device.SIMULATED:
        return pitches, gather_a, gather_b, tensor_cores.arithmetic(tile, *pitches)
    return pitches, gather_a, gather_b, arithmetic(tile, dtype, *pitches)


@cache
def product(
    tile: Tile,
    dtype: np.dtype[Any],
    along: tuple[bool, bool],
    bias_on: str,
    split: bool,
    wide: bool,
    precision: str = "float32",
) -> Kernel:
    """The kernel of a tile; `along`, `wide` as in `gatherer`, `bias_on` "rows", "columns" or "" for none.

    With `split` its sums are those of parts of the depth, (part, batch, m, n), for `sums.combine`.
    """
    kind, depth, tile_rows, tile_columns = dtype.type, tile.depth, tile.rows, tile.columns
    (pitch_a, pitch_b), gather_a, gather_b, (row_of, column_of, multiply) = pieces(tile, dtype, along, wide, precision)
    (find_a, fetch_a, put_a), (find_b, fetch_b, put_b) = gather_a, gather_b
    store = storer(tile, dtype, bias_on, split, wide, row_of, column_of)
    size_a, size_b, entries = 2 * depth * pitch_a, 2 * depth * pitch_b, tile.high * tile.wide
    held_a, held_b = tile.rows * depth // tile.threads, tile.columns * depth // tile.threads
    offset = np.uint64 if wide else np.uint32

    @kernel(tile.threads)
    def tiled(a, b, bias, c, table, numbers):  # type: ignore[no-untyped-def]
        """C[row[m] + column[n]] = bias + sum over k of A[row[m] + depth[k]] * B[column[n] + depth[k]]."""
        slab_a = cuda.shared.array(size_a, kind, alignment=16) if device.NUMBA_CUDA else cuda.shared.array(size_a, kind)
        slab_b = cuda.shared.array(size_b, kind, alignment=16) if device.NUMBA_CUDA else cuda.shared.array(size_b, kind)
        sums = cuda.local.array(entries, kind)
        next_a, next_b = cuda.local.array(held_a, kind), cuda.local.array(held_b, kind)
        lines_a, lines_b = cuda.local.array(held_a, offset), cuda.local.array(held_b, offset)
        t = cuda.threadIdx.x & THREAD
        row_tile, column_tile, batch, part = place(numbers)
        rows, columns, segment = numbers[ROWS], numbers[COLUMNS], numbers[SEGMENT]
        filled = numbers[BATCHES + batch * FIELDS + FILLED]
        begin = part * numbers[PART_STEPS]
        end = min(begin + numbers[PART_STEPS], numbers[STEPS])
        begins = cuda.local.array(2, offset)
        begins[0], begins[1], first, left = depth_at(numbers, batch, begin, depth)
        depth_a = 2 * (rows + columns)
        depth_b = depth_a + segment + SPARE
        find_a(lines_a, table, 0, row_tile * tile_rows, rows - 1, t)
        find_b(lines_b, table, 2 * rows, column_tile * tile_columns, filled - 1, t)
        for i in range(entries):
            sums[i] = 0
        for step in range(begin - 1, end):
            if step + 1 < end:  # the next slab sets out
                most = np.int32(min(min(left, segment) - first, depth))
                fetch_a(next_a, a, lines_a, table, depth_a + first, begins[0], most, t)
                fetch_b(next_b, b, lines_b, table, depth_b + first, begins[1], most, t)
                first += depth
                if first >= segment:
                    first, left = 0, left - segment
                    begins[0] += numbers[A_STEP]
                    begins[1] += numbers[B_STEP]
            half = (step - begin) & 1
            if step >= begin:
                multiply(sums, slab_a, slab_b, half, t)
            if step + 1 < end:
                put_a(slab_a, (1 - half) * (depth * pitch_a), next_a, t)
                put_b(slab_b, (1 - half) * (depth * pitch_b), next_b, t)
            cuda.syncthreads()
        store(sums, c, bias, table, numbers, row_tile * tile_rows, column_tile * tile_columns, batch, part, t)

    return tiled
