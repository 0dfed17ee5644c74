"""What this backend found: the processor, its vectors and caches, threads, and where compiled kernels are kept."""

import platform
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
from numba import config

from fastconv import threads

# The widest registers that a feature of the processor stands for, the widest first.
VECTORS = {"avx512f": 512, "avx": 256, "sse2": 128, "neon": 128, "altivec": 128}
FOLDER = Path(__file__).parent


def describe() -> dict[str, Any]:
    """What `fastconv info` shows of the processor; it starts Numba's threads, and compiles nothing."""
    numba.get_num_threads()  # starts the threading layer, without which it has no name
    return {
        "processor": llvmlite.binding.get_host_cpu_name(),
        "vector_bits": vector_bits(),
        "processor_caches": processor_caches(),
        "threads": min(threads.get_num_threads(), config.NUMBA_NUM_THREADS),
        "threading_layer": numba.threading_layer(),
        "kernel_cache": str(config.CACHE_DIR or FOLDER / "__pycache__"),
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }


def vector_bits() -> int:
    """Bits of a vector register; 0 if the processor's features are not known."""
    features = llvmlite.binding.get_host_cpu_features()
    known = [bits for name, bits in VECTORS.items() if features.get(name)]
    neon = platform.machine().lower() in ("arm64", "aarch64")  # which some systems do not list: every one has it
    return max([*known, 128 * neon])


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
