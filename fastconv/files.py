"""Files that are either the old one or the whole new one, at any instant."""

import os
from pathlib import Path


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Put `content` into the file `path`, which a crash or a full disk leaves as it was.

    The content goes to a temporary file of the same folder, reaches the disk, and then takes the file's name.

    Parameters
    ----------
    path : str or path
        Its folder must exist.
    content : bytes

    Raises
    ------
    OSError
        If it can't be written; the temporary file is gone then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace(Path(folder) / "a.txt", b"one")
    ...     (Path(folder) / "a.txt").read_text()
    'one'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 (one name for tests to break)
    except BaseException:  # Ctrl-C too leaves nothing behind
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself reach the disk, where the system lets one ask for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
