"""Convolution and cross-correlation of arrays of any rank with zeros around them, as in `scipy.signal`."""

import warnings
from typing import Any, cast

import numpy as np

from fastconv.signal import modes, sums
from fastconv.signal.fourier import fftconvolve, oaconvolve
from fastconv.signal.method import chosen
from fastconv.typing import Array, ArrayLike

METHODS = ("auto", "direct", "fft")


def convolve(in1: ArrayLike, in2: ArrayLike, mode: str = "full", method: str = "auto") -> Any:
    """Convolution of two arrays of any rank, which flips the second: y[p] = sum over r of in1[p - r] * in2[r].

    Parameters
    ----------
    in1, in2 : array
        With equally many axes; beyond their ends they are 0. Real, complex and integer dtypes, long doubles too; bool,
        float16 and objects with one axis, or by transforms.
    mode : {"full", "same", "valid"}
        Which part is returned: all of it, what is centred and of in1's shape, or the sums that need no zeros (then one
        input is at least as large as the other along every axis).
    method : {"auto", "direct", "fft"}
        Sums of products, Fourier transforms, or what `choose_conv_method` expects to be faster. By transforms, every
        error is relative to the largest numbers; "auto" takes them only where all numbers are finite.

    Returns
    -------
    array, of the inputs' common dtype
        Integers are exact, modulo the dtype's number of bits.

    Raises
    ------
    ValueError
        If the inputs have unequal ranks, neither contains the other in mode "valid", one has no elements, the dtype has
        no sums, or an option is none of the words.

    Warns
    -----
    RuntimeWarning
        If method is "fft" and NaN or infinity in the input make all of the output NaN.

    References
    ----------
    `scipy.signal.convolve`.

    Examples
    --------
    >>> convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    >>> convolve([1, 2, 3], [0, 1, 0.5], mode="same")
    array([1. , 2.5, 4. ])
    """
    x, h = modes.two(in1, in2)
    if x.ndim == h.ndim == 0:
        return x * h
    modes.of_one_rank(x, h)
    return _convolved(x, h, mode, method)


def correlate(in1: ArrayLike, in2: ArrayLike, mode: str = "full", method: str = "auto") -> Any:
    """Cross-correlation of two arrays of any rank: y[p] = sum over r of in1[p + r] * conj(in2[r]), for every lag p.

    The first lag is -(K - 1) along each axis, K being in2's extent; `correlation_lags` lists them.

    Parameters
    ----------
    in1, in2 : array
        With equally many axes, as `convolve` takes them.
    mode : {"full", "same", "valid"}
        Which part is returned, as in `convolve`.
    method : {"auto", "direct", "fft"}
        As in `convolve`.

    Returns
    -------
    array, of the inputs' common dtype

    Raises
    ------
    ValueError
        As `convolve`.
    TypeError
        If mode has no hash, such as a list.

    References
    ----------
    `scipy.signal.correlate`.

    Examples
    --------
    >>> correlate([1, 2, 3], [0, 1, 0.5])
    array([0.5, 2. , 3.5, 3. , 0. ])
    """
    x, h = modes.two(in1, in2)
    if x.ndim == h.ndim == 0:
        return x * (h.conj() if h.dtype.kind == "c" else h)
    modes.of_one_rank(x, h)
    modes.word(mode, "mode", modes.MODES)
    flipped = h[(slice(None, None, -1),) * h.ndim]
    return _convolved(x, flipped.conj() if h.dtype.kind == "c" else flipped, mode, method)


def correlation_lags(in1_len: int, in2_len: int, mode: str = "full") -> Array:
    """The lags of a cross-correlation of two signals: by how many samples in2 is moved for each entry of `correlate`.

    Parameters
    ----------
    in1_len, in2_len : int
        Samples of the two signals.
    mode : {"full", "same", "valid"}
        As in `correlate`.

    Returns
    -------
    array (lags,), int64

    Raises
    ------
    ValueError
        If mode is none of the words.
    TypeError
        If a length is no number.

    References
    ----------
    `scipy.signal.correlation_lags`.

    Examples
    --------
    >>> correlation_lags(3, 2)
    array([-1,  0,  1,  2])
    """
    if mode not in modes.MODES:
        raise ValueError(f"mode is {mode!r}: one of {', '.join(map(repr, modes.MODES))} is accepted")
    if mode == "valid":
        last = in1_len - in2_len
        return np.arange(last + 1) if last >= 0 else np.arange(last, 1)
    lags = np.arange(1 - in2_len, in1_len)
    if mode == "full":
        return lags
    begin = lags.size // 2 - in1_len // 2
    return lags[begin : begin + in1_len // 2 * 2 + in1_len % 2]


def _convolved(x: Array, h: Array, mode: str, method: str) -> Array:
    """The convolution of two arrays with equally many axes."""
    x, h = modes.ordered(x, h, mode)
    if method == "direct" or (method == "auto" and chosen(x, h, mode) == "direct"):
        return _direct(x, h, mode)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}: one of {', '.join(map(repr, METHODS))} is accepted")
    dtype = np.result_type(x, h)
    if method == "auto" and dtype.kind in "iu":  # like sums, cut to their bits, which the cast from floats is not
        return _transformed(x, h, mode, sums.WORD).astype(dtype, copy=False)
    return _transformed(x, h, mode, dtype)


def _direct(x: Array, h: Array, mode: str) -> Array:
    """Sums of products. With one axis SciPy leaves them to NumPy, which takes every dtype and adds no zeros."""
    modes.word(mode, "mode", modes.MODES)
    dtype = sums.common(x, h)
    line = x.ndim == 1 and (mode != "same" or x.size >= h.size)
    if not (line or sums.supported(dtype)):
        raise ValueError(
            f"in1 is {x.dtype}, in2 is {h.dtype}, with {x.ndim} axes: integers, float32, float64, long double and "
            "their complex dtypes are accepted, or method='fft'"
        )
    if mode == "full" and h.size > x.size:
        x, h = h, x
    if not (x.size and h.size):
        return modes.empty(x, h, mode, dtype)
    if line and (not sums.supported(dtype) or dtype in sums.LONG or (mode != "valid" and not modes.finite(h))):
        with np.errstate(all="ignore"):
            return cast(Array, np.convolve(x, h, cast(Any, mode)))
    return sums.convolved(x, h, *modes.part(x.shape, h.shape, mode), dtype)


def _transformed(x: Array, h: Array, mode: str, dtype: np.dtype[Any]) -> Array:
    """By Fourier transforms, of blocks where that is less work, then cast as SciPy does.

    Whole transforms carry NaN and infinity everywhere, as SciPy's do and its warning says.
    """
    blocks = x.dtype.kind in "iufc" and h.dtype.kind in "iufc" and modes.finite(x, h)
    y = (oaconvolve if blocks else fftconvolve)(x, h, mode)
    if not y.size:
        raise IndexError(f"in1 has shape {x.shape}, in2 has shape {h.shape}: at least one element is accepted")
    if dtype.kind in "iu":
        y = np.round(y)
    elif not np.isfinite(y.flat[0]):
        warnings.warn(
            "in1 or in2 holds NaN or infinity, so all of the output is NaN: method='direct' keeps it where it belongs",
            RuntimeWarning,
            stacklevel=4,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return cast(Array, y.astype(dtype, copy=False))
