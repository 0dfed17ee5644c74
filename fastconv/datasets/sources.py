"""Where data sets come from: the package, a folder, the system's share/datasets, or the network.

A set is four IDX files, as MNIST's authors named them, gzipped or not.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.datasets.dataset import Dataset, normalized
from fastconv.datasets.idx import read_idx

# Images and labels to learn from, then images and labels to test with.
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
AXES = (3, 1, 3, 1)
DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A published set: where it is, and the md5 of its four files as they are packed there, and unpacked."""

    url: str
    classes: tuple[str, ...]
    packed: tuple[str, str, str, str]
    unpacked: tuple[str, str, str, str]


PUBLISHED = {
    "mnist": Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        DIGITS,
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion-mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        CLOTHES,
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
}
NAMES = ("mnist5k", *PUBLISHED)


def load(
    name: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None, normalize: str | None = "standard"
) -> Dataset:
    """A set of labelled images by its name, or from a folder by its path.

    "mnist5k", 5,000 handwritten digits, is in the package: the first 4,000 to learn from, the last 1,000 to test with.
    "mnist" (70,000) and "fashion-mnist" (70,000 pieces of clothing) are four IDX files each, gzipped or not. They are
    looked for in `folder`; else in the folder that the environment variable FASTCONV_DATA names, and in the system's
    share/datasets; each time in the folder itself and in one of the set's name below it. What is in none of them is
    downloaded once, into the user's cache. Their checksums must be those of the published files.

    Parameters
    ----------
    name : {"mnist5k", "mnist", "fashion-mnist"} or path
        A path is that of a folder with four such files of any images and any number of classes.
    folder : path, optional
        The one place to look for a set that has a name.
    normalize : {"standard", "unit", None}
        x is (pixel / 255 - mean) / std, with mean and std of the training split, or pixel / 255, or the bytes as they
        are.

    Returns
    -------
    Dataset
        With x (N, 1, H, W) in float32 (uint8 for None) and y (N,) in int64.

    Raises
    ------
    FileNotFoundError
        If a file is in none of the folders and can't be downloaded; the message says where it was looked for.
    ImportError
        If it must be downloaded and pooch is not installed.
    ValueError
        If there is no set of that name, or a file is truncated, altered or does not fit the others.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017.

    Examples
    --------
    >>> data = load("mnist5k")
    >>> data.train.x.shape, data.test.y.shape, data.classes[3]
    ((4000, 1, 28, 28), (1000,), '3')
    """
    if normalize not in ("standard", "unit", None):
        raise ValueError(f"normalize is {normalize!r}: 'standard', 'unit' and None are accepted")
    if name == "mnist5k":
        return _embedded(normalize)
    if isinstance(name, str) and name in PUBLISHED:
        published = PUBLISHED[name]
        paths = [_find(name, index, folder) for index in range(len(FILES))]
        return _assembled(name, paths, published.unpacked, published.classes, normalize)
    if not Path(name).is_dir():
        raise ValueError(
            f"name is {os.fspath(name)!r}: {', '.join(NAMES)} are accepted, or the path of a folder with IDX files"
        )
    paths = [_in_folders(file, [Path(name)]) for file in FILES]
    return _assembled(Path(name).name, paths, (None,) * 4, None, normalize)


def _embedded(normalize: str | None) -> Dataset:
    """The set that the package carries."""
    with np.load(Path(__file__).parent / "mnist5k.npz") as file:
        images, labels = file["images"], file["labels"]
    train, test = (images[:4000], labels[:4000]), (images[4000:], labels[4000:])
    return normalized("mnist5k", train, test, DIGITS, normalize)


def _assembled(
    name: str,
    paths: Iterable[Path],
    checksums: Iterable[str | None],
    classes: tuple[str, ...] | None,
    normalize: str | None,
) -> Dataset:
    """The data set of four files, which must fit each other."""
    paths = list(paths)
    arrays = [read_idx(path, axes, md5) for path, axes, md5 in zip(paths, AXES, checksums, strict=True)]
    for i in (0, 2):
        if len(arrays[i]) != len(arrays[i + 1]) or arrays[i].size == 0:
            raise ValueError(
                f"{paths[i]} has {len(arrays[i])} images of {arrays[i].shape[1:]} pixels, {paths[i + 1]} "
                f"{len(arrays[i + 1])} labels: as many of both are accepted, at least 1"
            )
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise ValueError(
            f"{paths[0]} has images of {arrays[0].shape[1:]} pixels, {paths[2]} of {arrays[2].shape[1:]}: one size is "
            "accepted"
        )
    names = classes or tuple(str(i) for i in range(int(arrays[1].max()) + 1))
    if arrays[3].max() >= len(names):
        raise ValueError(
            f"{paths[3]} has the label {arrays[3].max()}: those of {paths[1]}, below {len(names)}, are accepted"
        )
    return normalized(name, (arrays[0], arrays[1]), (arrays[2], arrays[3]), names, normalize)


def _find(name: str, index: int, folder: str | os.PathLike[str] | None) -> Path:
    """A published set's file: in the one folder that was given, in the usual ones, or downloaded."""
    if folder is not None:
        return _in_folders(FILES[index], [Path(folder), Path(folder) / name])
    folders = [place for base in _bases() for place in (base, base / name)]
    try:
        return _in_folders(FILES[index], folders)
    except FileNotFoundError as error:
        return _downloaded(name, index, str(error))


def _bases() -> list[Path]:
    """The folders that may hold sets."""
    named = os.environ.get("FASTCONV_DATA")
    shares = [Path(sys.prefix), Path("/usr/local"), Path("/usr")]
    return ([Path(named)] if named else []) + [share / "share" / "datasets" for share in shares]


def _in_folders(file: str, folders: list[Path]) -> Path:
    """The first of the folders' files of that name, gzipped or not."""
    for folder in folders:
        for path in (folder / file, folder / f"{file}.gz"):
            if path.is_file():
                return path
    places = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(
        f"{file} (or {file}.gz) is in none of the folders {places}: put it there, or set FASTCONV_DATA to the folder "
        "that holds it"
    )


def _downloaded(name: str, index: int, missing: str) -> Path:
    """The file in the user's cache, downloaded if it is not there or is not what was published."""
    try:
        import pooch
    except ImportError:
        raise ImportError(f'{missing}; to download it needs pooch: pip install "fastconv[app]"') from None
    published, file = PUBLISHED[name], f"{FILES[index]}.gz"
    cache = Path(pooch.os_cache("fastconv")) / name
    try:
        return Path(pooch.retrieve(published.url + file, f"md5:{published.packed[index]}", file, cache))
    except (OSError, ValueError) as error:  # no network; not what was published
        raise FileNotFoundError(
            f"{missing}; it can't be downloaded from {published.url}{file} either: {error}"
        ) from error
