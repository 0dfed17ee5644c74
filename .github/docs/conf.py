"""Sphinx's configuration: the reference from the docstrings, the course from `examples/`.

    sphinx-build -n -W --keep-going .github/docs build/docs

renders the examples without running them; `-D plot_gallery=1` runs them all, which takes minutes, and shows what they
print and their pictures.
"""

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(ROOT))

import fastconv  # noqa: E402  (from this checkout)

project = "fastconv"
author = "The fastconv authors"
version = release = fastconv.__version__
project_copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["examples/*.py", "examples/*.ipynb", "**/GALLERY_HEADER.rst"]
default_role = "py:obj"
highlight_language = "none"  # of formulas

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings name the types, with shapes
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

html_theme = "alabaster"
html_title = f"fastconv {version}"
html_theme_options = {
    "description": "Convolution in pure Python compiled by Numba",
    "page_width": "1120px",
    "sidebar_width": "260px",
    "fixed_sidebar": True,
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html", "localtoc.html"]}
html_copy_source = False

sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["examples"],
    "filename_pattern": r"[/\\]\d\d_",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("pictures.written_beside",),
    "plot_gallery": "False",
    "capture_repr": (),
    "backreferences_dir": None,
    "write_computation_times": False,
    "download_all_examples": False,
    "remove_config_comments": True,
}


# A star or a bar with an even number of backticks after it.
OUTSIDE_LITERALS = re.compile(r"(?<!\\)[*|](?=(?:[^`]*`[^`]*`)*[^`]*$)")


def show_as_written(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Stars and bars of a docstring are products and absolute values; indented lines of its text are formulas."""
    underlines = [i for i, line in enumerate(lines) if re.fullmatch(r"-{3,}", line)]
    text = underlines[0] - 1 if underlines else len(lines)
    shown: list[str] = []
    formula = example = False
    for i, line in enumerate(lines):
        blank, indented = not line.strip(), line.startswith("    ")
        example = not blank and (example or line.lstrip().startswith(">>>"))
        if i < text and indented and not formula and shown and not shown[-1].strip():
            formula = True
            shown += ["::", ""]
        formula = formula and (blank or indented)
        shown.append(line if formula or example else OUTSIDE_LITERALS.sub(r"\\\g<0>", line))
    lines[:] = shown


def leave_words_alone(app: Any, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """What stands in backticks may be a name of another library, an argument or a formula: then it is no link."""
    return content if node.get("reftype") == "obj" else None


def setup(app: Any) -> None:
    """Before numpydoc, which takes the sections; and where a word in backticks is no name of this package."""
    app.connect("autodoc-process-docstring", show_as_written, priority=100)
    app.connect("missing-reference", leave_words_alone)
