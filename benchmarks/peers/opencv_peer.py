"""OpenCV: filters of images. It has no layers with a batch and channels outside of its network reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ..case import Array, Case
from ..filter_taps import floats, gaussian_taps, kernel, rank_one
from . import Peer, Unsupported

Calls = dict[str, Callable[[], Any]]
BORDERS = {"reflect": cv2.BORDER_REFLECT, "constant": cv2.BORDER_CONSTANT}


class OpenCV:
    """OpenCV's calls; its answers are arrays, and there when the call returns."""

    compiles = False

    def version(self) -> str:
        return str(cv2.__version__)

    def prepare(self, case: Case, inputs: dict[str, Array]) -> Calls:
        if case.operation not in OPERATIONS:
            raise Unsupported(f"OpenCV has no {case.operation}")
        return OPERATIONS[case.operation](case, inputs)

    def finish(self, answer: Any) -> Any:
        return answer

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        return {"y": answer}


def peer(threads: int) -> Peer:
    """OpenCV on a number of threads."""
    cv2.setNumThreads(threads)
    return OpenCV()


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """filter2D, which turns to an FFT by itself, and sepFilter2D where one who knows the filter would take that."""
    image, border = inputs["image"], BORDERS[case.options["mode"]]
    exact = kernel(inputs, case.options)
    taps = exact.astype(floats(case.dtype))
    calls: Calls = {"filter2D": lambda: cv2.filter2D(image, -1, taps, borderType=border)}
    if parts := rank_one(exact):
        column, row = (part.astype(taps.dtype) for part in parts)
        calls["sepFilter2D"] = lambda: cv2.sepFilter2D(image, -1, row, column, borderType=border)
    return calls


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """GaussianBlur of as many taps as SciPy's, and sepFilter2D."""
    image, sigma = inputs["image"], case.options["sigma"]
    taps = gaussian_taps(sigma, case.options["truncate"]).astype(floats(case.dtype))
    size, border = (taps.size, taps.size), cv2.BORDER_REFLECT
    return {
        "GaussianBlur": lambda: cv2.GaussianBlur(image, size, sigma, borderType=border),
        "sepFilter2D": lambda: cv2.sepFilter2D(image, -1, taps, taps, borderType=border),
    }


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """Sobel; of grey levels in int16, since differences have signs."""
    image = inputs["image"]
    depth = cv2.CV_16S if case.dtype == "uint8" else -1
    dx, dy = (0, 1) if case.options["axis"] == 0 else (1, 0)
    return {"Sobel": lambda: cv2.Sobel(image, depth, dx, dy, ksize=3, borderType=cv2.BORDER_REFLECT)}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """filter2D of an image of one row; it correlates, so the taps are reversed, and the anchor moves with them."""
    x, taps = inputs["x"][None], np.ascontiguousarray(inputs["taps"][None, ::-1])
    anchor, border = (taps.size // 2, 0), cv2.BORDER_CONSTANT
    return {"filter2D": lambda: cv2.filter2D(x, -1, taps, anchor=anchor, borderType=border)[0]}


def match_template(case: Case, inputs: dict[str, Array]) -> Calls:
    """The function whose formulas the operation has."""
    image, template = inputs["image"], inputs["template"]
    method = getattr(cv2, f"TM_{case.options['method'].upper()}")
    return {"matchTemplate": lambda: cv2.matchTemplate(image, template, method)}


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
}
