"""Launching compiled code on a team of threads, which grows when more are wanted.

A child made by `fork` has none of its parent's threads: it has a team of its own. What another thread was compiling is
not there to end it, either, so no fork happens while code is compiled.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable

import numpy as np
from numba import config
from numba.core.compiler_lock import global_compiler_lock

from fastconv.backends.cpu import team as t
from fastconv.backends.cpu.native import address, code

log = logging.getLogger("fastconv")

LIMIT: int = config.NUMBA_NUM_THREADS
APART = 128  # bytes of which the team's words are a multiple: two lines, which some processors load together
PATIENCE = 1.0  # seconds that the end of the process waits for a thread that computes

_api = ctypes.pythonapi
_allocate, _acquire, _release = _api.PyThread_allocate_lock, _api.PyThread_acquire_lock, _api.PyThread_release_lock
_allocate.restype, _release.restype = ctypes.c_void_p, None
_acquire.argtypes, _release.argtypes = [ctypes.c_void_p, ctypes.c_int], [ctypes.c_void_p]
_functions = {t.ACQUIRE: _acquire, t.RELEASE: _release}
if sys.platform == "win32":
    _functions[t.YIELD] = ctypes.WinDLL("kernel32").SwitchToThread
else:
    _libc = ctypes.CDLL(None)
    _functions[t.YIELD] = _libc.sched_yield
    if sys.platform == "linux" and hasattr(_libc, "sched_getcpu"):
        _functions |= {t.GET_PLACE: _libc.sched_getcpu, t.GET_MASK: _libc.sched_getaffinity}
        _functions[t.SET_MASK] = _libc.sched_setaffinity


class Team:
    """Threads that wait for jobs, and the words that they share with whoever launches, who is one of them."""

    def __init__(self) -> None:
        memory = np.zeros(t.FIRST + t.SPAN * LIMIT + APART // 8, np.int64)
        self.words = memory[-address(memory) % APART // 8 :]
        self.address, self.size, self.most = address(self.words), 1, LIMIT
        self._threads: list[threading.Thread] = []
        self._growing = threading.Lock()
        for place, function in _functions.items():
            self.words[place] = ctypes.cast(function, ctypes.c_void_p).value or 0

    def grow(self, size: int) -> None:
        """Have so many threads, unless all is over."""
        code(t.work)  # compiled, or loaded, here rather than in a thread
        with self._growing:
            while self.size < min(size, self.most) and not self.words[t.OVER]:
                lock, arguments = _allocate(), (self.address, self.size, 0, 0, 0)
                _acquire(lock, 1)
                self.words[t.FIRST + t.SPAN * (self.size - 1) + t.LOCK] = lock
                thread = threading.Thread(target=t.work, args=arguments, name=f"fastconv {self.size}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as problem:
                    self.most = self.size
                    log.info("%d threads are all that there are: %s", self.size, problem)
                    return
                self._threads.append(thread)
                self.size += 1

    def dismiss(self) -> None:
        """End the threads, while there is the code that they run."""
        with self._growing:
            self.words[t.OVER] = 1
            self.size = self.most = 1
            for number, thread in enumerate(self._threads):
                sleeps, lock = self.words[t.FIRST + t.SPAN * number :][[t.SLEEPS, t.LOCK]].tolist()
                if sleeps:
                    _release(lock)
                thread.join(PATIENCE)


_team = Team()


def launch(run: Callable[..., None], threads: int, *args: int) -> None:
    """`run(team, threads, *args)`, which shares its work out among so many threads, or all that there are."""
    team = _team
    if threads > team.size:
        if team.size < team.most:
            team.grow(threads)
        threads = min(threads, team.size)
    run(team.address, threads, *args)


def _before_fork() -> None:
    global_compiler_lock.acquire()


def _after_fork() -> None:
    global_compiler_lock.release()


def _in_child() -> None:
    global _team
    global_compiler_lock.release()
    _team = Team()


atexit.register(lambda: _team.dismiss())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
