"""How far a run is and how long it will still take, on standard error."""

from __future__ import annotations

import sys
from typing import Any

from .forecast import shown

TRUSTED = 60.0  # seconds of rows after which what they took counts as much as what they were expected to take


class Progress:
    """A bar of tqdm's where that is installed, and a line a row elsewhere.

    Parameters
    ----------
    total : int
        How many rows will come.
    expected : float
        Seconds that all of them are expected to take.
    """

    def __init__(self, total: int, expected: float) -> None:
        self.total, self.done = total, 0
        self.expected, self.expected_of_done, self.took = expected, 0.0, 0.0
        self.bar: Any = None
        try:
            from tqdm import tqdm
        except ImportError:
            return
        shape = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} rows, {elapsed}{postfix}"
        self.bar = tqdm(total=total, file=sys.stderr, dynamic_ncols=True, mininterval=0.5, bar_format=shape)

    def left(self) -> float:
        """Seconds that the rows to come will take, by what was expected and by how the rows so far kept to it."""
        pace = (self.took + TRUSTED) / (self.expected_of_done + TRUSTED)
        return max(0.0, self.expected - self.expected_of_done) * pace

    def doing(self, text: str) -> None:
        """Name what is under way."""
        if self.bar is not None:
            self.bar.set_postfix_str(text[:60])
        else:
            self.note(f"{text} ...")

    def row(self, text: str, expected: float, took: float) -> None:
        """A row is done, in so many seconds where so many were expected."""
        self.done += 1
        self.expected_of_done += expected
        self.took += took
        left = f"about {shown(self.left())} left" if self.done < self.total else "done"
        if self.bar is not None:
            self.bar.set_postfix_str(f"{left}, {text}"[:70], refresh=False)
            self.bar.update()
        else:
            self.note(f"{self.done}/{self.total} {left}  {text}")

    def note(self, text: str) -> None:
        """A line that stays."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """The bar is finished, or was given up."""
        if self.bar is not None:
            self.bar.close()
