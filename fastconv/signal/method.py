"""Which way a convolution is expected to be faster: sums of products, or Fourier transforms."""

from functools import lru_cache, partial
from math import log, log2, prod, sqrt
from timeit import Timer

import numpy as np

from fastconv.functional import checks
from fastconv.signal import modes
from fastconv.signal.fourier import block_of
from fastconv.transforms import transforms
from fastconv.typing import Array, ArrayLike, Shape

# Seconds of one thread, rounded, on a Xeon. Of a product and its sum, by the character of the result's dtype (integers
# are computed in float64, each complex product is four), and of a call:
SUMS = {"f": 2e-11, "d": 4e-11, "F": 8e-11, "D": 1.6e-10, "g": 2e-9, "G": 8e-9, "e": 3e-9}
SUMS_CALL = 1e-5
# Of a convolution by transforms, for each number transformed times the logarithm of the length, and of a call:
TRANSFORMS = {"f": 1e-9, "F": 2e-9, "D": 4e-9, "g": 2e-8, "G": 4e-8, "e": 1e-9}
TRANSFORMS_CALL = 6e-5
NUMPY = 3.0  # how many times longer NumPy's transforms take than SciPy's
EPSILON = 2.0**-52
# SciPy's own estimate, of an operation of transforms and of a product: by the mode, and of one axis in mode "same" with
# the longer input second.
SCIPY = {"full": (1.99817e-9, 1.66174e-8), "same": (2.04735e-9, 1.55367e-8), "valid": (1.85927e-9, 2.11242e-8)}
SCIPY_LINE = (3.21635404e-9, 1.1773253e-8)


def choose_conv_method(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", measure: bool = False
) -> str | tuple[str, dict[str, float]]:
    """Which method `convolve` and `correlate` take for method="auto".

    Parameters
    ----------
    in1, in2 : array
        As `convolve` takes them.
    mode : {"full", "same", "valid"}
        As in `convolve`.
    measure : bool
        Whether both are tried and timed, instead of estimated from the shapes.

    Returns
    -------
    method : {"direct", "fft"}
        Always "direct" for integers that transforms might not give exactly, and for bool and objects. Without
        `measure`, also where there is NaN or infinity, which transforms would spread.
    times : dict of str to float
        Seconds that "fft" and "direct" took; only with `measure`.

    Raises
    ------
    ValueError
        If mode is none of the words, or integers are given without any element.

    References
    ----------
    `scipy.signal.choose_conv_method`.

    Examples
    --------
    >>> choose_conv_method(np.ones(1000), np.ones(10))
    'direct'
    >>> choose_conv_method(np.ones((2000, 2000)), np.ones((500, 500)))
    'fft'
    """
    x, h = modes.two(in1, in2)
    return _measured(x, h, mode) if measure else chosen(x, h, mode)


def chosen(x: Array, h: Array, mode: str) -> str:
    """The method for two arrays."""
    kinds = x.dtype.kind + h.dtype.kind
    integers = "i" in kinds or "u" in kinds
    if integers and not (x.size and h.size):
        raise ValueError(
            f"in1 has shape {x.shape}, in2 has shape {h.shape}: integers of at least one element are accepted"
        )
    if integers and any(kind in "mMSUV" for kind in kinds):
        raise TypeError(f"in1 is {x.dtype}, in2 is {h.dtype}: with integers, numbers are accepted")
    if kinds == "bb" or not all(kind in "buifc" for kind in kinds):
        return "direct"
    checks.choice(mode, "mode", modes.MODES)
    if x.ndim != h.ndim or not (x.size and h.size and x.ndim):
        return "direct"
    kind = np.promote_types(x.dtype, h.dtype).char
    if kind == "e" and (x.ndim > 1 or (mode == "same" and h.size > x.size)):
        return "fft" if scipy_transforms(x, h, mode) and (not integers or exactly_transformed(x, h)) else "direct"
    direct = modes.multiply_adds(x.shape, h.shape, mode) * SUMS.get(kind, SUMS["d"]) + SUMS_CALL
    if direct <= TRANSFORMS_CALL or direct <= transforms_seconds(x.shape, h.shape, kind):
        return "direct"
    return "fft" if modes.finite(x, h) and (not integers or exactly_transformed(x, h)) else "direct"


@lru_cache(maxsize=1024)
def transforms_seconds(n: Shape, k: Shape, kind: str) -> float:
    """What a convolution by transforms takes, about, in blocks where there are any."""
    blocks = [block_of(a, b) for a, b in zip(n, k, strict=True)]
    numbers = prod(block.count * block.length for block in blocks)
    each = TRANSFORMS.get(kind, 2e-9) * (NUMPY if transforms().__name__.startswith("numpy") else 1)
    return each * numbers * log2(prod(block.length for block in blocks) + 1) + TRANSFORMS_CALL


def scipy_transforms(x: Array, h: Array, mode: str) -> bool:
    """Whether SciPy chooses transforms: of float16 it has no direct sums here, so only then the call is taken."""
    transform, product = SCIPY_LINE if x.ndim == 1 else SCIPY[mode]
    numbers: int = prod([n + k - 1 for n, k in zip(x.shape, h.shape, strict=True)])
    products: int = x.size * h.size if mode == "same" else modes.multiply_adds(x.shape, h.shape, mode)
    least = 1e-5 if x.ndim == 1 else 1e-4
    return transform * 3 * numbers * log(numbers) < product * products - least


def exactly_transformed(x: Array, h: Array) -> bool:
    """Whether transforms in float64 keep integers: SciPy asks that no sum be beyond 2^52.

    Sums of integers alone are rounded afterwards: for them the transforms' error, of the order of epsilon log(N) |x|
    |h|, must be far below a half too.
    """
    largest, count = _largest(x) * _largest(h), min(x.size, h.size)
    error = EPSILON * log2(x.size + h.size) * largest * sqrt(x.size * h.size)
    return largest * count <= 2.0**52 - 1 and (error < 1 / 16 or x.dtype.kind in "fc" or h.dtype.kind in "fc")


def _largest(x: Array) -> float:
    """The largest absolute value."""
    if x.dtype.kind in "fc":
        return float(np.abs(x).max())
    return max(-float(x.min()), float(x.max()))


def _measured(x: Array, h: Array, mode: str) -> tuple[str, dict[str, float]]:
    """The faster method, and what both take."""
    from fastconv.signal.convolution import convolve  # which asks this module

    times = {}
    for method in ("fft", "direct"):
        timer = Timer(partial(convolve, x, h, mode, method))
        first = timer.timeit(1)
        rounds = max(1, min(1000, int(5e-3 / max(first, 1e-9))))
        times[method] = first if first > 1 else min(timer.repeat(3, rounds)) / rounds
    return ("fft" if times["fft"] < times["direct"] else "direct"), times
