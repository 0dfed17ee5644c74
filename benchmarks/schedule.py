"""What a run does, in which order, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, zip_longest
from statistics import median

from . import suites, units
from .case import Case

QUICK = 110.0  # seconds after which a quick run begins nothing more, so that it answers in two minutes
ROWS_FADE = 0.6  # what a row's time still says about the next one's: the first ones compile


class Budget:
    """How long a run may take.

    Parameters
    ----------
    seconds : float or None
        None: as long as it takes.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.start = seconds, time.monotonic()

    def spent(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.start

    def allows(self, seconds: float, reserve: float = 0.0) -> bool:
        """Whether something that takes so long can begin, with `reserve` seconds kept for what follows it."""
        return self.seconds is None or self.spent() + seconds + reserve <= self.seconds


def planned(names: list[str], quick: bool, wanted: str = "") -> list[Case]:
    """The cases of these suites whose key contains `wanted`."""
    cases = [case for name in names for case in suites.load(name).cases(quick)]
    return [case for case in cases if wanted in case.key]


def alternating(lists: list[list[Case]]) -> list[Case]:
    """The first of each list, the second of each, and so on."""
    return [case for case in chain.from_iterable(zip_longest(*lists)) if case is not None]


def queues(cases: list[Case]) -> dict[str, list[Case]]:
    """The cases of each suite, one of each group in turn, so that a run that ends early has some of all."""
    found: dict[str, dict[str, list[Case]]] = {}
    for case in cases:
        found.setdefault(case.suite, {}).setdefault(case.group, []).append(case)
    return {suite: alternating(list(groups.values())) for suite, groups in found.items()}


def within(
    cases: list[Case], budget: Budget, leave_out: Callable[[Case], None], reserve: float = 0.0
) -> Iterator[Case]:
    """The cases while the budget lasts; each of the others is left out, and said to be.

    All suites get the same time: the next case is of the suite that has had the least of it, by its rows and their
    median, since the first rows compile. A case is expected to take what the slowest of its suite took, the last ones
    counting most.
    """
    if budget.seconds is None:
        yield from cases
        return
    waiting = queues(cases)
    took: dict[str, list[float]] = {suite: [] for suite in waiting}
    expected = dict.fromkeys(waiting, 0.0)
    while waiting:
        suite = min(waiting, key=lambda name: len(took[name]) * median(took[name] or [0.0]))
        if not budget.allows(expected[suite], reserve):
            for case in waiting.pop(suite):
                leave_out(case)
            continue
        before = budget.spent()
        yield waiting[suite].pop(0)
        seconds = budget.spent() - before
        took[suite].append(seconds)
        expected[suite] = max(seconds, ROWS_FADE * expected[suite])
        if not waiting[suite]:
            del waiting[suite]


def thread_counts(threads: int) -> list[int]:
    """1, 2, 4, ... and the last itself."""
    powers = [1 << power for power in range(threads.bit_length()) if 1 << power < threads]
    return [*powers, threads]


def threaded(cases: list[Case], count: int, wanted: str = "") -> list[Case]:
    """The greatest case of each curve of the suite "scaling", named for a number of threads."""
    greatest: dict[str, Case] = {}
    for case in cases:
        if case.suite == "scaling" and case.flops >= greatest.get(case.group, case).flops:
            greatest[case.group] = case
    told = units.threads(count)
    renamed = [replace(case, group="threads", name=f"{case.name}, {told}") for _, case in sorted(greatest.items())]
    return [case for case in renamed if wanted in case.key]


def on_one_thread(cases: list[Case], wanted: str = "") -> list[Case]:
    """The layers that fastconv has for itself, named for one thread: there a kernel's part of the roof is plainest."""
    alone = [case for case in cases if case.alone and case.suite == "layers"]
    renamed = [replace(case, group=f"{case.group}, 1 thread", name=f"{case.name}, 1 thread") for case in alone]
    return [case for case in renamed if wanted in case.key]
