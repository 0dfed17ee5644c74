"""What the tests of compiled kernels share: compiling and running them, and PTX written by hand.

Where Numba can't compile for CUDA, importing this skips the module that does.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

if str(Path(__file__).parent.parent) not in sys.path:  # the suite lies beside the package
    sys.path.append(str(Path(__file__).parent.parent))

from benchmarks import cuda_compiler

if reason := cuda_compiler.missing_compiler():
    pytest.skip(reason, allow_module_level=True)

from numba import cuda, typeof, types
from ptx_machine import run
from ptx_program import Program

__all__ = ["cuda", "cuda_compiler", "evaluate", "launch", "same_bits", "text_of", "written"]


def text_of(kernel, arguments, **options):
    signature = tuple(
        types.Array(typeof(a).dtype, a.ndim, "C") if isinstance(a, np.ndarray) else typeof(a) for a in arguments
    )
    return cuda_compiler.ptx(kernel, signature, **options)


def launch(kernel, grid, block, *arguments, **options):
    """Compiles a kernel for its arguments and runs it."""
    return run(Program(text_of(kernel, arguments)), grid, block, arguments, **options)


def written(*lines, arrays, registers):
    """PTX of a kernel of one-dimensional arrays, whose addresses are in %a0, %a1, …, with four times `%tid` in %at."""
    parameters = ",\n".join(f".param .u64 p{k}" for k in range(7 * arrays))
    loads = "\n".join(f"ld.param.u64 %a{k}, [p{7 * k + 4}];" for k in range(arrays))
    return f"""
        .version 8.0
        .target sm_90
        .address_size 64
        .visible .entry kernel({parameters})
        {{
            .reg .u64 %a<{arrays}>, %at;
            .reg .u32 %tid;
            {registers}
            {loads}
            mov.u32 %tid, %tid.x;
            mul.wide.u32 %at, %tid, 4;
            {chr(10).join(lines)}
            ret;
        }}
    """


def evaluate(code, into, **sources):
    """What an instruction makes of named registers, one value a thread; its result is `d`."""
    into, arrays = np.dtype(into), {name: np.atleast_1d(value) for name, value in sources.items()}
    size = max(a.size for a in arrays.values())
    arrays = {name: np.ascontiguousarray(np.broadcast_to(a, size)) for name, a in arrays.items()}
    result = np.zeros(size, into)
    registers, lines = f".reg .b{into.itemsize * 8} d;", []
    for k, (name, array) in enumerate(arrays.items()):
        width = array.itemsize
        registers += f" .reg .b{max(16, width * 8)} {name};"
        lines.append(f"mad.wide.u32 %a{k}, %tid, {width}, %a{k}; ld.global.b{width * 8} {name}, [%a{k}];")
    last = len(arrays)
    lines += [code, f"mad.wide.u32 %a{last}, %tid, {into.itemsize}, %a{last};"]
    lines.append(f"st.global.b{into.itemsize * 8} [%a{last}], d;")
    text = written(*lines, arrays=last + 1, registers=registers + " .reg .pred p, q;")
    run(Program(text), 1, size, (*arrays.values(), result))
    return result


def same_bits(a, b):
    """Equal to the last bit; NaNs alike."""
    assert a.dtype == b.dtype
    both = np.isnan(a) & np.isnan(b) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
    bits = f"u{a.itemsize}"
    np.testing.assert_array_equal(np.where(both, 0, a.view(bits)), np.where(both, 0, b.view(bits)))
