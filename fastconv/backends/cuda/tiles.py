"""Which tile of a product a block of threads computes, and into how many parts its depth falls: a choice by shape.

The estimate that decides counts a multiprocessor's multiply-adds, those with the padding of tiles too, in waves of
blocks over all multiprocessors. No GPU's time was measured for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import device

LONGEST_SUM = 8192  # numbers that are added up one after the other
SHORTEST_PART = 64  # of the depth
MOST_PARTS = 512
FULL = 256  # threads from which on a multiprocessor is kept busy
SECOND_STAGE, PARTIAL = 400_000, 80  # multiply-adds in the time of one more launch, and of a partial sum's way
LANES, TENSOR_LANES = 128, {(8, 0): 512, (9, 0): 1024}  # multiply-adds of a multiprocessor in a cycle
HALF_RATE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}  # capabilities of GPUs with 64 of them in float64


@dataclass(frozen=True)
class Tile:
    """Rows x columns of C that a block computes, in steps of so much depth, `high` x `wide` of them in each thread."""

    rows: int
    columns: int
    depth: int
    high: int
    wide: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.rows * self.columns // (self.high * self.wide)

    @property
    def share(self) -> float:
        """About how much of a thread's time goes to multiply-adds; the rest reads shared memory."""
        return self.high * self.wide / (self.high * self.wide + 2 * (self.high + self.wide))


SINGLE = (
    Tile(128, 128, 8, 8, 8),
    Tile(128, 64, 8, 8, 4),
    Tile(64, 128, 8, 4, 8),
    Tile(64, 64, 8, 4, 4),
    Tile(32, 128, 8, 4, 4),
    Tile(128, 32, 8, 4, 4),
    Tile(16, 128, 8, 4, 4),
    Tile(8, 128, 8, 4, 4),
    Tile(32, 32, 8, 4, 4),
)
DOUBLE = (Tile(64, 64, 8, 4, 4), Tile(16, 64, 8, 4, 2), Tile(64, 16, 8, 2, 4), Tile(32, 32, 8, 4, 2))
TENSOR = (Tile(128, 128, 8, 8, 8), Tile(64, 64, 8, 4, 4))
SMALL = (Tile(8, 8, 4, 4, 4), Tile(4, 16, 4, 4, 4), Tile(16, 4, 4, 4, 4))  # the simulator's


@dataclass(frozen=True)
class Machine:
    """A GPU's multiprocessors, its clock in Hz, and its capability, which tells what a multiprocessor has."""

    multiprocessors: int
    clock: float
    capability: tuple[int, int]

    @property
    def tensor_cores(self) -> bool:
        """Whether they multiply numbers of TF32."""
        return self.capability >= (8, 0)

    def lanes(self, dtype: np.dtype[Any], precision: str) -> int:
        """Multiply-adds of a multiprocessor in a cycle."""
        if dtype == np.float64:
            return 64 if self.capability in HALF_RATE else 2
        return TENSOR_LANES.get(self.capability, LANES) if precision == "tf32" else LANES


@cache
def machine() -> Machine:
    """The GPU's; an H100's clock, and few multiprocessors, in the simulator."""
    if device.SIMULATED:
        return Machine(4, 1.98e9, (9, 0))
    gpu = cuda.get_current_device()
    return Machine(gpu.MULTIPROCESSOR_COUNT, 1e3 * gpu.CLOCK_RATE, tuple(gpu.compute_capability))


def tiles(dtype: np.dtype[Any], precision: str) -> tuple[Tile, ...]:
    """Those that there are kernels for."""
    if device.SIMULATED:
        return SMALL
    return DOUBLE if dtype == np.float64 else TENSOR if precision == "tf32" else SINGLE


def cost(tile: Tile, parts: int, rows: int, columns: int, batch: int, depth: int) -> float:
    """A multiprocessor's multiply-adds, or as many as would take its time."""
    count = machine().multiprocessors
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns) * batch * parts
    each = tile.rows * tile.columns * (-(-depth // parts) + tile.depth) / tile.share
    waves = -(-blocks // count)
    second = 0.0 if parts == 1 else parts * batch * rows * columns * PARTIAL / count + SECOND_STAGE
    return waves * each / min(1.0, waves * tile.threads / FULL) + second


def choose(rows: int, columns: int, batch: int, depth: int, dtype: np.dtype[Any], precision: str) -> tuple[Tile, int]:
    """The tile, and the parts of the depth, of the least cost."""
    least = -(-depth // LONGEST_SUM)
    most = max(1, least, min(MOST_PARTS, depth // SHORTEST_PART))
    counts = {max(1, least)} | {p for k in range(10) for p in (1 << k, 3 << k) if max(1, least) <= p <= most}
    choices = [(tile, parts) for tile in tiles(dtype, precision) for parts in sorted(counts)]
    if device.SIMULATED:  # where blocks run one after the other, the tile with the least padding is the fastest
        return min(choices, key=lambda choice: (choice[1], padded(choice[0], rows, columns)))
    costs = {choice: cost(choice[0], choice[1], rows, columns, batch, depth) for choice in choices}
    return min(choices, key=lambda choice: (costs[choice], padded(choice[0], rows, columns)))


def padded(tile: Tile, rows: int, columns: int) -> int:
    """Entries of the tiles that cover so many rows and columns."""
    return -(-rows // tile.rows) * -(-columns // tile.columns) * tile.rows * tile.columns
