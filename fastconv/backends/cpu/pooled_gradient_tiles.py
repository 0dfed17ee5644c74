"""Register tiles of the gradients of a convolution through 2x2 maximum pooling, and sums of their parts.

Only a quad's winner has a gradient, found by its code, 2 dy + dx. Index letters and distances, which are in bytes, are
those of pooled_tiles.py.
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.backends.cpu.pooled_tiles import in_all_lanes
from fastconv.backends.cpu.vectors import I8, I64, Emit, Value, instruction


@instruction(3)
def copy_starts(
    e: Emit,
    vectors: int,
    x: Value,
    x_row: Value,
    x_pixel: Value,
    rows: Value,
    pairs: Value,
    target: Value,
) -> None:
    """target[j, h, dx, :] = x[h, 2 j + dx, :] for h < rows, j < pairs: so many vectors from each pixel on."""
    width = e.lanes * e.item

    def pair(j: Value, carried: list[Value]) -> list[Value]:
        def row(h: Value, carried: list[Value]) -> list[Value]:
            at, to = carried
            for dx in range(2):
                source = e.at(at, (dx, x_pixel))
                for v in range(vectors):
                    e.store(e.load(source, v * width), to, (dx * vectors + v) * width)
            return [e.at(at, x_row), e.at(to, 2 * vectors * width)]

        at, to = carried
        _, to = e.loop(rows, [at, to], row)
        return [e.at(at, (2, x_pixel)), to]

    e.loop(pairs, [x, target], pair)


@instruction(6)
def add_winners(
    e: Emit,
    filters: int,
    rows: int,
    vectors: int,
    start: int,
    x: Value,
    x_image: Value,
    x_row: Value,
    x_pair: Value,
    offsets: Value,
    g: Value,
    g_image: Value,
    g_row: Value,
    g_pixel: Value,
    codes: Value,
    codes_image: Value,
    codes_row: Value,
    codes_pixel: Value,
    images: Value,
    down: Value,
    across: Value,
    sums: Value,
) -> None:
    """sums[k, r, :] += sum over n, i, j of g[n, i, j, k] x[n, 2 i + r, 2 j, :] where the winner's offset is added.

    Numbers of x that lie together, taps and channels, are in the lanes: so many vectors of each of so many rows. If
    `start` is not 0, x is what `copy_starts` made, with so many bytes for each pixel: an offset is that times the code.
    """
    width = e.lanes * e.item
    grid = [(r, v) for r in range(rows) for v in range(vectors)]
    shifts = [e.b.mul(e.long(r), x_row) for r in range(rows)]

    def pixel(j: Value, carried: list[Value]) -> list[Value]:
        at, grad, code, *totals = carried
        following: list[Value] = []
        for k in range(filters):
            place = e.b.zext(e.b.load(e.element(code, k, I8)), I64)
            source = e.at(at, (start, place) if start else e.word(offsets, place))
            factor = in_all_lanes(e, grad, k * e.item)
            for r, v in grid:
                shift = 2 * start * r + v * width
                numbers = e.load(source, shift) if start else e.load(e.at(source, shifts[r]), v * width)
                following.append(e.fma(numbers, factor, totals[len(following)]))
        return [e.at(at, x_pair), e.at(grad, g_pixel), e.at(code, codes_pixel), *following]

    def row(i: Value, carried: list[Value]) -> list[Value]:
        at, grad, code, *_ = carried
        totals = e.loop(across, carried, pixel)[3:]
        return [e.at(at, 4 * start if start else (2, x_row)), e.at(grad, g_row), e.at(code, codes_row), *totals]

    def image(n: Value, carried: list[Value]) -> list[Value]:
        at, grad, code, *_ = carried
        totals = e.loop(down, carried, row)[3:]
        return [e.at(at, x_image), e.at(grad, g_image), e.at(code, codes_image), *totals]

    totals = e.loop(images, [x, g, codes, *[e.zero] * (filters * len(grid))], image)[3:]
    for part, total in enumerate(totals):
        e.store(e.b.fadd(e.load(sums, part * width), total), sums, part * width)


@instruction(4)
def spread_winners(
    e: Emit,
    rows: int,
    vectors: int,
    count: Value,
    g: Value,
    codes: Value,
    table: Value,
    table_filter: Value,
    gx: Value,
    gx_row: Value,
    valid_rows: Value,
    valid: Value,
) -> None:
    """gx[-r, :] += sum over k < count of g[k] table[k, r + dy, dx, :] for r < valid_rows, rows upwards.

    Of a row `valid` numbers are written, as few as 0. All that a pooled pixel meets is summed in registers first.
    """
    width = e.lanes * e.item
    grid = [(r, v) for r in range(rows) for v in range(vectors)]

    def step(k: Value, carried: list[Value]) -> list[Value]:
        at, *sums = carried
        code = e.b.zext(e.b.load(e.element(codes, k, I8)), I64)
        factor, source = e.splat(e.number(g, e.b.mul(k, e.long(e.item)))), e.at(at, (vectors * width, code))
        places = [(2 * r * vectors + v) * width for r, v in grid]
        found = [e.fma(factor, e.load(source, place), total) for place, total in zip(places, sums, strict=True)]
        return [e.at(at, table_filter), *found]

    _, *sums = e.loop(count, [table, *[e.zero] * len(grid)], step)
    masks = [e.leading(e.b.sub(valid, e.long(v * e.lanes))) for v in range(vectors)]

    def add_row(r: int) -> None:
        target = e.at(gx, (-r, gx_row))
        for v, mask in enumerate(masks):
            before = e.masked_load(mask, target, v * width)
            e.masked_store(e.b.fadd(before, sums[r * vectors + v]), mask, target, v * width)

    add_row(0)
    for r in range(1, rows):
        with e.b.if_then(e.b.icmp_signed("<", e.long(r), valid_rows)):
            add_row(r)


@instruction(2)
def add_pixels(
    e: Emit, g: Value, row: Value, pixel: Value, down: Value, across: Value, valid: Value, sums: Value
) -> None:
    """sums[k] += sum over i, j of g[i, j, k] for k < valid <= lanes, in float64, in four parts."""
    d, mask = Emit(e.b, 8, e.lanes), e.leading(valid)

    def grad(at: Value, part: int) -> Value:
        return e.widened(e.masked_load(mask, e.at(at, (part, pixel))))

    def line(i: Value, parts: list[Value]) -> list[Value]:
        at, fours = e.at(g, e.b.mul(i, row)), e.b.sdiv(across, e.long(4))
        steps = e.b.mul(pixel, e.long(4))

        def four(index: Value, parts: list[Value]) -> list[Value]:
            place = e.at(at, e.b.mul(index, steps))
            return [e.b.fadd(total, grad(place, part)) for part, total in enumerate(parts)]

        def one(index: Value, parts: list[Value]) -> list[Value]:
            return [e.b.fadd(parts[0], grad(e.at(rest, e.b.mul(index, pixel)), 0)), *parts[1:]]

        parts = e.loop(fours, parts, four)
        rest = e.at(at, e.b.mul(fours, steps))
        return e.loop(e.b.sub(across, e.b.mul(fours, e.long(4))), parts, one)

    a, b, c, f = e.loop(down, [d.load(sums), d.zero, d.zero, d.zero], line)
    d.store(e.b.fadd(e.b.fadd(a, b), e.b.fadd(c, f)), sums)


@instruction(2)
def add_chunks(e: Emit, sums: Value, vectors: Value, chunks: Value, step: Value) -> None:
    """sums[v, :] = sum over chunks of (sums + chunk * step)[v, :], in their order."""

    def vector(v: Value, _: list[Value]) -> list[Value]:
        at = e.at(sums, e.b.mul(v, e.long(e.lanes * e.item)))

        def chunk(index: Value, total: list[Value]) -> list[Value]:
            return [e.b.fadd(total[0], e.load(at, e.b.mul(e.at(index, 1), step)))]

        (total,) = e.loop(e.b.sub(chunks, e.long(1)), [e.load(at)], chunk)
        e.store(total, at)
        return []

    e.loop(vectors, [], vector)


@instruction(2)
def store_total(e: Emit, sums: Value, chunks: Value, step: Value, target: Value) -> None:
    """target = sum over chunks of the float64 at sums + chunk * step, in their order."""
    d = Emit(e.b, 8, e.lanes)

    def chunk(index: Value, total: list[Value]) -> list[Value]:
        return [e.b.fadd(total[0], d.number(sums, e.b.mul(index, step)))]

    (total,) = e.loop(chunks, [ir.Constant(d.scalar, 0.0)], chunk)
    e.save(e.narrowed(total), target)
