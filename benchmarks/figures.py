"""What a run has seen of each peer's speed, and what a call will take by that."""

from __future__ import annotations

from typing import Any

from .case import Case

BEATEN = 1.5  # how much slower that is
TELLING = 0.005  # seconds of a call that tells something: a shorter one is overhead, which does not grow with the work
LIMIT = 10.0  # seconds a call from which on another peer's row is left out, and is said to be


class Figures:
    """The best FLOP/s and byte/s that each variant of a peer has shown in an operation and a dtype.

    From the first case on, a larger one is expected to take as long as the slower of the two says: a direct method
    keeps its FLOP/s, an FFT its byte/s. Both are the best so far, so that the expectation is rather too low.

    Parameters
    ----------
    thrifty : bool
        Whether a variant that was clearly beaten by another one of its peer is not tried in the next row.
    """

    def __init__(self, thrifty: bool = False) -> None:
        self.thrifty = thrifty
        self.best: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {}
        self.beaten: dict[tuple[str, str, str], list[str]] = {}

    def expected(self, peer: str, case: Case) -> dict[str, Any]:
        """The arguments of `Worker.prepare` that tell it; nothing is ever left out of fastconv."""
        if peer == "fastconv":
            return {"expected": {}, "limit": None, "beaten": []}
        place = (peer, case.operation, case.dtype)
        found = self.best.get(place, {})
        seconds = {name: max(case.flops / flops, case.traffic / traffic) for name, (flops, traffic) in found.items()}
        return {"expected": seconds, "limit": LIMIT, "beaten": self.beaten.get(place, [])}

    def note(self, peer: str, case: Case, result: dict[str, Any]) -> None:
        """Take a row's times in."""
        place = (peer, case.operation, case.dtype)
        timed = {name: min(map(min, of["rounds"])) for name, of in result["variants"].items() if of.get("rounds")}
        if self.thrifty and len(timed) > 1:
            least = min(timed.values())
            self.beaten[place] = [name for name, seconds in timed.items() if seconds > BEATEN * least]
        if not case.flops or not case.traffic:
            return
        known = self.best.setdefault(place, {})
        for variant, seconds in timed.items():
            if seconds >= TELLING:
                flops, traffic = known.get(variant, (0.0, 0.0))
                known[variant] = max(flops, case.flops / seconds), max(traffic, case.traffic / seconds)
