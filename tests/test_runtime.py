"""How kernels are compiled: their bits are those of their source, whatever process compiled them."""

import os
import subprocess
import sys

import pytest

# A kernel whose expression has many variables, compiled anew: Numba orders them by their hashes.
CODE = """
import hashlib
import numpy as np
import fastconv.functional as F
rng = np.random.default_rng(0)
x, grad = rng.standard_normal((2, 8, 3, 40))
mean, var, weight = rng.standard_normal(3), rng.random(3), rng.standard_normal(3)
grad_x = F.batch_norm_input_grad(grad, x, mean, var, weight, training=True)
print(hashlib.sha256(grad_x.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def compiled_elsewhere(tmp_path_factory):
    """The bits of three processes, each with hashes and an empty cache of its own."""
    runs = []
    for seed in "123":
        folder = str(tmp_path_factory.mktemp("cache"))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "FASTCONV_CACHE_DIR": folder}
        run = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
        runs.append(run.stdout)
    return runs


def test_every_compilation_gives_the_same_bits(compiled_elsewhere):
    assert len(set(compiled_elsewhere)) == 1
