"""Drawn geometries of convolutions: what hypothesis gives to the tests of `conv` and `conv_transpose`."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st


@dataclass(frozen=True)
class Case:
    """One call: the shapes of x and weight, and the options."""

    rank: int
    x_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    options: dict
    seed: int

    def arrays(self, *shapes, dtype=np.float64):
        rng = np.random.default_rng(self.seed)
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@st.composite
def convolutions(draw, ranks=(1, 2, 3)):
    """Any rank, stride, padding, dilation and groups; sizes small enough for thousands of draws."""
    rank = draw(st.sampled_from(ranks))
    per_axis = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    groups, channels, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, dilation = per_axis(1, 4), per_axis(1, 3), per_axis(1, 3)
    padding = draw(st.sampled_from(["int", "axes", "pairs", "same", "valid"]))
    if padding == "int":
        padding = draw(st.integers(0, 3))
    elif padding == "axes":
        padding = per_axis(0, 3)
    elif padding == "pairs":
        padding = tuple(zip(per_axis(0, 3), per_axis(0, 3), strict=True))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(span + extra for span, extra in zip(spans, per_axis(0, 7 if rank < 3 else 3), strict=True))
    return Case(
        rank,
        (draw(st.integers(0, 3)), channels * groups, *size),
        (filters * groups, channels, *kernel),
        {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def transposed_convolutions(draw, ranks=(1, 2, 3)):
    """The same for `conv_transpose`, with output padding below the larger of stride and dilation."""
    case = draw(convolutions(ranks))
    options = dict(case.options)
    limits = zip(options["stride"], options["dilation"], strict=True)
    options["output_padding"] = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in limits)
    groups, filters = options["groups"], draw(st.integers(1, 3))
    size = tuple(draw(st.integers(4, 6)) for _ in range(case.rank))
    x_shape = (case.x_shape[0], case.x_shape[1], *size)
    weight_shape = (case.x_shape[1], filters, *case.weight_shape[2:])
    return Case(case.rank, x_shape, weight_shape, options | {"groups": groups}, case.seed)
