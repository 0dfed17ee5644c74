"""The contest: processes that take turns, and what comes of it.

Threads that spin after a call disturb whatever runs next by large factors. So only the process whose turn it is runs:
the others are stopped (where the system can), and a pause lies between two turns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .case import Case
from .oracle import expected
from .peers import installed

CAN_STOP = hasattr(signal, "SIGSTOP")
PAUSE = 0.03 if CAN_STOP else 0.3  # seconds between two turns; threads that nothing stops spin for some time
PATIENCE = 900.0  # seconds for an answer: a cold compiler and a large case take minutes
LIVES = 3  # how often a peer's process is started; one that keeps dying would cost every row a start


class Contestant:
    """A peer's process."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("FASTCONV_BENCH_VERBOSE") else subprocess.DEVNULL,
            text=True,
            env=variables(threads),
            start_new_session=True,  # Ctrl-C is the driver's; it ends its contestants itself
        )
        try:
            self.version = str(self.answer().get("version", "unknown"))
        except BaseException:  # Ctrl-C while the library is imported
            self.close()
            raise
        self.stop()

    def answer(self) -> dict[str, Any]:
        """The next reply; a process that died, or was ended as it gave none, answers that it did."""
        assert self.process.stdout is not None
        late = threading.Timer(PATIENCE, self.process.kill)
        late.start()
        try:
            line = self.process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            return {"status": "failed", "reason": f"the process ended with status {self.process.wait()}"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, **command: Any) -> dict[str, Any]:
        """Run, answer, and stand still again."""
        if self.process.poll() is not None:
            return {"status": "failed", "reason": f"the process had ended with status {self.process.returncode}"}
        self.signal("SIGCONT")
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        reply = self.answer()
        self.stop()
        time.sleep(PAUSE)
        return reply

    def stop(self) -> None:
        """Stand still, spinning threads and all."""
        self.signal("SIGSTOP")

    def signal(self, name: str) -> None:
        """Send a signal that this system may not have."""
        if CAN_STOP and self.process.poll() is None:
            self.process.send_signal(getattr(signal, name))

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # what was on its way to it
                if pipe is not None:
                    pipe.close()


def variables(threads: int) -> dict[str, str]:
    """The environment of a process of this suite: where its modules are, and every library's number of threads."""
    assert __package__
    root = str(Path(__file__).parents[len(__package__.split("."))])
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(counts, str(threads)),
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }


def contest(
    cases: Iterable[Case],
    peers: list[str],
    threads: int,
    rounds: int,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, str]:
    """Let the peers take turns on every case; `report` gets each row as it is done. Returns the versions."""
    contestants: dict[str, Contestant] = {}
    lives = dict.fromkeys(peers, LIVES - 1)
    try:
        contestants.update((name, Contestant(name, threads)) for name in peers)
        with tempfile.TemporaryDirectory() as folder:
            for case in cases:
                for name in peers:
                    if contestants[name].process.poll() is not None and lives[name]:
                        lives[name] -= 1
                        contestants[name].close()
                        contestants[name] = Contestant(name, threads)
                report(row(case, contestants, rounds, Path(folder) / "expected.npz"))
        return {name: contestant.version for name, contestant in contestants.items()}
    finally:
        for contestant in contestants.values():
            contestant.close()


def row(case: Case, contestants: dict[str, Contestant], rounds: int, file: Path) -> dict[str, Any]:
    """One case: check every peer's answer, then time the right ones, round by round."""
    np.savez(file, **expected(case))  # type: ignore[arg-type]
    results = {}
    for name, contestant in contestants.items():
        reply = contestant.ask(do="prepare", case=case.to_json(), expected=str(file))
        results[name] = reply if reply["status"] == "ok" else {**reply, "variants": {}}
    if case.measure == "memory":
        return {"case": case.to_json(), "results": results, **peaks(results, contestants)}
    for turn in range(rounds):
        order = list(contestants) if turn % 2 == 0 else list(contestants)[::-1]
        for name in order:
            if results[name]["status"] != "ok":
                continue
            reply = contestants[name].ask(do="turn")
            if reply["status"] != "ok":
                results[name] = {**reply, "variants": {}}
                continue
            for variant, samples in reply["samples"].items():
                results[name]["variants"][variant].setdefault("rounds", []).append(samples)
    return {"case": case.to_json(), "results": results, **summary(results)}


def peaks(results: dict[str, Any], contestants: dict[str, Contestant]) -> dict[str, Any]:
    """Ask for the peak of memory in each right answer's call; a summary with the least of each peer's variants."""
    least = {}
    for name, contestant in contestants.items():
        if results[name]["status"] != "ok":
            continue
        reply = contestant.ask(do="memory")
        if reply["status"] != "ok":
            results[name] = {**reply, "variants": {}}
            continue
        for variant, found in reply["variants"].items():
            results[name]["variants"][variant].update(found)
        least[name] = min(found["peak"] for found in reply["variants"].values())
    return {"peaks": least, "seconds": {}, "best": None, "ratios": {}}


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Each peer's best variant, and fastconv's ratio to the best other peer, round by round.

    Returns
    -------
    dict
        "seconds": the median of each peer's best variant; "best": the fastest other peer; "ratios": for each peer the
        median over rounds of its seconds over fastconv's, with the least and the greatest.
    """
    by_round = {name: best_variant(result) for name, result in results.items() if result["status"] == "ok"}
    seconds = {name: median(times) for name, times in by_round.items()}
    ratios = {}
    for name, times in by_round.items():
        if name != "fastconv" and "fastconv" in by_round:
            ratio = [theirs / ours for theirs, ours in zip(times, by_round["fastconv"], strict=False)]
            ratios[name] = {"median": median(ratio), "least": min(ratio), "greatest": max(ratio)}
    others = {name: value for name, value in seconds.items() if name != "fastconv"}
    return {"seconds": seconds, "best": min(others, key=others.__getitem__, default=None), "ratios": ratios}


def best_variant(result: dict[str, Any]) -> list[float]:
    """Seconds a call in each round, of the variant whose median is least."""
    variants = [[median(samples) for samples in found["rounds"]] for found in result["variants"].values()]
    return min(variants, key=median)


def contestants_here(wanted: list[str] | None) -> list[str]:
    """The peers to compare: those wanted, or all that are installed; fastconv is always one."""
    here = installed()
    missing = [name for name in wanted or [] if name not in here]
    if missing:
        raise ValueError(f"peers {', '.join(missing)} are not installed here: {', '.join(here)} are")
    return ["fastconv", *[name for name in (wanted or here) if name != "fastconv"]]
