"""A team of threads for compiled code: whoever launches works too, and waits for none that has not begun.

Numba's own layers end a launch when every thread has been there. One that the system does not let run, as another
process or the launching thread itself has its processor, holds the launch up for whole slices of 4 ms: a call of 0.3 ms
took 3 after a rest of 20. Here a launch is a job that is open while there are tasks. Threads of the team come in while
it is, and the launching thread waits for those alone that have come in.

A thread without a job looks for one for a while, giving way to others, and then sleeps until a launch wakes it.
"""

from __future__ import annotations

from numba import njit

from fastconv.backends.cpu.atomics import acquire, added, called, mask_called, release, rest, seen, show, swapped
from fastconv.backends.cpu.native import body, call, set_word, word

# A team's words, those that several threads write in lines of their own: the number of the job that is open, 0 if none
# is; threads that have come in; whether somebody has launched; whether all is over; ...
OPEN, INSIDE, BUSY, OVER = 0, 16, 32, 48
# ... the last job's number, and the job; how many of each group's chunks of tasks have been taken; ...
NUMBER, KERNEL, PLAN, ARRAYS, TASKS, CHUNK, THREADS, TAKEN = 64, 65, 66, 67, 68, 69, 70, 80
# ... the addresses of C functions, of which the last three are Linux's alone; which processor the launching thread has;
# and for each thread whether it sleeps, the lock that it sleeps at, and a set of processors.
YIELD, ACQUIRE, RELEASE, GET_PLACE, GET_MASK, SET_MASK, PLACE, FIRST = 96, 97, 98, 99, 100, 101, 102, 112
SLEEPS, LOCK, MASK, SPAN = 0, 1, 16, 32
MASK_BYTES = 128
GROUPS = 8  # of chunks of tasks: a thread's own, or several threads'
RESTS = 30  # between two looks at the processor's other users
LINGER = 1000  # such looks, before a thread sleeps


@njit
def take(team, thread):  # type: ignore[no-untyped-def]
    """Tasks of the job, until all are taken: a thread's own chunks one by one, then others' that are left.

    So a thread meets the same tasks' data in one step after another, as long as nothing holds it up.
    """
    tasks, chunk, threads = word(team, TASKS), word(team, CHUNK), word(team, THREADS)
    groups, chunks = min(threads, GROUPS), (tasks + chunk - 1) // chunk
    for turn in range(groups):
        group = (thread * groups // threads + turn) % groups
        begin, end = chunks * group // groups, chunks * (group + 1) // groups
        place = begin + added(team + 8 * (TAKEN + group), 1)
        while place < end:
            first = place * chunk
            call(word(team, KERNEL), word(team, PLAN), word(team, ARRAYS), first, min(first + chunk, tasks), thread)
            place = begin + added(team + 8 * (TAKEN + group), 1)


@njit
def wake(team, thread):  # type: ignore[no-untyped-def]
    """Wake the two threads that this one wakes, if they are wanted and sleep: each has two, so that it is soon done.

    One that wakes on this thread's processor is let run at once, and leaves it.
    """
    woken = 0
    for other in range(2 * thread + 1, min(2 * thread + 3, word(team, THREADS))):
        own = team + 8 * (FIRST + SPAN * (other - 1))
        if seen(own + 8 * SLEEPS) and swapped(own + 8 * SLEEPS, 1, 0):
            release(word(team, RELEASE), word(own, LOCK))
            woken += 1
    if woken:
        called(word(team, YIELD))


@njit
def leave(team, own):  # type: ignore[no-untyped-def]
    """Leave the processor that the launching thread has, if there is another: the system would take its time."""
    place, mask = word(team, PLACE), own + 8 * MASK
    if called(word(team, GET_PLACE)) != place or mask_called(word(team, GET_MASK), MASK_BYTES, mask) < 0:
        return
    others = word(mask, place // 64) & ~(1 << (place % 64))
    set_word(mask, place // 64, others)
    if mask_called(word(team, SET_MASK), MASK_BYTES, mask) == 0:  # which fails if there is none
        set_word(mask, place // 64, others | (1 << (place % 64)))
        mask_called(word(team, SET_MASK), MASK_BYTES, mask)


@body
def share_out(team, threads, kernel, plan, arrays, tasks, parts):  # type: ignore[no-untyped-def]
    """All tasks of a body, on so many threads where that is worth it and the team has nothing else to do."""
    threads = min(threads, tasks)
    if threads < 2 or parts < 1 or not swapped(team + 8 * BUSY, 0, 1):
        call(kernel, plan, arrays, 0, tasks, 0)
        return
    set_word(team, KERNEL, kernel)
    set_word(team, PLAN, plan)
    set_word(team, ARRAYS, arrays)
    set_word(team, TASKS, tasks)
    set_word(team, CHUNK, max(1, tasks // (threads * parts)))
    set_word(team, THREADS, threads)
    for group in range(GROUPS):
        set_word(team, TAKEN + group, 0)
    if word(team, GET_PLACE):
        set_word(team, PLACE, called(word(team, GET_PLACE)))
    number = word(team, NUMBER) + 1
    set_word(team, NUMBER, number)
    show(team + 8 * OPEN, number)
    wake(team, 0)
    take(team, 0)
    show(team + 8 * OPEN, 0)
    rests = 0
    while seen(team + 8 * INSIDE):
        rest()
        rests += 1
        if rests % RESTS == 0:
            called(word(team, YIELD))
    show(team + 8 * BUSY, 0)


@body
def work(team, thread, _, __, ___):  # type: ignore[no-untyped-def]
    """What a thread of the team does till all is over; thread 0 is whoever launches."""
    own = team + 8 * (FIRST + SPAN * (thread - 1))
    done = looks = 0
    while not seen(team + 8 * OVER):
        number = done
        for _ in range(RESTS):
            number = seen(team + 8 * OPEN)
            if number and number != done:
                break
            rest()
        if number and number != done:
            if word(team, GET_PLACE):
                leave(team, own)
            added(team + 8 * INSIDE, 1)
            number = seen(team + 8 * OPEN)  # none is opened that this thread could take for it, while it is inside
            if number:
                if thread < word(team, THREADS):
                    wake(team, thread)
                    take(team, thread)
                done, looks = number, 0
            added(team + 8 * INSIDE, -1)
        elif looks < LINGER:
            looks += 1
            called(word(team, YIELD))
        else:
            show(own + 8 * SLEEPS, 1)
            number = seen(team + 8 * OPEN)
            awake = (number and number != done) or seen(team + 8 * OVER)
            if not (awake and swapped(own + 8 * SLEEPS, 1, 0)):  # if that fails it was woken, and the lock is released
                acquire(word(team, ACQUIRE), word(own, LOCK))
            looks = 0
