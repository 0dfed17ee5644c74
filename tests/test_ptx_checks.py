"""Bugs planted in kernels, which the interpreter has to catch, and right ones that it has to let pass."""

import re

import numpy as np
import pytest
from numba import float32
from ptx_kernels import cuda, launch, text_of, written
from ptx_machine import DivergentBarrierError, run
from ptx_memory import (
    GlobalRaceError,
    OutOfBoundsError,
    SharedRaceError,
    UninitialisedGlobalError,
    UninitialisedLocalError,
    UninitialisedSharedError,
)
from ptx_program import Program

TILE = 8


def without(text, pattern, number):
    """A program without one of the matches of a pattern."""
    places = [match.span() for match in re.finditer(pattern, text)]
    start, end = places[number]
    return text[:start] + text[end:]


def product_kernel(a, b, c):
    left = cuda.shared.array((TILE, TILE), float32)
    right = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    column, row = cuda.grid(2)
    total = float32(0)
    for k in range(0, a.shape[1], TILE):
        left[y, x] = a[row, k + x]
        right[y, x] = b[k + y, column]
        cuda.syncthreads()
        for j in range(TILE):
            total += left[y, j] * right[j, x]
        cuda.syncthreads()
    c[row, column] = total


@pytest.fixture
def product(rng):
    """(text, arrays, the right product)."""
    a, b = rng.integers(-4, 5, (16, 40)).astype("f4"), rng.integers(-4, 5, (40, 16)).astype("f4")
    arrays = (a, b, np.full((16, 16), np.nan, "f4"))
    return text_of(product_kernel, arrays), arrays, a @ b


def test_matrix_product(product):
    text, arrays, expected = product
    run(Program(text), (2, 2), (TILE, TILE), arrays, fresh=(2,))
    np.testing.assert_array_equal(arrays[2], expected)
    arrays[2][:] = 0
    run(Program(text), (2, 2), (TILE, TILE), arrays, checks=False)
    np.testing.assert_array_equal(arrays[2], expected)


BARRIER = r"(bar|barrier)\.(cta\.)?sync[^;]*;"


def test_each_missing_barrier_is_caught(product):
    text, arrays, expected = product
    count = len(re.findall(BARRIER, text))  # five tiles take every copy of the loop's body that the compiler makes
    assert count >= 2
    for number in range(count - 1):
        with pytest.raises((SharedRaceError, UninitialisedSharedError), match=r"thread \(\d, \d, 0\) of block"):
            run(Program(without(text, BARRIER, number)), (2, 2), (TILE, TILE), arrays)
    run(Program(without(text, BARRIER, count - 1)), (2, 2), (TILE, TILE), arrays)  # nothing comes after the last
    np.testing.assert_array_equal(arrays[2], expected)


def test_an_output_or_an_input_that_is_short_is_caught(product):
    text, (a, b, c), _ = product
    short, rows = c[:15], a[:15]
    with pytest.raises(OutOfBoundsError, match=r"st\.global.* writes 4 bytes at byte 960 of argument 2 \(960 bytes"):
        run(Program(text), (2, 2), (TILE, TILE), (a, b, short))
    with pytest.raises(OutOfBoundsError, match=r"ld\.global.* reads 4 bytes at byte 2400 of argument 0"):
        run(Program(text), (2, 2), (TILE, TILE), (rows, b, c))


def test_an_output_that_is_read_first_is_caught(product):
    text, (a, b, c), _ = product
    with pytest.raises(UninitialisedGlobalError, match="argument 1"):
        run(Program(text), (2, 2), (TILE, TILE), (a, b, c), fresh=(1, 2))


# Other planted bugs.


def shift_kernel(x, out, by):
    i = cuda.grid(1)
    out[i] = x[i + by]


def test_an_index_one_past_an_end_is_caught():
    x, out = np.ones(64, "f4"), np.zeros(64, "f4")
    launch(shift_kernel, 2, 32, x, out, np.int64(0))
    with pytest.raises(
        OutOfBoundsError, match=r"thread \(31, 0, 0\) of block \(1, 0, 0\) reads 4 bytes at byte 256 of argument 0"
    ):
        launch(shift_kernel, 2, 32, x, out, np.int64(1))
    with pytest.raises(OutOfBoundsError, match=r"thread \(31, 0, 0\).* writes"):
        launch(shift_kernel, 2, 32, x, out[:63], np.int64(0))
    with pytest.raises(OutOfBoundsError, match=r"thread \(31, 0, 0\).* writes"):
        launch(shift_kernel, 2, 32, x, out[:63], np.int64(0), checks=False)


def neighbour_kernel(x):
    i = cuda.grid(1)
    x[i] = x[(i + 1) % x.size]


def same_place_kernel(x):
    x[cuda.blockIdx.x // 2] = 1


def test_global_races_are_caught():
    with pytest.raises(GlobalRaceError, match=r"read with no barrier between|wrote with no barrier between"):
        launch(neighbour_kernel, 1, 32, np.zeros(32, "f4"))
    with pytest.raises(
        GlobalRaceError, match=r"of block \(1, 0, 0\) reads .* of block \(0, 0, 0\) wrote|of block .* read"
    ):
        launch(neighbour_kernel, 32, 1, np.zeros(32, "f4"))
    with pytest.raises(
        GlobalRaceError, match=r"thread .* of block \(1, 0, 0\) writes .* thread .* of block \(0, 0, 0\) wrote"
    ):
        launch(same_place_kernel, 4, 1, np.zeros(2, "f4"))
    with pytest.raises(GlobalRaceError, match="wrote"):
        launch(same_place_kernel, 1, 2, np.zeros(2, "f4"))


def handed_on_kernel(x, out):
    i = cuda.threadIdx.x
    x[i] = i
    cuda.syncthreads()
    out[i] = x[(i + 1) % x.size]


def test_a_barrier_orders_global_memory_within_a_block():
    x, out = np.zeros(64, "f4"), np.zeros(64, "f4")
    launch(handed_on_kernel, 1, 64, x, out, fresh=(0, 1))
    np.testing.assert_array_equal(out, np.roll(np.arange(64), -1))


def odd_places_kernel(out, start):
    i = 2 * cuda.grid(1) + start
    if i < out.size:
        out[i] = i


def test_what_was_written_is_followed_from_launch_to_launch():
    out, seen, written_ = np.zeros(9, "f4"), np.zeros(64, "f4"), np.zeros(9, bool)
    launch(odd_places_kernel, 1, 32, out, np.int64(1), fresh={0: written_})
    np.testing.assert_array_equal(written_, np.arange(9) % 2 == 1)
    with pytest.raises(UninitialisedGlobalError, match="byte 0 of argument 0"):
        launch(shift_kernel, 1, 9, out, seen, np.int64(0), fresh={0: written_})
    launch(odd_places_kernel, 1, 32, out, np.int64(0), fresh={0: written_})
    assert written_.all()
    launch(shift_kernel, 1, 9, out, seen, np.int64(0), fresh={0: written_})
    np.testing.assert_array_equal(seen[:9], np.arange(9))


def half_written_kernel(out):
    memory = cuda.shared.array(64, float32)
    i = cuda.threadIdx.x
    if i != 5:
        memory[i] = i
    cuda.syncthreads()
    out[i] = memory[63 - i]


def test_uninitialised_shared_memory_is_caught():
    with pytest.raises(UninitialisedSharedError, match=r"thread \(58, 0, 0\).* at byte 20 of shared"):
        launch(half_written_kernel, 1, 64, np.zeros(64, "f4"))


def test_uninitialised_local_memory_is_caught():
    lines = [
        "mov.u64 s, depot; cvta.local.u64 t, s; add.u64 %a0, %a0, %at; mov.u32 r, 1;",
        "st.local.u32 [s], r; st.local.u32 [s+8], r; setp.lt.u32 p, %tid, 7; @p st.u32 [t+4], r;",
        "ld.local.u32 r, [s+4]; st.global.u32 [%a0], r;",
    ]
    registers = ".local .align 4 .b8 depot[12]; .reg .u64 s, t; .reg .u32 r; .reg .pred p;"
    text, out = written(*lines, arrays=1, registers=registers), np.zeros(32, "u4")
    run(Program(text), 1, 7, (out,))
    assert out.tolist() == [1] * 7 + [0] * 25
    with pytest.raises(UninitialisedLocalError, match=r"thread \(7, 0, 0\).*reads 4 bytes at byte 4 of local depot"):
        run(Program(text), 1, 32, (out,))
    with pytest.raises(OutOfBoundsError, match=r"thread \(0, 0, 0\).*at byte 12 of local depot \(12 bytes"):
        run(Program(text.replace("[s+8]", "[s+12]")), 1, 32, (out,))


def some_wait_kernel(out):
    i = cuda.threadIdx.x
    if i < 20:
        cuda.syncthreads()
        out[i] = 1


def two_barriers_kernel(out):
    i = cuda.threadIdx.x
    if i < 20:
        out[i] = 1
        cuda.syncthreads()
    else:
        out[i] = 2
        cuda.syncthreads()
        out[i] = 3


def test_divergent_barriers_are_caught():
    with pytest.raises(
        DivergentBarrierError, match=r"20 threads .* wait at bar.*12 \(thread \(20, 0, 0\).*have exited"
    ):
        launch(some_wait_kernel, 1, 32, np.zeros(32, "f4"))
    with pytest.raises(DivergentBarrierError, match=r"20 threads .*; 12 threads"):
        launch(two_barriers_kernel, 1, 32, np.zeros(32, "f4"))


def warp_sum_kernel(x, out, steps):
    memory = cuda.shared.array(64, float32)
    i = cuda.threadIdx.x
    memory[i] = x[i]
    cuda.syncwarp()
    width = 16
    while width > 0:
        other = memory[i ^ width]
        cuda.syncwarp()
        memory[i] += other
        cuda.syncwarp()
        width //= 2
    out[i] = memory[i]


def test_a_warp_synchronises_itself(rng):
    x, out = rng.integers(0, 9, 64).astype("f4"), np.zeros(64, "f4")
    text = text_of(warp_sum_kernel, (x, out, 1))
    run(Program(text), 1, 64, (x, out, 1), fresh=(1,))
    np.testing.assert_array_equal(out, np.repeat(x.reshape(2, 32).sum(1), 32))
    pattern = r"bar\.warp\.sync[^;]*;"
    for number in range(len(re.findall(pattern, text)) - 1):  # each thread reads what it wrote itself after the last
        with pytest.raises(SharedRaceError):
            run(Program(without(text, pattern, number)), 1, 64, (x, out, 1))


def across_warps_kernel(out):
    memory = cuda.shared.array(64, float32)
    i = cuda.threadIdx.x
    memory[i] = i
    cuda.syncwarp()
    out[i] = memory[i ^ 32]


def test_a_warp_barrier_does_not_order_other_warps():
    with pytest.raises((SharedRaceError, UninitialisedSharedError)):
        launch(across_warps_kernel, 1, 64, np.zeros(64, "f4"))
