"""Convolutions drawn at random from a seed, and plans drawn for them: few register tiles, many blocks.

Every register tile is code of its own, which takes half a second to compile. A test that meets hundreds of shapes takes
one of a few tiles for each, but any of them where it fits: so each tile meets many shapes, and not only its favourites.
Blocks, and the work from which threads pay, are so small that little images have many tasks, too.
"""

import contextlib
from math import prod
from unittest import mock

import numpy as np
from shapes import Case

import fastconv as fc
import fastconv.functional as F
from fastconv.backends.cpu import algorithms, blocks, depthwise_plans, plans, tile_choice, weight_forms, weight_plans
from fastconv.backends.cpu import convolution as cpu_convolution

EXTENT = {1: 70, 2: 14, 3: 5}  # pixels beyond the filter's, at most
CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33]
LARGEST = 1 << 21  # multiply-adds
# Of a tile: "pixels" (filters, rows, vectors); "filters" (vectors, rows, columns).
PIXEL_TILES, FILTER_TILES = {(1, 1, 1), (3, 2, 1), (2, 1, 3)}, {(1, 1, 4), (2, 2, 3), (1, 3, 4)}
# Of a form of the weights' gradient: "pixels" (filters, taps); "filters" (starts, columns, vectors).
PIXEL_FORMS, FILTER_FORMS = {(1, 1), (1, 4), (3, 3)}, {(2, 1, 1), (3, 1, 2), (2, 3, 1)}


def draw(rng, rank=None):
    """A convolution of any rank, stride, padding, dilation and groups, as a Case."""
    while True:
        case = attempt(rng, rank or int(rng.choice([1, 2, 2, 2, 3])))
        if prod(case.x_shape) * prod(case.weight_shape) // case.x_shape[1] <= LARGEST:
            return case


def attempt(rng, rank):
    per_axis = lambda choices: tuple(int(number) for number in rng.choice(choices, rank))  # noqa: E731
    kernel = per_axis([1, 2, 3, 3, 4, 5] if rank < 3 else [1, 2, 3])
    if rng.random() < 0.2:
        kernel = (1,) * rank
    stride, dilation = per_axis([1, 1, 1, 2, 3, 5]), per_axis([1, 1, 1, 1, 2, 3, 9])
    if rng.random() < 0.4:
        stride = dilation = (1,) * rank
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (rank, 2)) * (rng.random() < 0.6))
    if rng.random() < 0.2:  # a network's last layers
        size = (7,) * rank
        padding = tuple((int(span), int(span)) for span in spans)
    elif rank == 1 and rng.random() < 0.2:
        size = (int(rng.integers(500, 5000)),)
    else:
        size = tuple(span + int(rng.integers(0, EXTENT[rank])) for span in spans)
    channels, filters = (int(count) for count in rng.choice(CHANNELS, 2))
    kind, groups = rng.choice(["whole", "whole", "groups", "depthwise"]), 1
    if kind == "groups":
        groups = int(rng.integers(2, 5))
        channels, filters = -(-channels // groups) * groups, -(-filters // groups) * groups
    elif kind == "depthwise":
        groups, filters = channels, channels * int(rng.integers(1, 3))
    return Case(
        rank,
        (int(rng.choice([1, 1, 2, 3])), channels, *size),
        (filters, channels // groups, *kernel),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        int(rng.integers(1 << 32)),
    )


def calls(case, x, weight, bias, grad, bias_x, into):
    """A name and a function of no arguments for each pass of a case, transposed convolution and its gradients too.

    `grad` has the output's shape, `bias` one number for each of its channels, `bias_x` one for each of x's. `into` is
    applied to every array.
    """
    x, weight, bias, grad, bias_x = map(into, (x, weight, bias, grad, bias_x))
    rank, options = case.rank, case.options
    extra = transposed_padding(case, x.shape[2:], grad.shape[2:])
    named = lambda name: getattr(F, name.format(rank))  # noqa: E731
    found = {
        "conv": lambda: named("conv{}d")(x, weight, bias, **options),
        "conv_input_grad": lambda: named("conv{}d_input_grad")(x.shape, weight, grad, **options),
        "conv_weight_grad": lambda: named("conv{}d_weight_grad")(x, weight.shape, grad, **options),
        "conv_bias_grad": lambda: named("conv{}d_bias_grad")(grad),
    }
    if extra is not None:
        more = options | {"output_padding": extra}
        found |= {
            "conv_transpose": lambda: named("conv_transpose{}d")(grad, weight, bias_x, **more),
            "conv_transpose_input_grad": lambda: named("conv_transpose{}d_input_grad")(grad.shape, weight, x, **more),
            "conv_transpose_weight_grad": lambda: named("conv_transpose{}d_weight_grad")(grad, weight.shape, x, **more),
        }
    return found


def transposed_padding(case, size, output_size):
    """The output padding with which the transposed convolution leads back to x's size; None where there is none."""
    options, extra = case.options, []
    axes = zip(
        size,
        output_size,
        case.weight_shape[2:],
        options["stride"],
        options["padding"],
        options["dilation"],
        strict=True,
    )
    for h, p, k, s, pair, d in axes:
        extra.append(h - ((p - 1) * s - sum(pair) + d * (k - 1) + 1))
        if h < 1 or not 0 <= extra[-1] < max(s, d):
            return None
    return tuple(extra)


def arrays(case, dtype):
    """Arguments of `calls`: x, weight, bias, grad, bias_x."""
    with fc.use_backend("reference"):
        empty = (0, *case.x_shape[1:])
        output = getattr(F, f"conv{case.rank}d")(np.empty(empty), np.empty(case.weight_shape), **case.options)
    shapes = [case.x_shape, case.weight_shape, case.weight_shape[:1], (case.x_shape[0], *output.shape[1:])]
    return case.arrays(*shapes, case.x_shape[1:2], dtype=dtype)


@contextlib.contextmanager
def few_tiles(seed):
    """Plans take tiles of the lists above, drawn for each geometry, and have many blocks and tasks."""

    def one_of(found, geometry):
        return found[np.random.default_rng([seed, hash(geometry) & 0xFFFFFFFF]).integers(len(found))]

    def best_tile(sum_, lanes, registers):
        pixels = [t for t in tile_choice.pixel_tiles(sum_, lanes, registers) if tile_shape(t, lanes) in PIXEL_TILES]
        filters = [t for t in tile_choice.filter_tiles(sum_, lanes, registers) if tile_shape(t, lanes) in FILTER_TILES]
        return one_of([*pixels, *filters], (sum_.axes, sum_.filters, sum_.channels, sum_.groups, sum_.images))

    def best_form(forms):
        found = [f for f in forms.with_filters() if (f.starts, f.columns, f.vectors) in FILTER_FORMS]
        found += [f for f in forms.with_pixels() if (f.filters, f.starts) in PIXEL_FORMS]
        return [one_of(found, (forms.axes, forms.channels, forms.filters))]

    def cache_bytes(level, default):
        return 1 << (11 + level)

    cached = blocks, tile_choice, weight_forms, weight_plans
    changes = [
        mock.patch.object(plans, "best_tile", best_tile),
        mock.patch.object(weight_forms.Forms, "best", best_form),
        *(mock.patch.object(module, "SMALL", -1.0) for module in (blocks, weight_plans, depthwise_plans)),
        *(mock.patch.object(module, "cache_bytes", cache_bytes) for module in cached),
        mock.patch.object(blocks, "GRAIN", 1.0),
    ]
    forget()
    with contextlib.ExitStack() as stack:
        for change in changes:
            stack.enter_context(change)
        try:
            yield
        finally:
            forget()


def forget():
    """Plans that were computed."""
    for planned in (plans.planned, weight_plans.planned, depthwise_plans.planned, algorithms.direct_plan):
        planned.cache_clear()
    algorithms.choose.cache_clear()
    cpu_convolution.route.cache_clear()


def tile_shape(tile, lanes):
    if tile.kind == "pixels":
        return tile.filters, tile.rows, tile.vectors
    return tile.vectors, tile.rows, tile.columns
