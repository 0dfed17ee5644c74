"""Pictures in files: read, filtered, and written. Pillow reads and writes them."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import files, filters, ndimage
from fastconv.typing import Array

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MODES", "filter_picture", "filtered", "read_kernel"]

MODES = ("reflect", "constant", "nearest", "mirror", "wrap")
READ = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
}
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # grey, of 16 bits


def filter_picture(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    kernel: Array | None,
    mode: str = "reflect",
    signed: bool = True,
) -> None:
    """Filter a picture's file by convolution, as `filtered`, into another file.

    Parameters
    ----------
    source : str or path
        A picture that Pillow reads: grey or RGB, with or without alpha, of 8 bits, or grey of 16.
    target : str or path
        Its ending gives the format; what it holds is replaced.
    kernel, mode, signed
        As in `filtered`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such picture, or `target` is the same file or of a format that can't hold it.
    OSError
        If `target` can't be written; it is what it was then.
    ImportError
        If Pillow is not installed.
    """
    source, target = Path(source), Path(target)
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} is the picture itself: another file is accepted, for it would be overwritten")
    picture = _read(source)
    pixels = np.asarray(picture)
    if picture.mode in DEEP:
        if picture.mode == "I" and (pixels.min() < 0 or pixels.max() > 65535):
            raise ValueError(f"{source} has pixels of 32 bits: 8 and 16 bits are accepted")
        pixels = pixels.astype(np.uint16)
    _write(filtered(pixels, kernel, mode, signed), target, picture.info)


def filtered(pixels: Array, kernel: Array | None, mode: str = "reflect", signed: bool = True) -> Array:
    """Filter a picture's channels by convolution, as `ndimage.convolve` does: the kernel is flipped.

    Parameters
    ----------
    pixels : array (H, W) or (H, W, C), uint8 or uint16
        Of 2 or 4 channels the last is alpha, which stays as it is.
    kernel : array (R, S), or None
        None is Sobel's gradient: sqrt(down² + across²) / 4, so that a straight edge from black to white is white.
    mode : str
        How the picture goes on beyond its edges, as in `ndimage.convolve`.
    signed : bool
        Whether what is below 0 is black; else its magnitude counts.

    Returns
    -------
    array, shape and dtype of `pixels`
        Rounded, and cut off at the dtype's limits.

    Examples
    --------
    >>> filtered(np.array([[0, 0, 255, 255]], np.uint8), np.ones((1, 3)) / 3)
    array([[  0,  85, 170, 255]], dtype=uint8)
    """
    channels = pixels.reshape(*pixels.shape[:2], -1)
    result = channels.copy()
    colours = channels.shape[2] - (channels.shape[2] in (2, 4))
    for k in range(colours):
        # float32 has digits enough to round 8 bits by, and float64 16.
        channel = channels[..., k].astype(np.float32 if pixels.dtype == np.uint8 else np.float64)
        if kernel is None:
            down, across = (ndimage.convolve(channel, filters.sobel_kernel(axis), mode=mode) for axis in (0, 1))
            values = np.hypot(down, across) / 4
        else:
            values = ndimage.convolve(channel, kernel, mode=mode)
            values = values if signed else np.abs(values)
        result[..., k] = np.clip(np.rint(values), 0, np.iinfo(pixels.dtype).max)
    return result.reshape(pixels.shape)


def read_kernel(path: str | os.PathLike[str]) -> Array:
    """A kernel from a file: rows of numbers with commas between them, as many in each; empty lines are left out.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    array (R, S), float64

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds anything else; the message gives the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text: rows of numbers with commas between them are accepted") from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = [float(part) for part in line.split(",")]
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: {line!r}: numbers with commas between them are accepted"
            ) from None
        if not np.isfinite(row).all():
            raise ValueError(f"{path}, line {number}: {line!r}: finite numbers are accepted")
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"{path}, line {number} has {len(row)} numbers: {len(rows[0])} are accepted, as before it")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} is empty: rows of numbers with commas between them are accepted")
    return np.array(rows)


def _pillow() -> Any:
    """Pillow's module of pictures."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError('fastconv filter needs Pillow: pip install "fastconv[app]"') from None
    return Image


def _read(path: Path) -> "Image":
    """A picture the right way up, in a mode whose numbers are those of its channels."""
    library = _pillow()
    from PIL import ImageOps

    content = io.BytesIO(path.read_bytes())
    limit, library.MAX_IMAGE_PIXELS = library.MAX_IMAGE_PIXELS, None  # the user's own pictures may be large
    try:
        with library.open(content) as opened:
            opened.load()
            picture: Image = ImageOps.exif_transpose(opened)
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f"{path} is no picture that Pillow reads: {error}") from None
    finally:
        library.MAX_IMAGE_PIXELS = limit
    if picture.mode in DEEP:
        return picture
    if picture.mode not in READ:
        raise ValueError(f"{path} has the mode {picture.mode}: grey and RGB, with or without alpha, are accepted")
    transparent = picture.mode == "P" and "transparency" in picture.info
    return picture.convert("RGBA" if transparent else READ[picture.mode])


def _write(pixels: Array, path: Path, info: dict[Any, Any]) -> None:
    """Write a picture with the colour profile of another, whole or not at all."""
    library = _pillow()
    library.init()
    name = library.registered_extensions().get(path.suffix.lower())
    if name not in library.SAVE:
        raise ValueError(
            f"{path} ends with {path.suffix!r}: an ending of a format that Pillow writes is accepted, as .png"
        )
    content = io.BytesIO()
    try:
        library.fromarray(pixels).save(content, format=name, icc_profile=info.get("icc_profile"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't hold the picture: {error}; .png can") from None
    files.replace(path, content.getvalue())
