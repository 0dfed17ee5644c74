"""The team of threads: who does which tasks, who is waited for, and how it ends."""

import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_threads import python

from fastconv.backends.cpu import launching, native, programs
from fastconv.backends.cpu import team as t
from fastconv.backends.cpu.native import body, set_word, word
from fastconv.backends.cpu.programs import Program

TASKS = 1000


@body
def count_and_sign(plan, arrays, first, end, thread):
    """out[task] += 1, signed[task] = thread."""
    for task in range(first, end):
        set_word(word(arrays, 0), task, word(word(arrays, 0), task) + 1)
        set_word(word(arrays, 1), task, thread)


@pytest.fixture
def team(monkeypatch):
    """A team with room for 50 threads, that is dismissed behind the test."""
    monkeypatch.setattr(launching, "LIMIT", 50)
    made = launching.Team()
    yield made
    made.dismiss()
    assert not any(thread.is_alive() for thread in made._threads)


def run(team, threads, parts=4, tasks=TASKS):
    """How often each task was done, and which thread did it."""
    done, signed = np.zeros(tasks, np.int64), np.full(tasks, -1)
    program = Program([(count_and_sign, [], tasks, parts)], 1)
    places = *map(native.address, (done, signed)), *[0] * (programs.ADDRESSES - 2)
    programs.run_steps(team.address, threads, program.address, 1, *places)
    assert_array_equal(done, 1)
    return set(signed.tolist())


def test_nobody_waits_for_threads_that_do_not_come(team):
    assert run(team, 2) == run(team, 50) == {0}


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_every_task_is_done_once_by_the_threads_that_there_are(team, threads):
    team.grow(threads)
    for tasks in (1, 2, 7, 1000):
        for _ in range(200):
            assert run(team, threads, tasks=tasks) <= set(range(threads))
    assert max(run(team, 2, parts=1) for _ in range(20)) <= {0, 1}  # others are there, and not wanted


def test_threads_sleep_and_are_woken(team):
    team.grow(4)
    sleeps = team.words[t.FIRST + t.SLEEPS : t.FIRST + 3 * t.SPAN : t.SPAN]
    for _ in range(5):
        run(team, 4)
        until = time.monotonic() + 30
        while not sleeps.all() and time.monotonic() < until:
            time.sleep(0.001)
        assert sleeps.tolist() == [1, 1, 1]


def test_who_launches_while_the_team_works_does_it_alone(team):
    team.grow(2)
    team.words[t.BUSY] = 1
    assert run(team, 2) == {0}
    team.words[t.BUSY] = 0
    run(team, 2)
    assert team.words[[t.BUSY, t.OPEN, t.INSIDE]].tolist() == [0, 0, 0]


def test_many_launch_at_once(team):
    team.grow(2)
    problems = []

    def launch():
        try:
            for _ in range(300):
                run(team, 2)
        except AssertionError as problem:
            problems.append(problem)

    threads = [threading.Thread(target=launch) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not problems


def test_without_more_threads_there_are_fewer(team, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    team.grow(4)
    assert (team.size, team.most) == (1, 1)
    monkeypatch.setattr(launching, "_team", team)
    out, signed = np.zeros(TASKS, np.int64), np.zeros(TASKS, np.int64)
    Program([(count_and_sign, [], TASKS, 4)], 1)(4, native.address(out), native.address(signed))
    assert_array_equal(out, 1)


def test_a_process_ends_and_computes_to_its_end():
    code = (
        "import atexit, sys, threading, time\n"
        "import numpy as np\n"
        "atexit.register(lambda: print(F.tanh(x).sum() == y.sum(), launching._team.size))\n"  # behind the dismissal
        "import fastconv as fc, fastconv.functional as F\n"
        "from fastconv.backends.cpu import launching\n"
        "fc.set_num_threads(2); x = np.linspace(-1, 1, 100_000); y = F.tanh(x)\n"
        "threading.Thread(target=lambda: [F.tanh(x) for _ in iter(int, 1)], daemon=True).start()\n"
        "time.sleep(0.1); print(launching._team.size)"
    )
    run = python(code, NUMBA_NUM_THREADS="2")
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, ["2", "True", "1"], "")
