"""PyTorch's filters: what users write with conv1d, conv2d and torch.fft. No border of it is SciPy's "reflect"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..case import Array, Case
from ..filter_taps import DIRECT_LIMIT, FFT_TAPS, borders, fast_length, floats, gaussian_taps, kernel, rank_one
from . import Unsupported
from .pytorch_tensors import tensor

Calls = dict[str, Callable[[], Any]]
PATCHES_LIMIT = 1 << 31  # bytes: without oneDNN (float64, or one thread) conv2d copies every window


def prepare(case: Case, inputs: dict[str, Array]) -> Calls:
    """The call of a filter in its variants; its answer is one tensor in the oracle's layout."""
    calls = OPERATIONS[case.operation](case, inputs)
    if not calls:
        raise Unsupported("conv2d would take minutes, or copy more than 2 GiB of windows")
    return calls


class Border:
    """An image's border: "reflect" repeats the edge pixel, which is a gather by indices, made once."""

    def __init__(self, shape: tuple[int, ...], taps: tuple[int, ...], mode: str) -> None:
        self.sides, self.mode = borders(taps), mode
        self.places = [self.mirrored(extent, *sides) for extent, sides in zip(shape, self.sides, strict=True)]

    @staticmethod
    def mirrored(extent: int, before: int, after: int) -> Any:
        """The pixel that stands at each place of an axis with its borders."""
        place = torch.arange(-before, extent + after).remainder(2 * extent)
        return torch.minimum(place, 2 * extent - 1 - place)

    def __call__(self, image: Any) -> Any:
        if self.mode == "constant":
            (top, bottom), (left, right) = self.sides
            return F.pad(image, (left, right, top, bottom))
        for axis, (sides, place) in enumerate(zip(self.sides, self.places, strict=True)):
            image = image.index_select(axis, place) if any(sides) else image
        return image


def correlate(padded: Any, taps: Any) -> Any:
    """conv2d of an image of one channel."""
    return F.conv2d(padded[None, None], taps[None, None])[0, 0]


def multiply_spectra(padded: Any, taps: Any) -> Any:
    """The same by FFT."""
    lengths = tuple(fast_length(extent) for extent in padded.shape)
    spectrum = torch.fft.rfft2(padded, lengths) * torch.fft.rfft2(taps, lengths).conj()
    rows, columns = (extent - count + 1 for extent, count in zip(padded.shape, taps.shape, strict=True))
    return torch.fft.irfft2(spectrum, lengths)[:rows, :columns]


def grey(y: Any, dtype: Any) -> Any:
    """Real results as the image's dtype: grey levels are rounded."""
    return y if dtype.is_floating_point else y.round().clamp(0, 255).to(dtype)


def affordable(case: Case, taps: int) -> bool:
    """Whether conv2d of one channel ends soon, and its copy of the windows, if it makes one, fits."""
    pixels = case.arrays["image"][0] * case.arrays["image"][1]
    return ends_soon(case) and fits(taps * pixels, case.dtype)


def on_gpu() -> bool:
    """Whether arrays lie on a GPU, where cuDNN sums: faster by far, and without a copy of all windows."""
    return torch.get_default_device().type == "cuda"


def ends_soon(case: Case) -> bool:
    """Whether a direct sum takes seconds at most."""
    return on_gpu() or case.flops <= DIRECT_LIMIT


def fits(numbers: int, dtype: str) -> bool:
    """Whether a copy of all windows, of so many numbers, is small enough or not made."""
    copied = (dtype == "float64" or torch.get_num_threads() == 1) and not on_gpu()
    return not copied or numbers * floats(dtype).itemsize <= PATCHES_LIMIT


def passes(image: Any, column: Any, row: Any, mode: str) -> Callable[[], Any]:
    """A separable filter: along the columns, then along the rows."""
    tall, wide = Border(image.shape, (len(column), 1), mode), Border(image.shape, (1, len(row)), mode)

    def call() -> Any:
        first = correlate(tall(image.to(column.dtype)), column[:, None])
        return grey(correlate(wide(first), row[None]), image.dtype)

    return call


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """conv2d, an FFT for large filters, and two passes where one who knows the filter would take them."""
    image, mode, exact = tensor(inputs["image"]), case.options["mode"], kernel(inputs, case.options)
    taps = tensor(exact.astype(floats(case.dtype)))
    border = Border(image.shape, exact.shape, mode)
    calls: Calls = {}
    if affordable(case, exact.size):
        calls["conv2d"] = lambda: grey(correlate(border(image.to(taps.dtype)), taps), image.dtype)
    if exact.size >= FFT_TAPS or not calls:
        calls["fft"] = lambda: grey(multiply_spectra(border(image.to(taps.dtype)), taps), image.dtype)
    if (parts := rank_one(exact)) and affordable(case, max(exact.shape)):
        column, row = (tensor(part.astype(floats(case.dtype))) for part in parts)
        calls["two passes"] = passes(image, column, row, mode)
    return calls


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """Two passes of conv2d, or the whole filter at once by FFT."""
    image, line = tensor(inputs["image"]), gaussian_taps(case.options["sigma"], case.options["truncate"])
    taps = tensor(line.astype(floats(case.dtype)))
    border = Border(image.shape, (line.size, line.size), "reflect")
    square = torch.outer(taps, taps)
    calls: Calls = {}
    if affordable(case, line.size):
        calls["two passes"] = passes(image, taps, taps, "reflect")
    if square.numel() >= FFT_TAPS or not calls:
        calls["fft"] = lambda: grey(multiply_spectra(border(image.to(taps.dtype)), square), image.dtype)
    return calls


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """conv2d; of grey levels in int16, since differences have signs."""
    image = tensor(inputs["image"])
    real = torch.float64 if case.dtype == "float64" else torch.float32
    taps = torch.outer(torch.tensor([-1, 0, 1], dtype=real), torch.tensor([1, 2, 1], dtype=real))
    taps = taps if case.options["axis"] == 0 else taps.T.contiguous()
    signed = image.dtype if image.dtype.is_floating_point else torch.int16
    border = Border(image.shape, (3, 3), "reflect")
    if not affordable(case, taps.numel()):
        return {}
    return {"conv2d": lambda: correlate(border(image.to(real)), taps).to(signed)}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """conv1d of the reversed taps, and an FFT."""
    x, taps = tensor(inputs["x"]), tensor(inputs["taps"])
    flipped, ((before, after),) = taps.flip(0), borders(tuple(taps.shape))
    length = fast_length(len(x) + before + after)

    def fft() -> Any:
        return torch.fft.irfft(torch.fft.rfft(x, length) * torch.fft.rfft(taps, length), length)[after:][: len(x)]

    calls: Calls = {"fft": fft}
    if ends_soon(case) and fits(taps.numel() * x.numel(), case.dtype):
        calls["conv1d"] = lambda: F.conv1d(F.pad(x, (before, after))[None, None], flipped[None, None])[0, 0]
    return calls


def match_template(case: Case, inputs: dict[str, Array]) -> Calls:
    """Cross-correlation is the method "ccorr"."""
    if case.options["method"] != "ccorr":
        raise Unsupported(f"PyTorch has no template matching by {case.options['method']}")
    real = torch.float64 if case.dtype == "float64" else torch.float32
    image, template = (tensor(inputs[name]) for name in ("image", "template"))
    calls: Calls = {"fft": lambda: multiply_spectra(image.to(real), template.to(real))}
    if affordable(case, template.numel()):
        calls["conv2d"] = lambda: correlate(image.to(real), template.to(real))
    return calls


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
}
