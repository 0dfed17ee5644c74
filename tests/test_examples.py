"""The course's examples: every script runs as it stands and leaves pictures that show something."""

import ast
import importlib
import re
import runpy
import shutil
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastconv as fc

matplotlib = pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")
FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
MARKDOWN = "# %% [markdown]"


def text(script):
    return script.read_text(encoding="utf-8")


def pictures(script):
    """The names of the pictures that a script writes."""
    return re.findall(r'PICTURES / "([^"]+)"', text(script))


def cells(script):
    """(kind, text) of the cells between the lines that begin with # %%."""
    parts = re.split(r"^(# %%.*)\n", text(script), flags=re.MULTILINE)
    assert parts[0] == "", "something stands before the first cell"
    return list(zip(parts[1::2], parts[2::2], strict=True))


each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


@pytest.fixture
def quiet(monkeypatch):
    """No window, no network, and settings as they were; one thread, for on a busy machine two wait for each other."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("an example asks the network"))
    pyplot = importlib.import_module("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    fc.set_num_threads(1)
    with matplotlib.rc_context():
        yield
    pyplot.close("all")
    fc.set_num_threads(None)


def check_picture(path):
    """That a picture shows something: it has a size, its pixels vary, and they have several colours."""
    from PIL import Image  # which matplotlib brings

    with Image.open(path) as image:
        frames = []
        for i in range(getattr(image, "n_frames", 1)):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
    assert min(frames[0].shape[:2]) >= 120
    for frame in frames:
        assert frame.std() > 10
        assert len(np.unique(frame[::2, ::2].reshape(-1, 3), axis=0)) >= 20
    if path.suffix == ".gif":
        assert len(frames) > 1
        assert all((a != b).any() for a, b in pairwise(frames))


def test_there_is_a_script_for_each_topic_in_the_courses_order():
    assert [script.name[:3] for script in SCRIPTS] == [f"{number:02}_" for number in range(1, 17)]


@each_script
def test_a_script_runs_and_its_pictures_show_something(script, tmp_path, quiet):
    shutil.copy(script, tmp_path)
    runpy.run_path(str(tmp_path / script.name), run_name="__main__")
    assert pictures(script)
    assert {path.name for path in tmp_path.iterdir()} == {script.name, *pictures(script)}
    for name in pictures(script):
        assert name.startswith(script.name[:3])
        check_picture(tmp_path / name)


def test_a_script_runs_as_a_program(tmp_path):
    shutil.copy(SCRIPTS[0], tmp_path)
    subprocess.run([sys.executable, "-W", "error", tmp_path / SCRIPTS[0].name], check=True, cwd="/")
    assert {path.name for path in tmp_path.iterdir()} == {SCRIPTS[0].name, *pictures(SCRIPTS[0])}


def test_a_script_runs_as_a_notebook_cell_by_cell(tmp_path, monkeypatch, quiet):
    monkeypatch.chdir(tmp_path)
    script, variables = SCRIPTS[8], {}
    for kind, code in cells(script):
        if kind != MARKDOWN:
            exec(compile(code, script.name, "exec"), variables)
    assert {path.name for path in tmp_path.iterdir()} == set(pictures(script))


@each_script
def test_a_script_is_short_and_made_of_cells(script):
    assert len(text(script).splitlines()) <= 120
    kinds = [kind for kind, _ in cells(script)]
    assert set(kinds) == {MARKDOWN, "# %%"}
    assert kinds[0] == MARKDOWN
    assert kinds[-1] == "# %%"
    for i, (kind, content) in enumerate(cells(script)):
        if kind == MARKDOWN and i == 0:
            title, underline = ast.parse(content).body[0].value.value.splitlines()[:2]
            assert underline == "=" * len(title), "reStructuredText and Markdown both read this as a heading"
        elif kind == MARKDOWN:
            assert all(line.startswith("#") for line in content.strip().splitlines())
        else:
            assert ast.parse(content).body


def is_public(module, name):
    """Whether a module offers the name; `plot` is not loaded with the package, for matplotlib need not be there."""
    return name in module.__all__ or (module is fc and name == "plot")


@each_script
def test_a_script_uses_public_names_only(script):
    tree = ast.parse(text(script))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.split(".")[0] == "fastconv"]
            modules |= {alias.asname: importlib.import_module(alias.name) for alias in ours}
        elif isinstance(node, ast.ImportFrom) and node.module == "fastconv":
            for alias in node.names:
                assert is_public(fc, alias.name)
                modules[alias.asname or alias.name] = importlib.import_module(f"fastconv.{alias.name}")
        elif isinstance(node, ast.ImportFrom):
            assert not node.module.startswith("fastconv."), "from fastconv import ... reaches all that is public"

    def module_of(node):
        """The module of fastconv that an expression names, if it does."""
        if isinstance(node, ast.Name):
            return modules.get(node.id)
        found = module_of(node.value) if isinstance(node, ast.Attribute) else None
        value = getattr(found, node.attr, None) if found else None
        return value if isinstance(value, ModuleType) else None

    assert modules
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
            owner = module_of(node.value)
            assert owner is None or is_public(owner, node.attr), f"{owner.__name__}.{node.attr}"


def test_the_table_names_every_script_and_picture():
    table = text(FOLDER / "README.md")
    for script in SCRIPTS:
        assert f"[{script.name}]({script.name})" in table
    shown = set(re.findall(r"[\w]+\.(?:png|gif)", table))
    assert shown == {name for script in SCRIPTS for name in pictures(script)}
