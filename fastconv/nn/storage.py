"""Arrays in a file, as safetensors: never pickle, and never half a file, whenever the process or the disk fails."""

import os
from collections.abc import Mapping

import numpy as np

from fastconv import files
from fastconv.typing import Array

MISSING = "files of parameters need safetensors: pip install 'fastconv[app]'"


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: dict[str, str] | None = None
) -> None:
    """Write named arrays, and strings beside them, so that `path` holds either all of it or what it held before.

    Parameters
    ----------
    path : path of the file
    arrays : mapping of names to arrays
    metadata : dict of strings, optional

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be written: the folder is missing, the disk is full.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise ImportError(MISSING) from error
    contiguous = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    files.replace(path, save(contiguous, metadata))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The named arrays of a file, and the strings beside them.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a safetensors file, or not a whole one.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(MISSING) from error
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is no safetensors file, or not a whole one: {error}") from error
