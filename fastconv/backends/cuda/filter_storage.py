"""How sums of filters become an array's numbers, as C stores them on x86, and which numbers the sums are.

Sums are float64, rounded after each product where an integer is made of them, for a fused product could end on the
other side of it; float32 where both arrays are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, int64, uint64

from fastconv.backends.cuda import device
from fastconv.backends.cuda.launching import device_function

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
UPPER = 2.0**63


def summed(source: np.dtype[Any], target: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of sums of pixels of `source` that are stored as `target`."""
    return SINGLE if source == target == SINGLE else DOUBLE


@cache
def product(exact: bool) -> Any:
    """The function that multiplies, rounding before any addition if `exact`."""
    if exact and not device.SIMULATED:
        from numba.cuda import libdevice

        @device_function
        def rounded(a, b):  # type: ignore[no-untyped-def]
            """The product, which is not fused with an addition."""
            return libdevice.dmul_rn(a, b)

        return rounded

    @device_function
    def fused(a, b):  # type: ignore[no-untyped-def]
        """The product, which may be fused with an addition."""
        return a * b

    return fused


@cache
def stored(dtype: np.dtype[Any]) -> Any:
    """The function that makes an array's number of a sum: integers lose their fraction, unsigned ones wrap around.

    Numbers beyond int32 (for types of up to 16 bits and int32) or int64 become its least number first.
    """
    if dtype.kind == "f":
        return from_dtype(dtype)
    if dtype == np.uint64:
        return _stored_longest
    byte = np.dtype(np.uint8)
    held = from_dtype(byte if dtype.kind == "b" else dtype)
    limit = 2.0**31 if dtype.itemsize < 4 or dtype == np.int32 else UPPER
    least = int(-limit)

    @device_function
    def whole(number):  # type: ignore[no-untyped-def]
        """An integer."""
        if number >= -limit and number < limit:
            return held(int64(number))
        return held(int64(least))

    @device_function
    def truth(number):  # type: ignore[no-untyped-def]
        """Whether its byte is not 0."""
        return whole(number) != 0

    return truth if dtype.kind == "b" else whole


@device_function
def _stored_longest(number):  # type: ignore[no-untyped-def]
    size = abs(number)
    above = size >= UPPER
    rest = size - UPPER if above else size
    whole = int64(-0x8000000000000000)
    if rest < UPPER:
        whole = int64(rest)
    bits = uint64(whole)
    if above:
        bits = bits ^ uint64(0x8000000000000000)
    return bits if number > -1 else uint64(0) - bits
