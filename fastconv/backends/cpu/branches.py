"""Where branches of a network meet: sums of arrays, and channels copied into a wider array and out of it.

Index letters: `n` image, `c` channel, `p` pixel.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

from fastconv.backends.cpu import machine, native
from fastconv.backends.cpu.kernels import SMALL
from fastconv.backends.cpu.steps import Step
from fastconv.backends.cpu.vectors import Emit, Value, instruction
from fastconv.typing import Array

PIECE = 1 << 13  # numbers of a task


@instruction(4)
def join_numbers(e: Emit, terms: int, relu: int, a: Value, b: Value, count: Value, y: Value) -> None:
    """y[j] = a[j] (+ b[j] if `terms` is 2) for j < count, or its rectifier."""

    def join(place: Value, mask: Value) -> None:
        parts = [e.masked_load(mask, x, place) for x in (a, b)[:terms]]
        found = e.b.fadd(*parts) if terms == 2 else parts[0]
        found = e.b.select(e.b.fcmp_ordered("<=", found, e.zero), e.zero, found) if relu else found
        e.masked_store(found, mask, y, place)

    e.each(count, join)


@cache
def join_body(item: int, lanes: int, terms: int, relu: int) -> Any:
    """The body for both: a task is a piece of an image's numbers.

    Parameters: an image's numbers, the pieces they fall into, and the distances from image to image in a, in b and in y
    with the first places there, all counted in numbers.
    """

    @native.body
    def joined(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[n, j] = a[n, j], or a[n, j] + b[n, j]."""
        count, pieces = native.word(plan, 0), native.word(plan, 1)
        for task in range(first, end):
            n, piece = task // pieces, task % pieces
            low = piece * count // pieces
            some = (piece + 1) * count // pieces - low
            a = native.word(arrays, 0) + (n * native.word(plan, 2) + native.word(plan, 3) + low) * item
            b = native.word(arrays, 1) + (n * native.word(plan, 4) + native.word(plan, 5) + low) * item
            y = native.word(arrays, 2) + (n * native.word(plan, 6) + native.word(plan, 7) + low) * item
            join_numbers(item, lanes, terms, relu, a, b, some, y)

    return joined


def add(a: Array, b: Array, y: Array, images: int = 0, relu: bool = False) -> Step:
    """y = a + b, or its rectifier; y may be a or b."""
    each = a.size // max(images, 1)
    return _step("add", (a, b, y), images, each, (each, 0) * 3, 2, int(relu))


def copy_channels(source: Array, target: Array, place: int, images: int = 0, accumulate: bool = False) -> Step:
    """Copy the fewer channels of two arrays (N, C, ...) to or from the channels `place` on of the other.

    target[n, place + c] = source[n, c] where source has fewer channels, else target[n, c] = source[n, place + c]. With
    `accumulate` the target's numbers are added to.
    """
    channels, pixels = min(source.shape[1], target.shape[1]), prod(source.shape[2:])
    into = (source.shape[1] * pixels, 0 if source.shape[1] == channels else place * pixels)
    onto = (target.shape[1] * pixels, 0 if target.shape[1] == channels else place * pixels)
    if source.shape[1] == target.shape[1] and place:
        raise ValueError(f"place is {place}, both arrays have {channels} channels: 0 is accepted")
    name = "add_channels" if accumulate else "copy_channels"
    steps = (*into, *onto, *onto)
    return _step(name, (source, target, target), images, channels * pixels, steps, 2 if accumulate else 1, 0)


def _step(
    name: str,
    arrays: tuple[Array, Array, Array],
    images: int,
    each: int,
    places: tuple[int, ...],
    terms: int,
    relu: int,
) -> Step:
    """A step over so many numbers of each image; the images are those of the arrays if it may not go one by one."""
    item = arrays[0].itemsize
    count = images or (1 if name == "add" else arrays[0].shape[0])
    pieces = max(1, -(-each // PIECE))
    body = join_body(item, machine.vectors().lanes(item), terms, relu)
    work = count * each * 2
    parts = 4 if work >= SMALL else 0
    return Step(name, body, (each, pieces, *places), arrays, count * pieces, parts, images, work)
