"""Programs: tables of steps that run as one native call, on threads where that is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from fastconv.backends.cpu.launching import launch
from fastconv.backends.cpu.native import DATA, ITEMS, body, code, entry, on_stack, word
from fastconv.backends.cpu.team import share_out
from fastconv.typing import Array

ADDRESSES = 8  # of a call: those of its arrays and its workspace
STEP = 4  # words of a step: code, plan, tasks, parts for each thread
NOTHING = id(None)
UNUSED = [(0,) * (ADDRESSES - count) for count in range(ADDRESSES + 1)]


@body
def run_steps(team, threads, table, steps, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """The steps of a table in order, at these addresses."""
    arrays = on_stack(a, b, c, d, e, f, g, h)
    for step in range(table, table + 8 * STEP * steps, 8 * STEP):
        share_out(team, threads, word(step, 0), word(step, 1), arrays, word(step, 2), word(step, 3))


@njit
def data(arrays, count, place, nothing):  # type: ignore[no-untyped-def]
    """The address of the data of an array of a tuple; 0 where that is nothing, or the tuple has ended."""
    found = nothing
    if place < count:
        found = word(arrays, ITEMS + place)
    return 0 if found == nothing else word(found, DATA)


@body
def run_on(team, threads, table, steps, arrays, count, nothing):  # type: ignore[no-untyped-def]
    """The steps of a table in order, on the arrays of a tuple, which takes less time than so many arguments."""
    run_steps(
        *(team, threads, table, steps),
        *(data(arrays, count, 0, nothing), data(arrays, count, 1, nothing)),
        *(data(arrays, count, 2, nothing), data(arrays, count, 3, nothing)),
        *(data(arrays, count, 4, nothing), data(arrays, count, 5, nothing)),
        *(data(arrays, count, 6, nothing), data(arrays, count, 7, nothing)),
    )


class Program:
    """Steps that run in order as one native call.

    Parameters
    ----------
    steps : sequence of (body, parameters, tasks, parts)
        `parameters` are int64 that the body reads with `word(plan, i)`; `parts` is into how many parts each thread's
        share of the tasks falls, for balance; 0: this step is not worth threads.
    work : int
        Multiply-adds, or numbers moved where there are more of them: what decides on threads.
    """

    def __init__(self, steps: Sequence[tuple[Any, Sequence[int], int, int]], work: int) -> None:
        self.parameters = [np.array(parameters, np.int64) for _, parameters, _, _ in steps]
        rows = [
            (code(kernel), parameters.ctypes.data, tasks, parts)
            for (kernel, _, tasks, parts), parameters in zip(steps, self.parameters, strict=True)
        ]
        self.table = np.array(rows, np.int64).reshape(-1, STEP)
        self.address, self.steps, self.work = self.table.ctypes.data, len(rows), work
        self.at_addresses, self.on_arrays = entry(run_steps, 4 + ADDRESSES), entry(run_on, 7)

    def __call__(self, threads: int, *addresses: int) -> None:
        """Run with these addresses; whoever calls holds their arrays."""
        unused = UNUSED[len(addresses)]
        if threads < 2:
            self.at_addresses(0, 1, self.address, self.steps, *addresses, *unused)
        else:
            launch(self.at_addresses, threads, self.address, self.steps, *addresses, *unused)

    def on(self, threads: int, *arrays: Array | None) -> None:
        """Run with the addresses of these arrays' data; 0 for None."""
        if threads < 2:
            self.on_arrays(0, 1, self.address, self.steps, id(arrays), len(arrays), NOTHING)
        else:
            launch(self.on_arrays, threads, self.address, self.steps, id(arrays), len(arrays), NOTHING)
