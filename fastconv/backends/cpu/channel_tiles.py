"""Register tiles that have channels in the lanes, each with a filter of its own: a pixel is a vector."""

from __future__ import annotations

from fastconv.backends.cpu.vectors import Emit, Value, instruction


@instruction(4)
def channels_tile(
    e: Emit,
    columns: int,
    step: int,
    x: Value,
    table: Value,
    taps: Value,
    weights: Value,
    out: Value,
    out_step: Value,
) -> None:
    """out[j * out_step, :] = weights[0] + sum over k of weights[t[k, 1], :] * x[t[k, 0] + j * step, :], by channel.

    `t` is the table, of bytes. Channels are in the lanes, of pixels as of weights; `step` counts pixels, of which each
    is a vector.
    """
    width = e.lanes * e.item

    def tap(k: Value, sums: list[Value]) -> list[Value]:
        entry = e.at(table, (16, k))
        weight = e.load(weights, e.word(entry, e.long(1)))
        pixels = e.at(x, e.word(entry, e.long(0)))
        return [e.fma(weight, e.load(pixels, j * step * width), total) for j, total in enumerate(sums)]

    for j, total in enumerate(e.loop(taps, [e.load(weights)] * columns, tap)):
        e.store(total, out, e.b.mul(e.long(j), out_step))


@instruction(4)
def channels_sums(
    e: Emit,
    taps: int,
    step: int,
    x: Value,
    table: Value,
    row_pitch: Value,
    grads: Value,
    grad_pitch: Value,
    rows: Value,
    pixels: Value,
    valid: Value,
    sums: Value,
) -> None:
    """sums[k, :] += sum over i, q of grads[i, q, :] * x[table[k] + i * row_pitch + q * step, :], by channel.

    Of the taps only `valid` are there; the others repeat the last one.
    """
    width = e.lanes * e.item
    limit = e.b.sub(valid, e.long(1))
    bases = [e.at(x, e.word(table, e.least(k, limit))) for k in range(taps)]

    def row(i: Value, totals: list[Value]) -> list[Value]:
        lines = [e.at(base, (i, row_pitch)) for base in bases]
        line = e.at(grads, (i, grad_pitch))

        def pixel(q: Value, inner: list[Value]) -> list[Value]:
            grad, place = e.load(line, e.b.mul(q, e.long(width))), e.b.mul(q, e.long(step * width))
            return [e.fma(grad, e.load(base, place), total) for base, total in zip(lines, inner, strict=True)]

        return e.loop(pixels, totals, pixel)

    start = [e.load(sums, k * width) for k in range(taps)]
    for k, total in enumerate(e.loop(rows, start, row)):
        e.store(total, sums, k * width)
