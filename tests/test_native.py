"""Bodies and programs: what runs, in which order, with which addresses and on which threads."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastconv.backends.cpu import kernels, native, programs
from fastconv.backends.cpu.native import body, set_word, word
from fastconv.backends.cpu.programs import Program


@body
def note_threads(plan, arrays, first, end, thread):
    """out[task] = thread + 1, at the call's first address."""
    for task in range(first, end):
        set_word(word(arrays, 0), task, thread + 1)


@body
def add_or_double(plan, arrays, first, end, thread):
    """out[task] += the plan's number, or is doubled if that is 0."""
    out = word(arrays, 0)
    for task in range(first, end):
        value = word(out, task)
        set_word(out, task, 2 * value if word(plan, 0) == 0 else value + word(plan, 0))


@body
def tell_addresses(plan, arrays, first, end, thread):
    """out[i] = the call's address i."""
    for i in range(programs.ADDRESSES):
        set_word(word(arrays, 0), i, word(arrays, i))


@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("parts", [0, 1, 7])
@pytest.mark.parametrize("threads", [1, 2, 1000])
def test_every_task_runs_once_after_the_step_before(tasks, parts, threads):
    out = np.zeros(1001, np.int64)
    steps = [(add_or_double, [number], tasks, parts) for number in (3, 0, 1)]
    Program(steps, 1)(threads, native.address(out))
    assert_array_equal(out, np.where(np.arange(1001) < tasks, 7, 0))


def test_threads_have_numbers_of_their_own():
    out = np.zeros(4096, np.int64)
    Program([(note_threads, [], 4096, 4)], 1)(2, native.address(out))
    assert set(out) <= {1, 2}
    Program([(note_threads, [], 4096, 4)], 1)(1, native.address(out))
    assert set(out) == {1}


@pytest.mark.parametrize("threads", [1, 2])
def test_addresses_reach_the_body(threads):
    out, other = np.empty(programs.ADDRESSES, np.int64), np.empty(3, np.float32)
    program = Program([(tell_addresses, [], 1, 1)], 1)
    program(threads, out.ctypes.data, 5, 0, -7)
    assert out.tolist() == [out.ctypes.data, 5, 0, -7, 0, 0, 0, 0]
    program.on(threads, out, None, other, other[1:], out[::-1])
    assert out.tolist() == [
        *(out.ctypes.data, 0, other.ctypes.data, other.ctypes.data + 4),
        *(out.ctypes.data + 8 * (programs.ADDRESSES - 1), 0, 0, 0),
    ]


def test_an_address_is_that_of_the_data():
    for array in (np.empty(3), np.empty((2, 3))[::-1, 1:], np.float32(1).reshape(1), np.empty((0, 2))):
        assert native.address(array) == array.ctypes.data


def gather(x, table, scale, shift, wanted, y, first, end):
    """y[i] = scale x[table[i, 1]] + shift where that is wanted."""
    for i in range(first, end):
        y[i] = scale * x[table[i, 1]] + shift if wanted else -1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_takes_arrays_and_numbers(dtype):
    kernel, x = kernels.kernel(gather), np.arange(9, dtype=dtype) ** 2
    table = np.stack([np.zeros(9, np.int64), np.arange(9)[::-1]], axis=1)
    for array in (x, table):
        array.flags.writeable = False
    y = np.zeros(9, dtype)
    kernel(9, x, table, dtype(0.5), np.int64(3), True, y)
    assert_array_equal(y, x[::-1] / 2 + 3)
    kernel(4, x, table, 0.25, 3, False, y)
    assert_array_equal(y, [-1] * 4 + (x[::-1] / 2 + 3)[4:].tolist())
    assert len(kernel.codes) == (1 if dtype == np.float64 else 2)
    assert kernel.__doc__ == gather.__doc__


def test_a_kernel_on_threads_does_the_same(rng):
    kernel, x = kernels.kernel(gather), rng.standard_normal(40_000)
    table = np.stack([np.zeros(x.size, np.int64), rng.permutation(x.size)], axis=1)
    y = np.zeros_like(x)
    kernel(x.size, x, table, 1.0, 0, True, y)
    assert_array_equal(y, x[table[:, 1]])


def test_a_layout_of_arrays_that_is_not_known_is_told(monkeypatch):
    monkeypatch.setattr(native, "DATA", native.SHAPE)
    with pytest.raises(ImportError, match="keeps arrays in a form that fastconv does not know"):
        native._check_layout()
