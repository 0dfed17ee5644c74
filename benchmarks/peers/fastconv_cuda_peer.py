"""fastconv on a GPU: the calls of its peer on the processor, of arrays that `to_device` has put there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastconv
from fastconv import ndimage
from fastconv.backends.cuda import device

from .. import networks
from ..case import Array, Case
from . import Peer
from .fastconv_peer import Call, Fastconv, Inputs

LOOKED_AT = ("kernel", "taps")  # filters of `ndimage`: which kernels apply them is decided by their numbers


class FastconvOnGPU(Fastconv):
    """Answers are arrays on the GPU, which may still be computed when the call returns, or a dict of NumPy's."""

    def prepare(self, case: Case, inputs: Inputs) -> dict[str, Call]:
        device.clear()  # what the last case has left behind may be needed by the other libraries
        if case.operation == "train_step":  # a batch comes from the computer's memory, and goes to the GPU in each step
            return super().prepare(case, inputs)
        if case.operation in OPERATIONS:
            return OPERATIONS[case.operation](case, inputs)
        placed = {name: array if name in LOOKED_AT else fastconv.to_device(array) for name, array in inputs.items()}
        return super().prepare(case, placed)

    def remark(self, case: Case) -> None:
        """Plans on a GPU expect no times."""

    def roof(self, case: Case) -> None:
        """The processor's is not the GPU's, whose clock tells it."""

    def finish(self, answer: Any) -> Any:
        device.synchronize()
        return answer

    def elapsed(self, call: Call, repeats: int) -> float:
        """Seconds from the beginning of so many calls to their end, on the device."""
        from numba import cuda

        start, end = cuda.event(), cuda.event()
        start.record()  # on the default stream, which fastconv launches on
        for _ in range(repeats):
            answer = call()
        end.record()
        end.synchronize()
        del answer  # held until here, as the user would
        return float(start.elapsed_time(end)) / 1e3

    def to_numpy(self, answer: Any) -> dict[str, Array]:
        found: dict[str, Any] = super().to_numpy(answer)
        return {name: fastconv.to_host(array) for name, array in found.items()}


def peer(threads: int, precision: str) -> Peer:
    """fastconv in a precision; so many threads do what is left to the processor."""
    fastconv.set_num_threads(threads)
    fastconv.set_precision(precision)
    return FastconvOnGPU()


def infer(case: Case, inputs: Inputs) -> dict[str, Call]:
    """The model in evaluation, its weights and the images on the GPU."""
    model = networks.build(case.options["model"], case.dtype).eval().to_device()
    x = fastconv.to_device(inputs["x"])
    return {"default": lambda: model(x)}


def convolve1d(case: Case, inputs: Inputs) -> dict[str, Call]:
    """ndimage.convolve1d, as `signal` does not compute with arrays on a GPU; its middle tap is that of "same" there."""
    x, taps = fastconv.to_device(inputs["x"]), inputs["taps"]
    origin = (len(taps) - 1) // 2 - len(taps) // 2
    return {"convolve1d": lambda: ndimage.convolve1d(x, taps, mode="constant", origin=origin)}


OPERATIONS: dict[str, Callable[[Case, Inputs], dict[str, Call]]] = {"infer": infer, "convolve1d": convolve1d}
