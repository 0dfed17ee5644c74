"""How many bits of float32 the cuda backend's products keep: all of them, or TF32's.

Tensor cores multiply many times as fast numbers that are rounded to TF32: 10 bits after the point instead of 23, sums
still in float32. Results differ from those of float32 by about a thousandth.
"""

from __future__ import annotations

NAMES = ("float32", "tf32")

chosen = "float32"


def get_precision() -> str:
    """The precision that `set_precision` last set; "float32" by default."""
    return chosen


def set_precision(name: str) -> None:
    """Multiply float32 arrays in this precision from now on, in the whole process, on the cuda backend.

    Convolutions, linear layers and their gradients follow it, where the GPU has tensor cores for it (from compute
    capability 8.0 on). Nothing else does: neither float64, nor the other backends.

    Parameters
    ----------
    name : {"float32", "tf32"}

    Raises
    ------
    ValueError
        If there is no precision of that name.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_precision("tf32")
    >>> fastconv.get_precision()
    'tf32'
    >>> fastconv.set_precision("float32")
    """
    global chosen
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"precision is {name!r}: one of {', '.join(map(repr, NAMES))} is accepted")
    chosen = name
