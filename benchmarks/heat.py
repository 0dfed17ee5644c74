"""A heat: one case, which every peer answers, and is timed on if its answer is right.

How often depends on what the rounds say. A row that takes seconds or whose rounds agree needs few of them; a variant or
a peer that is clearly behind is not timed to the last digit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any, Protocol

from .answers import write
from .case import Case
from .figures import Figures

ENOUGH = 1.0  # seconds of samples after which a variant is not timed again
SETTLED = 1.03  # rounds that lie so close together need no more of them
DEAR = 1.0  # seconds of a row's turns after which no life has a second round
BEHIND = 1.3  # a variant so much slower than its peer's best is not timed again
FAR = 2.0  # nor is a peer so much slower than the best
HUGE = 1 << 28  # bytes of a case from which on one life has all rounds: how its memory lies matters little, then
CHEAP = 0.02  # seconds of a call up to which one round, which may have been disturbed, puts neither aside
SLOW = 0.5  # from here on the checked call of a peer that is far behind counts, where nothing is compiled
LONG = 4.0  # and from here on anybody's

Result = dict[str, Any]


class Peer(Protocol):
    """What takes part: a peer's processes."""

    lives: list[Any]

    def ask(self, life: int, **command: Any) -> Result:
        """What a process replies."""
        ...


class Heat:
    """A case that is under way.

    Parameters
    ----------
    case : Case
    peers : dict
        Who takes part, by name.
    folder : path
        Where the case's arrays are written.
    figures : Figures
        What is known of the peers' speed.
    """

    def __init__(self, case: Case, peers: Mapping[str, Peer], folder: str, figures: Figures) -> None:
        self.case, self.folder, self.figures = case, folder, figures
        self.peers = {name: peer for name, peer in peers.items() if name == "fastconv" or not case.alone}
        lives = min((len(peer.lives) for peer in self.peers.values()), default=1)
        self.lives = 1 if case.traffic > HUGE else lives
        self.results: dict[str, Result] = {}
        self.spent = {"arrays": 0.0, **dict.fromkeys(self.peers, 0.0)}  # seconds, by whom they were needed
        self.turns = 0.0  # of these, what turns needed
        self.held: set[tuple[str, int]] = set()  # the peers' lives that hold the case
        self.far: set[str] = set()  # who looks far behind so far

    def row(self, rounds: int) -> dict[str, Any]:
        """The row: the case, each peer's result, and the figures that come of them."""
        start = time.monotonic()
        write(self.case, self.folder)
        self.spent["arrays"] = time.monotonic() - start
        for name in self.peers:
            self.prepare(name, 0)
        row = {"case": self.case.to_json(), "results": self.results, "spent": self.spent}
        if self.case.measure == "memory":
            return row | self.peaks()
        self.count_first_calls()
        for turn in range(rounds):
            todo = self.todo(turn)
            for name in list(todo) if turn % 2 == 0 else list(todo)[::-1]:
                self.turn(name, turn, todo[name])
        for name, result in self.results.items():
            self.figures.note(name, self.case, result)
        return row | summary(self.results)

    def ask(self, name: str, life: int, **command: Any) -> Result:
        """What a peer's process replies."""
        start = time.monotonic()
        reply = self.peers[name].ask(life, **command)
        took = time.monotonic() - start
        self.spent[name] += took
        self.turns += took * (command["do"] == "turn")
        return reply

    def prepare(self, name: str, life: int) -> bool:
        """Let a process hold the case; the failure of any is the peer's."""
        given = {"case": self.case.to_json(), "folder": self.folder, **self.figures.expected(name, self.case)}
        reply = self.ask(name, life, do="prepare", **given)
        if reply["status"] != "ok":
            self.results[name] = {**reply, "variants": {}}
        elif life == 0:
            self.results[name] = reply
        self.held.add((name, life))
        return bool(reply["status"] == "ok")

    def count_first_calls(self) -> None:
        """Take long calls' times from the check, which found no need to compile."""
        results = [result for result in self.results.values() if result["status"] == "ok"]
        best = min((least(found) for result in results for found in result["variants"].values()), default=0.0)
        for result in results:
            for found in () if result["compiles"] else result["variants"].values():
                first = found["first_call"]
                if first >= LONG or first >= max(SLOW, FAR * best):
                    found["rounds"] = [[first]]

    def todo(self, turn: int) -> dict[str, list[str]]:
        """Who is timed in this round, and in which variants."""
        results = {name: result for name, result in self.results.items() if result["status"] == "ok"}
        if turn >= self.lives and (self.turns > DEAR or settled(results)):
            return {}
        quickest = {name: min(map(least, result["variants"].values())) for name, result in results.items()}
        best = min(quickest.values(), default=0.0)
        self.far = {name for name in quickest if turn and name != "fastconv" and quickest[name] > FAR * best}
        found = {}
        for name, result in results.items():
            sure = turn >= self.lives or (turn > 0 and quickest[name] > CHEAP)
            if sure and name in self.far:
                continue
            going = [v for v, of in result["variants"].items() if sampled(of) < (ENOUGH if turn else SLOW)]
            if sure:
                going = [v for v in going if least(result["variants"][v]) <= BEHIND * quickest[name]]
            if going:
                found[name] = going
        return found

    def turn(self, name: str, turn: int, variants: list[str]) -> None:
        """Take one turn, in the process whose round it is; who looks far behind is asked again where it was."""
        life = 0 if name in self.far else turn % self.lives
        if (name, life) not in self.held and not self.prepare(name, life):
            return
        reply = self.ask(name, life, do="turn", variants=variants)
        if reply["status"] != "ok":
            self.results[name] = {**reply, "variants": {}}
            return
        if reply.get("roof") is not None:
            self.results[name].setdefault("roofs", []).append(reply["roof"])
        for variant, samples in reply["samples"].items():
            self.results[name]["variants"][variant].setdefault("rounds", []).append(samples)

    def peaks(self) -> dict[str, Any]:
        """Ask for the peak of memory in each right answer's call; a summary with the least of each peer's variants."""
        least = {}
        for name in self.peers:
            if self.results[name]["status"] != "ok":
                continue
            reply = self.ask(name, 0, do="memory")
            if reply["status"] != "ok":
                self.results[name] = {**reply, "variants": {}}
                continue
            for variant, found in reply["variants"].items():
                self.results[name]["variants"][variant].update(found)
            least[name] = min(found["peak"] for found in reply["variants"].values())
        return {"peaks": least, "seconds": {}, "best": None, "ratios": {}}


def settled(results: Mapping[str, Result]) -> bool:
    """Whether the rounds of fastconv and of the best other peer agree."""
    seconds = {name: median(rounds) for name, result in results.items() if (rounds := best_variant(result))}
    others = sorted((name for name in seconds if name != "fastconv"), key=seconds.__getitem__)
    for name in [name for name in ("fastconv", *others[:1]) if name in seconds]:
        rounds = best_variant(results[name])
        if len(rounds) < 2 or max(rounds) > SETTLED * min(rounds):
            return False
    return True


def summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """Each peer's best variant, and fastconv's ratio to the best other peer, round by round.

    Returns
    -------
    dict
        "seconds": the median of each peer's best variant; "best": the fastest other peer; "ratios": for each peer the
        median over rounds of its seconds over fastconv's, with the least and the greatest; "roof": FLOP/s of
        multiply-adds alone beside fastconv's times, the median, or None.
    """
    by_round = {name: best_variant(result) for name, result in results.items() if result["status"] == "ok"}
    by_round = {name: times for name, times in by_round.items() if times}
    seconds = {name: median(times) for name, times in by_round.items()}
    ratios = {}
    for name, times in by_round.items():
        if name != "fastconv" and "fastconv" in by_round:
            ratio = [theirs / ours for theirs, ours in zip(times, by_round["fastconv"], strict=False)]
            ratios[name] = {"median": median(ratio), "least": min(ratio), "greatest": max(ratio)}
    others = {name: value for name, value in seconds.items() if name != "fastconv"}
    best, roofs = min(others, key=others.__getitem__, default=None), results.get("fastconv", {}).get("roofs")
    return {"seconds": seconds, "best": best, "ratios": ratios, "roof": median(roofs) if roofs else None}


def best_variant(result: Result) -> list[float]:
    """Seconds a call in each round, of the variant whose median is least."""
    rounds = [[median(samples) for samples in found.get("rounds", [])] for found in result["variants"].values()]
    return min(filter(None, rounds), key=median, default=[])


def sampled(found: Mapping[str, Any]) -> float:
    """Seconds of a variant's samples."""
    return float(sum(map(sum, found.get("rounds", []))))


def least(found: Mapping[str, Any]) -> float:
    """A variant's quickest call: one disturbed round must not put the better variant aside."""
    return min([found["first_call"], *[seconds for samples in found.get("rounds", []) for seconds in samples]])
