"""Launching compiled code on Numba's threads where that is safe, and on this one where it is not.

- A child made by `fork` has no threads: Numba kills one that launches on GNU OpenMP's, and what another thread was
  launching or compiling is not there to end it. So a child of a process whose threads had started computes without,
  and no fork happens while code is compiled.
- The `workqueue` threading layer aborts the process when two threads launch at once, or one from within a launch; its
  own workers are threads that Python did not start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numba
from numba import config
from numba.core.compiler_lock import global_compiler_lock

LIMIT: int = config.NUMBA_NUM_THREADS
UNKNOWN, FREE, GUARDED, SERIAL = range(4)  # launches go: not known yet, at any time, one at a time, never

_mode = UNKNOWN
_turn = threading.Lock()


def launch(parallel: Callable[..., None], serial: Callable[..., None], threads: int, *args: int) -> None:
    """`parallel(threads, *args)` where there are threads and that is safe, else its twin `serial(1, *args)`."""
    if _mode == FREE and threads > 1:
        return parallel(threads if threads < LIMIT else LIMIT, *args)
    if threads < 2 or LIMIT < 2 or _mode == SERIAL:
        return serial(1, *args)
    if _mode == UNKNOWN:
        start()
        return launch(parallel, serial, threads, *args)
    turn = _turn  # a child that is made meanwhile has another
    if isinstance(threading.current_thread(), threading._DummyThread) or not turn.acquire(blocking=False):
        return serial(1, *args)
    try:
        return parallel(min(threads, LIMIT), *args)
    finally:
        turn.release()


def start() -> str:
    """The name of Numba's threading layer, which the first call chooses and starts, for good."""
    global _mode
    numba.get_num_threads()
    layer = str(numba.threading_layer())
    if _mode == UNKNOWN:
        _mode = GUARDED if layer == "workqueue" else FREE
    return layer


def _before_fork() -> None:
    global_compiler_lock.acquire()


def _after_fork() -> None:
    global_compiler_lock.release()


def _in_child() -> None:
    global _mode, _turn
    global_compiler_lock.release()
    _turn = threading.Lock()
    try:
        numba.threading_layer()
    except ValueError:  # none was started: the child starts its own
        return
    _mode = SERIAL


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
