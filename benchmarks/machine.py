"""The machine and the versions that a run is of; never a host's name, nor a path."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from fastconv import threads

# The features that decide how wide a kernel can be, as LLVM names them.
FEATURES = ("sse2", "avx", "fma", "avx2", "avx512f", "avx512bw", "avx512vnni", "amx-tile", "neon", "sve", "vsx")

# The distributions that bring a peer; the first that is installed counts.
DISTRIBUTIONS = {
    "fastconv": ("fastconv",),
    "pytorch": ("torch",),
    "jax": ("jax",),
    "opencv": (
        *("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    ),
    "scipy": ("scipy",),
    "numpy": ("numpy",),
    "onnxruntime": ("onnxruntime",),
    "numba": ("numba",),
    "llvmlite": ("llvmlite",),
    "numba-cuda": ("numba-cuda",),
}


def describe() -> dict[str, Any]:
    """What a reader needs to judge the numbers."""
    return {
        "processor": processor(),
        "cores": threads.available(),
        "features": features(),
        "memory": memory(),
        "system": system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def processor() -> str:
    """The processor's model."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^(?:model name|Model|cpu)\s*:\s*(\S.*)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def features() -> list[str]:
    """Which of FEATURES it has."""
    import llvmlite.binding

    found = llvmlite.binding.get_host_cpu_features()
    return [name for name in FEATURES if found.get(name)]


def memory() -> int | None:
    """Bytes, where the system says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def system() -> str:
    """The operating system; only the number of its release, since what follows it may be a person's own."""
    release = re.match(r"[\d.]*\d", platform.release())
    words = [platform.system(), release[0] if release else "", platform.machine()]
    return " ".join(filter(None, words))


def versions(peers: list[str]) -> dict[str, str]:
    """Of the libraries in the run, and of what fastconv is made with."""
    found = {}
    for name in dict.fromkeys(["fastconv", "numpy", "numba", "llvmlite", *peers]):
        for distribution in DISTRIBUTIONS.get(name, ()):
            try:
                found[name] = metadata.version(distribution)
                break
            except metadata.PackageNotFoundError:
                continue
    return found
