"""Programs: tables of steps that run as one native call, on threads where that is worth it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.backends.cpu.launching import launch
from fastconv.backends.cpu.native import DATA, body, code, on_stack, word
from fastconv.backends.cpu.team import share_out
from fastconv.typing import Array

ADDRESSES = 8  # of a call: those of its arrays and its workspace
STEP = 4  # words of a step: code, plan, tasks, parts for each thread
NOTHING = id(None)
UNUSED = [(0,) * (ADDRESSES - count) for count in range(ADDRESSES + 1)]


@body
def data(address, nothing):  # type: ignore[no-untyped-def]
    """The address itself, or (`nothing` not 0) that of the data of an array's object; 0 where that is nothing."""
    if nothing == 0 or address == 0:
        return address
    return 0 if address == nothing else word(address, DATA)


@body
def run_steps(team, threads, table, steps, nothing, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """The steps of a table in order."""
    arrays = on_stack(
        *(data(a, nothing), data(b, nothing), data(c, nothing), data(d, nothing)),
        *(data(e, nothing), data(f, nothing), data(g, nothing), data(h, nothing)),
    )
    for step in range(table, table + 8 * STEP * steps, 8 * STEP):
        share_out(team, threads, word(step, 0), word(step, 1), arrays, word(step, 2), word(step, 3))


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

    def __call__(self, threads: int, *addresses: int) -> None:
        """Run with these addresses; whoever calls holds their arrays."""
        unused = UNUSED[len(addresses)]
        if threads < 2:
            run_steps(0, 1, self.address, self.steps, 0, *addresses, *unused)
        else:
            launch(run_steps, threads, self.address, self.steps, 0, *addresses, *unused)

    def on(self, threads: int, *arrays: Array | None) -> None:
        """Run with the addresses of these arrays' data; 0 for None."""
        unused = UNUSED[len(arrays)]
        if threads < 2:
            run_steps(0, 1, self.address, self.steps, NOTHING, *map(id, arrays), *unused)
        else:
            launch(run_steps, threads, self.address, self.steps, NOTHING, *map(id, arrays), *unused)
