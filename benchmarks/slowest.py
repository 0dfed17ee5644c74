"""The slowest tenth of the drawn shapes, and why: what a plan expects its time to go to, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import units
from .results import Row, bound

SHARE = 10  # a tenth
USEFUL = "multiply-adds"  # the part of a plan's time that no plan can save


def lines(rows: Sequence[Row], roofs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each row that comes least near to the roof that binds it, the slowest first."""
    found = sorted(((of, row) for row in rows if (of := bound(row, roofs))), key=lambda pair: pair[0][0])
    tenth = found[: -(-len(found) // SHARE)]
    return ["the slowest tenth:"] * bool(tenth) + [
        f"{row['case']['name']}: {units.percent(fraction)} of the {roof} roof, "
        f"{units.seconds(row['seconds']['fastconv'])}; {reason(row)}"
        for (fraction, roof), row in tenth
    ]


def reason(row: Row) -> str:
    """The largest part of the time that is not useful, in words."""
    remark, seconds = row["results"]["fastconv"].get("remark"), row["seconds"]["fastconv"]
    if not remark:
        return "nothing is known of its plan"
    rest = {name: part for name, part in remark["parts"].items() if name != USEFUL}
    rest["a call's own cost, and waiting for memory and threads"] = seconds - remark["expected"]
    found = sorted(((part, name) for name, part in rest.items() if part > 0), reverse=True)
    shown = ", ".join(f"{name} {units.percent(part / seconds)}" for part, name in found[:2])
    return f"on {units.threads(remark['threads'])}: {shown}"
