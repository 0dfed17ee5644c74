"""How many threads fastconv computes with. Results never depend on it, to the last bit."""

import os
from functools import cache

_chosen: int | None = None


def get_num_threads() -> int:
    """The number of threads that a call may use.

    It is what `set_num_threads` last set, else the environment variable `FASTCONV_NUM_THREADS`, else the number of
    processors that this process may run on.
    """
    return _from_environment() if _chosen is None else _chosen


def set_num_threads(count: int | None) -> None:
    """Use at most `count` threads from now on, in the whole process; None goes back to the default.

    Raises
    ------
    ValueError
        If `count` is not an int of at least 1.
    """
    global _chosen
    _chosen = None if count is None else _checked(count, "count")


@cache
def _from_environment() -> int:
    text = os.environ.get("FASTCONV_NUM_THREADS", "")
    return _checked(text, "the environment variable FASTCONV_NUM_THREADS") if text else available()


def available() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _checked(count: int | str, name: str) -> int:
    try:
        number = int(count) if isinstance(count, str) else count
        if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
            return number
    except ValueError:
        pass
    raise ValueError(f"{name} is {count!r}: an int of at least 1 is accepted")
