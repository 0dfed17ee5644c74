"""The table: the rows of each group with its geometric mean and its worst row, as text of fixed width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import slowest, units
from .results import (
    COARSE,
    STAGES,
    Document,
    Row,
    bad,
    best_peer,
    best_ratio,
    bound,
    failures,
    first_call,
    geometric_mean,
    grouped,
    key,
    on_gpu,
    ratios,
    slope,
)

NOTE = (
    "A ratio is a peer's time (or memory) over fastconv's, round by round, its median with [least-greatest]: above 1 "
    "fastconv is faster. First calls compile and are not in the times. A roof is what the machine's multiply-adds or "
    "its memory allow for the direct method: data in caches or another method can pass it. That of multiply-adds is "
    "timed beside each row, since whatever else the machine does slows both down; the roofs that are told here are the "
    "greatest."
)
ON_GPU_NOTE = (
    "Inputs lie on the GPU before a call, and answers stay there; a step of training copies its batch there and its "
    "loss back. A time is that between two of the device's events, before the first of many calls and after the last."
)
# What a narrow terminal goes without, the first first; peers' columns go after the first of these.
SPARE = ("first call", "GB/s", "best peer's", "roof", "GFLOP/s", "spread")


def text(document: Document, width: int | None = None) -> str:
    """The whole table; columns that don't fit into `width` characters are left out, if one is given."""
    lines: list[str] = []
    starts = 0  # where the suite "latency" ends
    for (suite, group), rows in grouped(document["rows"]).items():
        lines += ["", f"{suite}: {group}", *aligned(*cells(rows, document), width=width)]
        lines += [f"  {line}" for line in footer(rows)]
        lines += [f"  {line}" for line in [*reasons(rows), *slow(rows, document)]]
        starts = len(lines) if suite == "latency" else starts
    if document["startup"]:
        block = ["", "latency: startup, each in a fresh process", *aligned(*startup(document), width=width)]
        lines[starts:starts] = [*block, *[f"  {line}" for line in startup_reasons(document)]]
    lines += ["", *roof_lines(document), *notes(document), *left_out(document)]
    lines += [f"{status.upper()}: {place}: {peer}: {reason}" for place, peer, status, reason in bad(document)]
    if document["status"] != "complete":
        lines.append(f"The run was interrupted after {counted(len(document['rows']))}.")
    return "\n".join(lines).lstrip("\n")


def peers(document: Document) -> list[str]:
    """The other peers of a run."""
    return [name for name in document["options"]["peers"] if name != "fastconv"]


def cells(rows: Sequence[Row], document: Document) -> tuple[list[str], list[list[str]]]:
    """The columns' names, and a line of cells for each row of a group."""
    others = [name for name in peers(document) if any(row["results"].get(name, {}) for row in rows)]
    if rows[0]["case"]["measure"] == "memory":
        head = ["row", "fastconv", "best peer", "best peer's", "ratio", *others]
        return head, [[row["case"]["name"], *memory_cells(row, others)] for row in rows]
    head = ["row", "time", "GFLOP/s", "GB/s", "of roof", "roof", "first call", "best peer", "ratio", "spread", *others]
    return head, [[row["case"]["name"], *time_cells(row, document, others)] for row in rows]


def time_cells(row: Row, document: Document, others: Sequence[str]) -> list[str]:
    """A row's figures."""
    case, seconds = row["case"], row["seconds"].get("fastconv")
    found, against = bound(row, document["roofs"]) or (None, units.NOTHING), best_ratio(row)
    return [
        units.seconds(seconds) if seconds else row["results"]["fastconv"]["status"],
        units.digits(case["flops"] / seconds / 1e9 if seconds else None),
        units.digits(case["traffic"] / seconds / 1e9 if seconds else None),
        units.percent(found[0]),
        found[1],
        units.seconds(first_call(row)),
        best_peer(row) or units.NOTHING,
        units.digits(against["median"] if against else None),
        f"[{units.digits(against['least'])}-{units.digits(against['greatest'])}]" if against else "",
        *[peer_cell(row, name) for name in others],
    ]


def memory_cells(row: Row, others: Sequence[str]) -> list[str]:
    """A row's bytes; those of the other peers themselves, since many need next to none."""
    peaks, best, against = row.get("peaks", {}), best_peer(row), best_ratio(row)
    bytes_of = {name: units.count_bytes(peaks.get(name), COARSE) for name in ("fastconv", *others)}
    shown = {name: text if name in peaks else short(row, name) for name, text in bytes_of.items()}
    return [
        shown["fastconv"],
        best or units.NOTHING,
        units.count_bytes(peaks[best], COARSE) if best else units.NOTHING,
        units.digits(against["median"] if against else None),
        *[shown[name] for name in others],
    ]


def peer_cell(row: Row, name: str) -> str:
    """A peer's ratio, or why there is none."""
    found = ratios(row).get(name)
    if found:
        return units.digits(found["median"])
    return units.seconds(row["seconds"][name]) if name in row["seconds"] else short(row, name)


def short(row: Row, name: str) -> str:
    """What became of a peer's row, in one word."""
    status: str = row["results"].get(name, {}).get("status", "unsupported")
    return units.NOTHING if status in ("unsupported", "ok") else status


def footer(rows: Sequence[Row]) -> list[str]:
    """A group's geometric means and its worst row; a curve's slope too."""
    found = {key(row): against for row in rows if (against := best_ratio(row))}
    lines = []
    if found:
        worst = min(found, key=lambda name: found[name]["median"])
        average = units.digits(geometric_mean(against["median"] for against in found.values()))
        name = worst.split("/", 2)[2]
        lines.append(
            f"geometric mean of the ratio to the best peer {average} over {counted(len(found))}; "
            f"worst {units.digits(found[worst]['median'])} ({name})"
        )
        lines.append("geometric mean to each: " + ", ".join(each(rows)))
    return lines + curve(rows)


def slow(rows: Sequence[Row], document: Document) -> list[str]:
    """The slowest of the drawn shapes."""
    return slowest.lines(rows, document["roofs"]) if rows[0]["case"]["suite"] == "drawn" else []


def each(rows: Sequence[Row]) -> Iterable[str]:
    """The geometric mean of the ratio to each peer, over the rows that it has."""
    names = dict.fromkeys(name for row in rows for name in ratios(row))
    for name in names:
        values = [found[name]["median"] for row in rows if name in (found := ratios(row))]
        short_of = f" ({counted(len(values))})" if len(values) < len(rows) else ""
        yield f"{name} {units.digits(geometric_mean(values))}{short_of}"


def curve(rows: Sequence[Row]) -> list[str]:
    """How time grows with work in a group of the suite "scaling", which is 1 for a good implementation."""
    if rows[0]["case"]["suite"] != "scaling" or rows[0]["case"]["group"] == "threads":
        return []
    slopes = {}
    for name in dict.fromkeys(name for row in rows for name in row["seconds"]):
        points = [(row["case"]["flops"], row["seconds"][name]) for row in rows if name in row["seconds"]]
        slopes[name] = slope(points)
    shown = ", ".join(f"{name} {units.digits(value)}" for name, value in slopes.items() if value is not None)
    return [f"slope of log time over log FLOPs: {shown}"] if shown else []


def reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows are missing: each failure's reason once, and in one line what libraries don't offer."""
    names: dict[tuple[str, str, str], list[str]] = {}
    lacking: dict[str, int] = {}
    for place, peer, status, reason in failures(rows):
        if status == "unsupported":
            lacking[peer] = lacking.get(peer, 0) + 1
        else:
            names.setdefault((peer, status, reason), []).append(place.split("/", 2)[2])
    lines = [
        f"{peer} {status}: {reason or 'no reason given'} ({of[0] if len(of) == 1 else counted(len(of))})"
        for (peer, status, reason), of in names.items()
    ]
    lines += [f"{what}: {counted(len(of))}" for what, of in set_aside(rows).items()]
    if lacking:
        lines.append("not offered: " + ", ".join(f"{peer} {counted(count)}" for peer, count in lacking.items()))
    return lines


def set_aside(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The variants of a peer that were not tried beside its quicker ones, with the rows where they were not."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        for name, result in row["results"].items():
            for variant in result.get("not_tried", {}) if result["status"] == "ok" else ():
                what = f"{name}'s {variant} was not tried, known to take much longer than its best variant"
                found.setdefault(what, []).append(row)
    return found


def startup(document: Document) -> tuple[list[str], list[list[str]]]:
    """Import and first calls, as `startup` measures them."""
    found = {name: result for name, result in document["startup"].items() if result["status"] == "ok"}
    others = [name for name in peers(document) if name in document["startup"]]
    lines = []
    for stage, title in STAGES.items():
        medians = {name: result[stage]["median"] for name, result in found.items()}
        best = min((name for name in medians if name != "fastconv"), key=medians.__getitem__, default=None)
        ratio = medians[best] / medians["fastconv"] if best and "fastconv" in medians else None
        times = {name: units.seconds(medians[name]) if name in medians else "failed" for name in document["startup"]}
        lines.append(
            [title, times.get("fastconv", units.NOTHING), best or units.NOTHING, units.digits(ratio)]
            + [times[name] for name in others]
        )
    return ["row", "fastconv", "best peer", "ratio", *others], lines


def startup_reasons(document: Document) -> list[str]:
    """Why a peer's startup is missing."""
    found = document["startup"].items()
    return [f"{name} failed: {result.get('reason', '')}" for name, result in found if result["status"] != "ok"]


def notes(document: Document) -> list[str]:
    """What the numbers mean."""
    return [NOTE, ON_GPU_NOTE] if on_gpu(document) else [NOTE]


def roof_lines(document: Document) -> list[str]:
    """The roofs, a line for each number of threads, or one for a GPU."""
    if on_gpu(document):
        return [
            f"Roofs of the GPU: {roof['float32'] / 1e9:.0f} GFLOP/s {document['options']['precision']} and "
            f"{roof['float64'] / 1e9:.0f} GFLOP/s float64 by its clock, {roof['bytes'] / 1e9:.0f} GB/s by a triad."
            for roof in document["roofs"].values()
        ]
    return [
        f"Roofs on {units.threads(int(count))}: {roof['float32'] / 1e9:.0f} GFLOP/s float32, "
        f"{roof['float64'] / 1e9:.0f} GFLOP/s float64, {roof['bytes'] / 1e9:.1f} GB/s."
        for count, roof in document["roofs"].items()
    ]


def left_out(document: Document, most: int = 30) -> list[str]:
    """What the run did not do, and why, the first `most` rows by name."""
    names: dict[tuple[str, str], list[str]] = {}
    for item in document["left_out"]:
        suite, name = item["key"].split("/", 1)
        names.setdefault((suite, item["reason"]), []).append(name)
    return [
        f"Left out of {suite}, {reason}: {'; '.join(of[:most])}" + (f"; and {len(of) - most} more" * (len(of) > most))
        for (suite, reason), of in names.items()
    ]


def counted(number: int) -> str:
    """A number of rows."""
    return "1 row" if number == 1 else f"{number} rows"


def aligned(head: list[str], lines: list[list[str]], width: int | None = None) -> list[str]:
    """Columns, the first to the left and all others to the right."""
    table = [head, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    kept = fitting(head, widths, width)
    shown = [
        "  ".join([line[0].ljust(widths[0]), *[line[i].rjust(widths[i]) for i in kept[1:]]]).rstrip() for line in table
    ]
    return [shown[0], "-" * max(map(len, shown)), *shown[1:]]


def fitting(head: list[str], widths: list[int], width: int | None) -> list[int]:
    """Which columns to keep so that a line has at most `width` characters."""
    kept = list(range(len(head)))
    own = {"row", "time", "of roof", "best peer", "ratio", "fastconv", *SPARE}
    others = [name for name in reversed(head) if name not in own]
    for name in [SPARE[0], *others, *SPARE[1:]]:
        if width is None or sum(widths[i] + 2 for i in kept) - 2 <= width:
            break
        kept = [i for i in kept if head[i] != name]
    return kept


def line_of(row: dict[str, Any]) -> str:
    """A row in short, for a run's progress."""
    against = best_ratio(row)
    if against:
        return f"{key(row)}: {units.digits(against['median'])} to {best_peer(row)}"
    own = row["results"]["fastconv"]["status"]
    return f"{key(row)}: {units.seconds(row['seconds'].get('fastconv')) if own == 'ok' else own}"
