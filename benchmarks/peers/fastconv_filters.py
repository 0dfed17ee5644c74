"""fastconv's filters: `ndimage`, `signal` and `match_template`, as a user calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import match_template as match
from fastconv import ndimage, signal

from ..case import Array, Case
from ..filter_taps import floats, kernel

Calls = dict[str, Callable[[], Any]]


def prepare(case: Case, inputs: dict[str, Array]) -> Calls:
    """The call of a filter; its answer is one array."""
    return OPERATIONS[case.operation](case, inputs)


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.correlate."""
    image, mode = inputs["image"], case.options["mode"]
    taps = kernel(inputs, case.options).astype(floats(case.dtype))
    return {"correlate": lambda: ndimage.correlate(image, taps, mode=mode)}


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.gaussian_filter."""
    image, sigma, truncate = inputs["image"], case.options["sigma"], case.options["truncate"]
    return {"gaussian_filter": lambda: ndimage.gaussian_filter(image, sigma, truncate=truncate)}


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.sobel; of grey levels in int16, since differences have signs."""
    image, axis = inputs["image"], case.options["axis"]
    signed = np.dtype(np.int16) if case.dtype == "uint8" else image.dtype
    return {"sobel": lambda: ndimage.sobel(image, axis, output=signed)}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """signal.convolve."""
    x, taps = inputs["x"], inputs["taps"]
    return {"convolve": lambda: signal.convolve(x, taps, "same")}


def match_template(case: Case, inputs: dict[str, Array]) -> Calls:
    """The function of that name."""
    image, template, method = inputs["image"], inputs["template"], case.options["method"]
    return {"match_template": lambda: match(image, template, method=method)}


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
}
