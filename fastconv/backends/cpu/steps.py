"""Steps of a bound network: kernels with the arrays that they work on, fixed once and run many times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastconv.typing import Array


class Step(NamedTuple):
    """A kernel whose arguments are fixed.

    Attributes
    ----------
    name : str
        What a profile calls it.
    body : a body of `native`
        It finds `parameters` behind its first argument and the addresses of `arrays` behind its second.
    parameters : sequence of int
    arrays : sequence of array or None
        Held as long as the step is; None is the address 0.
    tasks : int
    parts : int
        Into how many parts each thread's share of the tasks falls; 0: the step is not worth threads.
    images : int
        If above 0, tasks are a multiple of it, those of an image (or of a run of as many images as all others)
        neighbours, and no image's tasks read what this step writes for another one: then the step may be run image by
        image, between other steps.
    flops : int
        Of the operation, as a dense one counts them.
    early : bool
        Whether the step looks at nothing but parameters, and may be run before steps that stand before it.
    """

    name: str
    body: Any
    parameters: Sequence[int]
    arrays: Sequence[Array | None]
    tasks: int
    parts: int = 4
    images: int = 0
    flops: int = 0
    early: bool = False
