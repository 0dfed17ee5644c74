"""Print a command of README.md's "Quick start": `python .ci/quickstart.py 1` the first, 2 the second."""

import re
import sys
from pathlib import Path


def commands(readme: str) -> list[str]:
    """The fenced `sh` blocks of the section."""
    section = re.search(r"^## Quick start\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    if section is None:
        sys.exit("README.md has no section 'Quick start'")
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)]


if __name__ == "__main__":
    readme = Path(__file__).parent.parent / "README.md"
    sys.stdout.write(commands(readme.read_text(encoding="utf-8"))[int(sys.argv[1]) - 1] + "\n")
