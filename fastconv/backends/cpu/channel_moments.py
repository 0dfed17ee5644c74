"""Sums over a channel, and passes over its numbers, for x (N, C, pixels): the instructions of batch normalisation.

Sums are float64's, in an order that the shapes alone decide. A variance comes from blocks of images that stay in the
nearest cache, each about its own mean, put together as Chan, Golub and LeVeque ("Algorithms for computing the sample
variance", 1983) do: as exact as two passes over everything, for one from memory. Means count from the channel's first
number, so that they are as exact as their distances.

Addresses and steps count bytes; `step` is from an image's channel to the next image's. Index letters: `n` image, `p`
pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from fastconv.backends.cpu.vectors import I64, Emit, Value, instruction

Group = list[Value]

DOUBLE = ir.DoubleType()
CHAINS = 4  # sums at once, as an addition takes as many cycles
COUNT, TOTAL, MEAN, SQUARES = range(4)  # words of a chunk's moments: numbers, sum, mean, squared distances from it
MOMENTS = 4
SUM, PRODUCT = range(2)  # words of a chunk's sums of gradients


def over_images(
    e: Emit,
    images: Value,
    step: Value,
    pixels: Value,
    state: Sequence[Group],
    work: Callable[[Value, Value | None, Group], Group],
) -> list[Group]:
    """Carry CHAINS groups of sums through a channel's numbers; `work` gets a vector's place, and its mask if any."""
    b, width = e.b, len(state[0])
    each = e.lanes * CHAINS
    whole = b.sdiv(pixels, I64(each))
    rest = b.sub(pixels, b.mul(whole, I64(each)))
    masks = [e.leading(b.sub(rest, I64(u * e.lanes))) for u in range(CHAINS)]

    def groups(flat: Sequence[Value]) -> list[Group]:
        return [list(flat[u * width : (u + 1) * width]) for u in range(CHAINS)]

    def at_once(begin: Value, flat: Sequence[Value], masked: bool) -> list[Value]:
        found = []
        for u, group in enumerate(groups(flat)):
            found += work(e.at(begin, u * e.lanes * e.item), masks[u] if masked else None, group)
        return found

    def image(n: Value, flat: list[Value]) -> list[Value]:
        begin = b.mul(n, step)
        found = e.loop(whole, flat, lambda v, f: at_once(e.at(begin, b.mul(v, I64(each * e.item))), f, False))
        return at_once(e.at(begin, b.mul(whole, I64(each * e.item))), found, True)

    return groups(e.loop(images, [value for group in state for value in group], image))


def total(d: Emit, vectors: Sequence[Value]) -> Value:
    """The sum of all lanes of CHAINS vectors."""
    found = list(vectors)
    while len(found) > 1:
        found = [d.b.fadd(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
    return d.total(found[0])


def loaded(e: Emit, mask: Value | None, address: Value, place: Value) -> Value:
    """A vector of numbers; lanes outside the mask are 0."""
    return e.load(address, place) if mask is None else e.masked_load(mask, address, place)


def optional(e: Emit, array: Value, index: Value, otherwise: float) -> Value:
    """The number of an array, or a constant where there is none."""
    constant = ir.Constant(e.scalar, otherwise)
    there = e.b.icmp_signed("!=", array, I64(0))
    here = e.b.block
    with e.b.if_then(there):
        found, after = e.number(array, e.b.mul(index, I64(e.item))), e.b.block
    value = e.b.phi(e.scalar)
    value.add_incoming(constant, here)
    value.add_incoming(found, after)
    return value


def origin(e: Emit, address: Value) -> Value:
    """The number at an address, in float64; 0 if it is not finite."""
    number = e.widened(e.number(address))
    size = e.call("llvm.fabs.f64", DOUBLE, number)
    finite = e.b.fcmp_ordered("<", size, ir.Constant(DOUBLE, float("inf")))
    return e.b.select(finite, number, ir.Constant(DOUBLE, 0.0))


@instruction(2)
def moments(
    e: Emit, first_number: Value, x: Value, step: Value, pixels: Value, images: Value, block: Value, target: Value
) -> None:
    """The moments of a channel of so many images, `block` of them at a time, stored as words of a chunk.

    Its sum and its mean are those of the distances from the channel's first number.
    """
    b, d = e.b, Emit(e.b, 8, e.lanes)
    zero_point = e.splat(origin(e, first_number))

    def long(value: Value) -> Value:
        return b.sitofp(value, DOUBLE)

    def part(k: Value, values: list[Value]) -> list[Value]:
        first = b.mul(k, block)
        left = b.sub(images, first)
        some = b.select(b.icmp_signed("<", left, block), left, block)
        begin, numbers = e.at(x, b.mul(first, step)), long(b.mul(some, pixels))

        def apart(center: Value, place: Value, mask: Value | None) -> Value:
            distance = b.fsub(e.widened(loaded(e, mask, begin, place)), center)
            return distance if mask is None else b.select(mask, distance, d.zero)

        def add(place: Value, mask: Value | None, group: Group) -> Group:
            return [b.fadd(group[0], apart(zero_point, place, mask))]

        sums = over_images(e, some, step, pixels, [[d.zero]] * CHAINS, add)
        here = total(d, [group[0] for group in sums])
        middle = b.fdiv(here, numbers)
        center = b.fadd(zero_point, e.splat(middle))

        def add_square(place: Value, mask: Value | None, group: Group) -> Group:
            distance = apart(center, place, mask)
            return [d.fma(distance, distance, group[0])]

        sums = over_images(e, some, step, pixels, [[d.zero]] * CHAINS, add_square)
        within = total(d, [group[0] for group in sums])
        return joined(b, values, [numbers, here, middle, within])

    zero = ir.Constant(DOUBLE, 0.0)
    blocks = b.sdiv(b.add(images, b.sub(block, I64(1))), block)
    for place, value in enumerate(e.loop(blocks, [zero] * MOMENTS, part)):
        d.save(value, target, 8 * place)


def joined(b: Any, one: Sequence[Value], two: Sequence[Value]) -> list[Value]:
    """The moments of both: the squares about a common mean grow by the distance of the means."""
    count = b.fadd(one[COUNT], two[COUNT])
    distance, share = b.fsub(two[MEAN], one[MEAN]), b.fdiv(two[COUNT], count)
    mean = b.fadd(one[MEAN], b.fmul(distance, share))
    between = b.fmul(b.fmul(distance, b.fmul(one[COUNT], share)), distance)
    return [count, b.fadd(one[TOTAL], two[TOTAL]), mean, b.fadd(b.fadd(one[SQUARES], two[SQUARES]), between)]


@instruction(2)
def finish_moments(
    e: Emit, first_number: Value, chunk: Value, chunks: Value, pitch: Value, channel: Value, mean: Value, var: Value
) -> None:
    """Put a channel's chunks together, `pitch` from each other, in their order: its mean and its (biased) variance."""
    b, d = e.b, Emit(e.b, 8, e.lanes)
    zero = ir.Constant(DOUBLE, 0.0)

    def part(k: Value, values: list[Value]) -> list[Value]:
        begin = e.at(chunk, b.mul(k, pitch))
        return joined(b, values, [d.number(begin, 8 * word) for word in range(MOMENTS)])

    count, whole, _, squares = e.loop(chunks, [zero] * MOMENTS, part)
    place = b.mul(channel, I64(e.item))
    e.save(e.narrowed(b.fadd(origin(e, first_number), b.fdiv(whole, count))), mean, place)
    e.save(e.narrowed(b.fdiv(squares, count)), var, place)


@instruction(2)
def move_average(e: Emit, running: Value, value: Value, channel: Value, momentum: Value, factor: Value) -> None:
    """running = (1 - momentum) running + momentum factor value of a channel, in the arrays' own dtype.

    The addresses of momentum, and of the factor, which is the number before it, are those of float64.
    """
    b, d = e.b, Emit(e.b, 8, e.lanes)
    place, step = b.mul(channel, I64(e.item)), d.number(momentum)
    keep = e.narrowed(b.fsub(ir.Constant(DOUBLE, 1.0), step))
    move = e.narrowed(b.fmul(step, d.number(factor)))
    old = b.fmul(keep, e.number(running, place))
    e.save(b.fadd(old, b.fmul(move, e.number(value, place))), running, place)


def root(e: Emit, var: Value, channel: Value, eps: Value) -> Value:
    """sqrt(var + eps) of a channel, in float64."""
    d = Emit(e.b, 8, e.lanes)
    spread = e.b.fadd(e.widened(e.number(var, e.b.mul(channel, I64(e.item)))), d.number(eps))
    return e.call("llvm.sqrt.f64", DOUBLE, spread)


def scale_of(e: Emit, var: Value, weight: Value, channel: Value, eps: Value) -> Value:
    """weight / sqrt(var + eps) of a channel."""
    scale = e.b.fdiv(ir.Constant(DOUBLE, 1.0), root(e, var, channel, eps))
    return e.narrowed(e.b.fmul(scale, e.widened(optional(e, weight, channel, 1.0))))


@instruction(3)
def normalise_rows(
    e: Emit,
    relu: int,
    x: Value,
    y: Value,
    step: Value,
    pixels: Value,
    images: Value,
    channel: Value,
    mean: Value,
    var: Value,
    weight: Value,
    bias: Value,
    eps: Value,
) -> None:
    """y[n, p] = (x[n, p] - mean) scale + bias of a channel, or its rectifier."""
    normal = Normal(e, channel, mean, var, weight, bias, eps)

    def vector(place: Value, mask: Value) -> None:
        found = normal.output(normal.centred(e.masked_load(mask, x, place)))
        found = e.b.select(e.b.fcmp_ordered("<=", found, e.zero), e.zero, found) if relu else found
        e.masked_store(found, mask, y, place)

    each_vector(e, step, pixels, images, vector)


class Normal:
    """A channel's normalisation, as vectors."""

    def __init__(
        self, e: Emit, channel: Value, mean: Value, var: Value, weight: Value, bias: Value | None, eps: Value
    ) -> None:
        self.e = e
        self.mean = e.splat(e.number(mean, e.b.mul(channel, I64(e.item))))
        self.scale = e.splat(scale_of(e, var, weight, channel, eps))
        self.shift = None if bias is None else e.splat(optional(e, bias, channel, 0.0))

    def centred(self, x: Value) -> Value:
        """x - mean."""
        return self.e.b.fsub(x, self.mean)

    def output(self, centred: Value) -> Value:
        """The normalised x, scaled and shifted, of x - mean."""
        return self.e.fma(centred, self.scale, self.shift)

    def passed(self, grad: Value, centred: Value) -> Value:
        """The gradient before the rectifier of the output."""
        return self.e.b.select(self.e.b.fcmp_ordered("<=", self.output(centred), self.e.zero), self.e.zero, grad)


def each_vector(e: Emit, step: Value, pixels: Value, images: Value, work: Callable[[Value, Value], None]) -> None:
    """`work` for the place of each vector of a channel's numbers, with its mask."""

    def image(n: Value, _: list[Value]) -> list[Value]:
        begin = e.b.mul(n, step)
        e.each(pixels, lambda place, mask: work(e.at(begin, place), mask))
        return []

    e.loop(images, [], image)


@instruction(3)
def gradient_sums(
    e: Emit,
    relu: int,
    grad: Value,
    x: Value,
    step: Value,
    pixels: Value,
    images: Value,
    channel: Value,
    mean: Value,
    var: Value,
    weight: Value,
    bias: Value,
    eps: Value,
    target: Value,
) -> None:
    """The sums of grad and of grad (x - mean) of a channel of so many images, stored as words of a chunk.

    With `relu`, grad counts where the output is not rectified: it is computed again, and need not be kept.
    """
    b, d = e.b, Emit(e.b, 8, e.lanes)
    normal = Normal(e, channel, mean, var, weight, bias, eps) if relu else None
    center = e.splat(e.widened(e.number(mean, b.mul(channel, I64(e.item)))))

    def add(place: Value, mask: Value | None, group: Group) -> Group:
        slopes, numbers = loaded(e, mask, grad, place), loaded(e, mask, x, place)
        if normal is not None:
            slopes = normal.passed(slopes, normal.centred(numbers))
        distance = b.fsub(e.widened(numbers), center)
        if mask is not None:  # no infinite mean times 0
            distance = b.select(mask, distance, d.zero)
        slopes = e.widened(slopes)
        return [b.fadd(group[SUM], slopes), d.fma(slopes, distance, group[PRODUCT])]

    sums = over_images(e, images, step, pixels, [[d.zero, d.zero] for _ in range(CHAINS)], add)
    for place in (SUM, PRODUCT):
        d.save(total(d, [group[place] for group in sums]), target, 8 * place)


@instruction(2)
def finish_sums(e: Emit, chunk: Value, chunks: Value, pitch: Value, target: Value) -> None:
    """Add a channel's chunks of sums, `pitch` from each other, in their order."""
    d, zero = Emit(e.b, 8, e.lanes), ir.Constant(DOUBLE, 0.0)

    def part(k: Value, values: list[Value]) -> list[Value]:
        begin = e.at(chunk, e.b.mul(k, pitch))
        return [e.b.fadd(value, d.number(begin, 8 * place)) for place, value in enumerate(values)]

    for place, value in enumerate(e.loop(chunks, [zero, zero], part)):
        d.save(value, target, 8 * place)


@instruction(2)
def weight_gradient(e: Emit, sums: Value, channel: Value, var: Value, eps: Value, grad_weight: Value) -> None:
    """grad_weight = the sum of grad times the normalised x."""
    d = Emit(e.b, 8, e.lanes)
    found = e.b.fdiv(d.number(sums, 8 * PRODUCT), root(e, var, channel, eps))
    e.save(e.narrowed(found), grad_weight, e.b.mul(channel, I64(e.item)))


@instruction(2)
def bias_gradient(e: Emit, sums: Value, channel: Value, grad_bias: Value) -> None:
    """grad_bias = the sum of grad."""
    e.save(e.narrowed(Emit(e.b, 8, e.lanes).number(sums, 8 * SUM)), grad_bias, e.b.mul(channel, I64(e.item)))


@instruction(3)
def project_rows(
    e: Emit,
    relu: int,
    grad: Value,
    x: Value,
    grad_x: Value,
    step: Value,
    pixels: Value,
    images: Value,
    channel: Value,
    mean: Value,
    var: Value,
    weight: Value,
    bias: Value,
    eps: Value,
    count: Value,
    sums: Value,
) -> None:
    """grad_x[n, p] = scale (grad[n, p] - shift - slope (x[n, p] - mean)) of a channel."""
    b, d = e.b, Emit(e.b, 8, e.lanes)
    normal = Normal(e, channel, mean, var, weight, bias if relu else None, eps)
    numbers, spread = d.number(count), e.widened(e.number(var, b.mul(channel, I64(e.item))))
    slope = b.fdiv(b.fdiv(d.number(sums, 8 * PRODUCT), numbers), b.fadd(spread, d.number(eps)))
    tilt, shift = (e.splat(e.narrowed(value)) for value in (slope, b.fdiv(d.number(sums, 8 * SUM), numbers)))
    tilt = b.fneg(tilt)

    def vector(place: Value, mask: Value) -> None:
        centred = normal.centred(e.masked_load(mask, x, place))
        slopes = e.masked_load(mask, grad, place)
        slopes = normal.passed(slopes, centred) if relu else slopes
        e.masked_store(b.fmul(normal.scale, e.fma(tilt, centred, b.fsub(slopes, shift))), mask, grad_x, place)

    each_vector(e, step, pixels, images, vector)
