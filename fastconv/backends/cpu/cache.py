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
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import config
from numba.core import caching, compiler, serialize

log = logging.getLogger("fastconv")
PACKAGE = __name__.partition(".")[0]
SOURCES = Path(__file__).resolve().parents[2]


@cache
def folder() -> str | None:
    """The folder for these sources and versions; None where there can't be one: then nothing is kept."""
    try:
        base = _base()
        Path(base).mkdir(mode=0o700, parents=True, exist_ok=True)
        found = Path(base).stat()
        if os.name != "nt" and (found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022):
            raise OSError(f"others can write to {base}")  # loading executes what is there
        return str(Path(base) / _sources())
    except (OSError, RuntimeError) as problem:
        log.info("compiled kernels are not kept on disk: %s", problem)
        return None


def _base() -> str:
    chosen = os.environ.get("FASTCONV_CACHE_DIR")
    if chosen is not None:
        base = Path(chosen)
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", "")) / "fastconv"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches" / "fastconv"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv"
    if not base.is_absolute():
        raise OSError(f"{str(base)!r} is no absolute path")
    return str(base)


def _sources() -> str:
    """A name for all sources, versions and settings that decide the code."""
    settings = (
        *(numba.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag),
        *(config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK, config.USING_SVML),
    )
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(f"\0{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def identity(value: Any, seen: set[int] | None = None) -> str:
    """What tells apart this package's functions and the values they freeze; the same in every process."""
    seen = {0} if seen is None else seen
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value
    if isinstance(function, types.FunctionType):
        options = getattr(value, "targetoptions", "")
        name = f"{function.__module__}.{function.__qualname__}:{function.__code__.co_firstlineno}{options}"
        if id(function) in seen or function.__module__.partition(".")[0] != PACKAGE:
            return name
        seen.add(id(function))
        frozen = [function.__defaults__, *(cell.cell_contents for cell in function.__closure__ or ())]
        names = [name for name in function.__code__.co_names if name in function.__globals__]
        return name + identity([*frozen, *(function.__globals__[name] for name in names)], seen)
    if isinstance(value, tuple | list | dict):
        return repr([identity(v, seen) for v in (value.items() if isinstance(value, dict) else value)])
    if isinstance(value, int | float | complex | str | bytes | np.generic | types.NoneType):
        return repr(value)
    return repr(value.tolist()) if isinstance(value, np.ndarray) else ""


class Store(caching._Cache):  # type: ignore[misc]
    """A dispatcher's files, one for each signature and processor; no index, so nothing to race for."""

    def __init__(self, dispatcher: Any, path: str) -> None:
        self.dispatcher, self.folder = dispatcher, path

    @property
    def cache_path(self) -> str:
        return self.folder

    def enable(self) -> None:
        """Nothing to do: it is enabled."""

    disable = flush = enable

    def path(self, sig: Any, context: Any) -> Path:
        """The file of a signature."""
        key = repr((identity(self.dispatcher), str(sig), context.codegen().magic_tuple()))
        name = f"{self.dispatcher.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        return Path(self.folder) / name

    def load_overload(self, sig: Any, context: Any) -> Any:
        """The compiled function, or None."""
        context.refresh()
        try:
            content = self.path(sig, context).read_bytes()
            digest, data = content[:32], content[32:]
            if hashlib.sha256(data).digest() == digest:
                if b"get_num_threads" in data or b"get_thread_id" in data:
                    numba.get_num_threads()  # defines both: without them a loaded function aborts the process
                return compiler.CompileResult._rebuild(context, *pickle.loads(data))
        except FileNotFoundError:
            pass
        except Exception as problem:  # a file of any other make is as good as none
            log.debug("%s is compiled: %s", self.dispatcher.__name__, problem)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, if that can be done."""
        try:
            if data.library.has_dynamic_globals:
                return
            path = self.path(sig, data.target_context)
            content = serialize.dumps(data._reduce())
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}")
            part.write_bytes(hashlib.sha256(content).digest() + content)
            part.replace(path)
        except Exception as problem:  # a full disk must not lose the result
            log.info("%s is not kept on disk: %s", self.dispatcher.__name__, problem)


def kept(dispatcher: Any) -> Any:
    """The dispatcher, whose compiled functions are kept on disk from now on."""
    path = folder()
    if path is not None:
        dispatcher._cache = Store(dispatcher, path)
    return dispatcher
