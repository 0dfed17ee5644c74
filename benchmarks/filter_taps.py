"""What the filter cases of every peer and of the oracle share: the taps, and how large a direct sum may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Array

# FLOPs above which a peer leaves out a direct sum that runs at 0.5 to 3 GFLOP/s (SciPy's, NumPy's, PyTorch's of one
# channel): such a call takes two to ten seconds or more, and its row, of ten calls, would take minutes. From filters of
# 7x7 on these peers offer an FFT beside it.
DIRECT_LIMIT = 5_000_000_000
FFT_TAPS = 49


def gaussian_taps(sigma: float, truncate: float) -> Array:
    """The taps of SciPy's `gaussian_filter`: the density at the integers up to truncate * sigma, divided by its sum."""
    radius = int(truncate * sigma + 0.5)
    density: Array = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps: Array = density / density.sum()
    return taps


def kernel(inputs: dict[str, Array], options: dict[str, Any]) -> Array:
    """The filter (R, S) of a `filter2d` case, float64.

    It is the Gaussian of options["gaussian"] = [size, sigma], else the input "kernel". Of integers it is divided by its
    sum, so that a mean of grey levels comes out, which no dtype cuts off.
    """
    if "gaussian" in options:
        size, sigma = options["gaussian"]
        density: Array = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
        density /= density.sum()
        return np.outer(density, density)
    taps: Array = inputs["kernel"].astype(np.float64)
    if inputs["kernel"].dtype.kind == "u":
        taps /= taps.sum()
    return taps


def rank_one(taps: Array) -> tuple[Array, Array] | None:
    """The column and the row whose outer product the filter is, to 1e-12, or None."""
    left, scales, right = np.linalg.svd(taps)
    if min(taps.shape) > 1 and scales[1] > 1e-12 * scales[0]:
        return None
    root = np.sqrt(scales[0])
    return left[:, 0] * root, right[0] * root


def borders(taps: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pixels before and after each axis, so that a correlation keeps the size and is centred as SciPy's is."""
    return [(count // 2, count - 1 - count // 2) for count in taps]


def pad(image: Array, taps: tuple[int, ...], mode: str) -> Array:
    """The image with its borders; "reflect" is SciPy's, which repeats the edge pixel."""
    return np.pad(image, borders(taps), mode="symmetric" if mode == "reflect" else "constant")


def grey(y: Array, dtype: np.dtype[Any]) -> Array:
    """Real results as the image's dtype: grey levels are rounded."""
    if dtype.kind != "u":
        return y
    return np.clip(np.rint(y), 0, 255).astype(dtype)


def fast_length(least: int) -> int:
    """The least even number of that size or more with no prime factor above 5: what an FFT likes."""
    number = least + least % 2
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 2


def floats(dtype: str) -> np.dtype[Any]:
    """What a filter of such an image is computed in: grey levels in float32."""
    return np.dtype(np.float64 if dtype == "float64" else np.float32)
