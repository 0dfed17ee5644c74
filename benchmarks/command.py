"""`fastconv bench`, the same as `python -m benchmarks`.

The exit status is 0, 1 (a wrong answer, or something got slower), 2 (wrong arguments or files) or 130 (interrupted).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastconv import backends
from fastconv.errors import BackendUnavailableError
from fastconv.threads import available

from . import compare, gpu, results, table
from .contest import contestants_here
from .peers import PRECISION, installed
from .run import Plan, Run, plan, plan_on_gpu
from .suites import SUITES

ROUNDS, QUICK_ROUNDS = 4, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, the process's by default, and return its exit status."""
    try:
        options = parser().parse_args(argv)
        if options.compare:
            text, status = compare.compare(options.compare[0], options.compare[1], options.threshold)
            print(text)
            return status
        return bench(options)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except (ValueError, BackendUnavailableError) as problem:
        return complain(str(problem), 2)
    except (OSError, ImportError) as problem:
        return complain(str(problem), 1)


def parser() -> argparse.ArgumentParser:
    """The options."""
    top = argparse.ArgumentParser(
        prog="fastconv bench",
        description="fastconv side by side with what else computes convolutions, each library in a process of its own.",
    )
    add = top.add_argument
    add("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)} (default: all)")
    add("--peers", metavar="A,B", help=f"with which: {', '.join(installed()[1:])} or none (default: all installed)")
    add("--threads", type=count, default=available(), help="of every library (default: all processors)")
    add("--rounds", type=count, help=f"how often they take turns (default: {ROUNDS}; {QUICK_ROUNDS} with --quick)")
    add("--quick", action="store_true", help="a few rows of each suite, in two minutes")
    add("--out", metavar="FILE.json", help="every sample, with the machine and all versions")
    add("--report", action="store_true", help="write benchmarks/RESULTS.md (of a GPU RESULTS-CUDA.md) and its pictures")
    add("--picture", metavar="FILE.png", help="each group's ratio to the best peer, as a picture")
    add("--backend", choices=backends.NAMES, help="fastconv's, cuda also peers' (default: FASTCONV_BACKEND, or cpu)")
    add("--precision", choices=gpu.PRECISIONS, help="with --backend cuda, of products in float32 (default: float32)")
    add("--filter", default="", metavar="TEXT", help="only rows whose suite/group/name contains it")
    add("--list", action="store_true", help="name the rows and the peers, and run nothing")
    add("--compare", nargs=2, metavar=("OLD.json", "NEW.json"), help="what got slower from one file to the other")
    add("--threshold", type=factor, default=compare.THRESHOLD, help="how much slower counts (default: %(default)s)")
    return top


def bench(options: argparse.Namespace) -> int:
    """Run the suites and show what came of them."""
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        raise ValueError(f"suite is {unknown[0]!r}: one of {', '.join(SUITES)} is accepted")
    if options.threads > available():
        raise ValueError(f"threads is {options.threads}: at most the {available()} processors here are accepted")
    suites = [name for name in SUITES if name in options.suites] or list(SUITES)
    peers = contestants(options)
    planned = planned_rows(options, suites)
    if options.list:
        print("\n".join([*planned.keys(), f"{len(planned)} rows; peers: {', '.join(peers)}"]))
        return 0
    check_writable(options.out, "out")
    check_writable(options.picture, "picture")
    asked = {name: getattr(options, name) for name in ("quick", "backend", "filter")}
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    asked |= {"suites": suites, "rounds": rounds, "all_suites": not options.suites}
    if gpu.asked(options.backend):
        asked |= {"backend": "cuda", "precision": options.precision or gpu.PRECISIONS[0]}
    with backend(asked["backend"], asked.get("precision")):
        run = Run(planned, results.new(peers, options.threads, asked), options.out)
        status = finished(run)
    return shown(run.document, options, status)


def contestants(options: argparse.Namespace) -> list[str]:
    """The peers to compare; on a GPU after a look whether there is one, so that nothing is started in vain."""
    wanted, on_gpu = wanted_peers(options.peers), gpu.asked(options.backend)
    gpu.check(options.precision, on_gpu, wanted or [])
    if not on_gpu:
        return contestants_here(wanted)
    gpu.require()
    return gpu.contestants(wanted)


def planned_rows(options: argparse.Namespace, suites: list[str]) -> Plan:
    """What is to be done."""
    given = suites, options.threads, options.quick, options.filter
    on_gpu = gpu.asked(options.backend)
    found = plan_on_gpu(*given, options.precision or gpu.PRECISIONS[0]) if on_gpu else plan(*given)
    if found.left_out and not found:
        raise ValueError(f"suites {', '.join(suites)} have no such row for a GPU: {found.left_out[0][1]}")
    if not found:
        raise ValueError(f"filter is {options.filter!r}: no row of {', '.join(suites)} contains it")
    return found


def finished(run: Run) -> int:
    """Run to the end, or to where it was stopped; what was measured is in the run's document, and in its file."""
    try:
        with terminated_as_interrupted():
            run.run()
    except KeyboardInterrupt:
        return complain(f"interrupted after {table.counted(len(run.document['rows']))}", 130)
    except Exception:  # a defect in the suite must not lose what took an hour to measure
        traceback.print_exc()
        return 1
    finally:
        run.save()
    return 0


def shown(document: results.Document, options: argparse.Namespace, status: int) -> int:
    """The table, the report if one is wanted, and the exit status."""
    if document["rows"] or document["startup"]:
        print(table.text(document, shutil.get_terminal_size().columns if sys.stdout.isatty() else None), flush=True)
    if options.picture:
        draw(document, options.picture)
    if options.report and document["status"] == "complete":
        from . import markdown

        print(f"The report is {markdown.write(document)}.", file=sys.stderr)
    elif options.report:
        print("No report is written of a run that was interrupted.", file=sys.stderr)
    return status or int(bool(results.bad(document)))


def draw(document: results.Document, path: str) -> None:
    """Write the run's picture, if there is anything to compare."""
    from . import pictures

    figure = pictures.overview(document)
    if figure is None:
        print("No picture is drawn: no other library has a row.", file=sys.stderr)
        return
    pictures.save(figure, path)
    print(f"The picture is {path}.", file=sys.stderr)


def wanted_peers(text: str | None) -> list[str] | None:
    """The peers that were named; None where none was, which means all."""
    if text is None:
        return None
    return [name for name in text.split(",") if name and name != "none"] or ["fastconv"]


def check_writable(path: str | None, name: str) -> None:
    """Complain now rather than after an hour."""
    folder = os.path.dirname(os.path.abspath(path)) if path else "."  # noqa: PTH100, PTH120 (no link is followed)
    if path and (not os.access(folder, os.W_OK) or os.path.isdir(path)):  # noqa: PTH112
        raise ValueError(f"{name} is {path!r}: a file in a folder that can be written to is accepted")


@contextmanager
def backend(name: str | None, precision: str | None = None) -> Iterator[None]:
    """Let the peers' processes know fastconv's backend, and the precision if they compute on a GPU."""
    wanted = {"FASTCONV_BACKEND": name, PRECISION: precision}
    given = {variable: value for variable, value in wanted.items() if value}
    before = {variable: os.environ.get(variable) for variable in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def count(text: str) -> int:
    """An argument that counts."""
    if text.isascii() and text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: an integer of at least 1 is accepted")


def factor(text: str) -> float:
    """A threshold."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if 1.0 <= number < float("inf"):
        return number
    raise argparse.ArgumentTypeError(f"{text!r}: a number of at least 1 is accepted, such as 1.1")


def complain(line: str, status: int) -> int:
    """One line on standard error; the status."""
    print(f"fastconv bench: {' '.join(line.split())}", file=sys.stderr)
    return status
