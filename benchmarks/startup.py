"""Import, and the first call with cold and with warm caches: each in a fresh process of the library alone.

A repetition is two processes with an empty folder for caches between them: the first finds it cold, the second warm.
A library that keeps nothing on disk shows the same twice. NumPy's import, which every library here needs or brings, is
part of each; the system's own cache of files is warm, because a process that is not counted has read them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from fastconv.threads import available

from .peers import installed

REPETITIONS = 5
LIMIT = 300.0  # seconds for one process

PROLOGUE = """
import os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])])
start = time.perf_counter()
"""
IMPORTED = """
imported = time.perf_counter()
image, taps = np.ones((8, 8), np.float32), np.ones((3, 3), np.float32)
"""
EPILOGUE = """
print(imported - start, time.perf_counter() - imported, flush=True)
os._exit(0)  # the answer is there; how a library takes leave is not asked
"""

# What a user imports, and the smallest convolution: 8x8 pixels, 3x3 taps, one channel.
SNIPPETS = {
    "fastconv": (
        "import numpy as np\nimport fastconv.functional as F",
        "F.conv2d(image[None, None], taps[None, None], padding=1)",
    ),
    "pytorch": (
        "import numpy as np\nimport torch\nimport torch.nn.functional as F",
        "F.conv2d(torch.from_numpy(image)[None, None], torch.from_numpy(taps)[None, None], padding=1)",
    ),
    "jax": (
        "import numpy as np\nimport jax",
        "conv = jax.jit(lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1))))\n"
        "conv(image[None, None], taps[None, None]).block_until_ready()",
    ),
    "opencv": ("import numpy as np\nimport cv2", "cv2.filter2D(image, -1, taps, borderType=cv2.BORDER_CONSTANT)"),
    "scipy": ("import numpy as np\nfrom scipy import ndimage", "ndimage.correlate(image, taps, mode='constant')"),
    "numpy": (
        "import numpy as np",
        "windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1), (3, 3))\n"
        "np.einsum('pqrs,rs->pq', windows, taps)",
    ),
    "onnxruntime": (
        "import numpy as np\nimport onnxruntime",
        "session = onnxruntime.InferenceSession(sys.argv[2], providers=['CPUExecutionProvider'])\n"
        "session.run(None, {'x': image[None, None], 'w': taps[None, None]})",
    ),
}

# ONNX Runtime runs a file; another process writes it.
WRITE_MODEL = """
import sys, onnx
from onnx import TensorProto, helper
def tensor(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
x, w, y = tensor("x", [1, 1, 8, 8]), tensor("w", [1, 1, 3, 3]), tensor("y", [1, 1, 8, 8])
graph = helper.make_graph([node], "conv", [x, w], [y])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""


def measure(
    peers: list[str], threads: int, repetitions: int = REPETITIONS, unread: bool = True
) -> dict[str, dict[str, Any]]:
    """Seconds of import and of the first call, for each peer.

    Parameters
    ----------
    peers : list of str
    threads, repetitions : int
    unread : bool
        Whether the system may have the libraries' files still to read.

    Returns
    -------
    dict
        By peer: "status", and "import", "cold" and "warm" (the first call with either cache), each with its "median"
        and all "samples"; or the "reason" why not.
    """
    return {name: one(name, threads, repetitions, unread) for name in peers}


def one(name: str, threads: int, repetitions: int, unread: bool) -> dict[str, Any]:
    """One peer."""
    samples: dict[str, list[float]] = {"import": [], "cold": [], "warm": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = str(Path(folder) / "conv.onnx")
            if name == "onnxruntime":
                run(WRITE_MODEL, [model], environment(threads, folder))
            library, call = SNIPPETS[name]
            snippet = "".join([PROLOGUE, library, IMPORTED, call, EPILOGUE])
            if unread:
                run(PROLOGUE + library, [str(threads)], environment(threads, str(Path(folder) / "uncounted")))
            for repetition in range(repetitions):
                caches = environment(threads, str(Path(folder) / str(repetition)))
                for state in ("cold", "warm"):
                    seconds = [float(text) for text in run(snippet, [str(threads), model], caches).split()[-2:]]
                    samples["import"].append(seconds[0])
                    samples[state].append(seconds[1])
    except (RuntimeError, subprocess.TimeoutExpired) as problem:
        return {"status": "failed", "reason": str(problem)}
    return {"status": "ok", **{key: {"median": median(times), "samples": times} for key, times in samples.items()}}


def run(snippet: str, arguments: list[str], variables: dict[str, str]) -> str:
    """What a fresh interpreter prints; RuntimeError with its last line where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", snippet, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    return done.stdout


def environment(threads: int, caches: str) -> dict[str, str]:
    """The variables of a process: its number of threads, and its own folder for every cache on disk."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTCONV_NUM_THREADS")
    spec = importlib.util.find_spec("fastconv")
    assert spec is not None
    assert spec.origin is not None
    root = str(Path(spec.origin).parents[1])  # where fastconv lies, installed or not
    return {
        **os.environ,
        **dict.fromkeys(counts, str(threads)),
        "NUMBA_CACHE_DIR": caches,
        "FASTCONV_CACHE_DIR": caches,
        "JAX_COMPILATION_CACHE_DIR": caches,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
    }


def main() -> None:
    """`python -m benchmarks.startup [PEER ...]` prints what is measured, as JSON."""
    wanted = sys.argv[1:] or installed()
    print(json.dumps(measure(wanted, available()), indent=1))


if __name__ == "__main__":
    main()
