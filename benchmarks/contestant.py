"""A contestant: a peer's process, which runs only while it is asked something.

Threads that spin after a call disturb whatever runs next by large factors. So only the process whose turn it is runs:
the others are stopped (where the system can), and a pause lies between two turns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CAN_STOP = hasattr(signal, "SIGSTOP")
PAUSE = 0.002 if CAN_STOP else 0.3  # seconds between two turns; threads that nothing stops spin for some time
PATIENCE = 900.0  # seconds for an answer: a cold compiler and a large case take minutes


class Contestant:
    """A peer's process.

    Parameters
    ----------
    name : str
        The peer's.
    threads : int
    folder : path, optional
        Where libraries that compile may keep what one process of theirs can take over from another.
    """

    def __init__(self, name: str, threads: int, folder: str | None = None) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("FASTCONV_BENCH_VERBOSE") else subprocess.DEVNULL,
            text=True,
            env=variables(threads) | ({} if folder is None else shared_caches(folder)),
            start_new_session=True,  # Ctrl-C is the driver's; it ends its contestants itself
        )
        self.version = "unknown"
        self.started = False

    def ready(self) -> None:
        """Wait until the library is imported; several can be at that at once."""
        if not self.started:
            self.version = str(self.answer().get("version", "unknown"))
            self.stop()
            self.started = True

    def answer(self) -> dict[str, Any]:
        """The next reply; a process that died, or was ended as it gave none, answers that it did."""
        assert self.process.stdout is not None
        late = threading.Timer(PATIENCE, self.process.kill)
        late.start()
        try:
            line = self.process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            return {"status": "failed", "reason": f"the process ended with status {self.process.wait()}"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, **command: Any) -> dict[str, Any]:
        """Run, answer, and stand still again."""
        self.ready()
        if self.process.poll() is not None:
            return {"status": "failed", "reason": f"the process had ended with status {self.process.returncode}"}
        self.signal("SIGCONT")
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        reply = self.answer()
        self.stop()
        time.sleep(PAUSE)
        return reply

    def stop(self) -> None:
        """Stand still, spinning threads and all."""
        self.signal("SIGSTOP")

    def signal(self, name: str) -> None:
        """Send a signal that this system may not have."""
        if CAN_STOP and self.process.poll() is None:
            self.process.send_signal(getattr(signal, name))

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # what was on its way to it
                if pipe is not None:
                    pipe.close()


def shared_caches(folder: str) -> dict[str, str]:
    """The environment that lets JAX's second process find what the first one compiled."""
    return {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def variables(threads: int) -> dict[str, str]:
    """The environment of a process of this suite: where its modules are, and every library's number of threads."""
    assert __package__
    root = str(Path(__file__).parents[len(__package__.split("."))])
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(counts, str(threads)),
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
