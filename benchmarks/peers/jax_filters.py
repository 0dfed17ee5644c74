"""JAX's filters: what its users write with lax's convolution, which is compiled with the border, and by FFT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.signal import fftconvolve

from ..case import Array, Case
from ..filter_taps import DIRECT_LIMIT, FFT_TAPS, borders, floats, gaussian_taps, kernel, rank_one
from . import Unsupported

Calls = dict[str, Callable[[], Any]]


def prepare(case: Case, inputs: dict[str, Array]) -> Calls:
    """The call of a filter in its variants; its answer is one array."""
    calls = OPERATIONS[case.operation](case, inputs)
    if not calls:
        raise Unsupported("would take minutes")
    return calls


def bound(function: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
    """The compiled function's call on arrays that are already there."""
    compiled, held = jax.jit(function), [jnp.asarray(array) for array in arrays]
    return lambda: compiled(*held).block_until_ready()


def bordered(image: Any, taps: tuple[int, ...], mode: str) -> Any:
    """The image with its borders; "reflect" is SciPy's, which repeats the edge pixel."""
    return jnp.pad(image, borders(taps), mode="symmetric" if mode == "reflect" else "constant")


def correlate(padded: Any, taps: Any) -> Any:
    """Where the filter lies inside of the image."""
    return lax.conv_general_dilated(padded[None, None], taps[None, None], (1,) * taps.ndim, "VALID")[0, 0]


def multiply_spectra(padded: Any, taps: Any) -> Any:
    """The same by FFT."""
    return fftconvolve(padded, jnp.flip(taps), "valid")


def grey(y: Any, dtype: Any) -> Any:
    """Real results as the image's dtype: grey levels are rounded."""
    return y if jnp.issubdtype(dtype, jnp.floating) else jnp.clip(jnp.rint(y), 0, 255).astype(dtype)


def one_pass(method: Callable[[Any, Any], Any], mode: str, image: Any, taps: Any) -> Any:
    """A filter at once, by either method."""
    return grey(method(bordered(image.astype(taps.dtype), taps.shape, mode), taps), image.dtype)


def two_passes(mode: str, image: Any, column: Any, row: Any) -> Any:
    """A separable filter: along the columns, then along the rows."""
    tall = correlate(bordered(image.astype(column.dtype), (len(column), 1), mode), column[:, None])
    return grey(correlate(bordered(tall, (1, len(row)), mode), row[None]), image.dtype)


def filter2d(case: Case, inputs: dict[str, Array]) -> Calls:
    """A convolution, an FFT for large filters, and two passes where one who knows the filter would take them."""
    image, mode, exact, real = inputs["image"], case.options["mode"], kernel(inputs, case.options), floats(case.dtype)
    calls: Calls = {}
    if case.flops <= DIRECT_LIMIT:
        calls["conv"] = bound(partial(one_pass, correlate, mode), image, exact.astype(real))
    if exact.size >= FFT_TAPS:
        calls["fft"] = bound(partial(one_pass, multiply_spectra, mode), image, exact.astype(real))
    if parts := rank_one(exact):
        calls["two passes"] = bound(partial(two_passes, mode), image, *(part.astype(real) for part in parts))
    return calls


def gaussian(case: Case, inputs: dict[str, Array]) -> Calls:
    """Two passes."""
    taps = gaussian_taps(case.options["sigma"], case.options["truncate"]).astype(floats(case.dtype))
    return {"two passes": bound(partial(two_passes, "reflect"), inputs["image"], taps, taps)}


def sobel(case: Case, inputs: dict[str, Array]) -> Calls:
    """A convolution; of grey levels in int16, since differences have signs."""
    real = floats(case.dtype)
    signed = jnp.int16 if case.dtype == "uint8" else real

    def filtered(image: Any, taps: Any) -> Any:
        return correlate(bordered(image.astype(real), taps.shape, "reflect"), taps).astype(signed)

    taps = jnp.outer(jnp.array([-1, 0, 1], real), jnp.array([1, 2, 1], real))
    return {"conv": bound(filtered, inputs["image"], taps if case.options["axis"] == 0 else taps.T)}


def convolve1d(case: Case, inputs: dict[str, Array]) -> Calls:
    """jnp.convolve and an FFT; both centre "same" as SciPy does where the signal is the longer."""
    x, taps = inputs["x"], inputs["taps"]
    calls: Calls = {"fft": bound(partial(fftconvolve, mode="same"), x, taps)}
    if case.flops <= DIRECT_LIMIT:
        calls["convolve"] = bound(partial(jnp.convolve, mode="same"), x, taps)
    return calls


def match_template(case: Case, inputs: dict[str, Array]) -> Calls:
    """Cross-correlation is the method "ccorr"."""
    if case.options["method"] != "ccorr":
        raise Unsupported(f"JAX has no template matching by {case.options['method']}")
    image, template = (inputs[name].astype(floats(case.dtype)) for name in ("image", "template"))
    calls: Calls = {"fft": bound(multiply_spectra, image, template)}
    if case.flops <= DIRECT_LIMIT:
        calls["conv"] = bound(correlate, image, template)
    return calls


OPERATIONS: dict[str, Callable[[Case, dict[str, Array]], Calls]] = {
    "filter2d": filter2d,
    "gaussian": gaussian,
    "sobel": sobel,
    "convolve1d": convolve1d,
    "match_template": match_template,
}
