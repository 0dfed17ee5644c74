"""Products of few rows, which would leave most of a tile empty: those of groups with few channels.

Where columns are many, a thread computes an entry of C by itself; where the depth is long, a block does, in parts, and
adds up in a fixed order. Tables, numbers and arguments are those of `products`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import offsets as at
from fastconv.backends.cuda.launching import MASK, Kernel, kernel, threads

THREAD = 1023  # what a thread's index is masked with
THREADS = threads(256)
ROWS, COLUMNS, SEGMENT, TOTAL, A_STEP, B_STEP = at.ROWS, at.COLUMNS, at.SEGMENT, at.TOTAL, at.A_STEP, at.B_STEP
BATCH, PART_STEPS, STEPS, BATCHES, FIELDS = at.BATCH, at.PART_STEPS, at.STEPS, at.BATCHES, at.FIELDS
A_AT, B_AT, C_AT, BIAS_AT, FILLED, SPARE = at.A_AT, at.B_AT, at.C_AT, at.BIAS_AT, at.FILLED, at.SPARE
SEGMENT_STEPS = at.SEGMENT_STEPS


@cache
def entries(dtype: np.dtype[Any], bias_on: str) -> Kernel:
    """The kernel whose threads compute an entry each, of a depth of one segment."""
    zero, row_bias, column_bias = dtype.type(0), bias_on == "rows", bias_on == "columns"

    @kernel(THREADS)
    def entry(a, b, bias, c, table, numbers, size):  # type: ignore[no-untyped-def]
        """C[row[m] + column[n]] = bias + sum over k of A[row[m] + depth[k]] * B[column[n] + depth[k]]."""
        rows, columns, segment = numbers[ROWS] & MASK, numbers[COLUMNS] & MASK, numbers[SEGMENT]
        depth = 2 * (rows + columns)
        place, step = cuda.blockIdx.x * THREADS + cuda.threadIdx.x, cuda.gridDim.x * THREADS
        while place < size:
            rest = (place & MASK) // columns
            n, batch = place - rest * columns, rest // rows
            m = rest - batch * rows
            own = (BATCHES + batch * FIELDS) & MASK
            if n < numbers[own + FILLED]:
                a_at = numbers[own + A_AT] + table[m & MASK]
                b_at = numbers[own + B_AT] + table[(2 * rows + n) & MASK]
                total = zero
                for k in range(segment):
                    left = a[(a_at + table[(depth + k) & MASK]) & MASK]
                    total += left * b[(b_at + table[(depth + segment + SPARE + k) & MASK]) & MASK]
                if row_bias:
                    total += bias[(numbers[own + BIAS_AT] + m) & MASK]
                if column_bias:
                    total += bias[n & MASK]
                to = numbers[own + C_AT] + table[(rows + m) & MASK] + table[(2 * rows + columns + n) & MASK]
                c[to & MASK] = total
            place += step

    return entry


@cache
def dots(dtype: np.dtype[Any], bias_on: str, split: bool) -> Kernel:
    """The kernel whose blocks compute an entry each, or with `split` a part of its sum, for `sums.combine`."""
    kind, row_bias, column_bias = dtype.type, bias_on == "rows", bias_on == "columns"

    @kernel(THREADS)
    def dot(a, b, bias, c, table, numbers):  # type: ignore[no-untyped-def]
        """C[row[m] + column[n]] = bias + sum over k of A[row[m] + depth[k]] * B[column[n] + depth[k]]."""
        shared = cuda.shared.array(THREADS, kind)
        t = cuda.threadIdx.x & THREAD
        block = cuda.blockIdx.x & MASK
        rows, columns, batches = numbers[ROWS] & MASK, numbers[COLUMNS] & MASK, numbers[BATCH] & MASK
        rest = block // columns
        n = block - rest * columns
        m, rest = rest % rows, rest // rows
        batch, part = rest % batches, rest // batches
        own = (BATCHES + batch * FIELDS) & MASK
        segment, steps = numbers[SEGMENT], numbers[SEGMENT_STEPS] & MASK
        begin = part * numbers[PART_STEPS]
        end = min(begin + numbers[PART_STEPS], numbers[STEPS])
        index = (begin & MASK) // steps
        k = (begin - index * steps) * THREADS + t
        left = numbers[TOTAL] - index * segment
        present = min(n, numbers[own + FILLED] - 1)  # the sum of a column that is not there is not kept
        a_at = numbers[own + A_AT] + index * numbers[A_STEP] + table[m]
        b_at = numbers[own + B_AT] + index * numbers[B_STEP] + table[(2 * rows + present) & MASK]
        depth = 2 * (rows + columns)
        total = kind(0)
        for _ in range(begin, end):
            if k < min(segment, left):
                first = a[(a_at + table[(depth + k) & MASK]) & MASK]
                total += first * b[(b_at + table[(depth + segment + SPARE + k) & MASK]) & MASK]
            k += THREADS
            if k - t >= segment:
                k, left = t, left - segment
                a_at, b_at = a_at + numbers[A_STEP], b_at + numbers[B_STEP]
        shared[t] = total
        cuda.syncthreads()
        half = THREADS // 2
        while half > 0:
            if t < half:
                shared[t] += shared[t + half]
            cuda.syncthreads()
            half //= 2
        if t == 0 and n < numbers[own + FILLED]:
            total = shared[0]
            if row_bias:
                total += bias[(numbers[own + BIAS_AT] + m) & MASK]
            if column_bias:
                total += bias[n]
            to = numbers[own + C_AT] + table[(rows + m) & MASK] + table[(2 * rows + columns + n) & MASK]
            c[block if split else to & MASK] = total

    return dot
