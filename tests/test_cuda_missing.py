"""What is said where the cuda backend can't run: which part is missing, and the way out."""

import importlib
from types import SimpleNamespace

import pytest

import fastconv as fc
from fastconv.backends import cuda as package


@pytest.fixture
def machine(monkeypatch):
    """A machine with a GPU, driver, package and compiler; a test takes some of them away."""
    driver = SimpleNamespace(is_available=True, initialization_error=None)
    nvvm = SimpleNamespace(is_available=lambda: True)
    found = SimpleNamespace(
        cuda=SimpleNamespace(cudadrv=SimpleNamespace(driver=SimpleNamespace(driver=driver), nvvm=nvvm), gpus=[0]),
        driver=driver,
        nvvm=nvvm,
        package=object(),
        error=None,
    )

    def module(name):
        if name == "numba.cuda":
            if found.error is not None:
                raise found.error
            return found.cuda
        return SimpleNamespace(config=SimpleNamespace(ENABLE_CUDASIM=0))

    stand_in = SimpleNamespace(import_module=module, util=SimpleNamespace(find_spec=lambda name: found.package))
    monkeypatch.setattr(package, "importlib", stand_in)
    return found


def told():
    with pytest.raises(fc.BackendUnavailableError) as raised:
        package.require()
    text = str(raised.value)
    assert "FASTCONV_BACKEND" in text
    assert text.endswith(
        "set FASTCONV_BACKEND=cpu (the default) or reference, or leave it unset, to compute without a GPU"
    )
    assert "\n" not in text
    return text


def test_nothing_is_said_where_all_is_there(machine):
    package.require()


def test_no_driver(machine):
    machine.driver.is_available = False
    assert "no GPU's driver answers (none is installed)" in told()
    machine.driver.initialization_error = "\nCUDA driver library cannot be found.\nLook at the path.\n"
    assert "no GPU's driver answers (CUDA driver library cannot be found. Look at the path.)" in told()


def test_no_gpu(machine):
    machine.cuda.gpus.clear()
    assert "the driver knows of no GPU" in told()


def test_no_package(machine):
    machine.package = None
    assert 'the package numba-cuda is not installed: pip install "fastconv[cuda]"' in told()


@pytest.mark.parametrize("error", [ImportError("no module"), OSError("libnvvm.so\n not found"), RuntimeError("?")])
def test_a_package_that_fails_in_its_own_way(machine, error):
    machine.error = error
    said = told()
    assert f"numba.cuda fails ({type(error).__name__}: " in said
    assert 'pip install "fastconv[cuda]"' in said


def test_no_compiler(machine):
    machine.nvvm.is_available = lambda: False
    assert 'numba.cuda finds no compiler (NVVM): pip install "fastconv[cuda]"' in told()


def test_the_simulator_needs_nothing_of_these(monkeypatch):
    def module(name):
        return SimpleNamespace(config=SimpleNamespace(ENABLE_CUDASIM=1))

    monkeypatch.setattr(package, "importlib", SimpleNamespace(import_module=module, util=importlib.util))
    package.require()
