import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from fastconv import backends

NAMES = ("reference", "cpu", "cuda")
PACKAGES = {name: importlib.import_module(f"fastconv.backends.{name}") for name in NAMES}
MODULES = sorted(m.name for m in pkgutil.iter_modules(PACKAGES["reference"].__path__) if m.name != "windows")


def operations(backend, module):
    """A backend's public functions: those that its module defines, or lists, and that take what the other's do."""
    found = importlib.import_module(f"fastconv.backends.{backend}.{module}")
    listed = getattr(found, "__all__", ())
    return {
        name: inspect.signature(value, eval_str=True)
        for name, value in vars(found).items()
        if inspect.isfunction(value) and (name in listed or value.__module__ == found.__name__) and name[0] != "_"
    }


def python(code, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_backends_have_the_same_functions_and_signatures(name, module):
    reference, own = operations("reference", module), operations(name, module)
    assert reference
    assert {function: own.get(function) for function in reference} == reference


def test_the_cpu_backend_has_no_module_more_than_it_needs():
    cpu = {m.name for m in pkgutil.iter_modules(PACKAGES["cpu"].__path__)}
    assert set(MODULES) <= cpu


def test_the_default_is_cpu():
    environment = {k: v for k, v in os.environ.items() if k != "FASTCONV_BACKEND"}
    code = "import fastconv; print(fastconv.backend_name())"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "cpu"


def test_the_environment_chooses():
    run = python("import fastconv; print(fastconv.backend_name())", FASTCONV_BACKEND="reference")
    assert run.stdout.strip() == "reference"


def test_the_reference_needs_no_numba():
    code = "import sys, numpy, fastconv.functional as F; F.conv1d(numpy.ones((1, 1, 3)), numpy.ones((1, 1, 2)))"
    assert python(code + "; print('numba' in sys.modules)", FASTCONV_BACKEND="reference").stdout.strip() == "False"


def test_an_unknown_name_in_the_environment_is_told():
    run = python("import numpy, fastconv.functional as F; F.tanh(numpy.ones(1))", FASTCONV_BACKEND="gpu")
    assert "ValueError: the environment variable FASTCONV_BACKEND is 'gpu': one of cpu, cuda, reference" in run.stderr


def test_a_missing_backend_is_told_and_nothing_runs_elsewhere():
    with pytest.raises(fc.BackendUnavailableError, match="FASTCONV_BACKEND=cpu"), fc.use_backend("cuda"):
        pytest.fail("the block ran")
    run = python("import numpy, fastconv.functional as F; print(F.tanh(numpy.ones(1)))", FASTCONV_BACKEND="cuda")
    assert "BackendUnavailableError: the cuda backend" in run.stderr
    assert run.stdout == ""


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match="use_backend is 'gpu': one of cpu, cuda, reference is accepted"):
        fc.use_backend("gpu").__enter__()


def test_use_backend_nests_and_ends():
    before = fc.backend_name()
    with fc.use_backend("reference"):
        with fc.use_backend("cpu"):
            assert fc.backend_name() == "cpu"
        assert fc.backend_name() == "reference"
    assert fc.backend_name() == before


def test_use_backend_ends_after_an_error():
    before = fc.backend_name()
    with pytest.raises(KeyError), fc.use_backend("reference"):
        raise KeyError
    assert fc.backend_name() == before


def test_threads_keep_their_own_backend():
    names = []
    with fc.use_backend("reference"):
        thread = threading.Thread(target=lambda: names.append(fc.backend_name()))
        thread.start()
        thread.join()
    assert names == [backends._from_environment()]


def test_an_array_on_a_gpu_is_not_computed_here():
    class OnGpu:
        __cuda_array_interface__ = {"shape": (1,), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012

    with pytest.raises(fc.BackendUnavailableError, match="cuda"):
        F.conv1d(OnGpu(), np.ones((1, 1, 1), np.float32))
