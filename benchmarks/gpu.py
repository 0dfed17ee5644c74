"""A run on a GPU, `fastconv bench --backend cuda`: who takes part, which rows make sense there, and what is left out.

Inputs lie on the GPU before a row begins, as one who computes there has them; a step of training copies its batch
there, and its loss back. A call's time is that between two events on the device's stream (`Worker.timed`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from fastconv import backends

from . import peers
from .case import Case
from .contestant import variables

PRECISIONS = ("float32", "tf32")
TF32_TOLERANCE = 2e-3  # of float32 rows in TF32, whose factors have 10 bits of fraction: each is off by up to 5e-4
LIMIT = 300.0  # seconds for a process that is asked something

ALL_THREADS = "a GPU's kernels do not run on the processor's threads"
NO_STARTUP = "the start of a driver, and of a compiler for GPUs, is not measured"
NO_MEMORY = "peaks are those of the process, whose pages are not the GPU's"
ONE_ALGORITHM = "on a GPU fastconv has one algorithm, so these are the rows of the same layers again"


def asked(backend: str | None) -> bool:
    """Whether fastconv is to compute on a GPU: by the option, or by the environment where it is not given."""
    return (backend or os.environ.get("FASTCONV_BACKEND")) == "cuda"


def check(precision: str | None, on_gpu: bool, wanted: Sequence[str]) -> None:
    """Refuse options that go together on no machine."""
    if precision and not on_gpu:
        raise ValueError(f"precision is {precision!r}: it is accepted with --backend cuda alone")
    others = [name for name in wanted if name not in peers.ON_GPU] if on_gpu else []
    if others:
        accepted = ", ".join(list(peers.ON_GPU)[1:])
        raise ValueError(f"peers {', '.join(others)} do not compute on a GPU here: with --backend cuda {accepted} does")


def require() -> None:
    """Raise unless there is a GPU that can be measured, before anything is started."""
    backends.load("cuda", "backend")
    from numba import config

    if config.ENABLE_CUDASIM:
        raise ValueError("NUMBA_ENABLE_CUDASIM is set: a GPU's simulator has no times, unset it to measure a GPU")


def contestants(wanted: list[str] | None) -> list[str]:
    """fastconv, and the peers wanted or all that are here and find the GPU.

    Raises
    ------
    ValueError
        If a peer that was named does not find it.
    """
    here = [name for name in peers.installed() if name in peers.ON_GPU]
    missing = [name for name in wanted or [] if name not in here]
    if missing:
        raise ValueError(f"peers {', '.join(missing)} are not installed here: {', '.join(here)} are")
    faults = {name: fault_of(name) for name in wanted or here if name != "fastconv"}
    for name, fault in faults.items():
        if fault and wanted:
            raise ValueError(f"peers {name} can't take part: {fault}")
        if fault:
            print(f"{name} takes no part: {fault}", file=sys.stderr)
    return ["fastconv", *[name for name, fault in faults.items() if not fault]]


def fault_of(name: str) -> str:
    """Why a peer can't compute on the GPU, empty if it can; a process of its own imports it to see."""
    found = told(f"{peers.__name__}.{name}_cuda_peer")
    return found if isinstance(found, str) else str(found["fault"])


def device_and_roofs(precision: str) -> tuple[dict[str, Any], dict[str, float]] | str:
    """What the GPU is, and its roofs; or why they are not known."""
    found = told(f"{__package__}.gpu_roofs", precision)
    return found if isinstance(found, str) else (found["device"], found["roofs"])


def told(module: str, *arguments: str) -> dict[str, Any] | str:
    """The JSON that a module prints, in a process that is gone afterwards; its last words where there is none."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=variables(1), check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {LIMIT:.0f} s"
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if any(map(str.isalpha, line))]
        return said[-1] if said else f"status {done.returncode}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def suited(cases: Iterable[Case], precision: str) -> tuple[list[Case], list[tuple[str, str]]]:
    """The rows to measure, with the precision's tolerance, and the keys of the others with the reason."""
    kept, left_out = [], []
    for case in cases:
        if case.measure == "memory":
            left_out.append((case.key, NO_MEMORY))
        elif case.alone and case.suite == "layers":
            left_out.append((case.key, ONE_ALGORITHM))
        elif precision == "tf32" and case.dtype == "float32":
            kept.append(replace(case, tolerance=max(case.tolerance, TF32_TOLERANCE)))
        else:
            kept.append(case)
    return kept, left_out
