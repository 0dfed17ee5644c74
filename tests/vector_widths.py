"""Kernels for vectors of every width that the processor has, each in a process of its own, and what protects pages."""

import mmap
import os
import subprocess
import sys

import pytest

from fastconv.backends.cpu.machine import WIDTHS, host_vectors

needs_guards = pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="pages can't be protected here")
# Narrow vectors run on processors with wide registers too.
each_width = pytest.mark.parametrize(
    "bits",
    [
        pytest.param(
            bits,
            marks=pytest.mark.skipif(bits > host_vectors().bits, reason=f"the processor has no vectors of {bits} bits"),
        )
        for bits in WIDTHS
    ],
)


def run_script(bits, *words):
    """Run a script, which ends with the line "all right", with vectors of so many bits and on two threads."""
    environment = {**os.environ, "FASTCONV_VECTOR_BITS": str(bits), "FASTCONV_NUM_THREADS": "2"}
    command = [sys.executable, *map(str, words)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    output = run.stdout.splitlines()[-1:]
    assert (run.returncode, output) == (0, ["all right"]), f"{run.returncode} in {output}:\n{run.stderr}"
