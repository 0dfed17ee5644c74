"""Numba's simulator of a GPU, mended: its threads run at the same time, but share arrays as if they did not.

A block's shared array is looked up, and made if it is not there: two threads that do so at once each made their own.
"""

from __future__ import annotations

import threading
from typing import Any


class Allocations(dict[Any, Any]):
    """Arrays by the line that asks for them; who is told that there is none is alone until it has put one."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def get(self, key: Any, default: Any = None) -> Any:
        """The array, or None, then with the lock."""
        self._lock.acquire()
        found = super().get(key)
        if found is not None:
            self._lock.release()
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._lock.release()


def mend() -> None:
    """Let blocks of the simulator have `Allocations`."""
    from numba.cuda.simulator import kernelapi

    shared = kernelapi.FakeCUDAShared
    prepare = shared.__init__

    def initialize(self: Any, *args: Any) -> None:
        prepare(self, *args)
        self._allocations = Allocations()

    shared.__init__ = initialize
