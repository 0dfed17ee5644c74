"""IDX files, in which MNIST and its heirs come: a header of big-endian sizes, then bytes; gzipped or not.

Byte 2 of the header is the type (8: unsigned bytes, the only one here), byte 3 the number of axes; a size of four bytes
follows for each axis.
"""

import gzip
import hashlib
import os
import zlib
from math import prod
from pathlib import Path

import numpy as np

from fastconv.typing import Array

GZIP = b"\x1f\x8b"
UBYTE = 8


def read_idx(path: str | os.PathLike[str], axes: int | None = None, md5: str | None = None) -> Array:
    """The array of bytes in an IDX file.

    Parameters
    ----------
    path : str or path
        A file that is gzipped or not, whatever its name.
    axes : int, optional
        How many axes it must have: 3 for images, 1 for labels.
    md5 : str, optional
        The checksum that the unpacked file must have.

    Returns
    -------
    array of uint8, read-only

    Raises
    ------
    OSError
        If it can't be read.
    ValueError
        If it is truncated, altered, or no IDX file of bytes.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits".

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     read_idx(path)
    array([7, 9], dtype=uint8)
    """
    content = _unpacked(Path(path))
    header = 4 + 4 * content[3] if len(content) >= 4 else 4
    if content[:3] != bytes([0, 0, UBYTE]) or len(content) < header or header == 4:
        raise ValueError(
            f"{path} is not an IDX file of bytes: it begins with {content[:4].hex() or 'nothing'}, 00000803 (images) "
            "and 00000801 (labels) are accepted"
        )
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if axes is not None and len(shape) != axes:
        raise ValueError(f"{path} has {len(shape)} axes, shape {shape}: {axes} are accepted")
    if len(content) != header + prod(shape):
        raise ValueError(
            f"{path} is truncated or altered: its header says {shape}, {header + prod(shape)} bytes, it has "
            f"{len(content)}"
        )
    if md5 is not None:
        _check(path, content, md5)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """The file's content, unpacked where it is gzipped."""
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is truncated or altered, gzip says: {error}") from None


def _check(path: str | os.PathLike[str], content: bytes, md5: str) -> None:
    came = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if came != md5:
        raise ValueError(
            f"{path} is not the published file: the md5 of its unpacked content is {came}, {md5} is accepted; put the "
            "published one in its place, or load the folder by its path to take the images that are there"
        )
