import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastconv as fc
import fastconv.functional as F

WORK = """
import os, sys, threading
import numpy as np
import fastconv as fc, fastconv.functional as F
x = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32)
w = np.random.default_rng(1).standard_normal((5, 3, 3, 3), np.float32)
expected = F.conv2d(x, w)
"""


def python(code, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(autouse=True)
def default_threads():
    yield
    fc.set_num_threads(None)


def test_the_number_is_kept_and_reset():
    default = fc.get_num_threads()
    fc.set_num_threads(1)
    assert fc.get_num_threads() == 1
    fc.set_num_threads(None)
    assert fc.get_num_threads() == default >= 1


@pytest.mark.parametrize("count", [0, -1, 1.5, "two", True])
def test_a_wrong_number_is_told(count):
    with pytest.raises(ValueError, match=r"count is .*: an int of at least 1 is accepted"):
        fc.set_num_threads(count)


def test_the_environment_chooses():
    run = python("import fastconv; print(fastconv.get_num_threads())", FASTCONV_NUM_THREADS="1")
    assert run.stdout.strip() == "1"
    run = python("import fastconv; print(fastconv.get_num_threads())", FASTCONV_NUM_THREADS="none")
    assert "the environment variable FASTCONV_NUM_THREADS is 'none': an int of at least 1" in run.stderr


def test_more_threads_than_processors_are_no_error():
    fc.set_num_threads(10_000)
    assert F.conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 3)))[0, 0, 0] == 3


def test_numbas_own_number_is_left_alone():
    import numba

    numba.set_num_threads(1)
    try:
        F.conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 3)))
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_many_threads_at_once_are_right(rng):
    x, weight = rng.standard_normal((4, 3, 16, 16), np.float32), rng.standard_normal((5, 3, 3, 3), np.float32)
    expected, results = F.conv2d(x, weight), []
    threads = [
        threading.Thread(target=lambda: results.extend(F.conv2d(x, weight) for _ in range(20))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160
    for y in results:
        assert_array_equal(y, expected)


# What a process survives on every threading layer. Arrays are large enough for threads.
EVERYTHING = """
import multiprocessing, os, threading, warnings
import numba, numpy as np
from numba import njit, objmode, prange
import fastconv as fc, fastconv.functional as F
from fastconv.backends.cpu import launching
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads

fc.set_num_threads(2)
rng = np.random.default_rng(0)
x, w = rng.standard_normal((8, 3, 32, 32), np.float32), rng.standard_normal((5, 3, 3, 3), np.float32)
def work(_=None):
    return np.concatenate([F.conv2d(x, w).ravel(), F.tanh(x).ravel()])
expected = work()
with fc.use_backend("reference"):
    assert np.allclose(work(), expected, atol=1e-5)
def right(times=1):
    return all(np.array_equal(work(), expected) for _ in range(times))
assert right() and launching.LIMIT > 1

numba.set_num_threads(1)
assert right() and numba.get_num_threads() == 1
numba.set_num_threads(2)

results = []
threads = [threading.Thread(target=lambda: results.append(right(30))) for _ in range(6)]
[t.start() for t in threads]; [t.join() for t in threads]
assert results == [True] * 6

@njit(parallel=True)
def within():
    for i in prange(8):
        with objmode():
            results.append(right())
within()
assert results == [True] * 14

def child(deeper):
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1] == 0
    try:  # the second kernel is compiled, or loaded, in the child
        fine = right() and F.sigmoid(x).all() and (not deeper or child(False))
    finally:
        os._exit(0 if fine else 1)
if hasattr(os, "fork"):
    stop = threading.Event()
    threads = [threading.Thread(target=lambda: [right() for _ in iter(stop.is_set, True)]) for _ in range(3)]
    [t.start() for t in threads]
    assert all([child(True) for _ in range(5)])
    stop.set(); [t.join() for t in threads]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(np.array_equal(y, expected) for y in pool.map(work, range(4)))
print(numba.threading_layer(), "done")
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_every_threading_layer_survives(layer):
    run = python(EVERYTHING, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    if "No threading layer could be loaded" in run.stderr:
        pytest.skip(f"Numba has no {layer} layer here")
    assert run.stdout.splitlines()[-1:] == [f"{layer} done"], run.stderr  # of TBB Numba prints that a fork is a risk


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own():
    code = (
        "import os, warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, fastconv as fc, fastconv.functional as F\n"
        "from fastconv.backends.cpu import launching\n"
        "fc.set_num_threads(2); x = np.linspace(-1, 1, 100_000); y = F.tanh(x); parents = launching._team\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    fine = launching._team.size == 1 and np.array_equal(F.tanh(x), y) and launching._team.size == 2\n"
        "    os._exit(0 if fine else 1)\n"
        "print(os.waitpid(child, 0)[1], parents.size, launching._team is parents)"
    )
    assert python(code, NUMBA_NUM_THREADS="2").stdout.strip() == "0 2 True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_the_compiler():
    code = (
        "import os, threading\n"
        "from fastconv.backends.cpu.launching import global_compiler_lock as lock\n"
        "held, go = threading.Event(), threading.Event()\n"
        "def compile_something():\n"
        "    with lock: held.set(); go.wait()\n"
        "threading.Thread(target=compile_something).start()\n"
        "held.wait(); threading.Timer(0.1, go.set).start()\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if go.is_set() and lock._lock.acquire(blocking=False) else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    assert python(code).stdout.strip() == "0"
