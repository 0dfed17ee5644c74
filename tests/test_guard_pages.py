"""Kernels take raw addresses: none may touch what is not its array's, over drawn shapes and all passes."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import pytest

# A width's instructions, which the processor must have; narrow vectors run on wide registers' machines too.
NEEDED = {128: (), 256: ("avx2",), 512: ("avx512f",)}
SHAPES = 40

pytestmark = pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="pages can't be protected here")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bits", NEEDED)
def test_no_kernel_touches_the_page_beside_an_array(bits, dtype):
    features = llvmlite.binding.get_host_cpu_features()
    if not all(features.get(name) for name in NEEDED[bits]):
        pytest.skip(f"the processor has no vectors of {bits} bits")
    environment = {**os.environ, "FASTCONV_VECTOR_BITS": str(bits), "FASTCONV_NUM_THREADS": "2"}
    script = Path(__file__).with_name("guarded.py")
    arguments = [sys.executable, str(script), dtype, str(SHAPES), str(bits), "few"]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600)
    output = run.stdout.splitlines()[-1:]
    assert (run.returncode, output) == (0, ["all right"]), f"{run.returncode} in {output}:\n{run.stderr}"
