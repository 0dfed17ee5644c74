"""Sums, extremes and the places of extremes along axes: trees of numbers in an order that depends on shapes alone.

Each thread combines some numbers of a line, a team of threads what they have, and, of long lines, a second launch what
the teams have: sums of float32 are pairwise ones, but for the few numbers of a thread. Teams, and the letters `q`, `k`,
`j`: see `teams`.
"""

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numba import cuda

from fastconv.backends.cuda import mathematics
from fastconv.backends.cuda.array import DeviceArray, empty
from fastconv.backends.cuda.elementwise import Mapping, fill, mapping
from fastconv.backends.cuda.launching import MASK, Kernel, blocks_for, device_function, kernel
from fastconv.backends.cuda.teams import BLOCKS, LAST, Team, fold, team

NUMBERS = 32  # of a line that one thread combines
Axes = int | tuple[int, ...] | None


@mapping
def itself(t: Any) -> Callable[..., Any]:
    """The numbers of an array."""
    return lambda i, x: t(x[i])


def folded(
    term: Mapping,
    operands: tuple[Any, ...],
    extents: tuple[int, int, int],
    how: str = "plus",
    out: Any = None,
) -> Any:
    """What term(i, *operands) comes to, all i of each line together: an array (outer, inner).

    Parameters
    ----------
    term : Mapping
        Its dtype is the result's.
    operands : arrays and numbers
        The term's; i is flat, of an array of these extents.
    extents : (outer, count, inner)
    how : {"plus", "greater", "lesser"}
        The function of `mathematics` that brings two numbers together; nothing at all is 0, or the other end.
    out : DeviceArray (outer, inner), optional
    """
    outer, count, inner = extents
    dtype = np.dtype(term.type)
    found = empty((outer, inner), dtype) if out is None else out
    if not count:
        fill(found, _first(dtype, how))
        return found
    given = term.ready(operands)
    while True:
        people = team(outer * inner, count, inner)
        length = people.size * NUMBERS
        chunks = blocks_for(count, length)
        partial = empty((outer, chunks, inner), dtype) if chunks > 1 else found
        blocks = min(blocks_for(outer * inner, people.lanes) * chunks, BLOCKS)
        _folding(term, how, people)(blocks, partial, outer * inner, count, inner, length, chunks, *given)
        if chunks == 1:
            return found
        term, count = itself(dtype), chunks
        given = term.ready((partial,))


def _first(dtype: np.dtype[Any], how: str) -> Any:
    """What changes nothing when it is combined with another number."""
    if how == "plus":
        return dtype.type(0)
    if dtype.kind == "f":
        return dtype.type(-np.inf if how == "greater" else np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.min if how == "greater" else limits.max)


@cache
def _folding(term: Mapping, how: str, people: Team) -> Kernel:
    size, lanes, along = people
    t, first = term.type, _first(np.dtype(term.type), how)
    function, combine = term.function, getattr(mathematics, how)
    together, threads, pitch = fold(combine, size), size * lanes, people.pitch

    @kernel(threads)
    def run(partial, lines, count, inner, length, chunks, a, b, c, d, e, g, h, m):  # type: ignore[no-untyped-def]
        """partial[outer, chunk, inner] = term(i, operands) of a chunk of each line, combined."""
        shared = cuda.shared.array(threads, t)
        thread = cuda.threadIdx.x & LAST
        j = thread % size if along else thread // lanes
        lane = thread // size if along else thread % lanes
        tile = cuda.blockIdx.x & MASK
        while tile < (lines + lanes - 1) // lanes * chunks:
            q = (tile // chunks * lanes + lane) & MASK
            chunk = tile % chunks
            total = first
            if q < lines:
                start = q // inner * count * inner + q % inner
                k = chunk * length + j
                end = min(chunk * length + length, count)
                while k < end:
                    total = combine(total, function((start + k * inner) & MASK, a, b, c, d, e, g, h, m))
                    k += size
            total = together(shared, thread, j, pitch, total)
            if j == 0 and q < lines:
                partial[((q // inner * chunks + chunk) * inner + q % inner) & MASK] = total
            tile += cuda.gridDim.x

    return run


@cache
def _winning(t: Any, places: bool, people: Team) -> Kernel:
    size, lanes, along = people
    threads, pitch = size * lanes, people.pitch

    @device_function
    def beats(value, place, other, other_place):  # type: ignore[no-untyped-def]
        if value != value or other != other:  # the first NaN is the greatest of all
            return value != value and (other == other or place < other_place)
        return value > other or (value == other and place < other_place)

    best = _first(np.dtype(t), "greater")

    @kernel(threads)
    def run(values, winners, lines, count, inner, length, chunks, x, x_places):  # type: ignore[no-untyped-def]
        """The greatest x of a chunk of each line, and its k (or place, of what won before); the first of equals."""
        shared = cuda.shared.array(threads, t)
        shared_places = cuda.shared.array(threads, np.int64)
        thread = cuda.threadIdx.x & LAST
        j = thread % size if along else thread // lanes
        lane = thread // size if along else thread % lanes
        tile = cuda.blockIdx.x & MASK
        while tile < (lines + lanes - 1) // lanes * chunks:
            q = (tile // chunks * lanes + lane) & MASK
            chunk = tile % chunks
            value, place = best, MASK
            if q < lines:
                start = q // inner * count * inner + q % inner
                k = chunk * length + j
                end = min(chunk * length + length, count)
                while k < end:
                    i = (start + k * inner) & MASK
                    other_place = x_places[i] if places else k
                    if beats(t(x[i]), other_place, value, place):
                        value, place = t(x[i]), other_place
                    k += size
            half = size // 2
            while half > 0:
                cuda.syncthreads()  # others have read what was here
                shared[thread], shared_places[thread] = value, place
                cuda.syncthreads()
                if j < half:
                    other = (thread + half * pitch) & LAST
                    if beats(shared[other], shared_places[other], value, place):
                        value, place = shared[other], shared_places[other]
                half //= 2
            if j == 0 and q < lines:
                i = ((q // inner * chunks + chunk) * inner + q % inner) & MASK
                values[i], winners[i] = value, place
            tile += cuda.gridDim.x

    return run


def argmax(array: DeviceArray, axis: int | None = None, keepdims: bool = False) -> DeviceArray:
    """The place of the greatest number along an axis, or of all: the first of equals, or of NaN, as NumPy's argmax."""
    shape, ((outer, count, inner),) = _lines(array.shape, axis, keepdims)
    if not count and outer * inner:
        raise ValueError(f"argmax of no numbers: an array of shape {array.shape} along axis {axis}")
    x, places = _computable(array), None
    winners = empty((outer, inner), np.int64)
    while outer * inner:
        people = team(outer * inner, count, inner)
        length = people.size * NUMBERS
        chunks = blocks_for(count, length)
        partial = empty((outer, chunks, inner), x.dtype)
        found = winners if chunks == 1 else empty(partial.shape, np.int64)
        blocks = min(blocks_for(outer * inner, people.lanes) * chunks, BLOCKS)
        _winning(x.dtype.type, places is not None, people)(
            blocks, partial, found, outer * inner, count, inner, length, chunks, x, found if places is None else places
        )
        if chunks == 1:
            break
        x, places, count = partial, found, chunks
    return winners.reshape(shape)


def extremes(array: DeviceArray) -> tuple[Any, Any]:
    """The least and the greatest number of an array, as numbers of the host's; NaN both if one is NaN."""
    x = _computable(array)
    found = empty((2,), x.dtype)
    for place, how in enumerate(("lesser", "greater")):
        folded(itself(x.dtype), (x,), (1, x.size, 1), how, found[place : place + 1])
    least, greatest = found.to_host().astype(array.dtype).tolist()
    return least, greatest


def extreme(array: DeviceArray, how: str, axis: Axes, keepdims: bool = False) -> DeviceArray:
    """The "greater" or the "lesser" of all numbers along axes; NaN if one is."""
    shape, runs = _lines(array.shape, axis, keepdims)
    if array.size == 0 and 0 not in shape:
        raise ValueError(f"an extreme of no numbers: an array of shape {array.shape} along axis {axis}")
    found = _computable(array)
    for extents in runs:
        found = folded(itself(found.dtype), (found,), extents, how)
    result: DeviceArray = found.reshape(shape).astype(array.dtype, copy=False)
    return result


def total(array: Any, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> DeviceArray:
    """The sum along axes, as NumPy's sum; of float16 in float32."""
    shape, runs = _lines(array.shape, axis, keepdims)
    result = np.dtype(dtype) if dtype is not None else np.add.reduce(np.empty(0, array.dtype)).dtype
    found, compute = array, np.dtype(np.float32) if result.char == "e" else result
    for extents in runs:
        found = folded(itself(compute), (found,), extents)
    sums: DeviceArray = found.reshape(shape).astype(result, copy=not runs)
    return sums


def mean(array: DeviceArray, axis: Axes = None, keepdims: bool = False) -> DeviceArray:
    """The mean along axes, as NumPy's mean; of integers in float64."""
    result = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
    sums = total(array, axis, np.float32 if result.char == "e" else result, keepdims)
    count = float(prod([extents[1] for extents in _lines(array.shape, axis, keepdims)[1]]))
    means: DeviceArray = divided(sums.dtype)(sums, count, out=sums).astype(result, copy=False)
    return means


@mapping
def divided(t: Any) -> Callable[..., Any]:
    """y = x / number."""
    return lambda i, x, number: x[i] / number


def _computable(array: DeviceArray) -> DeviceArray:
    """The same numbers in a dtype that CUDA compares."""
    wider = {"e": np.float32, "?": np.uint8}
    return array.astype(wider.get(array.dtype.char, array.dtype), copy=False)


def _lines(shape: tuple[int, ...], axis: Any, keepdims: bool) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
    """The result's shape, and extents (outer, count, inner) to reduce one after another: neighbouring axes as one."""
    given = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not all(-len(shape) <= a < len(shape) for a in given):
        raise ValueError(f"axis is {axis}: one of {len(shape)} axes is accepted")
    axes = {a % len(shape) for a in given}
    runs: list[tuple[int, int, int]] = []
    sizes = list(shape)
    for last in sorted(axes, reverse=True):
        if last + 1 not in axes:
            first = min(a for a in axes if set(range(a, last + 1)) <= axes)
            runs.append((prod(sizes[:first]), prod(sizes[first : last + 1]), prod(sizes[last + 1 :])))
            sizes[first : last + 1] = [1] * (last + 1 - first)
    if not shape and axis is None:
        runs = [(1, 1, 1)]
    return tuple(sizes if keepdims else [s for a, s in enumerate(sizes) if a not in axes]), runs
