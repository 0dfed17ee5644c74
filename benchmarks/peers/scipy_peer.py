"""SciPy: filters of images and signals, and convolution of one channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from scipy import ndimage, signal

from ..case import Array, Case
from ..filter_taps import DIRECT_LIMIT, FFT_TAPS, floats, grey, kernel, pad, rank_one
from . import Peer, Unsupported

Calls = dict[str, Callable[[], Any]]


class SciPy:
    """SciPy's calls; its answers are arrays, and there when the call returns."""

    compiles = False

    def version(self) -> str:
        return str(scipy.__version__)

    def prepare(self, case: Case, inputs: dict[str, Array]) -> Calls:
        if case.operation not in OPERATIONS:
            raise Unsupported(f"SciPy has no {case.operation}")
        calls = OPERATIONS[case.operation](case, inputs)
        if not calls:
            raise Unsupported("would take minutes")
        return calls

    def finish(self, answer: Any) -> Any:
        return answer

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        return {"y": answer}


def peer(threads: int) -> Peer:
    """SciPy, whose filters run on one thread whatever `threads` is."""
    return SciPy()


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """ndimage.correlate, the two FFT convolutions of signal, and correlate1d twice where the filter allows it."""
    image, mode = inputs["image"], case.options["mode"]
    exact, real = kernel(inputs, case.options), floats(case.dtype)
    taps = exact.astype(real)
    flipped = taps[::-1, ::-1]
    calls: Calls = {}
    if case.flops <= DIRECT_LIMIT:
        calls["direct"] = lambda: ndimage.correlate(image, taps, mode=mode)

    def by(function: Any) -> Callable[[], Array]:
        return lambda: grey(
            function(pad(image.astype(real, copy=False), taps.shape, mode), flipped, "valid"), image.dtype
        )

    if taps.size >= FFT_TAPS:
        calls.update(oaconvolve=by(signal.oaconvolve), fftconvolve=by(signal.fftconvolve))
    if parts := rank_one(exact):
        column, row = parts

        def separable() -> Array:
            tall = ndimage.correlate1d(image, column, 0, output=real, mode=mode)
            return grey(ndimage.correlate1d(tall, row, 1, mode=mode), image.dtype)

        calls["correlate1d"] = separable
    return calls


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """The function that defines the operation."""
    image, sigma, truncate = inputs["image"], case.options["sigma"], case.options["truncate"]
    return {"gaussian_filter": lambda: ndimage.gaussian_filter(image, sigma, truncate=truncate)}


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """The function that defines the operation; of grey levels in int16, since differences have signs."""
    image, axis = inputs["image"], case.options["axis"]
    output = np.int16 if case.dtype == "uint8" else None
    return {"sobel": lambda: ndimage.sobel(image, axis, output=output)}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """signal.convolve by both methods, and oaconvolve, made for a short filter on a long signal."""
    x, taps = inputs["x"], inputs["taps"]
    calls: Calls = {
        "fft": lambda: signal.fftconvolve(x, taps, "same"),
        "oaconvolve": lambda: signal.oaconvolve(x, taps, "same"),
    }
    if case.flops <= DIRECT_LIMIT:
        calls["direct"] = lambda: signal.convolve(x, taps, "same", method="direct")
    return calls


def match_template(case: Case, inputs: dict[str, Array]) -> Calls:
    """signal.correlate is the method "ccorr"."""
    if case.options["method"] != "ccorr":
        raise Unsupported(f"SciPy has no template matching by {case.options['method']}")
    image, template, real = inputs["image"], inputs["template"], floats(case.dtype)

    def correlate() -> Array:
        found: Array = signal.correlate(image.astype(real, copy=False), template.astype(real), "valid", method="fft")
        return found

    return {"correlate": correlate}


def single_channel(case: Case, inputs: dict[str, Array]) -> Calls:
    """signal.correlate, where a layer has one image, channel and filter, and steps of one."""
    options = case.options
    one = inputs["x"].shape[:2] == inputs["weight"].shape[:2] == (1, 1)
    if not one or {*options["stride"], *options["dilation"]} != {1}:
        raise Unsupported("SciPy has no convolution of several channels, or with strides")
    x, taps, sides = inputs["x"][0, 0], inputs["weight"][0, 0], options["padding"]
    if case.flops > DIRECT_LIMIT:
        raise Unsupported("would take minutes")
    if not np.any(sides):
        return {"correlate": lambda: signal.correlate(x, taps, "valid", method="direct")[None, None]}
    return {"correlate": lambda: signal.correlate(np.pad(x, sides), taps, "valid", method="direct")[None, None]}


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
    "conv1d": single_channel,
    "conv2d": single_channel,
    "conv3d": single_channel,
}
