"""Windows of pooling: which pixels each one has, as tables, and how a vector of neighbouring windows reads its taps.

Signals and images are volumes of one pixel along the axes that they lack. A row of windows is (a, p), its windows `q`
lie in vectors; tap (i, j, k) of window q is pixel q * stride + k * dilation - padding of its row. Lanes whose pixel
lies outside of x's row get what the caller says, and their memory is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv.backends.cpu.vectors import I64, Emit, Value
from fastconv.geometry import Pooling
from fastconv.typing import Array

# Parameters of a kernel over rows of windows; sizes in pixels where they aren't called bytes. A place is what a tap
# counts in: its distance from the window's first pixel, or its number in the window.
(WIDTH, BEFORE, STEP, APART, TAPS, WINDOWS, DEEP_BYTES, DOWN_BYTES, DEEP_PLACE, DOWN_PLACE, ACROSS_PLACE) = range(11)
ROWS, PIECES, X_BYTES, Y_PIXELS, PLACE_BYTES, COLUMNS = range(11, 17)
# Words of a row of windows in the table: its first row of pixels, how many planes and rows it has, the place of its
# first tap, and the reciprocal (float32) or the value of its part of the divisor.
CORNER, DEEP, DOWN, START, DIVISOR = range(5)
ROW = 5
UNROLLED = 3  # taps along a row, up to which the code has each of them
NARROW = 3
PLANES = 16  # into so many tasks the planes are cut at least

ROOM = 8  # words behind the last column, for a whole vector
EMPTY = -1 << 30  # the place of a window without a pixel of x: below 0 whatever is added

NOTHING, INDICES, CODES = range(3)  # what a maximum's place is kept as


def three(values: Sequence[Any], missing: Any) -> tuple[Any, Any, Any]:
    """Values of one, two or three axes as three, those of the axes that lack first."""
    one, two, last = [missing] * (3 - len(values)) + list(values)
    return one, two, last


def boxes(geometry: Pooling) -> list[Array]:
    """For each of three axes (windows, 3): the first pixel of x in each window, their number, and the taps before."""
    found = [np.array([[0, 1, 0]])] * (3 - len(geometry.input_size))
    axes = zip(
        geometry.input_size,
        geometry.output_size,
        geometry.kernel_size,
        geometry.stride,
        geometry.dilation,
        geometry.padding,
        strict=True,
    )
    for h, windows, taps, stride, dilation, (before, _) in axes:
        start = np.arange(windows) * stride - before
        skipped = np.maximum(-(start // dilation), 0)  # taps that lie before the image
        end = np.minimum(-((start - h) // dilation), taps)  # the first tap that lies after it
        found.append(np.stack([start + skipped * dilation, np.maximum(end - skipped, 0), skipped], axis=1))
    return found


def kind_of(geometry: Pooling, lanes: int) -> tuple[int, int, int]:
    """What the code of a kernel depends on: whether there are planes, the taps of a row (0: any), and how they lie.

    How: the stride if it is 1 or 2, NARROW where it is 2 and a row's windows lie in one vector of pixels, else 0.
    """
    taps, stride, dilation = geometry.kernel_size[-1], geometry.stride[-1], geometry.dilation[-1]
    unrolled = taps if taps <= UNROLLED and dilation == 1 and stride <= 2 else 0
    how = stride if stride <= 2 else 0
    if how == 2 and unrolled and 2 * geometry.output_size[-1] <= lanes:
        how = NARROW
    return int(len(geometry.input_size) == 3), unrolled, how


def pieces_of(planes: int, rows: int) -> int:
    """Into how many tasks each plane is cut: a number that the geometry alone decides."""
    return max(1, min(rows, -(-PLANES // max(planes, 1))))


def first_places(geometry: Pooling, by_number: bool) -> Array:
    """The place of the first tap inside x for each window of a row, EMPTY if none is."""
    _, count, skipped = boxes(geometry)[2].T
    return np.where(count, skipped * (1 if by_number else geometry.dilation[-1]), EMPTY).astype(np.int32)


def table_of(geometry: Pooling, by_number: bool, divisors: Array | None, columns: Array) -> Array:
    """The rows of windows, and behind them what each of their columns has."""
    (deep, down, _), (height, width) = boxes(geometry), three(geometry.input_size, 1)[1:]
    _, kernel_h, kernel_w = three(geometry.kernel_size, 1)
    rows = np.zeros((len(deep), len(down), ROW), np.int64)
    rows[..., CORNER] = (deep[:, None, 0] * height + down[None, :, 0]) * width
    rows[..., DEEP], rows[..., DOWN] = deep[:, None, 1], down[None, :, 1]
    if by_number:
        rows[..., START] = (deep[:, None, 2] * kernel_h + down[None, :, 2]) * kernel_w
    rows[..., START] += np.where(rows[..., DEEP] * rows[..., DOWN] > 0, 0, EMPTY)
    if divisors is not None:
        rows[..., DIVISOR] = divisors.view(np.int64)
    behind = np.zeros(-(-columns.nbytes // 8) + ROOM, np.int64)
    behind.view(columns.dtype)[: columns.size] = columns
    return np.concatenate([rows.reshape(-1), behind])


def parameters_of(geometry: Pooling, planes: int, item: int, what: int) -> tuple[tuple[int, ...], int]:
    """The parameters of a kernel over rows of windows, and its tasks: a plane's pieces are neighbours."""
    _, height, width = three(geometry.input_size, 1)
    out = three(geometry.output_size, 1)
    (dil_d, dil_h, dil_w), (_, kernel_h, kernel_w) = three(geometry.dilation, 1), three(geometry.kernel_size, 1)
    places = (kernel_h * kernel_w, kernel_w, 1) if what == CODES else (dil_d * height * width, dil_h * width, dil_w)
    reach = sum(place * (taps - 1) for place, taps in zip(places, three(geometry.kernel_size, 1), strict=True))
    if reach >= -EMPTY:
        raise ValueError(f"a window reaches over {reach} pixels of a plane: less than {-EMPTY} are accepted")
    rows, pixels = out[0] * out[1], prod(out)
    pieces = pieces_of(planes, rows)
    found = (
        *(width, geometry.padding[-1][0], geometry.stride[-1], dil_w, kernel_w, out[2]),
        *(dil_d * height * width * item, dil_h * width * item, *places, rows, pieces),
        *(prod(geometry.input_size) * item, pixels, {CODES: 1}.get(what, 8), 8 * ROW * rows),
    )
    return found, planes * pieces


def inside(e: Emit, first: Value, width: Value) -> Value:
    """The mask of the pixels from 0 to before `width`, of a vector that begins with pixel `first`."""
    return e.b.and_(e.leading(e.b.sub(width, first)), e.b.not_(e.leading(e.b.neg(first))))


class Columns:
    """A vector of neighbouring windows from window `place` on: where their taps lie in a row, and which are inside."""

    def __init__(self, e: Emit, kind: int, taps: int, plan: Value, place: Value) -> None:
        self.e, self.kind, self.taps = e, kind, taps
        self.width, self.step = e.word(plan, I64(WIDTH)), e.word(plan, I64(STEP))
        self.apart, self.count = e.word(plan, I64(APART)), e.word(plan, I64(TAPS))
        self.start = e.b.sub(e.b.mul(place, self.step), e.word(plan, I64(BEFORE)))
        self.valid = e.leading(e.b.sub(e.word(plan, I64(WINDOWS)), place))
        self.masks = [self.inside(I64(offset)) for offset in self.offsets()]

    def offsets(self) -> list[int]:
        """Pixels from the first window's first one to each vector that a row's taps are in."""
        if self.kind == 1:
            return list(range(self.taps))
        halves = (0,) if self.kind == NARROW else (0, self.e.lanes)
        return [offset + half for offset in range(0, self.taps, 2) for half in halves]

    def inside(self, offset: Value) -> Value:
        """The mask of the pixels inside the row, of a vector `offset` pixels from the first one."""
        return inside(self.e, self.e.b.add(self.start, offset), self.width)

    def load(self, mask: Value, row: Value, offset: Value, outside: Value) -> Value:
        """A vector of pixels, `outside` where the mask says so."""
        e = self.e
        return e.masked_load(mask, row, e.b.mul(e.long(offset), I64(e.item)), outside)

    def vectors(self, row: Value, outside: Value) -> list[Value]:
        """All vectors that a row's taps are in; `row` is the address of the first window's first pixel."""
        return [self.load(mask, row, offset, outside) for mask, offset in zip(self.masks, self.offsets(), strict=True)]

    def split(self, vectors: Sequence[Value]) -> list[Value]:
        """The taps, of the vectors that they are in."""
        if self.kind == 1:
            return list(vectors)
        lanes, found = self.e.lanes, []
        for k in range(self.taps):
            if self.kind == NARROW:  # the lanes behind the windows have any pixels
                low = high = vectors[k // 2]
            else:
                low, high = vectors[k - k % 2], vectors[k - k % 2 + 1]
            found.append(self.e.shuffle(low, high, range(k % 2, 2 * lanes, 2)))
        return found

    def tap(self, row: Value, offset: Value, outside: Value) -> Value:
        """The tap `offset` pixels from the first one, which is an IR value."""
        e = self.e
        if self.kind:
            offsets = [offset] if self.kind == 1 else [offset, e.b.add(offset, I64(e.lanes))]
            found = [self.load(self.inside(o), row, o, outside) for o in offsets]
            return found[0] if self.kind == 1 else e.shuffle(found[0], found[1], range(0, 2 * e.lanes, 2))
        pixels = e.b.add(e.splat(e.b.add(self.start, offset)), e.b.mul(e.numbered(), e.splat(self.step)))
        below = e.b.icmp_signed("<", pixels, e.splat(self.width))
        mask = e.b.and_(below, e.b.icmp_signed(">=", pixels, e.splat(I64(0))))
        distance = e.b.mul(e.b.sub(pixels, e.splat(self.start)), e.splat(I64(e.item)))
        return e.gather(e.b.add(e.splat(row), distance), mask, outside)


def over_rows(
    e: Emit,
    deep: int,
    down: int,
    plan: Value,
    row: Value,
    table: Value,
    carried: Sequence[Value],
    work: Callable[[Value, Value, list[Value]], Sequence[Value]],
) -> list[Value]:
    """Carry values through the rows of pixels of a row of windows.

    `row` is the address of the first one, `table` that of the windows' entry; `work` gets each row's address and the
    place of its taps, counted from the first row's.
    """
    down_bytes, down_place = e.word(plan, I64(DOWN_BYTES)), e.word(plan, I64(DOWN_PLACE))

    def plane(begin: Value, place: Value, values: list[Value]) -> list[Value]:
        def step(j: Value, inner: list[Value]) -> Sequence[Value]:
            return work(e.at(begin, e.b.mul(j, down_bytes)), e.at(place, e.b.mul(j, down_place)), inner)

        count = e.word(table, I64(DOWN))
        if not down:
            return e.loop(count, values, step)
        with e.b.if_else(e.b.icmp_signed("==", count, I64(down))) as (all_rows, some_rows):
            with all_rows:
                found = list(values)
                for j in range(down):
                    found = list(step(I64(j), found))
                whole = e.b.block
            with some_rows:
                others = e.loop(count, values, step)
                part = e.b.block
        result = []
        for one, other in zip(found, others, strict=True):
            phi = e.b.phi(one.type)
            phi.add_incoming(one, whole)
            phi.add_incoming(other, part)
            result.append(phi)
        return result

    def step(i: Value, values: list[Value]) -> Sequence[Value]:
        begin = e.at(row, e.b.mul(i, e.word(plan, I64(DEEP_BYTES))))
        return plane(begin, e.b.mul(i, e.word(plan, I64(DEEP_PLACE))), values)

    return e.loop(e.word(table, I64(DEEP)), carried, step) if deep else plane(row, I64(0), list(carried))
