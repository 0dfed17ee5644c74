"""Compiled kernels on disk, in a folder of the user's own; code of older sources is never used.

Numba's own cache keys on the function's file alone: an edit to a helper in another file goes unnoticed. Here all that
decides the code is in a file's name: every source of the package, the versions of Numba, LLVM, NumPy and Python, the
processor, the function with its options and frozen values, and the signature. A file checks itself, is written whole
and moved into its place, and whatever goes wrong with it means that the kernel is compiled.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
import shutil
import stat
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import config
from numba.core import caching, compiler, serialize
from numba.core.runtime import rtsys

from fastconv.backends.cpu.identity import identity, name_apart

log = logging.getLogger("fastconv")
SOURCES = Path(__file__).resolve().parents[2]
DIGEST = re.compile("[0-9a-f]{32}")
KEPT = 5  # folders, of the sources and versions used last
OPTIONS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "USING_SVML", "DEBUGINFO_DEFAULT")


def base() -> Path:
    """The folder for all sources and versions: FASTCONV_CACHE_DIR, or the system's place for caches."""
    chosen = os.environ.get("FASTCONV_CACHE_DIR")
    if chosen:
        found = Path(chosen).expanduser()
    elif os.name == "nt":
        found = Path(os.environ.get("LOCALAPPDATA", "")) / "fastconv"
    elif sys.platform == "darwin":
        found = Path.home() / "Library" / "Caches" / "fastconv"
    else:
        found = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv"
    if not found.is_absolute():
        raise OSError(f"{str(found)!r} is no absolute path")
    return found


def make(folder: Path) -> None:
    """Make a folder that only its owner can enter, unless it is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def check_own(found: os.stat_result, path: Path) -> None:
    """Raise unless it is the user's, or the system's, and only they can write to it: loading executes what is there."""
    if os.name != "nt" and (found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022):
        raise OSError(f"{path} can be changed by others")


def digest(sources: Path) -> str:
    """A name for all sources, versions and settings that decide the code."""
    files = sorted(sources.rglob("*.py"))
    if not files:
        raise OSError(f"no sources in {sources}")
    versions = numba.__version__, llvmlite.__version__, llvmlite.binding.llvm_version_info, np.__version__, sys.version
    settings = [getattr(config, name, None) for name in OPTIONS]
    sha = hashlib.sha256(repr((versions, settings)).encode())
    for path in files:
        content = path.read_bytes()
        sha.update(f"\0{path.relative_to(sources).as_posix()}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()[:32]


@cache
def folder() -> Path | None:
    """The folder for these sources and versions; None where there can't be one: then nothing is kept."""
    try:
        top = base()
        make(top)
        check_own(top.stat(), top)
        found = top / digest(SOURCES)
        with suppress(OSError):
            os.utime(found)  # what tells `prune` that it is used
    except (OSError, RuntimeError) as problem:
        log.info("compiled kernels are not kept on disk: %s", problem)
        return None
    return found


def prune(top: Path, kept: int = KEPT) -> None:
    """Remove all folders of sources and versions but those used last."""
    with suppress(OSError):
        found = [entry for entry in os.scandir(top) if DIGEST.fullmatch(entry.name)]
        folders = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
        for entry in sorted(folders, key=lambda entry: entry.stat().st_mtime, reverse=True)[kept:]:
            shutil.rmtree(entry.path, ignore_errors=True)


def size(top: Path) -> int:
    """Bytes of all files in a folder."""
    with suppress(OSError):
        return sum(path.stat().st_size for path in top.rglob("*") if path.is_file())
    return 0


class Store(caching._Cache):  # type: ignore[misc]
    """A dispatcher's files, one for each signature and processor; no index, so nothing to race for."""

    def __init__(self, dispatcher: Any, place: Path) -> None:
        self.dispatcher, self.folder = dispatcher, place
        self.name, self.identity = dispatcher.__name__, ""

    @property
    def cache_path(self) -> str:
        """The folder, as Numba asks for it."""
        return str(self.folder)

    def enable(self) -> None:
        """Nothing to do: it is enabled."""

    disable = flush = enable

    def path(self, sig: Any, context: Any) -> Path:
        """The file of a signature; TypeError if the function freezes what can't be told apart."""
        if not self.identity:
            self.identity = identity(self.dispatcher)
            name_apart(self.dispatcher)
        key = repr((self.identity, str(sig), context.codegen().magic_tuple()))
        return self.folder / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"

    def load_overload(self, sig: Any, context: Any) -> Any:
        """The compiled function, or None."""
        rtsys.initialize(context)  # what loaded code needs, of all that `context.refresh` does in 0.5 s
        try:
            content = _read(self.path(sig, context))
            checked, data = content[:32], content[32:]
            if hashlib.sha256(data).digest() != checked:
                raise ValueError("its file is damaged")
            return compiler.CompileResult._rebuild(context, *pickle.loads(data))
        except FileNotFoundError:
            pass
        except Exception as problem:  # a file of any other make is as good as none
            log.info("%s is compiled: %s", self.name, problem)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, if that can be done."""
        try:
            if not data.library.has_dynamic_globals:
                self._write(self.path(sig, data.target_context), serialize.dumps(data._reduce()))
        except Exception as problem:  # a full disk must not lose the result
            log.info("%s is not kept on disk: %s", self.name, problem)

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file whole, to another name first."""
        if not self.folder.is_dir():
            make(self.folder.parent)
            make(self.folder)
            prune(self.folder.parent)
        check_own(self.folder.stat(), self.folder)
        part = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
        try:
            part.write_bytes(hashlib.sha256(content).digest() + content)
            part.chmod(stat.S_IRUSR | stat.S_IWUSR)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _read(path: Path) -> bytes:
    """What is in a file that only its owner can write to."""
    with path.open("rb") as file:
        check_own(os.fstat(file.fileno()), path)
        return file.read()


def kept(dispatcher: Any) -> Any:
    """The dispatcher, whose compiled functions are kept on disk from now on."""
    place = folder()
    if place is not None:
        dispatcher._cache = Store(dispatcher, place)
    return dispatcher
