"""Numba's kernels, compiled and interpreted, against NumPy: to the last bit where IEEE defines it."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numba import float32, int32, int64
from ptx_kernels import cuda, evaluate, launch, same_bits
from ptx_memory import OutOfBoundsError


def integer_kernel(x, y, out):
    i = cuda.grid(1)
    if i < x.size:
        a, b = x[i], y[i]
        out[0, i] = a + b
        out[1, i] = a - b
        out[2, i] = a * b
        out[3, i] = a // b
        out[4, i] = a % b
        out[5, i] = (a & b) ^ (a | 5)
        out[6, i] = a << 3
        out[7, i] = a >> 2
        out[8, i] = a if a > b else b
        out[9, i] = -a if a < b else ~a


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_integers(dtype, rng):
    limits = np.iinfo(dtype)
    x, y = rng.integers(limits.min, limits.max, (2, 70), dtype, endpoint=True)
    y[y == 0] = 3
    out = np.zeros((10, 70), dtype)
    launch(integer_kernel, 3, 32, x, y, out)
    a, b = (v.astype("u8" if dtype[0] == "u" else "i8") for v in (x, y))
    five = a.dtype.type(5)
    expected = [a + b, a - b, a * b, a // b, a % b, (a & b) ^ (a | five), a << five - 2, a >> five - 3]
    expected += [np.maximum(a, b), np.where(a < b, -a, ~a)]
    np.testing.assert_array_equal(out, np.array(expected).astype(dtype))


def float_kernel(x, y, z, out, whole):
    i = cuda.grid(1)
    if i < x.size:
        a, b, c = x[i], y[i], z[i]
        out[0, i] = a + b
        out[1, i] = a - b
        out[2, i] = a * b
        out[3, i] = a / b
        out[4, i] = math.sqrt(a)
        out[5, i] = abs(a)
        out[6, i] = math.floor(a)
        out[7, i] = a if a < b else c
        whole[i] = int64(a)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats_are_rounded_as_ieee_says(dtype, rng):
    x, y, z = (rng.standard_normal((3, 90)) * 10.0 ** rng.integers(-6, 6, (3, 90))).astype(dtype)
    x[:6], y[:6] = [0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).tiny / 4], [1, -1, np.inf, 2, 3, 1.5]
    out, whole = np.zeros((8, 90), dtype), np.zeros(90, "i8")
    launch(float_kernel, 3, 32, x, y, z, out, whole)
    with np.errstate(all="ignore"):
        expected = [x + y, x - y, x * y, x / y, np.sqrt(x), np.abs(x), np.floor(x), np.where(x < y, x, z)]
    for row, wanted in zip(out, expected, strict=True):
        same_bits(row, wanted)
    np.testing.assert_array_equal(whole[6:], np.trunc(x[6:]).astype("i8"))


def fused_kernel(x, y, z, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = x[i] * y[i] + z[i]  # one instruction, as the compiler contracts it


def test_a_float64_fused_multiply_add_is_exact(rng):
    x, y = rng.standard_normal((2, 64))
    z = -(x * y)  # what remains is the product's rounding error
    out = np.zeros(64)
    launch(fused_kernel, 2, 32, x, y, z, out)
    exact = [float(Fraction(a) * Fraction(b) + Fraction(c)) for a, b, c in zip(x, y, z, strict=True)]
    assert np.count_nonzero(exact) > 50
    same_bits(out, np.array(exact))


def test_a_fused_multiply_add_is_rounded_once():
    a = np.float32(1 + 2.0**-12)  # a·a ends half way between two float32; the addend decides
    for addend, result in [(2.0**-80, 1 + 2.0**-11 + 2.0**-23), (0, 1 + 2.0**-11), (-(2.0**-80), 1 + 2.0**-11)]:
        d = evaluate("fma.rn.f32 d, a, a, c;", "f4", a=a, c=np.float32(addend))
        same_bits(d, np.array([result], "f4"))


def function_kernel(x, out):
    i = cuda.grid(1)
    if i < x.size:
        a = abs(x[i])
        out[0, i] = math.sin(x[i])
        out[1, i] = math.cos(x[i])
        out[2, i] = math.exp(-a)
        out[3, i] = math.log(a)
        out[4, i] = math.tanh(x[i])
        out[5, i] = math.erf(x[i])
        out[6, i] = 1 / math.sqrt(a)
        out[7, i] = a ** x[0]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_mathematical_functions(dtype, rng):
    x = np.r_[rng.standard_normal(60) * 3, 1e5, -3e6, 1e9, 1e-3].astype(dtype)  # large ones take the slow reductions
    out = np.zeros((8, 64), dtype)
    launch(function_kernel, 2, 32, x, out)
    wide = x.astype("f8")
    erf = np.array([math.erf(v) for v in wide])
    expected = [np.sin(wide), np.cos(wide), np.exp(-abs(wide)), np.log(abs(wide)), np.tanh(wide), erf]
    expected += [1 / np.sqrt(abs(wide)), abs(wide) ** wide[0]]
    for row, wanted in zip(out, expected, strict=True):  # CUDA's manual promises a few units in the last place
        np.testing.assert_allclose(row, wanted, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


def shuffle_kernel(x, out):
    i = cuda.threadIdx.x
    out[0, i] = cuda.shfl_up_sync(0xFFFFFFFF, x[i], 3)
    out[1, i] = cuda.shfl_down_sync(0xFFFFFFFF, x[i], 5)
    out[2, i] = cuda.shfl_xor_sync(0xFFFFFFFF, x[i], 6)
    out[3, i] = cuda.shfl_sync(0xFFFFFFFF, x[i], 9)


@pytest.mark.parametrize("dtype", ["i4", "f4", "f8"])
def test_shuffles(dtype, rng):
    x = rng.integers(0, 1000, 64).astype(dtype)
    out = np.zeros((4, 64), dtype)
    launch(shuffle_kernel, 1, 64, x, out)
    lane, warp = np.arange(64) % 32, np.arange(64) // 32 * 32
    sources = [np.where(lane < 3, lane, lane - 3), np.where(lane > 26, lane, lane + 5), lane ^ 6, np.full(64, 9)]
    np.testing.assert_array_equal(out, [x[warp + source] for source in sources])


def vote_kernel(x, out):
    i = cuda.threadIdx.x
    full = 0xFFFFFFFF
    out[0, i] = cuda.ballot_sync(full, x[i] > 3)
    out[1, i] = cuda.any_sync(full, x[i] > 8)
    out[2, i] = cuda.all_sync(full, x[i] < 9)
    out[3, i] = cuda.match_any_sync(full, x[i])
    out[4, i] = cuda.syncthreads_count(x[i])
    out[5, i] = cuda.syncthreads_or(x[i] - 1)
    out[6, i] = cuda.syncthreads_and(x[i])
    if x[i] > 3:
        out[7, i] = cuda.activemask()


def test_votes_matches_and_counting_barriers(rng):
    x = rng.integers(0, 10, 64).astype("i4")
    out = np.zeros((8, 64), "i8")
    launch(vote_kernel, 1, 64, x, out)
    table, power = x.reshape(2, 32), 1 << np.arange(32, dtype="i8")
    ballot = ((table > 3) * power).sum(1)
    np.testing.assert_array_equal(out[0] & 0xFFFFFFFF, np.repeat(ballot, 32))
    np.testing.assert_array_equal(out[1] != 0, np.repeat((table > 8).any(1), 32))
    np.testing.assert_array_equal(out[2] != 0, np.repeat((table < 9).all(1), 32))
    np.testing.assert_array_equal(
        out[3] & 0xFFFFFFFF, ((table[:, :, None] == table[:, None]) * power).sum(2).reshape(-1)
    )
    np.testing.assert_array_equal(out[4], np.count_nonzero(x))
    np.testing.assert_array_equal(out[5] != 0, (x != 1).any())
    np.testing.assert_array_equal(out[6] != 0, x.all())
    np.testing.assert_array_equal(out[7] & 0xFFFFFFFF, np.where(x > 3, np.repeat(ballot, 32), 0))


def atomic_kernel(x, sums, extremes, histogram):
    mine = cuda.shared.array(8, int32)
    i, t = cuda.grid(1), cuda.threadIdx.x
    if t < 8:
        mine[t] = 0
    cuda.syncthreads()
    cuda.atomic.add(mine, x[i] & 7, 1)
    cuda.atomic.add(sums, 0, float32(x[i]))
    cuda.atomic.max(extremes, 0, x[i])
    cuda.atomic.min(extremes, 1, x[i])
    cuda.atomic.cas(extremes, 2, 0, 7)
    cuda.atomic.exch(extremes, 3, 9)
    cuda.atomic.inc(histogram, 8, 4)
    cuda.syncthreads()
    if t < 8:
        cuda.atomic.add(histogram, t, mine[t])


def test_atomics(rng):
    x = rng.integers(0, 100, 128).astype("i4")
    sums, extremes, histogram = np.zeros(1, "f4"), np.array([0, 100, 0, 0], "i4"), np.zeros(9, "u4")
    launch(atomic_kernel, 2, 64, x, sums, extremes, histogram)
    assert sums[0] == x.sum()
    assert extremes.tolist() == [x.max(), x.min(), 7, 9]
    np.testing.assert_array_equal(histogram, [*np.bincount(x & 7, minlength=8), 128 % 5])


def float_atomic_kernel(x, out):
    i = cuda.threadIdx.x
    cuda.atomic.max(out, 0, x[i])  # a loop of compare-and-swap
    cuda.atomic.add(out, 1, x[i])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_atomics_in_loops(dtype, rng):
    x, out = rng.integers(-50, 50, 40).astype(dtype), np.zeros(2, dtype)
    launch(float_atomic_kernel, 1, 40, x, out)
    assert out.tolist() == [max(0, x.max()), x.sum()]


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


def test_local_arrays_device_functions_and_tuples(rng):
    x, out = rng.integers(-3, 4, (5, 21)).astype("f4"), np.full((5, 21), np.nan, "f4")
    launch(local_kernel, (2, 3), (4, 8), x, out, (np.int64(3), np.int64(2)), np.float32(0.5), fresh=(1,))
    row = np.roll(np.arange(16) * 0.5, 3)
    k = row[np.add.outer(np.arange(5), np.arange(21)) % 16]
    np.testing.assert_array_equal(out, np.where(x > 0, x * x + k, x - k) + 2)


def collatz_kernel(out):
    i = cuda.grid(1)
    n, steps = i + 1, 0
    while n != 1:
        if n % 2:
            n = 3 * n + 1
        else:
            n //= 2
        steps += 1
    out[i] = steps


def test_divergent_loops():
    out = np.zeros(64, "i4")
    launch(collatz_kernel, 2, 32, out)

    def steps(n):
        return 0 if n == 1 else 1 + steps(3 * n + 1 if n % 2 else n // 2)

    assert out.tolist() == [steps(n + 1) for n in range(64)]


def dynamic_kernel(x, out):
    memory = cuda.shared.array(0, float32)
    t = cuda.threadIdx.x + cuda.blockDim.x * (cuda.threadIdx.y + cuda.blockDim.y * cuda.threadIdx.z)
    b = cuda.blockIdx.x + cuda.gridDim.x * (cuda.blockIdx.y + cuda.gridDim.y * cuda.blockIdx.z)
    memory[t] = x[b, t]
    cuda.syncthreads()
    out[b, t] = memory[cuda.blockDim.x * cuda.blockDim.y * cuda.blockDim.z - 1 - t]


def test_dynamic_shared_memory_and_three_dimensions(rng):
    x, out = rng.standard_normal((12, 40)).astype("f4"), np.zeros((12, 40), "f4")
    assert launch(dynamic_kernel, (2, 3, 2), (5, 4, 2), x, out, shared=160) > 0
    np.testing.assert_array_equal(out, x[:, ::-1])
    with pytest.raises(OutOfBoundsError, match="outside of it"):
        launch(dynamic_kernel, (2, 3, 2), (5, 4, 2), x, out, shared=156)
