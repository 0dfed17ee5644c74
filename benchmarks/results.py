"""A run's document, which is what a JSON file holds, and the figures that are read off its rows.

The document is a dict: "format", "status" ("complete" or "interrupted"), "date", "seconds", "machine", "versions",
"threads", "options", "roofs" (by the number of threads; a run on a GPU has one), "startup" (by peer), "left_out" (keys
with the reason) and "rows": one for each case, as `contest` reports it, with every sample.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import geometric_mean as mean
from statistics import median
from typing import Any

from fastconv import files

from . import machine, units

FORMAT = 1
KEYS = ("status", "date", "machine", "versions", "threads", "options", "roofs", "startup", "left_out", "rows")
COARSE = 64 * 1024  # bytes: what the system's count of pages may be wrong by, so that a lower peak tells nothing
STAGES = {"import": "import", "cold": "first call, cold caches", "warm": "first call, warm caches"}

Row = dict[str, Any]
Document = dict[str, Any]


def new(peers: list[str], threads: int, options: Mapping[str, Any]) -> Document:
    """A document without rows, which is interrupted until somebody says that it is complete."""
    return {
        "format": FORMAT,
        "status": "interrupted",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "machine": machine.describe(),
        "versions": machine.versions([*peers, "numba-cuda"] if options.get("backend") == "cuda" else peers),
        "threads": threads,
        "options": {**options, "peers": peers},
        "roofs": {},
        "startup": {},
        "left_out": [],
        "rows": [],
    }


def on_gpu(document: Document) -> bool:
    """Whether the run was of a GPU."""
    return bool(document["options"].get("backend") == "cuda")


def where(document: Document) -> str:
    """What computed, in a few words: the GPU's name, or a number of threads."""
    if on_gpu(document):
        return str(document["machine"].get("device", {}).get("name", "a GPU"))
    return units.threads(document["threads"])


def save(document: Document, path: str | os.PathLike[str]) -> None:
    """Write a document, whole or not at all."""
    text = json.dumps(finite(document), allow_nan=False, indent=1)
    files.replace(path, (text + "\n").encode())


def finite(value: Any) -> Any:
    """The same with None for what is not a finite number, such as the error of a wrong shape: JSON has no NaN."""
    if isinstance(value, dict):
        return {name: finite(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load(path: str | os.PathLike[str]) -> Document:
    """Read a document.

    Raises
    ------
    ValueError
        If the file isn't there or isn't one.
    """
    name = os.fspath(path)
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as problem:
        raise ValueError(f"{name} can't be read: {problem.strerror}") from None
    except ValueError:
        raise ValueError(f"{name} is not JSON: a file that `fastconv bench --out` wrote is accepted") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT or not set(KEYS) <= set(document):
        raise ValueError(f"{name} is not a benchmark's result of format {FORMAT}")
    return document


def key(row: Row) -> str:
    """The row's case."""
    return "{suite}/{group}/{name}".format(**row["case"])


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each suite and group, in the order in which they stand."""

    def place(row: Row) -> tuple[str, str]:
        return row["case"]["suite"], row["case"]["group"]

    found: dict[tuple[str, str], list[Row]] = {}
    for name, together in groupby(rows, place):
        found.setdefault(name, []).extend(together)
    return found


def geometric_mean(values: Iterable[float]) -> float | None:
    """The geometric mean of positive numbers; None of none."""
    numbers = list(values)
    return mean(numbers) if numbers else None


def ratios(row: Row) -> dict[str, dict[str, float]]:
    """For each other peer its time over fastconv's, or its peak of bytes; above one fastconv needs less."""
    if row["case"]["measure"] != "memory":
        found: dict[str, dict[str, float]] = row["ratios"]
        return found
    peaks = {name: max(value, COARSE) for name, value in row.get("peaks", {}).items()}
    if "fastconv" not in peaks:
        return {}
    quotients = {name: value / peaks["fastconv"] for name, value in peaks.items() if name != "fastconv"}
    return {name: dict.fromkeys(("median", "least", "greatest"), value) for name, value in quotients.items()}


def best_peer(row: Row) -> str | None:
    """The other peer that needs least."""
    if row["case"]["measure"] != "memory":
        found: str | None = row["best"]
        return found
    others = {name: value for name, value in row.get("peaks", {}).items() if name != "fastconv"}
    return min(others, key=others.__getitem__, default=None)


def best_ratio(row: Row) -> dict[str, float] | None:
    """The ratio to the best other peer: "median", "least" and "greatest" of the rounds."""
    best = best_peer(row)
    return None if best is None else ratios(row).get(best)


def bound(row: Row, roofs: Mapping[str, Mapping[str, float]]) -> tuple[float, str] | None:
    """The fraction of the roof that binds fastconv's call, and which roof: "FMA" or "memory".

    The roof of multiply-adds is that which was measured beside the row, if it was, else the machine's.
    None where fastconv has no time, or the roofs with the row's number of threads were not measured.
    """
    case, seconds = row["case"], row["seconds"].get("fastconv")
    roof = roofs.get(str(row["threads"]))
    if not seconds or not roof or not (case["flops"] or case["traffic"]):
        return None
    fma = row.get("roof") or roof["float64" if case["dtype"] == "float64" else "float32"]
    needed = {"FMA": case["flops"] / fma, "memory": case["traffic"] / roof["bytes"]}
    which = max(needed, key=needed.__getitem__)
    return needed[which] / seconds, which


def slope(points: Iterable[tuple[float, float]]) -> float | None:
    """The slope of the straight line through the logarithms of (FLOPs, seconds), by least squares."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    centre = sum(x for x, _ in logs) / len(logs)
    return sum((x - centre) * y for x, y in logs) / sum((x - centre) ** 2 for x, _ in logs)


def first_call(row: Row) -> float | None:
    """Seconds of fastconv's first call, compilation and all."""
    variants = row["results"].get("fastconv", {}).get("variants", {})
    return min((found["first_call"] for found in variants.values()), default=None)


def by_round(row: Row, peer: str = "fastconv") -> list[float]:
    """A peer's seconds (or bytes) in each round, of its best variant."""
    variants = row["results"].get(peer, {}).get("variants", {}).values()
    if row["case"]["measure"] == "memory":
        return [float(max(value, COARSE)) for name, value in row.get("peaks", {}).items() if name == peer]
    rounds = [[median(samples) for samples in found["rounds"]] for found in variants if found.get("rounds")]
    return min(rounds, key=median, default=[])


def failures(rows: Iterable[Row]) -> list[tuple[str, str, str, str]]:
    """What did not work: key, peer, "wrong", "failed" or "unsupported", and the reason."""
    return [
        (key(row), name, result["status"], str(result.get("reason", "")))
        for row in rows
        for name, result in row["results"].items()
        if result["status"] != "ok"
    ]


def bad(document: Document) -> list[tuple[str, str, str, str]]:
    """The failures that fail a run: anybody's wrong answer, and whatever else fastconv could not finish."""
    rows = [
        failure
        for failure in failures(document["rows"])
        if failure[2] == "wrong" or (failure[2] == "failed" and failure[1] == "fastconv")
    ]
    own = document["startup"].get("fastconv", {})
    if own.get("status") == "failed":
        rows.append(("latency/startup", "fastconv", "failed", str(own.get("reason", ""))))
    return rows
