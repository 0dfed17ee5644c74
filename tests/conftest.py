"""What all tests share: both backends, seeded randomness, settings of hypothesis."""

import os

import numpy as np
import pytest
from hypothesis import settings

import fastconv as fc

settings.register_profile("house", deadline=None, derandomize=True, max_examples=30, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    """Runs a test once on each backend."""
    with fc.use_backend(request.param):
        yield request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20)
