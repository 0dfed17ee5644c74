"""A case's arrays on disk: its inputs, and the right answers that every peer's answer is compared with.

Answers are compared whole. Of a large convolution, its gradients and its transpose, which are linear, what is compared
are weighted sums of TOGETHER channels: every number of the answer is in one of them, the oracle has to compute a
sixteenth, and a number that is wrong by a part d of the largest shows as about d / 4, since the largest sum is about
four times the largest number. Signs are random, so that errors of several channels do not cancel out, and no two
channels of a sum have the same weight, so that they can't be taken for each other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import numpy as np

from .case import Array, Case
from .operations import by_rank
from .oracle import expected

TOGETHER = 16  # channels in a sum
WHOLE = 50_000_000  # FLOPs up to which an answer is computed whole
PART = 1 << 16  # numbers that are compared at a time: they stay in cache
PREFIX, ABANDONED = "fastconv-bench-", 3600.0  # seconds in which every run changes something in its folder
MEMORY = Path("/dev/shm")  # a folder in memory, where the system has one: no disk is busy while calls are timed

# The operation: the input that has the answer's channels, their axis in it, and their axis in the answer.
CHANNELS = {
    "conv": ("weight", 0, 1),
    "conv_transpose": ("weight", 1, 1),
    "conv_input_grad": ("weight", 1, 1),
    "conv_weight_grad": ("grad", 1, 0),
}
SIZES = {"input_size": 1, "weight_size": 0}  # options that name the answer's channels, and their place


@contextmanager
def folder_of_arrays() -> Iterator[str]:
    """A folder for one case's arrays after the other; what a run that was killed has left there is removed."""
    place = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else Path(gettempdir())
    for old in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED:
                shutil.rmtree(old)
    with TemporaryDirectory(prefix=PREFIX, dir=place) as folder:
        yield folder


def weights(case: Case) -> Array | None:
    """The weight of each of an answer's channels in its sum; None where answers are compared whole."""
    operation, _ = by_rank(case.operation)
    if operation not in CHANNELS or case.options["groups"] != 1 or case.flops <= WHOLE:
        return None
    name, axis, _ = CHANNELS[operation]
    channels = case.arrays[name][axis]
    if channels < 2 * TOGETHER:
        return None
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(case.key.encode()).digest()[8:16]))
    sums = -(-channels // TOGETHER)
    sizes = rng.permuted(np.tile(np.linspace(0.75, 1.25, TOGETHER), (sums, 1)), axis=1)
    found: Array = (sizes * rng.choice([-1.0, 1.0], sizes.shape)).ravel()[:channels]
    return found


def summed(factors: Array, array: Array, axis: int) -> Array:
    """The sums of an array's channels along an axis, in float64."""
    starts = range(0, len(factors), TOGETHER)
    shape = (*array.shape[:axis], len(starts), *array.shape[axis + 1 :])
    found = np.empty(shape)
    for place in np.ndindex(shape[:axis]):
        flat = array[place].reshape(len(factors), -1)
        for i, start in enumerate(starts):
            of = slice(start, start + TOGETHER)
            found[(*place, i)] = np.einsum("c,cp->p", factors[of], flat[of]).reshape(shape[axis + 1 :])
    return found


def right_answers(case: Case, inputs: dict[str, Array]) -> dict[str, Array]:
    """What is to be compared with, by name, in float64."""
    factors = weights(case)
    if factors is None:
        return expected(case, inputs)
    name, axis, _ = CHANNELS[by_rank(case.operation)[0]]
    options, sums = dict(case.options), -(-len(factors) // TOGETHER)
    for option, place in SIZES.items():
        if option in options:
            options[option] = [sums if i == place else n for i, n in enumerate(options[option])]
    return expected(replace(case, options=options), {**inputs, name: summed(factors, inputs[name], axis)})


def write(case: Case, folder: str | os.PathLike[str]) -> None:
    """Write a case's inputs and right answers into a folder, in place of whatever case was there."""
    for old in Path(folder).glob("*.npy"):
        old.unlink()
    inputs = case.inputs()
    for name, array in inputs.items():
        np.save(Path(folder) / f"input.{name}.npy", array)
    for name, array in right_answers(case, inputs).items():
        np.save(Path(folder) / f"answer.{name}.npy", array)


def read_inputs(case: Case, folder: str | os.PathLike[str]) -> dict[str, Array]:
    """The case's inputs, each an array of this process's own."""
    return {name: np.load(Path(folder) / f"input.{name}.npy") for name in case.arrays}


def error(case: Case, answer: dict[str, Array], folder: str | os.PathLike[str]) -> float:
    """The largest difference over all answers, relative to the largest magnitude; NaN where shapes differ."""
    files = {path.name.split(".")[1]: path for path in Path(folder).glob("answer.*.npy")}
    if set(answer) != set(files):
        return float("nan")
    factors, axis = weights(case), CHANNELS.get(by_rank(case.operation)[0], ("", 0, 0))[2]
    worst = 0.0
    for name, file in files.items():
        found, right = answer[name], np.load(file, mmap_mode="r")
        if factors is not None and found.ndim > axis and found.shape[axis] == len(factors):
            found = summed(factors, found, axis)
        difference = relative(found, right)
        if not difference <= worst:  # NaN as well
            worst = difference
        if np.isnan(worst):
            break
    return worst


def relative(found: Array, right: Array) -> float:
    """The largest difference over the largest magnitude of what is right; NaN where shapes differ or a number is."""
    if right.shape != found.shape:
        return float("nan")
    largest, scale = [0.0], 0.0
    for part in parts(right.shape):
        exact = right[part]
        scale = max(scale, float(np.abs(exact).max(initial=0.0)))
        largest.append(float(np.abs(np.subtract(found[part], exact, dtype=np.float64)).max(initial=0.0)))
    return float(np.max(largest)) / (scale or 1.0)


def parts(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Indices that divide an array of this shape into parts of PART numbers, or a few less."""
    if not shape:
        yield ()
        return
    axis = next((i for i in range(len(shape)) if prod(shape[i + 1 :]) <= PART), len(shape) - 1)
    step = max(1, PART // max(1, prod(shape[axis + 1 :])))
    for place in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*place, slice(start, start + step))
