"""Threads that reduce lines together: which of a block's threads work on which line, and how they combine.

An array is seen as (outer, count, inner), a line as its `count` numbers of one outer and one inner index: lines are
numbered by q = outer index * inner + inner index, and number k of a line lies `inner` numbers after number k - 1. A
block has `lanes` lines at a time, each read by a team of `size` threads, thread j every `size`-th number from the j-th.

What is combined in which order depends on shapes alone, so results are the same bits in every run and on every GPU.
Index letters: `q` line, `k` number of a line, `j` thread of a team.
"""

import threading
from functools import cache
from typing import Any, NamedTuple

from numba import cuda

from fastconv.backends.cuda.device import SIMULATED
from fastconv.backends.cuda.launching import blocks_for, device_function

BLOCK = 4 if SIMULATED else 256
BLOCKS = 3 if SIMULATED else 1 << 16  # no more of them: each goes on to other lines
LAST = 1023  # masks the index of a thread: see `launching`


class Team(NamedTuple):
    """How a block's threads are dealt out: `size` to each of `lanes` lines.

    `along`: neighbouring threads are of one team, for lines whose numbers are neighbours; else of neighbouring lines.
    """

    size: int
    lanes: int
    along: bool

    @property
    def pitch(self) -> int:
        """From one thread of a team to the next."""
        return 1 if self.along else self.lanes

    def blocks(self, lines: int) -> int:
        """The blocks of a launch for so many lines (or parts of lines)."""
        return min(blocks_for(lines, self.lanes), BLOCKS)


def team(lines: int, count: int, inner: int) -> Team:
    """The team for so many lines of so many numbers."""
    if SIMULATED:
        size = min(BLOCK if lines <= 8 else 2 if lines <= 32 else 1, power_of_two(count))
        return Team(size, BLOCK // size, inner < 2)
    along = inner < 8
    size = min(power_of_two(count // 4), BLOCK if along or lines < 32 else 8)
    return Team(size, BLOCK // size, along)


def power_of_two(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << max(number - 1, 0).bit_length()


if SIMULATED:

    def barrier() -> None:
        """What `cuda.syncthreads` is in a kernel: only the kernel's own module sees the simulator's `cuda`."""
        threading.current_thread().syncthreads()  # type: ignore[attr-defined]
else:

    @cuda.jit(device=True)
    def barrier() -> None:
        """Wait for all threads of the block."""
        cuda.syncthreads()


@cache
def fold(combine: Any, size: int) -> Any:
    """A function (shared, place, j, pitch, value) -> the values of all threads of the team, combined in a tree.

    `shared` has a place for each thread of the block, the team's `pitch` apart. All threads of a block must call it.
    """
    if size == 1:
        return device_function(lambda shared, place, j, pitch, value: value)

    def folded(shared, place, j, pitch, value):  # type: ignore[no-untyped-def]
        shared[place & LAST] = value
        barrier()
        half = size // 2
        while half > 0:
            if j < half:
                shared[place & LAST] = combine(shared[place & LAST], shared[(place + half * pitch) & LAST])
            barrier()
            half //= 2
        total = shared[(place - j * pitch) & LAST]
        barrier()  # before anything else is written there
        return total

    return device_function(folded)
