"""Which algorithm convolutions and their gradients use: the plan's choice, or one that is asked for.

"direct" sums over the filter's taps; "winograd" multiplies less often, for filters of 3 x 3 taps; "fft" multiplies
Fourier transforms, whose cost does not grow with the filter. "auto" is the fastest of them, as far as was measured.
"""

from __future__ import annotations

import numpy as np

from fastconv.geometry import Convolution

NAMES = ("auto", "direct", "winograd", "fft")
WINOGRAD = "2-D, 3 x 3 taps, stride 1, dilation 1 and float32"

preferred = "auto"


def get_algorithm() -> str:
    """The algorithm that `set_algorithm` last set; "auto" by default."""
    return preferred


def set_algorithm(name: str) -> None:
    """Use this algorithm from now on, in the whole process, where a call does not ask for another.

    Calls that it can't serve use the direct algorithm. The reference backend has only its own.

    Parameters
    ----------
    name : {"auto", "direct", "winograd", "fft"}

    Raises
    ------
    ValueError
        If there is no algorithm of that name.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_algorithm("direct")
    >>> fastconv.get_algorithm()
    'direct'
    >>> fastconv.set_algorithm("auto")
    """
    global preferred
    preferred = checked(name)


def checked(name: object) -> str:
    """The name of an algorithm."""
    if isinstance(name, str) and name in NAMES:
        return name
    raise ValueError(f"algorithm is {name!r}: one of {', '.join(map(repr, NAMES))} is accepted")


def chosen(name: object, geometry: Convolution, dtype: np.dtype[np.floating]) -> str:
    """The algorithm for a call that asks for `name`, in the dtype that is computed in: one that can serve it.

    Raises
    ------
    ValueError
        If the call itself asks for one that can't.
    """
    if checked(name) == "auto":
        return preferred if serves(preferred, geometry, dtype) else "direct"
    if not serves(str(name), geometry, dtype):
        raise ValueError(
            f"algorithm is {name!r}, with {len(geometry.kernel_size)}-D, taps {geometry.kernel_size}, stride "
            f"{geometry.stride}, dilation {geometry.dilation} and {dtype}: {WINOGRAD} is accepted, or another algorithm"
        )
    return str(name)


def serves(name: str, geometry: Convolution, dtype: np.dtype[np.floating]) -> bool:
    """Whether an algorithm can compute this convolution and its gradients."""
    if name != "winograd":
        return True
    one = (1, 1)
    return (
        geometry.kernel_size == (3, 3) and geometry.stride == one and geometry.dilation == one and dtype == np.float32
    )
