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


# Whole networks, and gradients by thousands of differences: they take the simulator minutes.
LEFT_TO_A_GPU = {"test_models.py", "test_nn_gradients.py", "test_resume.py", "test_training.py"}


def pytest_collection_modifyitems(items):
    """Leaves to a GPU what takes its simulator minutes."""
    for item in items if SIMULATED else ():
        if item.path.name in LEFT_TO_A_GPU or "central_difference" in item.name:
            item.add_marker(pytest.mark.skip(reason="left to a GPU: the simulator takes minutes"))


@pytest.fixture
def gpu():
    """Skips a test where there is neither a GPU nor the simulator of one."""
    try:
        fc.backends.load("cuda")
    except fc.BackendUnavailableError:
        pytest.skip("no GPU, and not the simulator of one")


@pytest.fixture
def cuda(gpu):
    """Runs a test on the cuda backend."""
    with fc.use_backend("cuda"):
        yield


@pytest.fixture(params=["reference", "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request):
    """Runs a test once on each backend."""
    if request.param == "cuda":
        request.getfixturevalue("gpu")
    with fc.use_backend(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20)
