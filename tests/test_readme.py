"""What the README promises: its commands, and its examples as they stand; in Spanish the same."""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

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
    for command, last in zip(quickstart(), ("fastconv train lenet", "pytest"), strict=True):
        assert re.fullmatch(r"pip install [^&\n]+ && " + last, command)


@pytest.mark.parametrize("example", re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
def test_the_examples_run_as_they_stand(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})


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
