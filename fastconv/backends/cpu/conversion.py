"""Numbers of one dtype made another's as C does it on x86, also where they are no numbers of that dtype."""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.typing import Array

IEEE = np.errstate(all="ignore")  # what is no number of the dtype is meant to become another one
FLOAT64, BYTE, INT32, INT64, UINT64 = (np.dtype(name) for name in ("f8", "u1", "i4", "i8", "u8"))


def numbers(x: Array) -> Array:
    """The array, booleans as the bytes that they are in C."""
    return x.view(BYTE) if x.dtype.kind == "b" else x


def stored(values: Array, dtype: np.dtype[Any], mirrored: bool = False) -> Array:
    """Floating-point numbers as those of `dtype`: integers lose their fraction, then their upper bits.

    What is beyond int32 (for int32 and dtypes of up to 16 bits) or int64 becomes its least number first. Of uint64
    everything up to 2^64 counts; with `mirrored` negative numbers are what their positive ones are, negated.
    """
    if values.dtype == dtype:
        return values
    return converted(values, dtype, mirrored)


@IEEE
def converted(values: Array, dtype: np.dtype[Any], mirrored: bool) -> Array:
    """The same where there is something to do."""
    if dtype == UINT64:
        return unsigned(values, mirrored)
    if dtype.kind != "f":
        values = values.astype(INT64 if dtype.itemsize == 8 or (dtype.kind == "u" and dtype.itemsize == 4) else INT32)
    return values.astype(dtype, copy=False)


def unsigned(values: Array, mirrored: bool) -> Array:
    """float64 as uint64."""
    found: Array
    if mirrored:
        found = np.where(values > -1, unsigned(values, False), -unsigned(-values, False))
        return found
    upper = values >= 2.0**63
    found = np.where(upper, values - 2.0**63, values).astype(INT64).view(UINT64)
    found ^= upper.astype(UINT64) << np.uint64(63)
    return found


@lru_cache(maxsize=256)
def exact(number: float, dtype: np.dtype[Any]) -> bool:
    """Whether a float is a number of `dtype`."""
    if dtype == FLOAT64:
        return True
    if dtype.kind == "f":
        return number != number or float(one(number, dtype)[0]) == number
    limits = np.iinfo(dtype)
    return limits.min <= number <= limits.max and number == int(number)


@lru_cache(maxsize=256)
def one(number: float, dtype: np.dtype[Any]) -> Array:
    """A float stored as `dtype`: (1,), read-only."""
    found = stored(np.array([number]), dtype)
    found.flags.writeable = False
    return found
