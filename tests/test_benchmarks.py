"""Runs of the benchmark suite, and that they can't be fooled. No test asserts a measured time."""

import os
import signal
from typing import ClassVar

import numpy as np
import pytest
from benchmark_rows import ROOF, document, row, tiny

import fastconv.functional
from benchmarks import command, contest, markdown, results, run, schedule, suites, table
from benchmarks.case import Case
from benchmarks.peers import Unsupported
from benchmarks.peers.fastconv_peer import Fastconv
from benchmarks.worker import Worker


class Plain:
    """A peer that writes the formula down; what it answers is multiplied by `factor`."""

    compiles = False

    def __init__(self, factor=1.0):
        self.factor = factor

    def version(self):
        return "1.0"

    def prepare(self, case, inputs):
        if case.operation != "conv2d":
            raise Unsupported("no such operation")
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(inputs["x"], ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3)
        )
        return {"einsum": lambda: self.factor * np.einsum("ncpqrs,ocrs->nopq", windows, inputs["weight"])}

    def finish(self, answer):
        return answer

    def to_numpy(self, answer):
        return {"y": answer}


class Failing(Plain):
    def prepare(self, case, inputs):
        raise RuntimeError("it broke in /some/folder/file.py")


class Here:
    """A contestant in this process, which answers as its worker does."""

    peers: ClassVar = {}
    stop_at: ClassVar = []  # names of cases

    def __init__(self, name, threads, folder):
        self.name, self.version, self.process = name, "1.0", self
        self.worker = Worker(self.peers[name]())

    def poll(self):
        return None

    def ready(self):
        pass

    def ask(self, do, case=None, variants=None, **given):
        if do == "prepare":
            if case["name"] in self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            try:
                return self.worker.prepare(Case.from_json(case), **given)
            except Unsupported as reason:
                return {"status": "unsupported", "reason": str(reason)}
            except RuntimeError as problem:
                return {"status": "failed", "reason": str(problem)}
        return self.worker.memory() if do == "memory" else self.worker.turn(variants)

    def close(self):
        pass


class Suite:
    CASES: ClassVar = [tiny(6), tiny(8), tiny(10, group="other")]

    @classmethod
    def cases(cls, quick):
        return cls.CASES


@pytest.fixture
def here(monkeypatch):
    """The command with contestants in this process, three tiny cases in each suite, and given roofs."""
    monkeypatch.setattr("benchmarks.worker.WARM", 0.0)
    monkeypatch.setattr("benchmarks.worker.SAMPLE", 0.0)
    monkeypatch.setattr(contest, "Contestant", Here)
    monkeypatch.setattr(suites, "load", lambda name: Suite)
    monkeypatch.setattr(run, "roofs_on", lambda threads: ROOF)
    monkeypatch.setattr(Here, "peers", {"fastconv": Fastconv, "numpy": Plain})
    monkeypatch.setattr(Here, "stop_at", [])
    return Here


def bench(*words):
    return command.main(["layers", "--peers", "numpy", "--rounds", "2", "--threads", "1", *words])


def test_a_run_measures_every_row_and_ends_with_status_0(here, tmp_path, capsys):
    file = tmp_path / "out.json"
    assert bench("--out", str(file)) == 0
    found = results.load(file)
    assert found["status"] == "complete"
    assert [results.key(row) for row in found["rows"]] == [case.key for case in Suite.CASES]
    assert all(len(row["results"]["numpy"]["variants"]["einsum"]["rounds"]) == 2 for row in found["rows"])
    assert all(set(row["seconds"]) == {"fastconv", "numpy"} for row in found["rows"])
    shown = capsys.readouterr().out
    assert "layers: forward" in shown
    assert "geometric mean of the ratio to the best peer" in shown


def test_a_wrong_kernel_of_fastconv_fails_the_run(here, tmp_path, capsys, monkeypatch):
    right = fastconv.functional.conv2d
    monkeypatch.setattr(fastconv.functional, "conv2d", lambda *a, **k: right(*a, **k) + np.float32(0.01))
    assert bench("--out", str(tmp_path / "out.json")) == 1
    shown = capsys.readouterr().out
    assert "WRONG: layers/forward/tiny 6: fastconv: default: error" in shown
    rows = results.load(tmp_path / "out.json")["rows"]
    assert all(row["results"]["fastconv"]["status"] == "wrong" and "fastconv" not in row["seconds"] for row in rows)


def test_a_wrong_answer_of_another_peer_fails_the_run_too(here, capsys, monkeypatch):
    monkeypatch.setattr(Here, "peers", {"fastconv": Fastconv, "numpy": lambda: Plain(1.01)})
    assert bench() == 1
    assert "WRONG: layers/forward/tiny 8: numpy: einsum: error" in capsys.readouterr().out


def test_a_peer_that_fails_is_shown_with_its_reason_and_fails_nothing(here, capsys, monkeypatch):
    monkeypatch.setattr(Here, "peers", {"fastconv": Fastconv, "numpy": Failing})
    assert bench() == 0
    assert "numpy failed: it broke in /some/folder/file.py (2 rows)" in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_rows(here, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Here, "stop_at", ["tiny 8"])
    before = signal.getsignal(signal.SIGTERM)
    assert bench("--out", str(tmp_path / "out.json")) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    found = results.load(tmp_path / "out.json")
    assert found["status"] == "interrupted"
    assert [row["case"]["name"] for row in found["rows"]] == ["tiny 6"]
    assert found["left_out"] == [
        {"key": key, "reason": "interrupted"} for key in ("layers/forward/tiny 8", "layers/other/tiny 10")
    ]
    shown = capsys.readouterr().out
    assert "The run was interrupted after 1 row." in shown
    assert "Left out of layers, interrupted: forward/tiny 8; other/tiny 10" in shown


def test_processes_take_turns_and_answer_right():
    rows = []
    versions = contest.contest([tiny()], ["fastconv", "numpy"], 1, 1, rows.append)
    assert set(versions) == {"fastconv", "numpy"}
    assert [result["status"] for result in rows[0]["results"].values()] == ["ok", "ok"]
    assert rows[0]["best"] == "numpy"


def test_memory_rows_have_bytes(here, capsys, monkeypatch):
    monkeypatch.setattr(Suite, "CASES", [tiny(suite="memory", measure="memory")])
    assert bench() == 0
    assert "memory: forward" in capsys.readouterr().out
    given = row(1.0, tiny(measure="memory"), numpy=1.0, scipy=1.0) | {
        "peaks": {"fastconv": 1 << 20, "numpy": 3 << 20, "scipy": 10}
    }
    assert results.best_peer(given) == "scipy"
    assert results.ratios(given)["numpy"]["median"] == 3
    assert results.ratios(given)["scipy"]["median"] == 1 / 16  # what is below 64 KiB counts as that
    head, (cells,) = table.cells([given], document([given]))
    assert cells == ["tiny 6", "1.00 MiB", "scipy", "<64.0 KiB", "0.062", "3.00 MiB", "<64.0 KiB"]
    assert head[-2:] == ["numpy", "scipy"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "suite is 'nonsense': one of layers, training"),
        (["--filter", "nonsense"], "filter is 'nonsense': no row of layers"),
        (["--peers", "nonsense"], "peers nonsense are not installed here"),
        (["--threads", "0"], "'0': an integer of at least 1 is accepted"),
        (["--threads", "100000"], "threads is 100000: at most"),
        (["--threshold", "0.5"], "'0.5': a number of at least 1 is accepted"),
        (["--out", "/nonsense/file.json"], "out is '/nonsense/file.json': a file in a folder that can be written to"),
        (["--compare", "/nonsense/a", "/nonsense/b"], "/nonsense/a can't be read"),
    ],
)
def test_wrong_arguments_end_with_status_2(here, words, message, capsys):
    assert command.main(["layers", *words] if words[0].startswith("--") else words) == 2
    assert message in capsys.readouterr().err


def test_list_names_rows_and_runs_nothing(here, capsys):
    assert bench("--list", "--filter", "other") == 0
    assert capsys.readouterr().out == "layers/other/tiny 10\n1 rows; peers: fastconv, numpy\n"


def test_every_suite_can_be_listed(capsys):
    assert command.main(["--list", "--quick", "--peers", "none", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("peers: fastconv")
    assert {line.split("/")[0] for line in lines[:-1]} == set(suites.SUITES)
    assert len(set(lines)) == len(lines)


def test_the_backend_is_given_to_fastconvs_process_alone(monkeypatch):
    monkeypatch.setenv("FASTCONV_BACKEND", "cpu")
    with command.backend("reference"):
        assert os.environ["FASTCONV_BACKEND"] == "reference"
    assert os.environ["FASTCONV_BACKEND"] == "cpu"
    with command.backend(None):
        assert os.environ["FASTCONV_BACKEND"] == "cpu"


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(schedule.time, "monotonic", lambda: self.now)


def test_a_budget_gives_each_suite_its_share_and_names_what_it_leaves_out(monkeypatch):
    clock, out, done = Clock(monkeypatch), [], []
    slow, quick = ([tiny(side, suite=suite) for side in range(6, 26)] for suite in ("training", "latency"))
    for case in schedule.within([*slow, *quick], schedule.Budget(60.0), out.append):
        done.append(case)
        clock.now += 10.0 if case.suite == "training" else 2.0
    assert [len([case for case in done if case.suite == suite]) for suite in ("training", "latency")] == [3, 15]
    assert clock.now == 60.0
    assert sorted(case.key for case in [*done, *out]) == sorted(case.key for case in [*slow, *quick])


def test_without_a_budget_all_is_done_in_order():
    cases = [tiny(6), tiny(6, suite="filters"), tiny(8)]
    assert list(schedule.within(cases, schedule.Budget(None), pytest.fail)) == cases


def test_the_order_of_a_run():
    cases = [tiny(6), tiny(8), tiny(6, suite="filters"), tiny(10, group="other")]
    assert schedule.queues(cases) == {"layers": [cases[0], cases[3], cases[1]], "filters": [cases[2]]}
    assert schedule.thread_counts(1) == [1]
    assert schedule.thread_counts(6) == [1, 2, 4, 6]
    assert schedule.thread_counts(8) == [1, 2, 4, 8]
    curve = [tiny(side, suite="scaling", group="side") for side in (6, 10, 8)]
    assert [case.key for case in schedule.threaded(curve, 2)] == ["scaling/threads/tiny 10, 2 threads"]


def test_a_picture_is_drawn_where_there_is_something_to_compare(here, tmp_path, capsys):
    path = tmp_path / "speed.png"
    assert bench("--picture", str(path)) == 0
    assert ("No picture is drawn" in capsys.readouterr().err) != path.exists()
    command.draw(document([row(1e-3, numpy=2e-3)]), str(path))
    assert path.read_bytes()[1:4] == b"PNG"
    assert bench("--picture", str(tmp_path)) == 2
    assert "picture is" in capsys.readouterr().err


def test_a_report_is_written_only_of_a_complete_run(here, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(markdown, "write", lambda made: written.append(made) or "RESULTS.md")
    assert bench("--report") == 0
    assert len(written) == 1
    monkeypatch.setattr(Here, "stop_at", ["tiny 8"])
    assert bench("--report") == 130
    assert len(written) == 1
    assert "No report is written" in capsys.readouterr().err
