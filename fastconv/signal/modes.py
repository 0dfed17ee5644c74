"""What a mode means: which input contains the other, how long the output is, where in the full one it begins."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.functional import checks
from fastconv.typing import Array, Shape

MODES = ("full", "same", "valid")


def word(value: object, name: str, accepted: Sequence[str]) -> str:
    """`value` if it is one of the accepted words; as a key of SciPy's tables, what has no hash is a TypeError."""
    if type(value) is str and value in accepted:
        return value
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: one of {', '.join(map(repr, accepted))} is accepted") from None
    return checks.choice(value, name, tuple(accepted))


def two(in1: object, in2: object) -> tuple[Array, Array]:
    """Both inputs as arrays."""
    return checks.host(in1, "in1"), checks.host(in2, "in2")


def of_one_rank(x: Array, h: Array) -> None:
    """Raise unless both inputs have equally many axes."""
    if x.ndim != h.ndim:
        raise ValueError(f"in1 has shape {x.shape}, in2 has shape {h.shape}: equally many axes are accepted")


def ordered(x: Array, h: Array, mode: object, axes: Iterable[int] | None = None) -> tuple[Array, Array]:
    """Both inputs, in mode "valid" with the one first that contains the other along `axes` (by default all)."""
    if mode != "valid" or not x.ndim:
        return x, h
    sizes = [(x.shape[axis], h.shape[axis]) for axis in (range(x.ndim) if axes is None else axes)]
    if all(n >= k for n, k in sizes):
        return x, h
    if all(n <= k for n, k in sizes):
        return h, x
    raise ValueError(
        f"mode is 'valid', in1 has shape {x.shape}, in2 has shape {h.shape}: one at least as large as the other along "
        "every axis is accepted"
    )


@lru_cache(maxsize=1024)
def part(n: Shape, k: Shape, mode: str) -> tuple[Shape, Shape]:
    """Where in the full convolution the output begins, and its shape; in mode "valid" the first input is the larger."""
    if mode == "same":
        return tuple([(b - 1) // 2 for b in k]), n
    if mode == "full":
        return (0,) * len(k), tuple([a + b - 1 for a, b in zip(n, k, strict=True)])
    return tuple([b - 1 for b in k]), tuple([a - b + 1 for a, b in zip(n, k, strict=True)])


def empty(x: Array, h: Array, mode: str, dtype: np.dtype[Any]) -> Array:
    """What SciPy's `convolve` and `correlate` give where an input has no elements: sums of nothing, or an error."""
    if x.ndim == 1 and (mode != "same" or x.size >= h.size):
        raise ValueError(f"in1 has shape {x.shape}, in2 has shape {h.shape}: at least one element is accepted")
    if mode != "valid" and any(b == 0 and a != 1 for a, b in zip(x.shape, h.shape, strict=True)):
        raise ValueError(
            f"mode is {mode!r}, in1 has shape {x.shape}, in2 has shape {h.shape}: at least one element is accepted"
        )
    return np.zeros(part(x.shape, h.shape, mode)[1], dtype)


def finite(*arrays: Array) -> bool:
    """Whether there is neither NaN nor infinity in arrays of numbers."""
    for array in arrays:  # noqa: SIM110  # a generator takes longer than a few taps
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            return False
    return True


def multiply_adds(n: Shape, k: Shape, mode: str) -> int:
    """Products that direct sums take; in mode "valid" either input may be the larger."""
    if mode == "same":
        return prod(n) * min(prod(n), prod(k))
    if mode == "full":
        count = prod([a + b - 1 for a, b in zip(n, k, strict=True)])
    else:
        count = prod([abs(a - b) + 1 for a, b in zip(n, k, strict=True)])
    return count * min(prod(n), prod(k))
