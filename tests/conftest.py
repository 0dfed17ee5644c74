"""What all tests share: the backends, seeded randomness, settings of hypothesis.

Tests that take `backend` run on each of them. Those on "cuda" are marked `gpu`: they run on a GPU, or in numba's
simulator of one (`NUMBA_ENABLE_CUDASIM=1 python -m pytest -m gpu`), and are skipped where there is neither.
"""

import os

import numpy as np
import pytest
from hypothesis import settings

import fastconv as fc

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")

settings.register_profile("house", deadline=None, derandomize=True, max_examples=30, print_blob=True)
settings.register_profile("simulator", settings.get_profile("house"), max_examples=3)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "simulator" if SIMULATED else "house"))


@pytest.fixture(params=["reference", "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request):
    """Runs a test once on each backend."""
    try:
        context = fc.use_backend(request.param)
        context.__enter__()
    except fc.BackendUnavailableError as error:
        pytest.skip(str(error))
    yield request.param
    context.__exit__(None, None, None)


@pytest.fixture
def rng():
    return np.random.default_rng(20)
