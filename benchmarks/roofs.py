"""The machine's two roofs: fused multiply-adds a second, and bytes a second of a streaming triad, both in Numba."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.backends.cpu.machine import host_vectors

CHAINS = 24  # independent accumulators: the latency of a fused multiply-add times the units that do it, and some more
STEPS = 200_000
WHILE = 0.7  # seconds: long enough that something else on the machine does not disturb all calls
TRIAD = 1 << 25  # numbers an array: 128 MiB in float32, far above the caches


@intrinsic
def multiply_add(typingctx: Any, lanes: Any, steps: Any, seed: Any) -> Any:
    """The sum of CHAINS chains of `steps` vector multiply-adds; `lanes` is a literal int, `seed` a float."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    width = lanes.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, count, start = args
        scalar, integer = start.type, ir.IntType(64)
        vector = ir.VectorType(scalar, width)
        name = f"llvm.fma.v{width}f{32 if isinstance(scalar, ir.FloatType) else 64}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        undefined = ir.Constant(vector, ir.Undefined)
        splat = builder.shuffle_vector(
            builder.insert_element(undefined, start, ir.IntType(32)(0)),
            undefined,
            ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width),
        )
        entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(integer)
        step.add_incoming(integer(0), entry)
        chains = [builder.phi(vector) for _ in range(CHAINS)]
        totals = [builder.call(fma, [splat, splat, chain]) for chain in chains]
        for chain, total in zip(chains, totals, strict=True):
            chain.add_incoming(splat, entry)
            chain.add_incoming(total, loop)
        following = builder.add(step, integer(1))
        step.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        total = totals[0]
        for other in totals[1:]:
            total = builder.fadd(total, other)
        return builder.extract_element(total, ir.IntType(32)(0))

    return seed(lanes, types.int64, seed), codegen


def fma_kernel(lanes: int) -> Any:
    """A kernel that keeps each of `parts` threads busy with multiply-adds of vectors of `lanes` numbers."""

    @njit(parallel=True, nogil=True)
    def kernel(out: Any, steps: int) -> None:
        for part in prange(out.size):
            out[part] = multiply_add(lanes, steps, out[part])

    return kernel


@njit(parallel=True, nogil=True)
def triad(a: Any, b: Any, c: Any, scale: Any) -> None:
    """a = b + scale * c."""
    for i in prange(a.size):
        a[i] = b[i] + scale * c[i]


def measure(threads: int) -> dict[str, float]:
    """The roofs on so many threads: "float32" and "float64" in FLOP/s, "bytes" in byte/s (two reads, one write)."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        bits = host_vectors().bits
        roofs = {name: fma_roof(np.dtype(name), bits, threads) for name in ("float32", "float64")}
        return {**roofs, "bytes": triad_roof()}
    finally:
        numba.set_num_threads(before)


def fma_roof(dtype: np.dtype[Any], bits: int, threads: int) -> float:
    """Multiply-adds count as two operations."""
    lanes = bits // (8 * dtype.itemsize)
    kernel, out = fma_kernel(lanes), np.full(threads, 1e-3, dtype)
    return 2.0 * threads * CHAINS * lanes * STEPS / best(lambda: kernel(out, STEPS))


def triad_roof() -> float:
    """Bytes a second, counting no read of what is only written."""
    a, b, c = (np.full(TRIAD, value, np.float32) for value in (0, 1, 2))
    return 3.0 * a.nbytes / best(lambda: triad(a, b, c, np.float32(3)))


def best(call: Any) -> float:
    """The least seconds of all calls in a while: a roof is what the machine can do, undisturbed."""
    call()
    seconds: list[float] = []
    end = time.perf_counter() + WHILE
    while len(seconds) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """`python -m benchmarks.roofs THREADS` prints the roofs as JSON: a process whose threads are gone afterwards."""
    threads = int(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    print(json.dumps(measure(threads)))


if __name__ == "__main__":
    main()
