"""PyTorch on a GPU: the calls of its peer on the processor, of tensors that lie there.

`python -m benchmarks.peers.pytorch_cuda_peer` prints why PyTorch can't compute on a GPU here, as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from ..case import Array, Case
from . import Peer, Unsupported
from .pytorch_peer import Call, PyTorch


class PyTorchOnGPU(PyTorch):
    """Answers are tensors on the GPU, which may still be computed when the call returns, or a dict of arrays."""

    device = "cuda"
    compiles = True  # or looks for cuDNN's quickest method: a first call's time says nothing of the next ones'

    def version(self) -> str:
        cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version()
        return f"{torch.__version__} (CUDA {cuda}, cuDNN {cudnn})" if cuda else str(torch.__version__)

    def prepare(self, case: Case, inputs: dict[str, Array]) -> dict[str, Call]:
        reason = fault()
        if reason:
            raise Unsupported(reason)
        torch.cuda.empty_cache()  # what the last case has left behind may be needed by fastconv
        with torch.device(self.device):  # while arrays are made, and not in calls, which it would make slower
            return super().prepare(case, inputs)

    def finish(self, answer: Any) -> Any:
        torch.cuda.synchronize()
        return answer

    def elapsed(self, call: Call, repeats: int) -> float:
        """Seconds from the beginning of so many calls to their end, on the device."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            answer = call()
        end.record()
        end.synchronize()
        del answer  # held until here, as the user would
        return float(start.elapsed_time(end)) / 1e3


def peer(threads: int, precision: str) -> Peer:
    """PyTorch in a precision, which says what matrix products and convolutions in float32 round their factors to."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return PyTorchOnGPU()


def fault() -> str:
    """Why PyTorch can't compute on a GPU here; empty where it can."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    return f"PyTorch {torch.__version__} finds no GPU"


if __name__ == "__main__":
    print(json.dumps({"fault": fault()}))
