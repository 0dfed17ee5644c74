"""NumPy: what is written with it, sums over taps, windows times a matrix, and FFTs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..case import Array, Case
from ..filter_taps import DIRECT_LIMIT, FFT_TAPS, fast_length, floats, gaussian_taps, grey, kernel, pad
from . import Peer, Unsupported

Calls = dict[str, Callable[[], Any]]
PATCHES_LIMIT = 1 << 31  # bytes of a matrix of windows, of which NumPy makes a copy


class NumPy:
    """NumPy's calls; its answers are arrays, and there when the call returns."""

    compiles = False

    def version(self) -> str:
        return str(np.__version__)

    def prepare(self, case: Case, inputs: dict[str, Array]) -> Calls:
        if case.operation not in OPERATIONS:
            raise Unsupported(f"{case.operation} is no few lines of NumPy")
        return OPERATIONS[case.operation](case, inputs)

    def finish(self, answer: Any) -> Any:
        return answer

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        return {"y": answer}


def peer(threads: int) -> Peer:
    """NumPy, whose matrix products take their number of threads from the environment."""
    return NumPy()


def sum_taps(image: Array, taps: Array) -> Array:
    """Cross-correlation where the filter lies inside of the image: a shifted image times each tap."""
    rows, columns = (extent - count + 1 for extent, count in zip(image.shape, taps.shape, strict=True))
    y = np.zeros((rows, columns), taps.dtype)
    for r, s in np.ndindex(taps.shape):
        if taps[r, s]:
            y += taps[r, s] * image[r : r + rows, s : s + columns]
    return y


def multiply_spectra(image: Array, taps: Array) -> Array:
    """The same by FFT."""
    rows, columns = (extent - count + 1 for extent, count in zip(image.shape, taps.shape, strict=True))
    lengths = (fast_length(image.shape[0]), fast_length(image.shape[1]))
    spectrum = np.fft.rfft2(image, lengths) * np.conj(np.fft.rfft2(taps, lengths))
    return np.fft.irfft2(spectrum, lengths)[:rows, :columns].astype(taps.dtype, copy=False)


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """A sum over taps, and an FFT for large filters."""
    image, mode, real = inputs["image"], case.options["mode"], floats(case.dtype)
    taps = kernel(inputs, case.options).astype(real)

    def by(function: Callable[[Array, Array], Array]) -> Callable[[], Array]:
        return lambda: grey(function(pad(image.astype(real, copy=False), taps.shape, mode), taps), image.dtype)

    calls: Calls = {}
    if case.flops <= DIRECT_LIMIT:
        calls["taps"] = by(sum_taps)
    if taps.size >= FFT_TAPS:
        calls["fft"] = by(multiply_spectra)
    if not calls:
        raise Unsupported("would take minutes")
    return calls


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """Sums over taps, along each axis, and the whole filter at once by FFT."""
    image, real = inputs["image"], floats(case.dtype)
    taps = gaussian_taps(case.options["sigma"], case.options["truncate"]).astype(real)

    def two_passes() -> Array:
        tall = sum_taps(pad(image.astype(real, copy=False), (taps.size, 1), "reflect"), taps[:, None])
        return grey(sum_taps(pad(tall, (1, taps.size), "reflect"), taps[None]), image.dtype)

    def spectra() -> Array:
        padded = pad(image.astype(real, copy=False), (taps.size, taps.size), "reflect")
        return grey(multiply_spectra(padded, np.outer(taps, taps)), image.dtype)

    return {"taps": two_passes, "fft": spectra} if case.flops <= DIRECT_LIMIT else {"fft": spectra}


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """A difference along one axis, smoothed along the other; of grey levels in int16."""
    image, axis = inputs["image"], case.options["axis"]
    signed = np.int16 if case.dtype == "uint8" else image.dtype

    def differences() -> Array:
        padded = pad(image.astype(signed, copy=False), (3, 3), "reflect")
        padded = padded if axis == 0 else padded.T
        step = padded[2:] - padded[:-2]
        y: Array = step[:, :-2] + 2 * step[:, 1:-1] + step[:, 2:]
        return y if axis == 0 else y.T

    return {"slices": differences}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """np.convolve."""
    if case.flops > DIRECT_LIMIT:
        raise Unsupported("would take minutes")
    x, taps = inputs["x"], inputs["taps"]
    return {"convolve": lambda: np.convolve(x, taps, "same")}


def convolution(case: Case, inputs: dict[str, Array]) -> Calls:
    """Windows times weight as one matrix product, which copies every window (im2col)."""
    x, weight, options = inputs["x"], inputs["weight"], case.options
    if options["groups"] != 1:
        raise Unsupported("groups are no few lines of NumPy")
    rank = x.ndim - 2
    axes = tuple(range(2, x.ndim))
    reach = tuple((r - 1) * d + 1 for r, d in zip(weight.shape[2:], options["dilation"], strict=True))
    strides: Any = (slice(None), slice(None), *(slice(None, None, s) for s in options["stride"]))
    thin: Any = (..., *(slice(None, None, d) for d in options["dilation"]))
    sides = [(0, 0), (0, 0), *options["padding"]]
    pixels = prod(
        (extent + sum(pad) - r) // s + 1
        for extent, pad, r, s in zip(x.shape[2:], options["padding"], reach, options["stride"], strict=True)
    )
    if x.shape[0] * pixels * prod(weight.shape[1:]) * x.itemsize > PATCHES_LIMIT:
        raise Unsupported("the matrix of windows would take more than 2 GiB")
    summed = (1, *range(rank + 2, 2 * rank + 2))

    def windows_times_weight() -> Array:
        padded = np.pad(x, sides) if np.any(options["padding"]) else x
        windows = sliding_window_view(padded, reach, axes)[strides][thin]
        y = np.tensordot(windows, weight, (summed, tuple(range(1, rank + 2))))
        return np.ascontiguousarray(np.moveaxis(y, -1, 1))

    return {"windows": windows_times_weight}


def max_pool2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """The maximum over windows."""
    return {"windows": pooling(case, inputs, np.max, -np.inf)}


def avg_pool2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """The mean over windows, zeros of the padding among them."""
    return {"windows": pooling(case, inputs, np.mean, 0)}


def pooling(case: Case, inputs: dict[str, Array], reduce: Callable[..., Any], outside: float) -> Callable[[], Array]:
    """A reduction over windows."""
    x, options = inputs["x"], case.options
    window = tuple(options["kernel_size"])
    step = tuple(slice(None, None, s) for s in options["stride"])
    sides = [(0, 0), (0, 0), *((p, p) if np.ndim(p) == 0 else tuple(p) for p in options["padding"])]

    def reduced() -> Array:
        padded = np.pad(x, sides, constant_values=outside) if np.any(options["padding"]) else x
        found: Array = reduce(sliding_window_view(padded, window, (2, 3))[:, :, *step], (-2, -1))
        return found

    return reduced


def linear(case: Case, inputs: dict[str, Array]) -> Calls:
    """x times weight, and its gradients."""
    if case.operation == "linear":
        x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
        return {"matmul": lambda: x @ weight.T + bias}
    if case.operation == "linear_input_grad":
        weight, grad = inputs["weight"], inputs["grad"]
        return {"matmul": lambda: grad @ weight}
    x, grad = inputs["x"], inputs["grad"]
    return {"matmul": lambda: grad.T @ x}


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "conv1d": convolution,
    "conv2d": convolution,
    "conv3d": convolution,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "linear": linear,
    "linear_input_grad": linear,
    "linear_weight_grad": linear,
}
