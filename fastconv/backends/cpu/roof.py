"""The machine's roof: how many fused multiply-adds a second its threads can do, in the vectors of this engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from statistics import median
from typing import Any

import numpy as np

from fastconv.backends.cpu.machine import LINE, host_vectors
from fastconv.backends.cpu.native import address, body, word
from fastconv.backends.cpu.programs import Program
from fastconv.backends.cpu.vectors import Emit, instruction

CHAINS = 24  # independent sums at most: the latency of a multiply-add times the units that do it, and some more
STEPS = 25_000  # of a task: 0.1 ms
TASKS = 8  # for each thread
SECONDS = 0.3  # for each thread: long enough that something else on the machine does not disturb all calls
BRIEFLY = 0.01  # and for what it can do at the moment
STEP = 0  # a plan's word
OUT = 0  # a call's address


def chains() -> int:
    """Independent sums, which leave some registers to what they are made of."""
    return min(CHAINS, host_vectors().registers - 4)


@instruction(2)
def multiply_adds(e: Emit, steps: Any, out: Any) -> None:
    """out += the sum of CHAINS chains of vector multiply-adds of its first number."""
    number = e.splat(e.number(out))
    sums = e.loop(steps, [number] * chains(), lambda _, sums: [e.fma(number, number, total) for total in sums])
    total = sums[0]
    for other in sums[1:]:
        total = e.b.fadd(total, other)
    e.save(e.total(total), out, e.item)


@cache
def chains_body(item: int, lanes: int) -> Any:
    """The body of nothing but multiply-adds."""

    @body
    def only_multiply_adds(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        for task in range(first, end):
            multiply_adds(item, lanes, word(plan, STEP), word(arrays, OUT) + task * LINE)

    return only_multiply_adds


@cache
def chains_program(item: int, threads: int) -> Program:
    """TASKS tasks for each thread of nothing but multiply-adds."""
    tasks = TASKS * threads
    return Program([(chains_body(item, host_vectors().lanes(item)), [STEPS], tasks, TASKS)], tasks * STEPS * chains())


def rates(item: int, threads: int, seconds: float) -> Iterator[float]:
    """FLOP/s on so many threads, of one call after the other for so long; a multiply-add counts as two."""
    program, tasks = chains_program(item, threads), TASKS * threads
    flops = 2.0 * tasks * STEPS * chains() * host_vectors().lanes(item)
    out = np.full((tasks, LINE // item), 1e-3, f"f{item}")
    program(threads, address(out))
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        program(threads, address(out))
        yield flops / (time.perf_counter() - start)


@cache
def fma_roof(item: int, threads: int) -> float:
    """FLOP/s of numbers of `item` bytes on so many threads, measured once: what the machine can do undisturbed."""
    return max(rates(item, threads, SECONDS * threads))


def fma_rate(item: int, threads: int) -> float:
    """The same of the moment, whatever disturbs the machine: what a time that was taken now is to be compared with."""
    return median(rates(item, threads, BRIEFLY))


def cycles_a_second() -> float:
    """Of a thread, as plans count them: a cycle has two vector multiply-adds."""
    return fma_roof(4, 1) / (4 * host_vectors().lanes(4))
