"""A run: roofs, startup, the contest, and the curve against threads, into a document that is saved on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import forecast, gpu, startup, table
from .case import Case
from .contest import LIVES, contest
from .contestant import variables
from .progress import Progress
from .results import STAGES, Document, key, on_gpu, save
from .schedule import QUICK, Budget, on_one_thread, planned, thread_counts, threaded, within

SAVE_EVERY = 10.0  # seconds: what a run that is killed may lose
LIMIT = 300.0  # seconds for the roofs
QUICK_STARTUP = 4.0  # seconds that a peer's startup may take in a quick run; fastconv's comes first, in any case
QUICK_THREADS = 15.0  # seconds of a quick run that are kept for the curve against threads
NO_TIME = "no time left in a quick run"


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes
    ----------
    cases : list of Case
        For all threads.
    curves : dict
        The cases again for each number of threads.
    startup : bool
        Whether import and first calls are measured.
    left_out : list of (str, str)
        Keys of what these suites have and this run does not do, with the reason.
    """

    cases: list[Case]
    curves: dict[int, list[Case]] = field(default_factory=dict)
    startup: bool = False
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def keys(self) -> list[str]:
        """Of all rows, in the order in which they are shown."""
        names = [case.key for case in [*self.cases, *(case for cases in self.curves.values() for case in cases)]]
        return [*names, *[f"latency/startup/{title}" for title in STAGES.values() if self.startup]]

    def __len__(self) -> int:
        return len(self.keys())


def plan(names: list[str], threads: int, quick: bool, wanted: str = "") -> Plan:
    """What these suites have to do; only rows whose key contains `wanted`."""
    cases = planned(names, quick, wanted)
    scaling = planned(["scaling"], quick) if "scaling" in names else []
    curves = {count: threaded(scaling, count, wanted) for count in thread_counts(threads)}
    if threads > 1:
        curves[1] += on_one_thread(planned(names, quick), wanted)
    starts = "latency" in names and any(wanted in f"latency/startup/{title}" for title in STAGES.values())
    return Plan(cases, {count: rows for count, rows in curves.items() if rows}, starts)


def plan_on_gpu(names: list[str], threads: int, quick: bool, wanted: str, precision: str) -> Plan:
    """What these suites have to do on a GPU; the rest is left out by name."""
    whole = plan(names, threads, quick, wanted)
    cases, left_out = gpu.suited(whole.cases, precision)
    left_out += [(case.key, gpu.ALL_THREADS) for curve in whole.curves.values() for case in curve]
    left_out += [(f"latency/startup/{title}", gpu.NO_STARTUP) for title in STAGES.values() if whole.startup]
    return Plan(cases, left_out=left_out)


class Run:
    """A plan that is being carried out.

    Parameters
    ----------
    todo : Plan
    document : dict
        A new one; rows go into it as they are done.
    out : str, optional
        The file that gets the document.
    """

    def __init__(self, todo: Plan, document: Document, out: str | None = None) -> None:
        self.todo, self.document, self.out = todo, document, out
        self.quick: bool = document["options"]["quick"]
        self.on_gpu = on_gpu(document)
        self.budget = Budget(QUICK if self.quick else None)
        self.peers: list[str] = document["options"]["peers"]
        self.saved = time.monotonic()
        self.progress = Progress(len(todo.cases) + sum(map(len, todo.curves.values())), 0.0)
        for name, reason in todo.left_out:
            self.leave_out(name, reason)

    def run(self) -> None:
        """Everything; what an interrupt leaves undone is left out by name."""
        threads = self.document["threads"]
        try:
            counts = {threads} | (set() if self.quick else set(self.todo.curves))
            self.roofs(counts)
            self.foretell()
            self.startup(["fastconv"] if self.quick else self.peers, threads)
            reserve = QUICK_THREADS if self.todo.curves else 0.0
            self.contest(self.todo.cases, self.peers, threads, reserve)
            for count, cases in self.todo.curves.items():
                self.contest(cases, ["fastconv"] if self.quick else self.peers, count)
            self.startup(self.peers[1:] if self.quick else [], threads)
            self.roofs(set() if self.quick else counts)
            self.document["status"] = "complete"
        finally:
            self.progress.close()
            self.arrange()

    def expected(self, case: Case) -> float:
        """Seconds that a row will take."""
        roof = self.document["roofs"].get(str(self.document["threads"]))
        return forecast.seconds_on_gpu(case, self.peers) if self.on_gpu else forecast.seconds(case, self.peers, roof)

    def foretell(self) -> None:
        """Say how long the run will take, now that the roofs are known."""
        every = [*self.todo.cases, *(case for cases in self.todo.curves.values() for case in cases)]
        self.progress.expected = sum(map(self.expected, every))
        more = (forecast.STARTUP * self.todo.startup + forecast.IMPORTS) * len(self.peers)
        seconds = self.budget.seconds or self.progress.expected + more
        peers = ", ".join(self.peers[1:]) or "no other library"
        self.progress.note(f"{table.counted(len(every))} with {peers}: about {forecast.shown(seconds)}.")

    def roofs(self, counts: Iterable[int]) -> None:
        """Measure the machine's roofs for each number of threads, in a process that is gone afterwards.

        They are measured before and after the rows, and the higher of the two counts: what disturbs lowers them.
        """
        if self.on_gpu:
            counts = []
            self.roofs_of_gpu()
        for count in sorted(counts):
            self.progress.doing(f"roofs on {count} threads")
            found = roofs_on(count)
            if isinstance(found, str):
                self.progress.note(f"The roofs on {count} threads were not measured: {found}")
            else:
                self.note_roofs(count, found)

    def roofs_of_gpu(self) -> None:
        """The roofs of the GPU, and what it is, likewise."""
        self.progress.doing("roofs of the GPU")
        found = gpu.device_and_roofs(self.document["options"]["precision"])
        if isinstance(found, str):
            self.progress.note(f"The GPU's roofs were not measured: {found}")
            return
        self.document["machine"]["device"] = found[0]
        self.note_roofs(self.document["threads"], found[1])

    def note_roofs(self, threads: int, found: dict[str, float]) -> None:
        """Keep the higher of these roofs and those that were measured before."""
        before = self.document["roofs"].get(str(threads), {})
        self.document["roofs"][str(threads)] = {
            name: max(value, before.get(name, 0.0)) for name, value in found.items()
        }

    def startup(self, names: list[str], threads: int) -> None:
        """Import and first calls of these peers, while a quick run has time for it."""
        for name in names if self.todo.startup else ():
            if name != "fastconv" and not self.budget.allows(QUICK_STARTUP):
                self.leave_out(f"latency/startup/{name}", NO_TIME)
                continue
            self.progress.doing(f"startup of {name}")
            repetitions, unread = (1, name == "fastconv") if self.quick else (startup.REPETITIONS, True)
            self.document["startup"] |= startup.measure([name], threads, repetitions, unread)

    def contest(self, cases: list[Case], peers: list[str], threads: int, reserve: float = 0.0) -> None:
        """Rows on so many threads."""

        def report(row: dict[str, Any]) -> None:
            row["threads"] = threads
            self.document["rows"].append(row)
            took = sum(row["spent"].values())
            self.progress.row(table.line_of(row), self.expected(Case.from_json(row["case"])), took)
            if time.monotonic() - self.saved > SAVE_EVERY:
                self.save()

        if not cases:
            return
        peers = peers if any(not case.alone for case in cases) else ["fastconv"]
        self.progress.doing("starting the libraries")
        todo = within(cases, self.budget, lambda case: self.leave_out(case.key, NO_TIME), reserve)
        rounds, lives = self.document["options"]["rounds"], 1 if self.quick else LIVES
        versions = contest(todo, peers, threads, rounds, report, lives, thrifty=self.quick)
        self.document["versions"] |= {name: version for name, version in versions.items() if version != "unknown"}

    def leave_out(self, name: str, reason: str) -> None:
        """Note that a row is not measured."""
        self.document["left_out"].append({"key": name, "reason": reason})

    def arrange(self) -> None:
        """Put the rows into the plan's order, and name those that an interrupt kept from being measured."""
        order = {name: place for place, name in enumerate(self.todo.keys())}
        self.document["rows"].sort(key=lambda row: order[key(row)])
        self.document["seconds"] = round(self.budget.spent(), 1)
        told = {key(row) for row in self.document["rows"]} | {item["key"] for item in self.document["left_out"]}
        if self.document["status"] != "complete":
            for name in order:
                if name not in told and not name.startswith("latency/startup/"):
                    self.leave_out(name, "interrupted")

    def save(self) -> None:
        """Write the document, as far as it is, if a file is wanted."""
        self.document["seconds"] = round(self.budget.spent(), 1)
        if self.out:
            save(self.document, self.out)
        self.saved = time.monotonic()


def roofs_on(threads: int) -> dict[str, float] | str:
    """The roofs on so many threads, or why there are none."""
    command = [sys.executable, "-m", f"{__package__}.roofs", str(threads)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, env=variables(threads), check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {LIMIT:.0f} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    found: dict[str, float] = json.loads(done.stdout)
    return found
