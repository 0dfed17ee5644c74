"""What a run does, in which order, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, zip_longest

from . import suites
from .case import Case

QUICK = 105.0  # seconds after which a quick run begins nothing more, so that it answers in two minutes
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


def in_turns(cases: list[Case]) -> list[Case]:
    """A case of each suite in turn, so that a run that ends early has some of all."""
    by_suite: dict[str, list[Case]] = {}
    for case in cases:
        by_suite.setdefault(case.suite, []).append(case)
    return [case for case in chain.from_iterable(zip_longest(*by_suite.values())) if case is not None]


def within(
    cases: list[Case], budget: Budget, leave_out: Callable[[Case], None], reserve: float = 0.0
) -> Iterator[Case]:
    """The cases while the budget lasts; each of the others is left out, and said to be.

    A case is expected to take what the slowest of those before it took, the last ones counting most.
    """
    expected = 0.0
    for case in cases:
        if not budget.allows(expected, reserve):
            leave_out(case)
            continue
        before = budget.spent()
        yield case
        expected = max(budget.spent() - before, ROWS_FADE * expected)


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
    unit = "thread" if count == 1 else "threads"
    renamed = [
        replace(case, group="threads", name=f"{case.name}, {count:2} {unit}") for _, case in sorted(greatest.items())
    ]
    return [case for case in renamed if wanted in case.key]
