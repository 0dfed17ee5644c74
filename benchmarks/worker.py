"""The process of one peer: it prepares a case, checks its answer, and times it when it is its turn.

Commands come as lines of JSON on standard input, replies go back as lines on what was standard output; whatever the
library prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from .case import Array, Case
from .memory import peak
from .peers import Peer, Unsupported, load

SAMPLE = 0.02  # seconds that a sample lasts at least, so that the clock and a call's overhead do not show
SAMPLES = 3  # in a turn, unless one takes longer than SLOW
SLOW = 0.5
WARM = 0.05  # seconds of calls before a turn's first sample: frequency, caches, threads


class Worker:
    """A peer and the case that it holds."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.calls: dict[str, Callable[[], Any]] = {}
        self.repeats: dict[str, int] = {}
        self.outputs: dict[str, int] = {}  # bytes of a variant's answer

    def prepare(self, case: Case, expected: str) -> dict[str, Any]:
        """Build the case's calls, run each once, and compare; only right answers will be timed."""
        self.calls, self.repeats = {}, {}
        inputs = case.inputs()
        reply: dict[str, Any] = {"status": "ok", "variants": {}}
        for variant, call in self.peer.prepare(case, inputs).items():
            start = time.perf_counter()
            answer = self.peer.finish(call())
            first = time.perf_counter() - start
            arrays = self.peer.to_numpy(answer)
            found = {"first_call": first, "error": error(arrays, expected)}
            reply["variants"][variant] = found
            if not found["error"] <= case.tolerance:
                return {"status": "wrong", "reason": f"{variant}: error {found['error']:.2g}", **found}
            self.calls[variant] = call
            self.outputs[variant] = sum(array.nbytes for array in arrays.values())
        return reply

    def turn(self) -> dict[str, Any]:
        """Seconds a call, a few samples of each variant."""
        return {"status": "ok", "samples": {variant: self.sample(variant) for variant in self.calls}}

    def memory(self) -> dict[str, Any]:
        """Peak bytes of each variant beyond inputs and outputs."""

        def finished(call: Callable[[], Any]) -> Callable[[], Any]:
            return lambda: self.peer.finish(call())

        peaks = {name: {"peak": peak(finished(call), self.outputs[name])} for name, call in self.calls.items()}
        return {"status": "ok", "variants": peaks}

    def sample(self, variant: str) -> list[float]:
        """Samples of one variant; a sample is the mean over as many calls as fill it."""
        call, finish = self.calls[variant], self.peer.finish
        start = time.perf_counter()
        calls = 0
        while True:
            finish(call())
            calls += 1
            once = (time.perf_counter() - start) / calls
            if once * calls >= WARM or once >= SLOW:
                break
        if once >= SLOW and calls == 1 and variant in self.repeats:
            return [once]
        repeats = self.repeats.setdefault(variant, max(1, round(SAMPLE / once)))
        samples = []
        for _ in range(1 if once >= SLOW else SAMPLES):
            start = time.perf_counter()
            for _ in range(repeats):
                answer = call()
            finish(answer)
            samples.append((time.perf_counter() - start) / repeats)
        return samples


def error(answer: dict[str, Array], expected: str) -> float:
    """The largest difference over all answers, relative to the largest magnitude; NaN where shapes differ."""
    worst = 0.0
    with np.load(expected) as wanted:
        if set(answer) != set(wanted.files):
            return float("nan")
        for name in wanted.files:
            right, found = wanted[name], answer[name]
            if right.shape != found.shape:
                return float("nan")
            scale = float(abs(right).max(initial=0.0)) or 1.0
            difference = float(abs(found.astype(np.float64) - right).max(initial=0.0)) / scale
            if np.isnan(difference):
                return difference
            worst = max(worst, difference)
    return worst


def serve(peer: Peer, replies: TextIO) -> None:
    """Answer commands until standard input ends."""
    worker = Worker(peer)

    def say(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    say({"status": "ok", "version": peer.version()})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "prepare":
                say(worker.prepare(Case.from_json(command["case"]), command["expected"]))
            elif command["do"] == "memory":
                say(worker.memory())
            else:
                say(worker.turn())
        except Unsupported as reason:
            say({"status": "unsupported", "reason": str(reason)})
        except Exception as problem:  # a library's failure is a row's result, not the run's end
            traceback.print_exc()
            say({"status": "failed", "reason": f"{type(problem).__name__}: {problem}"})


def end_with_the_driver() -> None:
    """Ask Linux to end this process when the driver is gone: a stopped process can't see it by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    """`python -m benchmarks.worker PEER THREADS`."""
    end_with_the_driver()
    name, threads = sys.argv[1], int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    serve(load(name, threads), replies)


if __name__ == "__main__":
    main()
