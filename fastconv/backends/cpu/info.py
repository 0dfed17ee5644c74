"""What this backend found: the processor, its vectors and caches, threads, and where compiled kernels are kept."""

from typing import Any

import llvmlite
import numba

from fastconv import threads
from fastconv.backends.cpu import cache, launching, machine


def describe() -> dict[str, Any]:
    """What `fastconv info` shows of the processor; it compiles nothing."""
    folder = cache.folder()
    return {
        "processor": machine.processor(),
        "vector_bits": machine.vectors().bits,
        "processor_caches": machine.processor_caches(),
        "threads": min(threads.get_num_threads(), launching.LIMIT),
        "kernel_cache": None if folder is None else str(folder),
        "kernel_cache_bytes": 0 if folder is None else cache.size(folder),
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }
