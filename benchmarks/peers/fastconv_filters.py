"""fastconv's filters: `ndimage`, `signal`, `match_template`, and what a user writes with `conv2d` where they lack.

A function of theirs is taken as soon as it is there. Until then images are padded by NumPy and filtered by `conv2d`,
grey levels in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv
from fastconv import functional as F

from ..case import Array, Case
from ..filter_taps import borders, floats, gaussian_taps, grey, kernel, pad
from . import Unsupported

Calls = dict[str, Callable[[], Any]]


def prepare(case: Case, inputs: dict[str, Array]) -> Calls:
    """The call of a filter; its answer is one array."""
    return OPERATIONS[case.operation](case, inputs)


def offered(module: str, name: str) -> Any:
    """The function of one of fastconv's modules, or None where this version has it not."""
    return getattr(getattr(fastconv, module, None), name, None)


def correlate(image: Array, taps: Array, mode: str) -> Array:
    """conv2d of an image with its borders, in the taps' dtype."""
    padded = pad(image.astype(taps.dtype, copy=False), taps.shape, mode)
    y: Array = F.conv2d(padded[None, None], taps[None, None])[0, 0]
    return y


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.correlate."""
    image, mode = inputs["image"], case.options["mode"]
    taps = kernel(inputs, case.options).astype(floats(case.dtype))
    if function := offered("ndimage", "correlate"):
        return {"ndimage": lambda: function(image, taps, mode=mode)}
    return {"conv2d": lambda: grey(correlate(image, taps, mode), image.dtype)}


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.gaussian_filter."""
    image, sigma, truncate = inputs["image"], case.options["sigma"], case.options["truncate"]
    if function := offered("ndimage", "gaussian_filter"):
        return {"ndimage": lambda: function(image, sigma, truncate=truncate)}
    taps = gaussian_taps(sigma, truncate).astype(floats(case.dtype))

    def two_passes() -> Array:
        tall = correlate(image, taps[:, None], "reflect")
        return grey(correlate(tall, taps[None], "reflect"), image.dtype)

    return {"conv2d": two_passes}


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.sobel; of grey levels in int16, since differences have signs."""
    image, axis = inputs["image"], case.options["axis"]
    signed = np.dtype(np.int16) if case.dtype == "uint8" else image.dtype
    if function := offered("ndimage", "sobel"):
        return {"ndimage": lambda: function(image, axis, output=signed)}
    # The filter is written for convolution: conv2d takes it flipped.
    taps = np.ascontiguousarray(fastconv.filters.sobel_kernel(axis)[::-1, ::-1], floats(case.dtype))
    return {"conv2d": lambda: correlate(image, taps, "reflect").astype(signed, copy=False)}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """signal.convolve."""
    x, taps = inputs["x"], inputs["taps"]
    if function := offered("signal", "convolve"):
        return {"signal": lambda: function(x, taps, "same")}
    flipped = np.ascontiguousarray(taps[::-1])[None, None]
    padding = borders(taps.shape)
    return {"conv1d": lambda: F.conv1d(x[None, None], flipped, padding=padding)[0, 0]}


def match_template(case: Case, inputs: dict[str, Array]) -> Calls:
    """The function of that name."""
    function = getattr(fastconv, "match_template", None)
    if function is None:
        raise Unsupported("this version of fastconv has no match_template")
    image, template, method = inputs["image"], inputs["template"], case.options["method"]
    return {"match_template": lambda: function(image, template, method=method)}


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
}
