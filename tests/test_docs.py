"""The documentation: every public module has a page, every public name is on one, and the site builds clean."""

import importlib
import importlib.util
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc

ROOT = Path(__file__).parent.parent
DOCS = ROOT / ".github" / "docs"
SOURCES = [*DOCS.glob("*.rst"), *DOCS.glob("reference/*.rst")]
PAGES = {path.relative_to(DOCS).with_suffix("").as_posix(): path for path in SOURCES}
TOOLS = ("sphinx", "numpydoc", "sphinx_gallery")


def text(path):
    return path.read_text(encoding="utf-8")


def public_modules():
    """The package, its modules that are public names, and those that are public names of these."""
    found, waiting = {}, [fc]
    while waiting:
        module = waiting.pop()
        found[module.__name__] = module
        for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
            if info.name in getattr(module, "__all__", ()):
                inner = importlib.import_module(f"{module.__name__}.{info.name}")
                if getattr(module, info.name) is inner:  # functional.linear is a function
                    waiting.append(inner)
    return found


def documented():
    """Modules with a page of their own, and the full names of what pages describe."""
    modules, names = {}, []
    for page, path in PAGES.items():
        current = ""
        for directive, name in re.findall(r"^\.\. (\w+):: ([\w.]+)$", text(path), re.MULTILINE):
            if directive == "automodule":
                modules[name] = page
            if directive in {"automodule", "currentmodule"}:
                current = name
            elif directive in {"autofunction", "autoclass", "autodata", "autoexception"}:
                names.append(name if name.startswith("fastconv.") else f"{current}.{name}")
    return modules, names


MODULES, NAMES = documented()


def test_every_page_is_in_the_contents():
    listed = set(re.findall(r"^   ([\w/]+)$", text(DOCS / "index.rst"), re.MULTILINE))
    assert listed == PAGES.keys() - {"index"} | {"examples/index"}


def test_every_public_module_has_a_page():
    assert set(MODULES) == set(public_modules()) - {"fastconv"}


@pytest.mark.parametrize("module", sorted(public_modules()))
def test_every_public_name_is_on_a_page(module):
    public = getattr(public_modules()[module], "__all__", ())
    wanted = {f"{module}.{name}" for name in public if name != "__version__"} - set(MODULES)
    assert wanted <= set(NAMES)


def test_nothing_is_described_twice():
    assert sorted(NAMES) == sorted(set(NAMES))


def test_what_the_architecture_page_names_is_there():
    page = text(DOCS / "architecture.rst")
    named = set(re.findall(r"``([\w/]+(?:\.py|/))``", page))
    lacking = {name for name in named if not any(ROOT.glob(f"fastconv/**/{name}")) and not (ROOT / name).exists()}
    assert len(named) > 40
    assert not lacking


@pytest.fixture
def tools():
    lacking = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} not installed: pip install '.[docs]' brings what builds the site")


@pytest.mark.usefixtures("tools")
def test_the_configuration_is_imported(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds to it
    settings = runpy.run_path(str(DOCS / "conf.py"))
    assert settings["version"] == fc.__version__
    assert settings["sphinx_gallery_conf"]["plot_gallery"] == "False"


@pytest.mark.usefixtures("tools")
def test_the_site_builds_without_warnings(tmp_path):
    """From a copy: the gallery's pages are written beside the others."""
    source, site = tmp_path / ".github" / "docs", tmp_path / "site"
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("examples", "__pycache__"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("*.png", "*.gif"))
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", str(source), str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    for script in (ROOT / "examples").glob("*.py"):
        assert (site / "examples" / f"{script.stem}.html").is_file()
    for page in PAGES:
        assert (site / f"{page}.html").is_file()
