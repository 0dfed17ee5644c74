"""Numbers as a reader wants them: three digits and a unit."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "-"
TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    """The value in the largest unit that leaves at least one of it, in the least elsewhere."""
    for size, unit in units:
        if abs(value) >= 0.9995 * size:
            return f"{digits(value / size)} {unit}"
    size, unit = units[-1]
    return f"{digits(value / size)} {unit}"


def seconds(value: float | None) -> str:
    """A time."""
    return NOTHING if value is None else scaled(value, TIMES)


def count_bytes(value: float | None, least: int = 0) -> str:
    """An amount of memory; below `least` it is only known to be that."""
    if value is not None and value < least:
        return f"<{scaled(least, BYTES)}"
    return NOTHING if value is None else scaled(value, BYTES)


def digits(value: float | None) -> str:
    """Three digits that count, or all before the point."""
    if value is None:
        return NOTHING
    for places, limit in ((2, 9.995), (1, 99.95)):
        if abs(value) < limit:
            return f"{value:.{places}f}" if abs(value) >= 0.0995 or not value else f"{value:.2g}"
    return f"{value:.0f}"


def percent(value: float | None) -> str:
    """A fraction."""
    return NOTHING if value is None else f"{100 * value:.0f} %" if value >= 0.01 else f"{100 * value:.1g} %"


def threads(count: int) -> str:
    """A number of threads."""
    return "1 thread" if count == 1 else f"{count} threads"
