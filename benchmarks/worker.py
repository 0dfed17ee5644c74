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
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from .answers import error, read_inputs
from .case import Case
from .memory import peak
from .peers import PRECISION, Peer, Unsupported, load

SAMPLE = 0.004  # seconds that a sample lasts at least, so that the clock and a call's overhead do not show
WAITED = 20  # times as long as in a row a call may take whose answer is waited for: a GPU's events can be 0 s apart
SAMPLES = 3  # in a turn, unless a call takes longer than MIDDLING
WARM = 0.02  # seconds of calls before a turn's first sample: frequency, caches, threads yet to be spread
WARM_CALLS = 3  # and so many of them: of one that meets two threads on one processor nothing would be warm
MIDDLING = 0.03  # from here on one call is a sample, one a turn, after those that warm up
SLOW = 0.1  # and from here on without them
ASIDE = {0.1: 5.0, 1.0: 1.2}  # from so many seconds a call, how much slower than another variant is not tried


class Worker:
    """A peer and the case that it holds."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.case: Case | None = None
        self.calls: dict[str, Callable[[], Any]] = {}
        self.repeats: dict[str, int] = {}
        self.outputs: dict[str, int] = {}  # bytes of a variant's answer

    def prepare(
        self,
        case: Case,
        folder: str,
        expected: dict[str, float] | None = None,
        limit: float | None = None,
        beaten: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Build the case's calls, run each once, and compare; only right answers will be timed.

        Parameters
        ----------
        case : Case
        folder : path
            What `answers.write` wrote.
        expected : dict, optional
            Seconds that a call of a variant will take, where there is reason to expect anything.
        limit : float, optional
            Seconds from which a variant is not tried.
        beaten : list of str
            Variants that are not tried beside others.
        """
        self.case, self.calls, self.repeats = case, {}, {}
        reply: dict[str, Any] = {
            "status": "ok",
            "compiles": self.peer.compiles,
            "variants": {},
            "not_tried": {},
        }
        offered = self.peer.prepare(case, read_inputs(case, folder))
        known = {name: (expected or {}).get(name, 0.0) for name in offered}
        for variant, call in offered.items():
            hopeless = variant in beaten and not set(offered) <= set(beaten)
            if hopeless or (limit is not None and known[variant] > limit) or set_aside(variant, known):
                reply["not_tried"][variant] = known[variant]
                continue
            start = time.perf_counter()
            answer = self.peer.finish(call())
            first = time.perf_counter() - start
            arrays = self.peer.to_numpy(answer)
            found = {"first_call": first, "error": error(case, arrays, folder)}
            reply["variants"][variant] = found
            if not found["error"] <= case.tolerance:
                return {"status": "wrong", "reason": f"{variant}: error {found['error']:.2g}", **found}
            self.calls[variant] = call
            self.outputs[variant] = sum(array.nbytes for array in arrays.values())
            del answer, arrays  # the next variant needs the memory
        remark = self.remark(case) if reply["variants"] else None
        if remark:
            reply["remark"] = remark
        if not reply["variants"]:
            seconds = min(filter(None, reply["not_tried"].values()), default=0.0)
            return {"status": "left out", "reason": f"expected {seconds:.0f} s a call", "not_tried": known}
        return reply

    def remark(self, case: Case) -> Any:
        """What the peer has to say of a case beside its answer; most say nothing."""
        return self.peer.remark(case) if hasattr(self.peer, "remark") else None

    def turn(self, variants: list[str] | None = None) -> dict[str, Any]:
        """Seconds a call, a few samples of each of these variants; and the roof beside them, if the peer has one."""
        samples = {name: self.sample(name) for name in variants or self.calls}
        reply: dict[str, Any] = {"status": "ok", "samples": samples}
        if hasattr(self.peer, "roof"):
            reply["roof"] = self.peer.roof(self.case)
        return reply

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
            if once >= SLOW or (once * calls >= WARM and calls >= WARM_CALLS):
                break
        if once >= SLOW and calls == 1:
            return [once]
        if hasattr(self.peer, "elapsed"):
            once = max(self.timed(call, calls), once / WAITED)
        repeats = self.repeats.setdefault(variant, max(1, round(SAMPLE / once)))
        return [self.timed(call, repeats) for _ in range(1 if once >= MIDDLING else SAMPLES)]

    def timed(self, call: Callable[[], Any], repeats: int) -> float:
        """Seconds a call, of so many one after the other."""
        # A GPU's peer times itself, by events on the stream that it launches on. A clock here would count what filling
        # the queue of launches and waiting for its end cost once in a run, as if it were the calls'; where launching
        # takes longer than computing, the events lie that far apart too, as they do for a user.
        if hasattr(self.peer, "elapsed"):
            return float(self.peer.elapsed(call, repeats)) / repeats
        start = time.perf_counter()
        for _ in range(repeats):
            answer = call()
        self.peer.finish(answer)
        return (time.perf_counter() - start) / repeats


def set_aside(variant: str, known: dict[str, float]) -> bool:
    """Whether a slow variant is expected to be that much slower than another one of the same peer."""
    others = [seconds for name, seconds in known.items() if name != variant and seconds]
    seconds = known[variant]
    return any(seconds > least and others and seconds > factor * min(others) for least, factor in ASIDE.items())


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
                given = Case.from_json(command["case"]), command["folder"]
                say(worker.prepare(*given, command["expected"], command["limit"], command["beaten"]))
            elif command["do"] == "memory":
                say(worker.memory())
            else:
                say(worker.turn(command["variants"]))
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
    serve(load(name, threads, os.environ.get(PRECISION)), replies)


if __name__ == "__main__":
    main()
