"""NVIDIA GPUs: kernels that `numba.cuda` compiles, one file for a concept, over arrays that stay on the device.

`device` holds memory and launches kernels, `array` is what lives there, `launching` is how a kernel is written and how
an operation takes arrays of either side.
"""

import importlib
import importlib.util
from typing import Any

from fastconv.errors import BackendUnavailableError

WAY_OUT = "set FASTCONV_BACKEND=cpu (the default) or reference, or leave it unset, to compute without a GPU"
INSTALL = 'pip install "fastconv[cuda]"'


def require() -> None:
    """Raise unless kernels can be compiled and run here; the message says what is missing and the way out."""
    fault, cause = _fault()
    if fault:
        asked = "asked for by FASTCONV_BACKEND, by use_backend or by an array on a GPU"
        raise BackendUnavailableError(f"the cuda backend ({asked}) can't run: {fault}; {WAY_OUT}") from cause


def _fault() -> tuple[str, Exception | None]:
    """What is missing, in words, and the exception that told; without a toolkit numba-cuda raises any kind of them."""
    try:
        cuda: Any = importlib.import_module("numba.cuda")
        if importlib.import_module("numba").config.ENABLE_CUDASIM:
            return "", None
        if importlib.util.find_spec("numba_cuda") is None:  # Numba's own, older, compiler for GPUs is not enough
            return f"the package numba-cuda is not installed: {INSTALL}", None
        driver = cuda.cudadrv.driver.driver
        if not driver.is_available:
            why = " ".join(str(driver.initialization_error or "none is installed").split())
            return f"no GPU's driver answers ({why})", None
        if not len(cuda.gpus):
            return "the driver knows of no GPU", None
        if not cuda.cudadrv.nvvm.is_available():
            return f"numba.cuda finds no compiler (NVVM): {INSTALL}", None
    except Exception as error:
        said = " ".join(str(error).split())
        return f"numba.cuda fails ({type(error).__name__}: {said}): {INSTALL}", error
    return "", None
