"""Filters of images and signals: dense, separable, Gaussian, Sobel, 1-D convolution and template matching.

A group is a kind of filter and a dtype. The largest images get a part of the sizes, most of them in float32.

FLOPs are those of the direct sum, for "gaussian" and "sobel" along one axis and then the other; taps count where they
meet the image. In "separable" the filter is a Gaussian too, but given as a plain matrix, and counted as one.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..case import Case

SIDES = (512, 2048, 8192)
SIZES = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63)
SIGMAS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
TRUNCATE = 4.0  # SciPy's default
FEW = (3, 9, 31)  # sizes of the largest image, whose rows take a minute
ONE = 9  # of these the one in float64 and uint8
METHODS = ("sqdiff", "sqdiff_normed", "ccorr", "ccorr_normed", "ccoeff", "ccoeff_normed")

# Relative to the largest answer. A mean of grey levels that are all alike likely has a largest answer of at least 127.
# SciPy cuts off what rounding would keep, so one level is right, and two where two passes each give grey levels back;
# OpenCV's GaussianBlur, in fixed point, needs the second as well.
TOLERANCES = {"float32": 1e-4, "float64": 1e-10, "uint8": 1 / 127}
TWO_PASSES = {**TOLERANCES, "uint8": 2 / 127}
EXACT = {"float32": 1e-5, "float64": 1e-12, "uint8": 0.0}

# With few seconds, these stand for the rest.
QUICK = {
    "dense 3x3 on 512x512 float32",
    "dense 9x9 on 2048x2048 float32",
    "dense 31x31 on 512x512 float32",
    "dense 5x5 on 512x512 uint8",
    "separable 15x15 on 512x512 float32",
    "gaussian sigma 3 on 512x512 float32",
    "gaussian sigma 3 on 512x512 uint8",
    "sobel axis 0 on 2048x2048 float32",
    "1-D 1000000 by 64 float64",
    "ccoeff_normed 32x32 in 512x512 float32",
}


def cases(quick: bool) -> list[Case]:
    """All rows, or the representative few."""
    rows = []
    for dtype in ("float32", "float64", "uint8"):
        grid = [(side, size) for side in SIDES for size in SIZES]
        grid = [(side, size) for side, size in grid if wanted(side, dtype, size)]
        rows += [dense(side, size, dtype) for side, size in grid]
        rows += [separable(side, size, dtype) for side, size in grid]
        blurs = [(side, sigma, size) for side in SIDES for sigma, size in zip(SIGMAS, SIZES, strict=True)]
        rows += [gaussian(side, sigma, dtype) for side, sigma, size in blurs if wanted(side, dtype, size)]
        rows += [sobel(side, axis, dtype) for side in SIDES for axis in (0, 1) if wanted(side, dtype)]
    rows += [dense(2048, size, "float32", "constant") for size in FEW]
    for dtype in ("float32", "float64"):
        for length, count in ((1_000_000, 64), (1_000_000, 1024), (100_000, 16), (10_000_000, 16), (10_000, 255)):
            rows.append(convolve1d(length, count, dtype))
    for dtype in ("float32", "uint8"):
        # Of numbers around zero every sqdiff_normed is 1, which any wrong answer could be.
        methods = [method for method in METHODS if (method, dtype) != ("sqdiff_normed", "float32")]
        rows += [match_template(2048, 32, method, dtype) for method in methods]
        rows += [
            match_template(side, size, "ccoeff_normed", dtype) for side, size in ((512, 32), (512, 8), (2048, 128))
        ]
    return [row for row in rows if row.name in QUICK] if quick else rows


def wanted(side: int, dtype: str, size: int | None = None) -> bool:
    """Whether an image of that side is filtered in that dtype, with a filter of that size."""
    if side < max(SIDES):
        return True
    return size is None or size in FEW if dtype == "float32" else size == ONE


def inside(extent: int, count: int) -> int:
    """Pairs of a pixel and a tap that meet in an image, along one axis, for a filter that keeps the size."""
    before, after = min(count // 2, extent - 1), min(count - 1 - count // 2, extent - 1)
    pairs = extent * (before + 1 + after)
    return pairs - before * (before + 1) // 2 - after * (after + 1) // 2


def moved(numbers: int, dtype: str) -> int:
    """Bytes of so many numbers."""
    return numbers * np.dtype(dtype).itemsize


def dense(side: int, size: int, dtype: str, mode: str = "reflect") -> Case:
    """A filter of random taps."""
    bordered = "" if mode == "reflect" else f" {mode}"
    return Case(
        suite="filters",
        group=f"dense {dtype}",
        name=f"dense {size}x{size} on {side}x{side} {dtype}{bordered}",
        operation="filter2d",
        arrays={"image": (side, side), "kernel": (size, size)},
        options={"mode": mode},
        dtype=dtype,
        flops=2 * inside(side, size) ** 2,
        traffic=moved(2 * side * side + size * size, dtype),
        tolerance=TOLERANCES[dtype],
    )


def separable(side: int, size: int, dtype: str) -> Case:
    """A Gaussian's matrix, whose rank is one; sigma is a sixth of its size, as in the course's 23 and 3.8."""
    return Case(
        suite="filters",
        group=f"separable {dtype}",
        name=f"separable {size}x{size} on {side}x{side} {dtype}",
        operation="filter2d",
        arrays={"image": (side, side)},
        options={"mode": "reflect", "gaussian": [size, size / 6]},
        dtype=dtype,
        flops=2 * inside(side, size) ** 2,
        traffic=moved(2 * side * side + size * size, dtype),
        tolerance=TOLERANCES[dtype],
    )


def gaussian(side: int, sigma: float, dtype: str) -> Case:
    """SciPy's gaussian_filter, of 8 sigma + 1 taps along each axis."""
    count = 2 * int(TRUNCATE * sigma + 0.5) + 1
    return Case(
        suite="filters",
        group=f"gaussian {dtype}",
        name=f"gaussian sigma {sigma} on {side}x{side} {dtype}",
        operation="gaussian",
        arrays={"image": (side, side)},
        options={"sigma": sigma, "truncate": TRUNCATE},
        dtype=dtype,
        flops=4 * inside(side, count) * side,
        traffic=moved(2 * side * side, dtype),
        tolerance=TWO_PASSES[dtype],
    )


def sobel(side: int, axis: int, dtype: str) -> Case:
    """SciPy's sobel; of grey levels the answer is int16, and exact."""
    answer = "int16" if dtype == "uint8" else dtype
    return Case(
        suite="filters",
        group=f"sobel {dtype}",
        name=f"sobel axis {axis} on {side}x{side} {dtype}",
        operation="sobel",
        arrays={"image": (side, side)},
        options={"axis": axis, "mode": "reflect"},
        dtype=dtype,
        flops=4 * inside(side, 3) * side,
        traffic=moved(side * side, dtype) + moved(side * side, answer),
        tolerance=EXACT[dtype],
    )


def convolve1d(length: int, count: int, dtype: str) -> Case:
    """A signal and a short filter, mode "same"."""
    return Case(
        suite="filters",
        group=f"1-D {dtype}",
        name=f"1-D {length} by {count} {dtype}",
        operation="convolve1d",
        arrays={"x": (length,), "taps": (count,)},
        dtype=dtype,
        flops=2 * inside(length, count),
        traffic=moved(2 * length + count, dtype),
        tolerance=TOLERANCES[dtype],
    )


def match_template(side: int, size: int, method: str, dtype: str) -> Case:
    """A square template in a square image; the FLOPs are those of the product of the two, which every method needs."""
    template, answer = (size, size), (side - size + 1,) * 2
    options: dict[str, Any] = {"method": method}
    return Case(
        suite="filters",
        group=f"template {dtype}",
        name=f"{method} {size}x{size} in {side}x{side} {dtype}",
        operation="match_template",
        arrays={"image": (side, side), "template": template},
        options=options,
        dtype=dtype,
        flops=2 * prod(answer) * prod(template),
        traffic=moved(side * side + prod(template), dtype) + moved(prod(answer), "float32"),
        tolerance=1e-4,
    )
