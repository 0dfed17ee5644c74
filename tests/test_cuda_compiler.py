"""The tool that compiles and judges kernels without a GPU."""

import re

import numpy as np
import pytest
from numba import float32
from ptx_kernels import cuda, cuda_compiler, text_of

Assembled, assemble, bound = cuda_compiler.Assembled, cuda_compiler.assemble, cuda_compiler.bound
faults, mix, occupancy = cuda_compiler.faults, cuda_compiler.mix, cuda_compiler.occupancy
F = np.zeros(1024, "f4")


@cuda.jit(device=True)
def polynomial(x, k):
    return x * x + k if x > 0 else x - k


def local_kernel(x, out, shifts, scale):
    row = cuda.local.array(16, float32)
    i, j = cuda.grid(2)
    if i < x.shape[0] and j < x.shape[1]:
        for k in range(16):
            row[(k + shifts[0]) % 16] = scale * k
        out[i, j] = polynomial(x[i, j], row[(j + i) % 16]) + shifts[1]


def assembled(kernel, arguments, **options):
    text = text_of(kernel, arguments, **options)
    try:
        return text, assemble(text)
    except cuda_compiler.NoAssemblerError as error:
        pytest.skip(str(error))


def scaled_sum_kernel(x, y, n):
    i = cuda.grid(1)
    total = float32(0)
    for k in range(n):
        total += x[k] * y[(i + k) & 1023]
    y[i & 1023] = total


def careless_sum_kernel(x, y, n):
    i = cuda.grid(1)
    total = 0.0
    for k in range(n):
        total += x[k] * y[(i + k) & 1023]
    y[i & 1023] = total


def huge_local_kernel(x, y, n):
    row = cuda.local.array(2000, float32)
    i = cuda.grid(1)
    for k in range(2000):
        row[k] = x[k]
    y[i] = row[(i * n) % 2000]


def huge_shared_kernel(x, y, n):
    memory = cuda.shared.array(12289, float32)
    i = cuda.grid(1)
    memory[i] = x[i]
    cuda.syncthreads()
    y[i] = memory[i ^ n]


def test_faults_of_a_good_kernel():
    text, machine_code = assembled(scaled_sum_kernel, (F, F, 3))
    assert faults(machine_code, text, 256) == []
    assert machine_code.registers > 0
    assert machine_code.code_size > 0
    assert machine_code.shared == machine_code.stack == 0


def test_faults_find_float64():
    text, machine_code = assembled(careless_sum_kernel, (F, F, 3))
    found = faults(machine_code, text, 256)
    assert len(found) == 1
    assert re.search(r"float64 arithmetic.*add\.f64", found[0])
    assert faults(machine_code, text, 256, float64_allowed=True) == []


def test_faults_find_local_and_shared_memory():
    text, machine_code = assembled(huge_local_kernel, (F, F, 3))
    assert any("stack frame of 8000 bytes" in fault for fault in faults(machine_code, text, 256))
    text = text_of(huge_shared_kernel, (F, F, 3))
    with pytest.raises(cuda_compiler.AssemblyError, match="too much shared data"):
        assemble(text)


def wide_kernel(x, y, n):
    total, left, right = cuda.local.array(144, float32), cuda.local.array(12, float32), cuda.local.array(12, float32)
    i = cuda.threadIdx.x & 7
    for j in range(144):
        total[j] = float32(0)
    for k in range(n):
        for j in range(12):
            left[j] = x[(k * 96 + i + 8 * j) & 1023]
            right[j] = x[(k * 96 + i * 8 + j) & 1023]
        for j in range(12):
            for m in range(12):
                total[j * 12 + m] += left[j] * right[m]
    for j in range(144):
        y[(i + 8 * j) & 1023] = total[j]


def test_faults_find_spills_and_blocks_that_cannot_be_launched():
    text, machine_code = assembled(wide_kernel, (F, F, 3))
    assert machine_code.registers > 64
    assert any("can't be launched" in fault for fault in faults(machine_code, text, 1024))
    assert any("1056 threads, more than 1024" in fault for fault in faults(machine_code, text, 1056))
    assert any("registers spill" in fault for fault in faults(assemble(text, max_registers=32), text, 256))


def test_occupancy():
    def of(registers, shared, threads, capability):
        return occupancy(Assembled(registers, 0, 0, 0, shared, 0, ""), threads, capability)

    assert of(32, 0, 256, (9, 0)) == (8, 64, 1.0, "warps")
    assert of(128, 0, 256, (8, 0)) == (2, 16, 0.25, "registers")
    assert of(168, 0, 128, (8, 0)) == (3, 12, 12 / 64, "registers")
    assert of(32, 48 * 1024, 128, (8, 0))[:2] == (3, 12)
    assert of(32, 48 * 1024, 128, (9, 0))[:2] == (4, 16)
    assert of(16, 0, 32, (9, 0)) == (32, 32, 0.5, "blocks")
    assert of(32, 0, 1056, (9, 0)).blocks == 0
    with pytest.raises(ValueError, match=r"capability must be one of"):
        of(32, 0, 128, (5, 0))


SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   IMAD.MOV.U32 R2, RZ, RZ, RZ ;
.L_x_1:
        /*0020*/                   LDS.128 R4, [R2] ;
        /*0030*/                   FFMA R8, R4, R5, R8 ;
        /*0040*/                   FFMA R9, R4, R6, R9 ;
        /*0050*/                   FADD R9, R4, R9 ;
        /*0060*/                   IADD3 R2, R2, 0x10, RZ ;
        /*0070*/                   ISETP.NE.AND P0, PT, R2, R3, PT ;
        /*0080*/               @P0 BRA `(.L_x_1) ;
        /*0090*/              @!P1 BRA `(.L_x_0) ;
        /*00a0*/                   STG.E desc[UR4][R2.64], R9 ;
        /*00b0*/                   EXIT ;
.L_x_2:
        /*00c0*/                   BRA `(.L_x_2);
"""


def test_instruction_mix_of_sass():
    counts = mix(SASS)
    assert counts.language == "SASS"
    assert counts.loop == {"fma": 2, "shared": 1, "float": 1, "integer": 2, "control": 1}
    assert counts.total == counts.loop + type(counts.loop)({"move": 2, "global": 1, "control": 3})
    assert counts.fma_fraction() == 2 / 7
    assert bound(counts, (9, 0)) == 2 / 7
    assert bound(counts, (8, 0)) == 4 / 7


def test_instruction_mix_of_ptx():
    text = text_of(scaled_sum_kernel, (F, F, 3))
    counts = mix(text)
    assert counts.language == "PTX"
    assert counts.total["fma"] == len(re.findall(r"fma\.rn\.f32", text))
    assert counts.loop["fma"] > 0
    assert counts.loop["global"] == 2 * counts.loop["fma"]
    assert 0 < counts.fma_fraction() < bound(counts, (8, 0)) <= 1


def test_compiling_with_device_functions_leaves_numba_as_it_was():
    import numba.cuda.dispatcher as dispatcher

    before = dispatcher.get_current_device
    assert ".target sm_80" in text_of(
        cuda.jit(local_kernel), (np.zeros((2, 2), "f4"),) * 2 + ((1, 2), np.float32(1)), capability=(8, 0)
    )
    assert dispatcher.get_current_device is before


def test_errors_of_the_assembler(monkeypatch):
    text = text_of(scaled_sum_kernel, (F, F, 3))
    monkeypatch.setattr(cuda_compiler, "_tool", lambda name: None)
    with pytest.raises(cuda_compiler.NoAssemblerError, match=r"cuda-toolkit\[nvcc\]"):
        assemble(text)
    monkeypatch.undo()
    _, _ = assembled(scaled_sum_kernel, (F, F, 3))
    with pytest.raises(cuda_compiler.AssemblyError, match="ptxas -arch sm_90 failed"):
        assemble(text.replace("fma.rn.f32", "fma.rn.oops"))
