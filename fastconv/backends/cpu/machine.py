"""The processor that kernels are compiled for: the width and number of its vector registers, and its caches."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite.binding

# The widest registers that a feature of the processor stands for, and how many of them there are.
VECTORS = {"avx512f": (512, 32), "avx": (256, 16), "sse2": (128, 16), "neon": (128, 32), "altivec": (128, 32)}
WIDTHS = (128, 256, 512)
HALVES = ("znver4", "icelake-client", "rocketlake", "tigerlake")  # processors with one multiply-add of 512 bits a cycle
FEW = 16  # registers
LINE = 64  # bytes of a cache line
PAGE = 4096  # bytes, of which the parts of a workspace are multiples


@dataclass(frozen=True)
class Vectors:
    """Vector registers."""

    bits: int
    registers: int

    def lanes(self, itemsize: int) -> int:
        """Numbers in a register."""
        return self.bits // 8 // itemsize

    @property
    def few(self) -> bool:
        """Whether there are so few that a tile's sums leave little to what they are made of."""
        return self.registers <= FEW

    @property
    def units(self) -> int:
        """Multiply-adds of such vectors that begin in a cycle."""
        return 1 if self.bits == 512 and processor() in HALVES else 2

    @property
    def beside(self) -> float:
        """What weighs all but multiply-adds, where those count as two a cycle: with one they take twice as long."""
        return self.units / 2

    @property
    def masks(self) -> bool:
        """Whether masks have registers of their own."""
        return self.bits == 512


@cache
def processor() -> str:
    """The machine's processor, as LLVM calls it."""
    return str(llvmlite.binding.get_host_cpu_name())


@cache
def vectors() -> Vectors:
    """The registers that kernels are written for: the machine's, or what FASTCONV_VECTOR_BITS says."""
    forced = os.environ.get("FASTCONV_VECTOR_BITS")
    if forced:
        if not forced.isdigit() or int(forced) not in WIDTHS:
            raise ValueError(
                f"the environment variable FASTCONV_VECTOR_BITS is {forced!r}: one of 128, 256, 512 is accepted"
            )
        return Vectors(int(forced), 32 if forced == "512" else 16)
    return host_vectors()


def host_vectors() -> Vectors:
    """The machine's own registers; 128 bits, 16 of them, where its features are not known."""
    features = llvmlite.binding.get_host_cpu_features()
    known = [found for name, found in VECTORS.items() if features.get(name)]
    if platform.machine().lower() in ("arm64", "aarch64"):  # which some systems do not list: every one has NEON
        known.append(VECTORS["neon"])
    return Vectors(*max(known, default=(128, 16)))


@cache
def cache_bytes(level: int, default: int) -> int:
    """Bytes of the first processor's data cache of a level; `default` where the system does not say."""
    found = processor_caches()
    return found.get(f"L{level} data", found.get(f"L{level}", default))


def processor_caches() -> dict[str, int]:
    """Bytes of the first processor's caches by name, such as "L1 data"; empty where the system does not say."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
            found[f"L{level} {kind.lower()}".removesuffix(" unified")] = int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return found
