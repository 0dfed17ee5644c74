"""The pictures of a run: rooflines, ratios to the best peer, and curves of cost against work and threads."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv import files

from . import units
from .results import Document, Row, best_peer, best_ratio, geometric_mean, grouped, slope, where

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart, and one more; black is fastconv's.
COLOURS = {
    "fastconv": "#000000",
    "pytorch": "#d55e00",
    "jax": "#0072b2",
    "opencv": "#009e73",
    "scipy": "#e69f00",
    "numpy": "#56b4e9",
    "onnxruntime": "#cc79a7",
}
GROUPS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f4f24", "#555555", "#8a63d2")
MARKERS = "osD^vP*Xh"
ROOFLINES = ("layers", "training", "filters")
FEW = 12  # rows of a group up to which its bars are labelled


def write(document: Document, folder: str | os.PathLike[str]) -> dict[str, list[tuple[str, str]]]:
    """Write every picture that the document has rows for into a folder.

    Returns
    -------
    dict
        By suite, the files' names, each with what the picture shows; "" has the overview.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    written: dict[str, list[tuple[str, str]]] = {}
    Path(folder).mkdir(parents=True, exist_ok=True)
    if (figure := overview(document)) is not None:
        save(figure, Path(folder) / "overview.png")
        written[""] = [("overview.png", "every group's geometric mean of the ratio to the best peer")]
    for suite in dict.fromkeys(suite for suite, _ in grouped(document["rows"])):
        groups = by_ratio(document, suite)
        large = {group: pairs for group, pairs in groups.items() if len(pairs) > FEW}
        small = {group: pairs for group, pairs in groups.items() if len(pairs) <= FEW}
        drawn = [
            ("ratios", ratio_bars(suite, large), "the ratio to the best peer, a bar a row"),
            ("ratios-by-name", named_bars(suite, small), "the ratio to the best peer, rows by name"),
        ]
        if suite in ROOFLINES:
            drawn.insert(0, ("roofline", roofline(document, suite), "the roofline, a point a row"))
        if suite == "scaling":
            drawn.insert(0, ("curves", scaling(document), "time against work and against threads"))
        for kind, figure, meaning in drawn:
            if figure is not None:
                name = f"{suite}-{kind}.png"
                save(figure, Path(folder) / name)
                written.setdefault(suite, []).append((name, f"{suite}: {meaning}"))
    return written


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG file, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    files.replace(path, content.getvalue())


def overview(document: Document) -> Figure | None:
    """Each group's geometric mean of the ratio to the best peer, from its worst row to its best; None without any."""
    found = {}
    for (suite, group), rows in grouped(document["rows"]).items():
        if values := [against["median"] for row in rows if (against := best_ratio(row))]:
            found[suite, group] = values
    if not found:
        return None
    figure = empty(9.6, 0.21 * (len(found) + len({suite for suite, _ in found})) + 1.2)
    ax = figure.subplots()
    colours = dict(zip(dict.fromkeys(suite for suite, _ in found), cycle(GROUPS)))
    places, names, place, last = [], [], -1.0, ""
    for (suite, group), values in found.items():
        place += 1 if suite == last else 1.6
        last = suite
        mean = geometric_mean(values) or 1.0
        ax.barh(place, mean - 1, left=1, height=0.75, color=colours[suite])
        ax.plot([min(values), max(values)], [place] * 2, color="black", lw=0.9, marker="|", ms=4)
        places.append(place)
        names.append(f"{suite}: {group} ({len(values)})  {units.digits(mean)}")
    every = [value for values in found.values() for value in values]
    ax.axvline(1, color="black", lw=1)
    ax.set(xscale="log", xlim=(min(0.45, min(every) / 1.2), max(2.2, max(every) * 1.2)), ylim=(place + 0.8, -0.2))
    ax.set_yticks(places, names, fontsize=8)
    ax.tick_params(axis="y", length=0)
    plain_logarithms(ax.xaxis, crowded=max(every) / min(every) > 60)
    ax.grid(alpha=0.3, axis="x")
    ax.set_axisbelow(True)
    ax.set_title("The best peer's time (or memory) over fastconv's: above 1 fastconv needs less")
    ax.set_xlabel("geometric mean of each group's rows (their number in brackets); the line goes from worst to best")
    return figure


def roofline(document: Document, suite: str) -> Figure | None:
    """FLOP/s against FLOPs a byte, under the machine's roofs; None without rows or roofs."""
    roof = document["roofs"].get(str(document["threads"]))
    points = {
        group: [
            (case["flops"] / case["traffic"], case["flops"] / row["seconds"]["fastconv"] / 1e9)
            for row in rows
            if row["seconds"].get("fastconv") and (case := row["case"])["flops"] and case["traffic"]
            if row["threads"] == document["threads"]
        ]
        for (name, group), rows in grouped(document["rows"]).items()
        if name == suite
    }
    points = {group: found for group, found in points.items() if found}
    if not points or not roof:
        return None
    figure = empty(9.6, 5.4)
    ax = figure.subplots()
    every = [point for found in points.values() for point in found]
    low, high = min(x for x, _ in every) / 2, max(x for x, _ in every) * 2
    wide = any(row["case"]["dtype"] == "float64" for row in document["rows"] if row["case"]["suite"] == suite)
    for dtype, line in (("float32", "-"), ("float64", "--")):
        if dtype == "float64" and not wide:
            continue
        peak, corner = roof[dtype] / 1e9, roof[dtype] / roof["bytes"]
        span = sorted({low, min(max(corner, low), high), high})
        label = f"{dtype} roof: {peak:.0f} GFLOP/s, {roof['bytes'] / 1e9:.1f} GB/s"
        heights = [min(peak, x * roof["bytes"] / 1e9) for x in span]
        ax.plot(span, heights, line, color="black", lw=1.4, label=label, zorder=1)
    for (group, found), colour, marker in zip(points.items(), cycle(GROUPS), cycle(MARKERS[:-1]), strict=False):
        x, y = zip(*found, strict=True)
        ax.scatter(x, y, s=26, color=colour, marker=marker, alpha=0.75, linewidths=0, label=group, zorder=2)
    ax.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        title=f"{suite}: fastconv under the machine's roofs, {where(document)}",
        xlabel="FLOPs of the direct method / byte of inputs and outputs",
        ylabel="GFLOP/s",
    )
    ax.grid(alpha=0.3, which="major")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


Ratios = dict[str, list[tuple[float, Row]]]


def by_ratio(document: Document, suite: str) -> Ratios:
    """The rows of each group with their ratio to the best peer, the least first."""
    groups: Ratios = {}
    for (name, group), rows in grouped(document["rows"]).items():
        found = [(against["median"], row) for row in rows if name == suite and (against := best_ratio(row))]
        if found:
            groups[group] = sorted(found, key=lambda pair: pair[0])
    return groups


def ratio_bars(suite: str, groups: Ratios) -> Figure | None:
    """The ratio to the best peer of every row, sorted, a panel a group; None without any."""
    if not groups:
        return None
    columns = min(2, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = empty(5.6 * columns, 2.5 * lines + 0.9)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(groups) :]:
        ax.set_axis_off()
    for ax, (group, pairs) in zip(axes, groups.items(), strict=False):
        bars(ax, group, pairs)
    name_peers(figure, suite, groups)
    return figure


def named_bars(suite: str, groups: Ratios) -> Figure | None:
    """The same of groups of few rows, each bar with its row's name; None without any."""
    if not groups:
        return None
    lines = sum(len(pairs) + 1 for pairs in groups.values())
    figure = empty(9.6, 0.19 * lines + 1.5)
    ax = figure.subplots()
    places: list[float] = []
    names: list[str] = []
    place = 0.0
    for group, pairs in groups.items():
        mean = units.digits(geometric_mean(value for value, _ in pairs))
        ax.text(
            0.005, place, f"{group}: {mean}", transform=ax.get_yaxis_transform(), va="center", fontsize=8, weight="bold"
        )
        for value, row in pairs:
            place += 1
            ax.barh(place, value - 1, left=1, height=0.75, color=COLOURS.get(best_peer(row) or "", "0.5"))
            places.append(place)
            names.append(shortened(row["case"]["name"]))
        place += 1
    values = [value for pairs in groups.values() for value, _ in pairs]
    ax.axvline(1, color="black", lw=1)
    ax.set(xscale="log", xlim=(min(0.45, min(values) / 1.3), max(2.2, max(values) * 1.3)), ylim=(place - 0.3, -0.7))
    ax.set_yticks(places, names, fontsize=7)
    ax.tick_params(axis="y", length=0)
    plain_logarithms(ax.xaxis, crowded=max(values) / min(values) > 60)
    ax.grid(alpha=0.3, axis="x")
    ax.set_axisbelow(True)
    ax.set_xlabel("ratio (in bold each group's geometric mean)", fontsize=9)
    name_peers(figure, suite, groups)
    return figure


def name_peers(figure: Figure, suite: str, groups: Ratios) -> None:
    """A figure's title, and which colour is which peer's."""
    from matplotlib.patches import Patch

    rows = [row for pairs in groups.values() for _, row in pairs]
    peers = sorted({best_peer(row) or "" for row in rows})
    handles = [Patch(color=COLOURS.get(peer, "0.5"), label=peer) for peer in peers]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, title="the best peer")
    what = "memory" if rows[0]["case"]["measure"] == "memory" else "time"
    figure.suptitle(f"{suite}: the best peer's {what} over fastconv's (above 1 fastconv needs less)")


def plain_logarithms(axis: Any, crowded: bool) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 with plain numbers, where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0,) if crowded else (1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def bars(ax: Any, group: str, pairs: Sequence[tuple[float, Row]]) -> None:
    """One group's bars, which rise or hang from 1."""
    values = [value for value, _ in pairs]
    colours = [COLOURS.get(best_peer(row) or "", "0.5") for _, row in pairs]
    width = 0.8 if len(values) < 60 else 1.0
    ax.bar(range(len(values)), [value - 1 for value in values], bottom=1, width=width, color=colours)
    mean = geometric_mean(values) or 1.0
    ax.axhline(1, color="black", lw=1)
    ax.axhline(mean, color="0.35", lw=1, ls="--")
    low, high = min(0.45, values[0] / 1.3), max(2.2, values[-1] * 1.3)
    ax.set(yscale="log", ylim=(low, high), xlim=(-0.8, max(len(values), 6) - 0.2), xticks=[])
    plain_logarithms(ax.yaxis, crowded=high / low > 60)
    ax.grid(alpha=0.3, axis="y")
    ax.set_axisbelow(True)
    rows = "1 row" if len(values) == 1 else f"{len(values)} rows"
    ax.set_title(f"{group}: {rows}, geometric mean {units.digits(mean)} (dashed)", fontsize=10)
    worst = pairs[0][1]["case"]["name"]
    ax.set_xlabel(f"worst: {units.digits(values[0])}, {shortened(worst)}", fontsize=8)
    ax.set_ylabel("ratio", fontsize=9)


def scaling(document: Document) -> Figure | None:
    """Time against FLOPs, a panel a growing extent, and the gain of threads; None without rows."""
    groups = {group: rows for (suite, group), rows in grouped(document["rows"]).items() if suite == "scaling"}
    threads = groups.pop("threads", [])
    panels = len(groups) + bool(threads)
    if not panels:
        return None
    columns = min(2, panels)
    figure = empty(6.4 * columns, 4.0 * math.ceil(panels / columns) + 0.3)
    axes = figure.subplots(math.ceil(panels / columns), columns, squeeze=False).ravel()
    for ax in axes[panels:]:
        ax.set_axis_off()
    for ax, (group, rows) in zip(axes, groups.items(), strict=False):
        curve(ax, group, rows)
    if threads:
        gains(axes[panels - 1], threads)
    figure.suptitle(f"Cost against work, {where(document)}")
    return figure


def curve(ax: Any, group: str, rows: Sequence[Row]) -> None:
    """One extent's curves, a line a peer with its slope."""
    for name in dict.fromkeys(name for row in rows for name in row["seconds"]):
        points = sorted((row["case"]["flops"], row["seconds"][name]) for row in rows if name in row["seconds"])
        steep = slope(points)
        own = name == "fastconv"
        ax.plot(
            *zip(*points, strict=True),
            "o-",
            color=COLOURS.get(name, "0.5"),
            lw=2.2 if own else 1.1,
            ms=4.5 if own else 3,
            zorder=3 if own else 2,
            label=name if steep is None else f"{name} ({steep:.2f})",
        )
    ax.set(xscale="log", yscale="log", title=f"growing {group}", xlabel="FLOPs of the direct method", ylabel="seconds")
    ax.grid(alpha=0.3)
    ax.legend(title="slope in brackets", alignment="left", frameon=False, fontsize=8, title_fontsize=8)


def gains(ax: Any, rows: Sequence[Row]) -> None:
    """How much faster fastconv's greatest cases are on more threads."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["seconds"].get("fastconv"):
            name = row["case"]["name"].rsplit(",", 1)[0]
            lines.setdefault(name, []).append((row["threads"], row["seconds"]["fastconv"]))
    most = max((count for points in lines.values() for count, _ in points), default=1)
    ax.plot([1, most], [1, most], ":", color="0.4", label="ideal")
    for (name, points), colour, marker in zip(lines.items(), cycle(GROUPS), cycle(MARKERS), strict=False):
        counts, seconds = zip(*sorted(points), strict=True)
        gain = [seconds[0] / value * counts[0] for value in seconds]
        ax.plot(counts, gain, color=colour, marker=marker, ms=5, lw=1.6, label=shortened(name, 40))
    ax.set(title="growing number of threads", xlabel="threads", ylabel="times faster than on one", ylim=(0, None))
    ax.set_xticks(sorted({count for points in lines.values() for count, _ in points}))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=8)


def shortened(name: str, most: int = 64) -> str:
    """A name that fits under its panel."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def empty(width: float, height: float) -> Figure:
    """An empty figure with a canvas of its own."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "fastconv[app]"') from None
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08))
    FigureCanvasAgg(figure)
    return figure
