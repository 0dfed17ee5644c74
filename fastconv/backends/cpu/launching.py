"""Launching compiled code on Numba's threads where that is safe, and on this one where it is not.

- A child made by `fork` can't use GNU OpenMP's threads: Numba kills a child that tries.
- The `workqueue` threading layer aborts the process when two threads launch at once, or one from within a launch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numba
from numba import config

_turn = threading.Lock()
_forked = False


def _after_fork() -> None:
    global _turn, _forked
    _turn, _forked = threading.Lock(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def launch(parallel: Callable[..., None], serial: Callable[..., None], threads: int, *args: int) -> None:
    """`parallel(*args)` on so many threads where that is worth it and safe, else its serial twin."""
    if threads < 2 or _forked:
        return serial(*args)
    if _layer() == "omp":
        return _with_threads(threads, parallel, args)
    if not _turn.acquire(blocking=_layer() is None):
        return serial(*args)
    try:
        return _with_threads(threads, parallel, args)
    finally:
        _turn.release()


def _layer() -> str | None:
    """Numba's threading layer, which the first launch chooses."""
    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def _with_threads(wanted: int, function: Callable[..., None], args: tuple[int, ...]) -> None:
    """`function(*args)` on so many threads; the caller's own setting of Numba's is left as it was."""
    before = numba.get_num_threads()
    wanted = min(wanted, config.NUMBA_NUM_THREADS)
    if wanted == before:
        return function(*args)
    numba.set_num_threads(wanted)
    try:
        return function(*args)
    finally:
        numba.set_num_threads(before)
