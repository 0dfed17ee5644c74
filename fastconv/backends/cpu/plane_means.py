"""Means over whole planes, several at once, so that their sums end in one vector; and planes of one number each.

Index letters: `n` plane, or image where there is a channel `c`, `p` pixel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fastconv.backends.cpu import native
from fastconv.backends.cpu.vectors import I64, Emit, Value, instruction


@instruction(2)
def mean_planes(e: Emit, x: Value, pixels: Value, planes: Value, divisor: Value, y: Value) -> None:
    """y[n] = the sum of x[n, p] over p < pixels, in float64, over the number at an address, for n < planes <= lanes.

    float32 is multiplied by the reciprocal, which is what the address has then.
    """
    b, d = e.b, Emit(e.b, 8, e.lanes)
    last = b.sub(planes, I64(1))
    rows = []
    for n in range(e.lanes):
        place = b.select(b.icmp_signed("<", I64(n), last), I64(n), last)
        rows.append(e.at(x, b.mul(b.mul(place, pixels), I64(e.item))))

    def step(place: Value, mask: Value, values: list[Value]) -> list[Value]:
        numbers = [e.widened(e.masked_load(mask, row, place)) for row in rows]
        return [b.fadd(total, number) for total, number in zip(values, numbers, strict=True)]

    sums = e.over(pixels, [d.zero] * e.lanes, step)
    found, factor = d.totals(sums), e.splat(d.number(divisor))
    mean = b.fdiv(found, factor) if e.item == 8 else e.narrowed(b.fmul(found, factor))
    e.masked_store(mean, e.leading(planes), y)


@cache
def means_body(item: int, lanes: int) -> Any:
    """The body for whole planes: a task is a vector of an image's planes; parameters: planes of an image, and pixels.

    The call's addresses are those of x, of y, and of the divisor.
    """

    @native.body
    def plane_means(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """y[n, c] = the sum of x[n, c, p] over p, over a divisor."""
        x, y, divisor = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
        planes, pixels = native.word(plan, 0), native.word(plan, 1)
        groups = (planes + lanes - 1) // lanes
        for task in range(first, end):
            c = task % groups * lanes
            n = task // groups * planes + c
            mean_planes(item, lanes, x + n * pixels * item, pixels, min(lanes, planes - c), divisor, y + n * item)

    return plane_means


@instruction(2)
def fill_plane(e: Emit, number: Value, divisor: Value, pixels: Value, x: Value) -> None:
    """x[p] = the number at an address over the divisor at another, float64 (of float32: times that), for p < pixels."""
    b, d = e.b, Emit(e.b, 8, e.lanes)
    if e.item == 8:
        share = b.fdiv(e.number(number), d.number(divisor))
    else:
        share = e.narrowed(b.fmul(e.widened(e.number(number)), d.number(divisor)))
    value = e.splat(share)

    e.each(pixels, lambda place, mask: e.masked_store(value, mask, x, place))


@cache
def fill_body(item: int, lanes: int) -> Any:
    """The body for the gradient of whole planes' means: a task is a plane, the parameter its pixels."""

    @native.body
    def plane_shares(plan, arrays, first, end, thread):  # type: ignore[no-untyped-def]
        """grad_x[n, p] = grad[n] over a divisor."""
        grad, grad_x, divisor = native.word(arrays, 0), native.word(arrays, 1), native.word(arrays, 2)
        pixels = native.word(plan, 0)
        for n in range(first, end):
            fill_plane(item, lanes, grad + n * item, divisor, pixels, grad_x + n * pixels * item)

    return plane_shares
