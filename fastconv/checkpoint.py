"""Checkpoints: all that a training needs to go on, in one safetensors file that is written whole or not at all.

A state is a dictionary of sections. A section that is a dictionary may hold arrays, which become the file's tensors,
named "section/key"; everything else is JSON in the file's metadata. There is no pickle, so a foreign file can't run
code. A checksum over both finds the bytes that a disk or a transfer has changed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.nn.storage import load_arrays, save_arrays
from fastconv.typing import Array

FORMAT = "fastconv checkpoint 1"


def write(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write `state` as the file `path`, which stays what it was if the disk is full or the process is killed.

    Parameters
    ----------
    path : str or path
        By custom ends in ".safetensors".
    state : mapping of str to sections
        A section is a mapping of str to arrays or JSON values, or a JSON value.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/a.safetensors", {"model": {"weight": np.ones(2)}, "epoch": 3})
    ...     read(f"{folder}/a.safetensors")
    {'epoch': 3, 'model': {'weight': array([1., 1.])}}
    """
    tensors: dict[str, Array] = {}
    rest: dict[str, Any] = {}
    for section, content in state.items():
        if isinstance(content, Mapping):
            arrays = {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
            tensors.update({f"{section}/{key}": np.require(value, None, ["C"]) for key, value in arrays.items()})
            rest[section] = {key: value for key, value in content.items() if key not in arrays}
        else:
            rest[section] = content
    text = json.dumps(rest, sort_keys=True)
    metadata = {"format": FORMAT, "state": text, "sha256": _checksum(tensors, text)}
    save_arrays(path, tensors, metadata)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that `write` put into the file `path`.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, altered, or no checkpoint of fastconv; the message names the file and what is wrong.
    """
    tensors, metadata = load_arrays(path)
    if metadata.get("format") != FORMAT:
        said = metadata.get("format", "nothing")
        raise ValueError(f"{path} is not a checkpoint of fastconv: its metadata says {said!r}, {FORMAT!r} is accepted")
    text = metadata.get("state", "")
    if metadata.get("sha256") != _checksum(tensors, text):
        raise ValueError(f"{path} is damaged: its content does not have the checksum that it was written with")
    state: dict[str, Any] = json.loads(text)
    for name, value in tensors.items():
        section, _, key = name.partition("/")
        state[section][key] = value
    return state


def _checksum(tensors: Mapping[str, Array], text: str) -> str:
    """SHA-256 over the JSON text and over each tensor's name, dtype, shape and bytes, by name."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
