"""The results page with its pictures, written by `fastconv bench --report` and never by hand.

It is benchmarks/RESULTS.md, or benchmarks/RESULTS-CUDA.md of a run on a GPU, so that neither takes the other's place.
"""

from __future__ import annotations

import html
import math
import re
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fastconv import files

from . import pictures, table, units
from .results import Document, Row, bad, best_ratio, bound, geometric_mean, grouped, on_gpu

PAGES = {
    False: ("RESULTS.md", "results"),
    True: ("RESULTS-CUDA.md", "results-cuda"),
}  # on a GPU: page, pictures' folder
MEASURES = {
    "layers": "Real layers by name and shape: channels x height x width, filters, their size, stride s, batch n.",
    "training": "Whole steps of training, and inference, at batch n.",
    "filters": "Filters on images and signals.",
    "latency": "The smallest useful calls, and what starting costs.",
    "memory": "Peak bytes beyond inputs and outputs.",
    "drawn": "Convolutions drawn at random, by the direct method, alone: x by weight, and options other than one.",
    "scaling": "One extent grows and all else stays; then the greatest of each again on fewer threads.",
}


def write(document: Document, folder: Path | None = None) -> Path:
    """Write the page and its pictures; returns the page's file.

    Parameters
    ----------
    document : dict
        A run's.
    folder : path, optional
        That of the benchmarks by default, or "benchmarks" here where fastconv is installed without its sources.
    """
    if folder is None:
        own = Path(__file__).parent
        folder = own if (own.parent / "pyproject.toml").is_file() else Path("benchmarks")
    name, beside = PAGES[on_gpu(document)]
    drawn = pictures.write(document, folder / beside)
    path = folder / name
    files.replace(path, page(document, drawn).encode())
    return path


def page(document: Document, drawn: dict[str, list[tuple[str, str]]]) -> str:
    """The page's text; `drawn` has the pictures of each suite."""
    pictured = partial(pictures_in, PAGES[on_gpu(document)][1])
    parts = [
        "# Results on a GPU" if on_gpu(document) else "# Results",
        "",
        f"`{command(document)}` wrote this page on {document['date'][:10]}, "
        f"in {math.ceil(document['seconds'] / 60)} min, "
        "with every library in a process of its own, all with the same number of threads. "
        "It is not edited by hand; the same command writes it anew.",
        "",
        *machine(document),
        "",
        " ".join(table.notes(document)),
        "",
        *pictured(drawn.get("", [])),
        *overview(document),
    ]
    suites: dict[str, dict[str, list[Row]]] = {}
    for (suite, group), rows in grouped(document["rows"]).items():
        suites.setdefault(suite, {})[group] = rows
    for suite, groups in suites.items():
        parts += ["", f"## {suite.capitalize()}", "", MEASURES.get(suite, "")]
        parts += ["", *pictured(drawn.get(suite, []))]
        if suite == "latency":
            parts += starting(document)
        for group, rows in groups.items():
            parts += section(group, rows, document)
    if document["startup"] and "latency" not in suites:
        parts += ["", "## Latency", *starting(document)]
    if document["left_out"]:
        parts += ["", "## Left out", "", *[f"- {escaped(line)}" for line in table.left_out(document)]]
    return "\n".join(parts) + "\n"


def pictures_in(folder: str, drawn: Sequence[tuple[str, str]]) -> list[str]:
    """Pictures of a folder, each with what it shows and an empty line after it."""
    return [line for name, meaning in drawn for line in (f"![{escaped(meaning)}]({folder}/{name})", "")]


def command(document: Document) -> str:
    """The command line that makes the page again; files are left out."""
    options = document["options"]
    words = ["fastconv", "bench", *([] if options.get("all_suites") else options["suites"])]
    peers = table.peers(document)
    words += ["--peers", ",".join(peers) or "none", "--threads", str(document["threads"])]
    words += ["--rounds", str(options["rounds"]), *(["--quick"] if options["quick"] else [])]
    for name in ("backend", "precision", "filter"):
        words += [f"--{name}", options[name]] if options.get(name) else []
    return shlex.join([*words, "--report"])


def machine(document: Document) -> list[str]:
    """The machine, the versions and the roofs, as a table."""
    found = document["machine"]
    memory = f", {found['memory'] / 2**30:.0f} GiB of memory" if found["memory"] else ""
    cores = "1 processor" if found["cores"] == 1 else f"{found['cores']} processors"
    lines = gpu(document) | {
        "Processor": f"{found['processor']}, {cores}{memory}",
        "Features": ", ".join(found["features"]) or "unknown",
        "System": f"{found['system']}, {found['python']}",
        "Libraries": ", ".join(f"{name} {version}" for name, version in document["versions"].items()),
        "Threads": str(document["threads"]),
        "Roofs": " ".join(table.roof_lines(document)) or "not measured",
    }
    return ["| | |", "|---|---|", *[f"| {name} | {escaped(text)} |" for name, text in lines.items()]]


def gpu(document: Document) -> dict[str, str]:
    """The GPU, if that computed."""
    found = document["machine"].get("device")
    if not found:
        return {}
    memory = f", {found['memory'] / 2**30:.0f} GiB of memory" if found["memory"] else ""
    versions = ", ".join(f"{name} {found[name]}" for name in ("driver", "CUDA", "runtime") if found.get(name))
    return {
        "GPU": f"{found['name']}, compute capability {found['capability']}, {found['multiprocessors']} "
        f"multiprocessors at {found['clock'] / 1e9:.2f} GHz{memory}",
        "Driver": versions or "unknown",
    }


def overview(document: Document) -> list[str]:
    """A line for each group: its geometric means and its worst row."""
    lines = [
        "| suite | group | rows | geometric mean of the ratio to the best peer | of the roof | worst row | its ratio |",
        "|---|---|--:|--:|--:|---|--:|",
    ]
    for (suite, group), rows in grouped(document["rows"]).items():
        found = [(against["median"], row["case"]["name"]) for row in rows if (against := best_ratio(row))]
        fractions = [of[0] for row in rows if (of := bound(row, document["roofs"]))]
        worst, name = min(found, default=(None, units.NOTHING))
        mean = geometric_mean(value for value, _ in found)
        cells = [suite, group, str(len(rows)), units.digits(mean), units.percent(geometric_mean(fractions))]
        lines.append("| " + " | ".join([*map(escaped, [*cells, name]), units.digits(worst)]) + " |")
    broken = [f"- {status}: {name}, {peer}: {reason}" for name, peer, status, reason in bad(document)]
    if broken:
        lines += ["", "Rows that fail the run:", "", *map(escaped, broken)]
    return lines


def section(group: str, rows: Sequence[Row], document: Document) -> list[str]:
    """A group's means, and all of its rows folded away."""
    head, lines = table.cells(rows, document)
    notes = [*table.footer(rows), *table.reasons(rows), *table.slow(rows, document)]
    return [
        "",
        f"### {escaped(group)}",
        "",
        *[f"- {escaped(line)}" for line in notes],
        "",
        f"<details><summary>All {table.counted(len(rows))}</summary>",
        "",
        *grid(head, lines),
        "",
        "</details>",
    ]


def starting(document: Document) -> list[str]:
    """Import and first calls."""
    if not document["startup"]:
        return []
    notes = [f"- {escaped(line)}" for line in table.startup_reasons(document)]
    text = ["", "### startup", "", "Each in a fresh process of the library alone, NumPy's import included.", ""]
    return [*text, *grid(*table.startup(document)), "", *notes]


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, its first column to the left."""
    rule = "|---|" + "--:|" * (len(head) - 1)
    return [f"| {' | '.join(head)} |", rule, *[f"| {' | '.join(map(escaped, line))} |" for line in lines]]


def escaped(text: str) -> str:
    """Text that Markdown takes as it is, without the paths that a library's complaint may name."""
    bare = re.sub(r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][\w.+~-]+){2,}", "(path)", " ".join(text.split()))
    return html.escape(bare, quote=False).replace("|", "\\|")
