"""`pytest benchmarks`: fastconv alone, an operation a test, by pytest-benchmark.

`pytest benchmarks --benchmark-autosave` keeps a run, `pytest benchmarks --benchmark-compare` compares the next one.
It is not part of the test command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fastconv

from . import answers, suites
from .case import Case
from .peers.fastconv_peer import peer
from .worker import Worker

pytest.importorskip("pytest_benchmark")

CASES = [case for suite in ("layers", "training", "filters", "latency") for case in suites.load(suite).cases(True)]


@pytest.mark.parametrize("case", CASES, ids=[case.key.replace("/", "-").replace(" ", "_") for case in CASES])
def test_speed(case: Case, benchmark: Any, tmp_path: Path) -> None:
    """The answer is right, and takes so long; the number of threads is fastconv's own default."""
    answers.write(case, tmp_path)
    worker = Worker(peer(fastconv.get_num_threads()))
    found = worker.prepare(case, str(tmp_path))
    assert found["status"] == "ok", found["reason"]
    benchmark.group = f"{case.suite}: {case.group}"
    benchmark.extra_info.update(flops=case.flops, traffic=case.traffic)
    (call,) = worker.calls.values()
    benchmark(call)
