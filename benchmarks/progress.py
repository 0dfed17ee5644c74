"""How far a run is, on standard error."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A bar of tqdm's where that is installed, and a line a row elsewhere.

    Parameters
    ----------
    total : int
        How many rows will come.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.bar: Any = None
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self.bar = tqdm(total=total, unit="row", file=sys.stderr, dynamic_ncols=True, mininterval=0.5)

    def doing(self, text: str) -> None:
        """Name what is under way."""
        if self.bar is not None:
            self.bar.set_postfix_str(text[:50])
        else:
            self.note(f"{text} ...")

    def row(self, text: str) -> None:
        """A row is done."""
        self.done += 1
        if self.bar is not None:
            self.bar.set_postfix_str(text[:50], refresh=False)
            self.bar.update()
        else:
            self.note(f"{self.done}/{self.total} {time.monotonic() - self.start:.0f} s  {text}")

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
