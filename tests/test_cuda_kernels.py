"""Every kernel of the cuda backend without a GPU: compiled and assembled for two, and its PTX run with all checks.

`cuda_tour` has the calls. What they launch is recorded once; a kernel is told by its function and its arguments' types.
"""

import os
import re
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("numba_cuda") is None:
    pytest.skip("the package numba-cuda is not installed", allow_module_level=True)
if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

import cuda_tour
from cuda_devices import Interpreter, Recorder, computing_on
from numba import from_dtype, typeof, types
from ptx_kernels import cuda_compiler as compiler
from ptx_machine import run
from ptx_memory import OutOfBoundsError, RaceError, UninitialisedGlobalError
from ptx_program import Program

import fastconv as fc

SEED = 7
ARCHITECTURES = ((8, 0), (9, 0))


def signature(arguments):
    """Numba's types of a launch's arguments."""
    arrays = {np.ndarray: lambda array: types.Array(from_dtype(array.dtype), 1, "C")}
    return tuple(arrays.get(type(argument), typeof)(argument) for argument in arguments)


def recorded():
    """Every kernel that the tour launches, with the types that it is launched for and the stop that does so first."""
    found = {}
    for name, stop in cuda_tour.STOPS.items():
        with computing_on(Recorder()) as recorder:
            stop(np.random.default_rng(SEED))
        for kernel, _, arguments in recorder.launches:
            found.setdefault((kernel, signature(arguments)), name)
    return found


KERNELS = recorded()


def title(key):
    (kernel, _), stop = key, KERNELS[key]
    return f"{stop}-{kernel.__name__}"


@pytest.mark.parametrize("capability", ARCHITECTURES, ids=lambda c: f"sm_{c[0]}{c[1]}")
@pytest.mark.parametrize("key", KERNELS, ids=title)
def test_it_assembles_without_spills_or_float64_and_can_be_launched(key, capability):
    kernel, types_ = key
    text = compiler.ptx(kernel.function, types_, capability, **kernel.options)
    wide = "float64" in KERNELS[key] or any("float64" in str(t) for t in types_)
    assert not compiler.faults(compiler.assemble(text, capability), text, kernel.block, wide)


@cache
def program(kernel, types_):
    """A kernel's PTX, read."""
    return Program(compiler.ptx(kernel.function, types_, **kernel.options))


def execute(kernel, blocks, arguments, fresh):
    """Runs a launch's PTX with all checks."""
    run(program(kernel, signature(arguments)), blocks, kernel.block, arguments, fresh=fresh)


def flat(found):
    """The arrays among results, however they are packed."""
    if isinstance(found, tuple | list):
        return [array for item in found for array in flat(item)]
    return [] if found is None else [np.asarray(found)]


@pytest.mark.parametrize("name", cuda_tour.STOPS)
def test_its_ptx_computes_what_the_reference_does(name):
    stop = cuda_tour.STOPS[name]
    with computing_on(Interpreter(execute)) as interpreter:
        found = flat(stop(np.random.default_rng(SEED)))
    assert interpreter.launched
    with fc.use_backend("reference"):
        expected = flat(stop(np.random.default_rng(SEED)))
    assert len(found) == len(expected)
    for array, wanted in zip(found, expected, strict=True):
        assert array.dtype == wanted.dtype
        kind = "tf32" if "tf32" in name else array.dtype.name
        tolerance = {"float64": 1e-12, "float32": 2e-5, "float16": 2e-3, "tf32": 1e-3}.get(kind, 0)
        largest = max(1, np.abs(wanted).max(initial=0))
        np.testing.assert_allclose(array, wanted, rtol=tolerance, atol=tolerance * largest)


def launches(stop, name):
    """The launches of the kernels of a name that a stop makes, with the arguments that they are given."""
    found = []

    def note(kernel, blocks, arguments, fresh):
        if kernel.__name__ == name:
            copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
            found.append((kernel, blocks, copies, {i: mask.copy() for i, mask in fresh.items()}))
        execute(kernel, blocks, arguments, fresh)

    with computing_on(Interpreter(note)):
        stop(np.random.default_rng(SEED))
    return found


def deep_product(rng):
    """A product of five steps of the depth, so that each of the loop's copies runs."""
    return cuda_tour.linears(rng, np.float32, 5, 40, 10)


BARRIER = re.compile(r"bar(?:rier)?\.sync[^;]*;")


def test_every_barrier_of_the_product_that_is_taken_away_is_missed():
    kernel, blocks, arguments, fresh = launches(deep_product, "tiled")[0]
    text = compiler.ptx(kernel.function, signature(arguments), **kernel.options)
    places = [match.span() for match in BARRIER.finditer(text)]
    assert places
    for start, end in places:
        spoiled = Program(text[:start] + text[end:])
        with pytest.raises(RaceError):
            run(spoiled, blocks, kernel.block, arguments, fresh={i: mask.copy() for i, mask in fresh.items()})


SHORT = [("linear_small", "tiled"), ("activations", "run"), ("pooling_whose_windows_are_known", "won")]


@pytest.mark.parametrize(("stop", "name"), SHORT)
def test_an_array_that_is_a_number_short_is_told(stop, name):
    kernel, blocks, arguments, fresh = launches(cuda_tour.STOPS[stop], name)[0]
    short = 0
    for i, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray) and argument.dtype == np.float32 and argument.size > 1:
            given = [*arguments[:i], argument[:-1].copy(), *arguments[i + 1 :]]
            masks = {k: (mask[:-1] if k == i else mask).copy() for k, mask in fresh.items()}
            with pytest.raises(OutOfBoundsError):
                run(program(kernel, signature(given)), blocks, kernel.block, given, fresh=masks)
            short += 1
    assert short


def test_what_nobody_wrote_is_told():
    kernel, blocks, arguments, fresh = launches(cuda_tour.STOPS["linear_small"], "tiled")[0]
    fresh[0][-1] = False
    with pytest.raises(UninitialisedGlobalError):
        run(program(kernel, signature(arguments)), blocks, kernel.block, arguments, fresh=fresh)


def test_float64_in_a_kernel_of_float32_is_told():
    (kernel, types_), _ = next((key, stop) for key, stop in KERNELS.items() if stop == "activations_float64")
    text = compiler.ptx(kernel.function, types_, **kernel.options)
    assert any("float64" in fault for fault in compiler.faults(compiler.assemble(text), text, kernel.block))


def test_a_block_that_is_too_large_is_told():
    kernel, types_ = next(key for key in KERNELS if key[0].__name__ == "tiled")
    text = compiler.ptx(kernel.function, types_, **kernel.options)
    assembled = compiler.assemble(text)
    assert compiler.faults(assembled, text, 1025)
    assert compiler.faults(assembled, text, 65536 // assembled.registers // 32 * 32 + 32)
