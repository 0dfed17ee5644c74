"""Tables of steps with their arguments: what a bound network runs, as one native call where no layer is Python's.

A row is a step, which may have a condition: a word that must not be 0. Steps of which each belongs to one
image can be chained: a task of the chain takes an image through all of them, while it stays in the thread's caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.cpu.kernels import AXES, INT, Kernel
from fastconv.backends.cpu.launching import launch
from fastconv.backends.cpu.native import address, body, call, code, set_word, word
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.team import share_out
from fastconv.typing import Array

ROW = 6  # words: code, plan, arrays, tasks, parts, the condition's address (0: none)
CODE, PLAN, ARRAYS, TASKS, PARTS, CONDITION = range(ROW)
ENOUGH = 8  # pieces of a chain
LINK = 4  # words of a chain's step: code, plan, arrays, tasks of an image


@body
def chained(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
    """Images from first to end, each through all steps of the chain; `plan` is their table, its length at `arrays`."""
    for image in range(first, end):
        for link in range(plan, plan + 8 * LINK * word(arrays, 0), 8 * LINK):
            tasks = word(link, TASKS)
            call(word(link, CODE), word(link, PLAN), word(link, ARRAYS), image * tasks, (image + 1) * tasks, thread)


@body
def cleared(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
    """A word becomes 0."""
    set_word(word(arrays, 0), 0, 0)


@body
def run_table(team, threads, table, rows):  # type: ignore[no-untyped-def]
    """The rows of a table in order."""
    for row in range(table, table + 8 * ROW * rows, 8 * ROW):
        condition = word(row, CONDITION)
        if condition == 0 or word(condition, 0) != 0:
            share_out(
                team, threads, word(row, CODE), word(row, PLAN), word(row, ARRAYS), word(row, TASKS), word(row, PARTS)
            )


def block(places: Sequence[int]) -> Array:
    """The addresses as a kernel finds them."""
    return np.array([*places, 0], np.int64)


class Row(NamedTuple):
    """A step as it is in the table, with a name for profiles."""

    name: str
    code: int
    plan: int
    arrays: Array
    tasks: int
    parts: int
    condition: int = 0
    images: int = 0
    flops: int = 0
    early: bool = False
    alone: bool = False  # whether there is a workspace for one thread only


class Seen:
    """An array that tables read, and in whose place they can be shown others of its shape."""

    def __init__(self, array: Array) -> None:
        self.array = self._shown = array
        self._words: list[Array] = []

    def follow(self, *tables: Table) -> None:
        """Show them to these tables, too."""
        at = address(self.array)
        blocks = [row.arrays for table in tables for row in table.rows if isinstance(row, Row)]
        found = [block[i : i + 1] for block in blocks for i in np.flatnonzero(block == at)]
        self._words += found
        self._point(found)

    def show(self, other: Array) -> None:
        """Let the tables read this array where it lies, or a copy of it where kernels can't; it is held meanwhile."""
        if other.dtype != self.array.dtype or not (other.flags.c_contiguous and other.flags.aligned):
            self.array[...] = other
            other = self.array
        if other is not self._shown:
            self._shown = other
            self._point(self._words)

    def _point(self, words: list[Array]) -> None:
        at = address(self._shown)
        for place in words:
            place[0] = at


class Table:
    """Rows, and Python's own steps between them.

    `add`, `program`, `kernel` and `python` append; `freeze` ends that. An array that is another one from one run to the
    next is `Seen`.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.rows: list[Row | Callable[[], object]] = []
        self.held: list[Any] = []
        self._segments: list[tuple[int, int] | Callable[[], object]] = []
        self._condition = 0

    def when(self, word: Array | None) -> None:
        """Steps that follow run only if this int64 is not 0; None: always."""
        self._condition = 0 if word is None else address(word)
        self.held.append(word)

    def add(self, *steps: Step) -> None:
        """Steps of bodies."""
        for step in steps:
            parameters = np.array(step.parameters, np.int64)
            self.held += [parameters, step.arrays]
            places = [0 if array is None else address(array) for array in step.arrays]
            row = Row(step.name, code(step.body), address(parameters), block(places), step.tasks, step.parts)
            self._row(row._replace(images=step.images, flops=step.flops, early=step.early))

    def program(self, name: str, program: Program, *arrays: Any, threads: int, images: int = 0, flops: int = 0) -> None:
        """The steps of a program that was planned for so many threads, on these arrays."""
        self.held += [program, arrays]
        places = [0 if array is None else address(array) for array in arrays]
        last = program.steps - 1
        for index, (kernel, plan, tasks, parts) in enumerate(program.table.tolist()):
            row = Row(name, kernel, plan, block(places), tasks, parts if threads > 1 else 0, alone=threads < 2)
            if index == last:
                self._row(row._replace(images=images if images and tasks % images == 0 else 0, flops=flops))
            else:
                self._row(row._replace(name=f"{name}: step {index + 1}", early=images > 0))

    def kernel(self, kernel: Kernel, tasks: int, *args: Any, parts: int = 4, early: bool = False) -> None:
        """A kernel over arrays and numbers."""
        kinds, places = [], []
        for value in args:
            if isinstance(value, int | np.integer):
                kinds.append(INT)
                places.append(int(value))
                continue
            array = np.asarray(value)
            self.held.append(array)
            kinds.append(AXES * array.dtype.num + array.ndim)
            places.append(id(array))
        key = tuple(kinds)
        compiled = kernel.codes.get(key) or kernel.compile(key)
        self._row(Row(kernel.__name__, compiled, 0, block(places), tasks, parts, early=early))

    def python(self, call: Callable[[], object]) -> None:
        """A step that Python does."""
        self.rows.append(call)

    def clear(self, flag: Array) -> None:
        """Make a word 0."""
        self.add(Step("clear", cleared, (), (flag,), 1, 0))

    def _row(self, row: Row) -> None:
        self.rows.append(row._replace(condition=self._condition))

    def freeze(self) -> None:
        """Make the table of the rows, and of runs of neighbours that can be chained one row each."""
        native: list[list[int]] = []
        self._places: list[int] = []  # of the profiled steps' rows, in bytes
        self.profiled: list[Row | Callable[[], object]] = []
        begin = 0
        for step in chains(self.rows, self.held):
            self.profiled.append(step)
            self._places.append(8 * ROW * len(native))
            if isinstance(step, Row):
                native.append(self._words(step))
            else:
                self._segments += [(begin, len(native) - begin), step]
                begin = len(native)
        self._segments.append((begin, len(native) - begin))
        self.table = np.array(native, np.int64).reshape(-1, ROW)
        self._calls = [s if callable(s) else (address(self.table) + 8 * ROW * s[0], s[1]) for s in self._segments]
        self._calls = [s for s in self._calls if callable(s) or s[1]]

    @staticmethod
    def _words(row: Row) -> list[int]:
        return [row.code, row.plan, address(row.arrays), row.tasks, row.parts, row.condition]

    def __call__(self) -> None:
        """Run all."""
        threads = self.threads
        for segment in self._calls:
            if callable(segment):
                segment()
            else:
                launch(run_table, threads, *segment)

    def step(self, index: int) -> None:
        """Run one of the steps of `profiled` alone."""
        row = self.profiled[index]
        if isinstance(row, Row):
            launch(run_table, self.threads, address(self.table) + self._places[index], 1)
        else:
            row()


def profile(tables: Sequence[Table], repeats: int = 20) -> list[tuple[str, float, int]]:
    """(name, seconds, flops) of each step, the least of some runs of all steps in their order, each timed by itself."""
    steps = [(table, index) for table in tables for index in range(len(table.profiled))]
    least = [float("inf")] * len(steps)
    for _ in range(repeats):
        for place, (table, index) in enumerate(steps):
            start = time.perf_counter()
            table.step(index)
            least[place] = min(least[place], time.perf_counter() - start)
    found = []
    for seconds, (table, index) in zip(least, steps, strict=True):
        row = table.profiled[index]
        name = row.name if isinstance(row, Row) else getattr(row, "__name__", "layer")
        found.append((name, seconds, row.flops if isinstance(row, Row) else 0))
    return found


def chains(rows: list[Row | Callable[[], object]], held: list[Any]) -> list[Row | Callable[[], object]]:
    """The rows with neighbours that can go by images, and are under the same condition, made one row."""
    found: list[Row | Callable[[], object]] = []
    run: list[Row] = []

    def close() -> None:
        found.extend(run if len(run) < 2 else [chain(run, held)])
        run.clear()

    for row in rows:
        if run and isinstance(row, Row) and row.early:
            found.append(row)
            continue
        joins = isinstance(row, Row) and row.images > 1
        if run and not (joins and fits(run, row)):
            close()
        if joins:
            run.append(row)  # type: ignore[arg-type]
        else:
            found.append(row)
    close()
    return found


def fits(run: list[Row], row: Any) -> bool:
    """Whether a row has the condition of those before it, and falls into enough pieces of whole images with them."""
    pieces = gcd(row.images, *[other.images for other in run])
    enough = pieces >= min(ENOUGH, max(row.images, *[other.images for other in run]))
    return bool(enough and run[0].condition == row.condition)


def chain(run: list[Row], held: list[Any]) -> Row:
    """One row of several."""
    pieces = gcd(*[row.images for row in run])
    links = np.array([(row.code, row.plan, address(row.arrays), row.tasks // pieces) for row in run], np.int64)
    count = np.array([len(run)], np.int64)
    held += [links, count]
    parts = 0 if any(row.alone for row in run) else max(row.parts for row in run)
    name, flops = " + ".join(row.name for row in run), sum(row.flops for row in run)
    return Row(name, code(chained), address(links), count, pieces, parts, run[0].condition, pieces, flops)
