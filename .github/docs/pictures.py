"""The pictures of an example's page: those that the script has written beside itself."""

import shutil
import time
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

STARTED = time.time()  # older pictures are not this build's
seen: dict[Path, float] = {}  # when each picture was written, as far as it is on a page


def written_beside(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """The pictures of the script's number that the last block has written, in their order, as reStructuredText."""
    script = Path(variables["src_file"])
    shown = []
    for picture in sorted(script.parent.glob(f"{script.name[:3]}*"), key=lambda path: path.stat().st_mtime):
        written = picture.stat().st_mtime
        if picture.suffix in {".gif", ".png"} and seen.get(picture, STARTED) < written:
            seen[picture] = written
            place = Path(next(variables["image_path_iterator"])).with_suffix(picture.suffix)
            shutil.copy(picture, place)
            shown.append(str(place))
    return figure_rst(shown, settings["src_dir"])
