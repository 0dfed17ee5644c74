"""The filters' answers in float64, by NumPy alone.

A correlation with few taps is summed. With more it is an FFT in float64, tile by tile: on filters of 63x63 it differs
from the sum by less than 1e-13 of the largest answer, far below every tolerance here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np

from fastconv.threads import available

from ..case import Array
from ..filter_taps import fast_length, gaussian_taps, kernel, pad

SUMMED = 24  # taps: above that an FFT is quicker
TILE = 512  # pixels along an axis that are transformed at once, or four times the filter's: they stay in cache
LINE = 1 << 15  # the same for a signal
STRIPE = 1 << 17  # numbers that are summed at once


def correlate(image: Array, taps: Array) -> Array:
    """y[p, q] = sum over r, s of taps[r, s] * image[p + r, q + s], where the filter lies inside of the image."""
    rows, columns = (extent - count + 1 for extent, count in zip(image.shape, taps.shape, strict=True))
    y = np.empty((rows, columns))
    if taps.size <= SUMMED:
        height, width = max(1, STRIPE // columns), columns

        def tile(top: int, left: int) -> None:
            kept = y[top : top + height]
            sum_taps(image[top : top + len(kept) + taps.shape[0] - 1], taps, kept)
    else:
        least = (TILE, TILE) if rows > 1 else (1, LINE)
        lengths = [fast_length(max(n, 4 * count)) for n, count in zip(least, taps.shape, strict=True)]
        height, width = (n - count + 1 for n, count in zip(lengths, taps.shape, strict=True))
        spectrum = np.conj(np.fft.rfft2(taps, lengths))

        def tile(top: int, left: int) -> None:
            kept = y[top : top + height, left : left + width]
            part = image[top : top + lengths[0], left : left + lengths[1]]
            kept[...] = np.fft.irfft2(np.fft.rfft2(part, lengths) * spectrum, lengths)[: len(kept), : kept.shape[1]]

    with ThreadPoolExecutor(available()) as pool:
        list(pool.map(lambda place: tile(*place), product(range(0, rows, height), range(0, columns, width))))
    return y


def sum_taps(image: Array, taps: Array, y: Array) -> None:
    """The correlation by its definition, into y."""
    rows, columns = y.shape
    y[...] = 0
    term = np.empty_like(y)
    for r, s in np.ndindex(taps.shape):
        np.multiply(image[r : r + rows, s : s + columns], taps[r, s], out=term)
        y += term


def filter2d(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """Cross-correlation that keeps the size."""
    taps = kernel(inputs, options)
    return {"y": correlate(pad(inputs["image"].astype(np.float64), taps.shape, options["mode"]), taps)}


def gaussian(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """SciPy's gaussian_filter, mode "reflect"."""
    taps = gaussian_taps(options["sigma"], options["truncate"])
    image = inputs["image"].astype(np.float64)
    if taps.size**2 > SUMMED:
        return {"y": correlate(pad(image, (taps.size, taps.size), "reflect"), np.outer(taps, taps))}
    tall = correlate(pad(image, (taps.size, 1), "reflect"), taps[:, None])
    return {"y": correlate(pad(tall, (1, taps.size), "reflect"), taps[None])}


def sobel(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """SciPy's sobel: the difference along an axis, smoothed along the other, mode "reflect"."""
    taps = np.outer([-1.0, 0.0, 1.0], [1.0, 2.0, 1.0])
    taps = taps if options["axis"] == 0 else taps.T
    return {"y": correlate(pad(inputs["image"].astype(np.float64), (3, 3), "reflect"), taps)}


def convolve1d(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """y[i] = sum over k of taps[k] * x[i + (K - 1) // 2 - k], mode "same"."""
    x, taps = inputs["x"].astype(np.float64), inputs["taps"].astype(np.float64)
    before = taps.size // 2
    padded = np.pad(x, (before, taps.size - 1 - before))
    return {"y": correlate(padded[None], taps[None, ::-1])[0]}


def match_template(inputs: dict[str, Array], options: dict[str, Any]) -> dict[str, Array]:
    """The formulas of OpenCV's matchTemplate, TM_SQDIFF and so on."""
    image, template = inputs["image"].astype(np.float64), inputs["template"].astype(np.float64)
    name, _, normed = options["method"].partition("_")
    ones = np.ones(template.shape)
    energy = correlate(image**2, ones)
    if name == "ccoeff":
        energy -= correlate(image, ones) ** 2 / template.size
        template = template - template.mean()  # then the image's own mean falls out of the product
    y = correlate(image, template)
    norm = float((template**2).sum())
    if name == "sqdiff":
        y = energy - 2 * y + norm
    if normed:  # OpenCV takes a difference larger than both together for 1
        y = np.minimum(y / np.sqrt(energy * norm), 1.0)
    return {"y": y}


FILTERS: dict[str, Callable[[dict[str, Array], dict[str, Any]], dict[str, Array]]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
}
