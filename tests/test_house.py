"""The house's floors: who may import whom, and what an import costs."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastconv

PACKAGE = Path(fastconv.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up; a module imports only from floors below its own, or from its own.
FLOORS = [
    {"errors", "files", "memory", "typing"},
    {"arguments", "geometry", "algorithms", "borders", "graph", "precision", "threads", "transforms"},
    {"backends", "placement"},
    {"binding", "filters", "functional", "rewrites"},
    {"explanation", "signal", "ndimage", "template", "nn"},
    {"optim", "datasets", "models"},
    {"training", "checkpoint", "photo", "plot"},
    {"runs", "warmup"},
    {"cli", "__main__", "__init__"},
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
EXTRAS = {"matplotlib", "tqdm", "pooch", "safetensors", "scipy", "torch", "PIL", "cv2"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, everywhere=True):
    """The modules that a file imports; with `everywhere` False only those it imports when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "fastconv":
                yield from (f"fastconv.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    assert room(path) in FLOOR, "a new room needs a floor"
    if room(path) in {"__init__", "__main__"}:
        return
    for name in imports(path):
        if name.startswith("fastconv."):
            assert FLOOR[name.split(".")[1]] <= FLOOR[room(path)], f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_only_two_backends_import_numba(path):
    inside = path.relative_to(PACKAGE).as_posix().startswith(("backends/cpu/", "backends/cuda/"))
    assert inside or not any(name.split(".")[0] in {"numba", "llvmlite"} for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_plot_or_data_library_is_imported_with_the_package(path):
    assert not {name.split(".")[0] for name in imports(path, everywhere=False)} & EXTRAS


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_layers_never_touch_backends(path):
    if room(path) in {"nn", "models"}:
        assert not [name for name in imports(path) if name.startswith("fastconv.backends")]


def test_importing_compiles_nothing_and_loads_no_library():
    code = (
        "import sys, fastconv, fastconv.cli\n"
        "print(sorted({'numba', 'matplotlib', 'tqdm', 'pooch', 'safetensors', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_folder_is_installed():
    listed = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {".".join(("fastconv", *p.parent.relative_to(PACKAGE).parts)) for p in PACKAGE.rglob("__init__.py")}
    suite = PACKAGE.parent / "benchmarks"
    found |= {".".join(("fastconv", *p.parent.relative_to(suite.parent).parts)) for p in suite.rglob("__init__.py")}
    assert set(listed["packages"]) == found


def test_the_public_names():
    assert set(fastconv.__all__) >= {
        "BackendUnavailableError", "backend_name", "clear_cache", "datasets", "explain", "filters", "find_template",
        "functional", "get_algorithm", "get_num_threads", "get_precision", "match_template", "models", "ndimage", "nn",
        "optim", "set_algorithm", "set_num_threads", "set_precision", "signal", "training", "use_backend",
    }  # fmt: skip
    assert all(hasattr(fastconv, name) for name in fastconv.__all__)


def test_every_public_function_is_documented():
    modules = [
        *(fastconv.functional, fastconv.filters, fastconv.ndimage, fastconv.signal),
        *(fastconv.nn, fastconv.optim, fastconv.training, fastconv.datasets),
    ]
    missing = [
        f"{module.__name__}.{name}"
        for module in modules
        for name in module.__all__
        if not getattr(module, name).__doc__
    ]
    assert not missing
