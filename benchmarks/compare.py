"""Two runs of fastconv side by side: what got slower, what got faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median, quantiles

from . import units
from .results import STAGES, Document, bad, by_round, key, load, on_gpu, where

THRESHOLD = 1.1
FEW = 20  # lines of a list at most, but for what got slower, which is named in full


@dataclass(frozen=True)
class Change:
    """A row of both runs.

    Attributes
    ----------
    key : str
        The case's.
    ratio : float
        The new median over the old one: above 1 it got slower.
    apart : bool
        Whether the two runs' middle halves lie apart, so that the change is more than their spread.
    old, new : float
        The medians, in seconds or bytes.
    memory : bool
        Whether these are bytes.
    """

    key: str
    ratio: float
    apart: bool
    old: float
    new: float
    memory: bool

    def __str__(self) -> str:
        shown = units.count_bytes if self.memory else units.seconds
        return f"{self.ratio:6.2f}  {shown(self.old):>9} -> {shown(self.new):>9}  {self.key}"


def compare(old_path: str, new_path: str, threshold: float = THRESHOLD) -> tuple[str, int]:
    """What changed between two files, as text, and the exit status: 1 if anything got slower or broke.

    Raises
    ------
    ValueError
        If a file is not a result, or the two have no row in common.
    """
    old, new = load(old_path), load(new_path)
    found = changes(old, new)
    broken = newly_bad(old, new)
    if not found and not broken:
        raise ValueError(f"{old_path} and {new_path} have no measured row in common")
    slower = sorted((c for c in found if c.ratio > threshold and c.apart), key=lambda c: -c.ratio)
    faster = sorted((c for c in found if c.ratio < 1 / threshold and c.apart), key=lambda c: c.ratio)
    lines = [*warnings(old, new), *means(found)]
    lines += listed(f"slower by more than {threshold:g}", slower, len(slower))
    lines += listed(f"faster by more than {threshold:g}", faster, FEW)
    unsure = [c for c in found if not c.apart and not 1 / threshold <= c.ratio <= threshold]
    lines += listed(f"changed by more than {threshold:g}, but within the runs' own spread", unsure, FEW)
    lines += [f"broken: {line}" for line in broken]
    if not slower and not broken:
        lines.append(f"nothing got slower by more than {threshold:g} in {len(found)} rows")
    return "\n".join(lines), 1 if slower or broken else 0


def changes(old: Document, new: Document) -> list[Change]:
    """The rows of both documents."""
    before, after = measured(old), measured(new)
    return [change(name, before[name], after[name]) for name in after if name in before]


def measured(document: Document) -> dict[str, tuple[list[float], bool]]:
    """fastconv's rounds by row, and whether they are bytes."""
    found = {}
    for row in document["rows"]:
        if rounds := by_round(row):
            found[key(row)] = (rounds, row["case"]["measure"] == "memory")
    own = document["startup"].get("fastconv", {})
    if own.get("status") == "ok":
        found |= {f"latency/startup/{title}": (own[stage]["samples"], False) for stage, title in STAGES.items()}
    return found


def change(name: str, before: tuple[list[float], bool], after: tuple[list[float], bool]) -> Change:
    """One row."""
    old, new = median(before[0]), median(after[0])
    (old_low, old_high), (new_low, new_high) = middle(before[0]), middle(after[0])
    apart = new_low > old_high or new_high < old_low
    return Change(name, new / old, apart, old, new, after[1])


def middle(values: Sequence[float]) -> tuple[float, float]:
    """Where the middle half of the rounds begins and ends: one disturbed round moves it little."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def newly_bad(old: Document, new: Document) -> list[str]:
    """What fails the new run and did not fail the old one."""
    before = {failure[:3] for failure in bad(old)}
    return [f"{name}: {peer} {status}: {reason}" for name, peer, status, reason in bad(new)
            if (name, peer, status) not in before]  # fmt: skip


def warnings(old: Document, new: Document) -> list[str]:
    """What makes the two runs hard to compare."""
    lines = []
    for name in ("processor", "cores", "memory", "system", "python"):
        here, there = old["machine"].get(name), new["machine"].get(name)
        if here != there:
            lines.append(f"warning: the machines differ in {name}: {here} and {there}")
    if old["threads"] != new["threads"]:
        lines.append(f"warning: the runs had {old['threads']} and {new['threads']} threads")
    backends = [document["options"].get("backend") or "default" for document in (old, new)]
    if backends[0] != backends[1]:
        lines.append(f"warning: the runs had the backends {backends[0]} and {backends[1]}")
    gpus = [where(document) for document in (old, new) if on_gpu(document)]
    if len(set(gpus)) > 1:
        lines.append(f"warning: the GPUs differ: {gpus[0]} and {gpus[1]}")
    precisions = [document["options"].get("precision") for document in (old, new)]
    if precisions[0] != precisions[1] and None not in precisions:
        lines.append(f"warning: the runs had the precisions {precisions[0]} and {precisions[1]}")
    for which, document in (("old", old), ("new", new)):
        if document["status"] != "complete":
            lines.append(f"warning: the {which} run was interrupted")
    only = [len(a.keys() - b.keys()) for a, b in ((measured(old), measured(new)), (measured(new), measured(old)))]
    if any(only):
        lines.append(f"warning: {only[0]} rows are in the old run only, {only[1]} in the new one only")
    return lines


def means(found: Sequence[Change]) -> list[str]:
    """The geometric mean of new over old, of each group."""
    groups: dict[str, list[float]] = {}
    for row in found:
        groups.setdefault(group_of(row.key), []).append(row.ratio)
    width = max(map(len, groups), default=0)
    head = ["geometric mean of new over old (above 1: slower)"] if groups else []
    return head + [f"{geometric_mean(r):6.2f}  {name.ljust(width)}  {len(r)} rows" for name, r in groups.items()]


def group_of(name: str) -> str:
    """The suite and the group of a key, whose last part may have slashes too."""
    return "/".join(name.split("/", 2)[:2])


def listed(title: str, rows: Sequence[Change], most: int) -> list[str]:
    """A list with its title; what is too much is counted."""
    if not rows:
        return []
    rest = [f"        and {len(rows) - most} more"] if len(rows) > most else []
    return [f"{title}: {len(rows)}", *map(str, rows[:most]), *rest]
