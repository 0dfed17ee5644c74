"""The contest: peers that take turns on one case after the other.

A peer has several lives, each a process of its own that is there from the beginning. They share the rounds: where a
process's memory happens to lie changes its speed, and all rounds of one life would have that in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any

from .answers import folder_of_arrays
from .case import Case
from .contestant import Contestant
from .figures import Figures
from .heat import Heat
from .peers import installed

LIVES = 2
STARTS = 3  # how often a process is started; one that keeps dying would cost every row a start


class Team:
    """A peer's lives.

    Parameters
    ----------
    name : str
        The peer's.
    threads, lives : int
    folder : path
        What they share.
    """

    def __init__(self, name: str, threads: int, lives: int, folder: str) -> None:
        self.given = (name, threads, folder)
        self.lives = [Contestant(*self.given) for _ in range(lives)]
        self.starts = [1] * lives

    def ask(self, life: int, **command: Any) -> dict[str, Any]:
        """What a life replies."""
        reply: dict[str, Any] = self.lives[life].ask(**command)
        return reply

    def revive(self) -> None:
        """Start what died again."""
        for i, contestant in enumerate(self.lives):
            if contestant.process.poll() is not None and self.starts[i] < STARTS:
                contestant.close()
                self.starts[i] += 1
                self.lives[i] = Contestant(*self.given)

    def close(self) -> None:
        """End all."""
        for contestant in self.lives:
            contestant.close()


def contest(
    cases: Iterable[Case],
    peers: list[str],
    threads: int,
    rounds: int,
    report: Callable[[dict[str, Any]], None],
    lives: int = LIVES,
    thrifty: bool = False,
) -> dict[str, str]:
    """Let the peers take turns on every case; `report` gets each row as it is done. Returns the versions.

    With `thrifty` a variant that was clearly beaten by another one of its peer is left alone in the rows that follow.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(folder_of_arrays())
        caches = stack.enter_context(TemporaryDirectory(prefix="fastconv-bench-caches-"))
        teams: dict[str, Team] = {}
        for name in peers:  # all import at the same time
            teams[name] = Team(name, threads, min(lives, rounds), caches)
            stack.callback(teams[name].close)
        for team in teams.values():
            for contestant in team.lives:
                contestant.ready()
        figures = Figures(thrifty)
        for case in cases:
            for team in teams.values():
                team.revive()
            report(Heat(case, teams, folder, figures).row(rounds))
        return {name: team.lives[0].version for name, team in teams.items()}


def contestants_here(wanted: list[str] | None) -> list[str]:
    """The peers to compare: those wanted, or all that are installed; fastconv is always one."""
    here = installed()
    missing = [name for name in wanted or [] if name not in here]
    if missing:
        raise ValueError(f"peers {', '.join(missing)} are not installed here: {', '.join(here)} are")
    return ["fastconv", *[name for name in (wanted or here) if name != "fastconv"]]
