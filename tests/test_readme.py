"""What the README promises: its commands, and its examples as they stand; in Spanish the same."""

import importlib
import importlib.util
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
import fastconv.functional as F
from benchmarks.command import parser as bench_parser
from fastconv import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPANISH = (ROOT / "README.es.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PARTS = {
    "code and commands within lines": r"`([^`\n]+)`",
    "figures": r"\d+(?:[.,]\d+)*",
    "links": r"\]\(([^)]+)\)",
}


def quickstart():
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / ".ci" / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.commands(README)


def test_the_quick_start_is_two_commands():
    assert len(quickstart()) == 2
    for command, last in zip(quickstart(), ("fastconv train lenet", "pytest -n auto"), strict=True):
        assert re.fullmatch(r"pip install [^&\n]+ && " + last, command)


@pytest.mark.parametrize("example", re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
def test_the_examples_run_as_they_stand(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})


COMMANDS = sorted(set(re.findall(r"`fastconv ([^`]*)`", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command):
    words = shlex.split(command)
    if words[0] == "bench":
        parser, words = bench_parser(), words[1:]
    else:
        parser = cli.parser()
    parser.parse_args(words)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[0] in {"explain", "filter", "info"}])
def test_the_quick_commands_run(command, tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    image.fromarray(picture).save("photo.png")
    assert cli.main(shlex.split(command)) == 0
    if command.startswith("filter"):
        with image.open("out.png") as result:
            assert result.size == (50, 40)


INSTEAD = [
    re.findall(r"`([^`]+)`", line)
    for line in README.partition("## Instead of")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| `")
]


@pytest.mark.parametrize(("today", "here"), INSTEAD[:-2])
def test_what_is_called_here_gives_what_is_called_today(today, here):
    library = pytest.importorskip(today.partition(".")[0])
    if library.__name__ == "scipy":
        importlib.import_module("scipy.ndimage")
        importlib.import_module("scipy.signal")
    rng = np.random.default_rng(0)
    if library.__name__ == "torch":
        arrays = {"x": (2, 3, 9, 8), "w": (4, 3, 3, 3), "b": (4,), "g": (2, 4, 7, 6)}
    else:
        arrays = {"x": (40, 30), "w": (5, 5), "t": (8, 7), "h": (5, 4)}
    given = {name: rng.random(shape, np.float32) for name, shape in arrays.items()}
    own = {"fc": fc, "F": F, "ndimage": fc.ndimage, "signal": fc.signal}
    theirs = {name: library.from_numpy(a) for name, a in given.items()} if library.__name__ == "torch" else given
    expected = np.asarray(eval(today, {library.__name__: library, **theirs}))
    np.testing.assert_allclose(eval(here, {**own, **given}), expected, rtol=0, atol=1e-4 * abs(expected).max())


def test_layers_and_steps_are_called_as_the_table_says():
    assert [here for _, here in INSTEAD[-2:]] == [
        "nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh())", "trainer.step(x, y)",
    ]  # fmt: skip
    model = eval(INSTEAD[-2][1], {"nn": fc.nn})
    assert model.output_shape((1, 1, 5, 5)) == (1, 6, 3, 3)


def test_each_readme_begins_with_the_way_to_the_other():
    assert README.split("\n")[2] == "[En español](README.es.md)"
    assert SPANISH.split("\n")[2] == "[In English](README.md)"


def test_the_blocks_of_code_are_the_same_in_spanish():
    assert BLOCK.findall(SPANISH) == BLOCK.findall(README)


def sections(readme):
    """Each section without its blocks of code; the first begins after the line that leads to the other README."""
    _, text = BLOCK.sub("", readme).split(".md)\n", 1)
    return re.split(r"^## .*", text, flags=re.MULTILINE)


@pytest.mark.parametrize("what", PARTS)
def test_each_section_has_the_same_in_spanish(what):
    def found(readme):
        return [Counter(re.findall(PARTS[what], text)) for text in sections(readme)]

    assert len(sections(README)) > 5
    assert found(SPANISH) == found(README)


def test_the_tables_have_the_same_form_in_spanish():
    def form(readme):
        return [[line.count("|") for line in text.splitlines() if line.startswith("|")] for text in sections(readme)]

    assert form(SPANISH) == form(README)
