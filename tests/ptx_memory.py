"""The memory of an interpreted launch, and what a GPU does not report: bounds, alignment, races, reads before writes.

Each few bytes (a *cell*) remember when and by whom they were last written and read. Time counts barriers: an access
happened before another if a barrier that both threads took part in lies between them. Accesses of different blocks are
never ordered, so a kernel whose blocks hand data on through flags is reported too; atomic accesses do not race with
each other. Arguments that overlap are taken for different arrays.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from ptx_values import PtxError, numpy_type


class OutOfBoundsError(PtxError):
    """An access outside of every array."""


class MisalignedError(PtxError):
    """An access at an address that is not a multiple of its width."""


class RaceError(PtxError):
    """Two threads touch a place, one writes, and no barrier lies between."""


class SharedRaceError(RaceError):
    """A race in shared memory."""


class GlobalRaceError(RaceError):
    """A race in global memory."""


class UninitialisedError(PtxError):
    """A read of what nobody wrote."""


class UninitialisedSharedError(UninitialisedError):
    """In shared memory."""


class UninitialisedGlobalError(UninitialisedError):
    """In an argument that was given as fresh."""


class UninitialisedLocalError(UninitialisedError):
    """In a thread's own array."""


LOAD, CONSTANT_LOAD, STRONG_LOAD, STORE, STRONG_STORE, ATOMIC = range(6)
UNCHECKED = -1
NOW, BARRIER, FIRST, BLOCK, THREADS = range(5)  # of the clock
WRITTEN, WRITER, READ, READER = range(4)  # of a cell
ONE, WARP, BLOCK_WIDE, GRID_WIDE = range(4)  # how many threads an access stands for
FINE, OUTSIDE, ODD, UNWRITTEN, RACE_WITH_WRITE, RACE_WITH_READ = range(6)  # what a visit finds
NO, YES, ASK = range(3)
NEVER = -1  # the time at which a cell that is not initialised was written; zero is before the launch


@njit(cache=True)
def order(time, tag, me, first, barrier):
    """Whether the accesses that a cell remembers happened before what a thread does now: YES, NO or ASK (`knows`)."""
    spread = tag >> 1 & 3
    if time <= 0 or (spread == ONE and tag >> 3 == me):
        return YES
    if time < first or spread == GRID_WIDE:
        return NO
    return YES if time <= barrier else ASK


@njit(cache=True)
def knows(time, tag, lane, clock, known):
    """The same after barriers of a part of the block: `known[lane, other]` is the last barrier that it has heard of."""
    other = (tag >> 3) - clock[BLOCK] * clock[THREADS]
    spread, first, last = tag >> 1 & 3, other, other + 1
    if spread == WARP:
        first, last = other // 32 * 32, other // 32 * 32 + 32
    elif spread == BLOCK_WIDE:
        first, last = 0, clock[THREADS]
    for k in range(first, last):
        if k != lane and known[lane, k] < time:
            return NO
    return YES


@njit(cache=True)
def joined(ordered, time, tag, me, first):
    """The tag of an access that a cell remembers from now on, together with earlier ones that do not come before it."""
    spread = tag >> 1 & 3
    if ordered == YES:
        spread = ONE
    elif time < first or spread == GRID_WIDE:
        spread = GRID_WIDE
    elif spread <= WARP and tag >> 8 == me >> 5:
        spread = WARP
    else:
        spread = BLOCK_WIDE
    return me << 3 | spread << 1


@njit(inline="always")
def touch(cells, k, kind, lane, clock, known):
    """Checks one access to one cell and remembers it."""
    me, first, barrier = clock[BLOCK] * clock[THREADS] + lane, clock[FIRST], clock[BARRIER]
    written, writer, read, reader = cells[k, WRITTEN], cells[k, WRITER], cells[k, READ], cells[k, READER]
    if written == NEVER and kind != STORE and kind != STRONG_STORE:
        return UNWRITTEN
    strong = kind in (ATOMIC, STRONG_STORE, STRONG_LOAD)
    after_write = order(written, writer, me, first, barrier)
    if after_write == ASK:
        after_write = knows(written, writer, lane, clock, known) if len(known) else NO
    if (after_write == NO and not (strong and writer & 1)) or (kind == CONSTANT_LOAD and written > 0):
        return RACE_WITH_WRITE
    if (
        kind == STRONG_LOAD
    ):  # not remembered: strong writes do not race with it, and plain ones are caught by later reads
        return FINE
    after_read = order(read, reader, me, first, barrier)
    if after_read == ASK:
        after_read = knows(read, reader, lane, clock, known) if len(known) else NO
    if kind in (LOAD, CONSTANT_LOAD):
        cells[k, READER] = joined(after_read, read, reader, me, first)
        cells[k, READ] = clock[NOW]
        return FINE
    if after_read == NO:
        return RACE_WITH_READ
    cells[k, WRITER] = joined(after_write, written, writer, me, first) | 1 if strong else me << 3
    cells[k, WRITTEN] = clock[NOW]
    return FINE


@njit(cache=True)
def visit(addresses, shift, lanes, base, shape, form, cells, clock, known, places, found):
    """Checks an access by each of some lanes; fills in the elements' places, or what is wrong.

    `shape` is the buffer's size, its stride from thread to thread and the logarithm of the cell's width; `form` the
    access's width, the logarithm of its element's and its kind.
    """
    size, stride, grain = shape
    width, element, kind = form
    for i in range(lanes.size):
        lane = lanes[i]
        address = np.int64(addresses[lane]) + shift
        offset = address - base
        found[0], found[1] = lane, offset
        if offset < 0 or offset + width > size:
            return OUTSIDE
        if address & (width - 1):
            return ODD
        offset += lane * stride
        places[i] = offset >> element
        if kind != UNCHECKED:
            for k in range(offset >> grain, (offset + width) >> grain):
                result = touch(cells, k, kind, lane, clock, known)
                if result != FINE:
                    found[2] = k
                    return result
    return FINE


@njit(cache=True)
def meet(lanes, waiting, clock, known):
    """Some lanes come, and some of them wait for all: these know of others what anyone knew."""
    row = np.zeros(known.shape[1], known.dtype)
    for lane in lanes:
        row = np.maximum(row, known[lane])
    for lane in lanes:
        row[lane] = clock[NOW]
    for lane in waiting:
        known[lane] = row


@dataclass(eq=False)
class Buffer:
    """An array of a launch: for local memory, of all threads one after the other."""

    name: str
    space: str
    base: int
    size: int
    data: np.ndarray
    fresh: bool | np.ndarray  # nobody has written anything; or for each item, whether somebody has
    stride: int = 0
    grain: int = 1
    item: str = "byte"

    def __post_init__(self):
        self._views = {}
        self.forget()

    def forget(self):
        """Back to before the launch."""
        self.cells = np.zeros((-(-len(self.data) // self.grain), 4), np.int64)
        if self.fresh is not False:
            unwritten = True if self.fresh is True else ~self.fresh.reshape(-1)
            self.cells[:, WRITTEN] = np.where(unwritten, NEVER, 0)

    def remember(self):
        """Notes in an array that was given as `fresh` what has been written."""
        if isinstance(self.fresh, np.ndarray):
            written = (self.cells[:, WRITTEN] != NEVER).reshape(self.fresh.size, -1)
            self.fresh[...] = written.all(axis=1).reshape(self.fresh.shape)

    def refine(self, width):
        """Cells no wider than an access."""
        if self.grain > width:
            self.cells = np.repeat(self.cells, self.grain // width, axis=0)
            self.grain = width

    def view(self, ptx_type):
        """The data as numbers of a type."""
        if ptx_type not in self._views:
            kind = np.dtype(numpy_type(ptx_type))
            self._views[ptx_type] = self.data[: len(self.data) // kind.itemsize * kind.itemsize].view(kind)
        return self._views[ptx_type]


# Generic addresses: a page for each buffer, which begins in the middle so that what lies just before is nobody's.
GLOBAL, SHARED, LOCAL = 1 << 44, 1 << 40, 1 << 41
PAGE = {"global": 36, "shared": 20, "local": 20}
WINDOW = {"global": 0, "const": 0, "generic": 0, "shared": SHARED, "local": LOCAL}


def page_of(address):
    """The page of a generic address, and the space that it would belong to."""
    space = "global" if address >= GLOBAL else "local" if address >= LOCAL else "shared"
    return space, address >> PAGE[space]


class Memory:
    """All buffers of a launch and the clock of its barriers; `tell` names a thread by its number in the launch."""

    def __init__(self, threads, checks, partial, exists, tell):
        self.checks, self.tell, self.pages = checks, tell, {}
        self.clock = np.array([1, 0, 1, -1, threads], np.int64)
        self.known = np.zeros((threads, threads) if partial and checks else (0, 0), np.int64)
        self.known[:, ~exists[: self.known.shape[1]]] = np.iinfo(np.int64).max
        self.exists = exists
        self.places, self.found = np.zeros(threads, np.int64), np.zeros(3, np.int64)

    def add(self, name, space, data, alignment, fresh, stride=0, item="byte", grain=16):
        """A new buffer; its address is aligned as declared and no better."""
        kind = "global" if space in ("global", "const") else space
        number = sum(page[0] == kind for page in self.pages) + 1
        base = {"global": GLOBAL, "shared": SHARED, "local": LOCAL}[kind] + (number << PAGE[kind])
        base += (1 << (PAGE[kind] - 1)) + (alignment if alignment < 16 else 0)
        buffer = Buffer(
            name, kind, base, stride or len(data), data, fresh, stride, min(grain, alignment & -alignment), item
        )
        self.pages[page_of(base)] = buffer
        return buffer

    def begin_block(self, number):
        """A block starts: nothing is ordered with what others did."""
        self.clock[NOW] += 1
        self.clock[FIRST], self.clock[BLOCK] = self.clock[NOW], number
        self.clock[BARRIER] = self.clock[NOW] - 1
        self.known[:, self.exists[: self.known.shape[1]]] = self.clock[BARRIER]
        for buffer in self.pages.values():
            if buffer.space != "global":
                buffer.data[:] = 0xCD
                buffer.forget()

    def barrier(self, lanes=None, waiting=None):
        """All threads of the block have met, or some lanes, of which all or some have waited."""
        if lanes is None:
            self.clock[BARRIER] = self.clock[NOW]
        elif self.checks:
            meet(lanes, lanes if waiting is None else waiting, self.clock, self.known)
        self.clock[NOW] += 1

    def access(self, instruction, addresses, shift, lanes, form):
        """[(buffer, the lanes that touch it, the elements' places)], checked."""
        first = int(addresses[lanes[0]]) + shift if len(lanes) else 0
        buffer = self.pages.get(page_of(first))
        if buffer is None:
            self._wrong(instruction, OUTSIDE, None, int(lanes[0]), first, form)
        buffer.refine(form[0])
        shape = (buffer.size, buffer.stride, buffer.grain.bit_length() - 1)
        checked = (form[0], form[1].bit_length() - 1, form[2] if self.checks else UNCHECKED)
        tables = (buffer.cells, self.clock, self.known, self.places, self.found)
        result = visit(addresses, shift, lanes, buffer.base, shape, checked, *tables)
        if result == FINE:
            return [(buffer, lanes, self.places[: len(lanes)])]
        if result == OUTSIDE:
            pages = np.array([page_of(int(addresses[lane]) + shift)[1] for lane in lanes])
            if len(np.unique(pages)) > 1:  # pointers into several arrays
                parts = []
                for page in np.unique(pages):
                    found = self.access(instruction, addresses, shift, lanes[pages == page], form)
                    parts += [(buffer, some, places.copy()) for buffer, some, places in found]
                return parts
        lane = int(self.found[0])
        return self._wrong(instruction, result, buffer, lane, int(addresses[lane]) + shift, form)

    def _wrong(self, instruction, result, buffer, lane, address, form):
        clock = self.clock
        who = self.tell(int(clock[BLOCK] * clock[THREADS]) + lane)
        does = "writes" if form[2] in (STORE, STRONG_STORE) else "updates" if form[2] == ATOMIC else "reads"
        start = f"{instruction.text}: {who} {does} {form[0]} bytes at"
        if buffer is None:
            raise OutOfBoundsError(f"{start} address {address:#x}, where no array is")
        place = f"{start} byte {int(self.found[1])} of {buffer.name} ({buffer.size} bytes, {buffer.item})"
        if result == OUTSIDE:
            raise OutOfBoundsError(f"{place}, outside of it")
        if result == ODD:
            raise MisalignedError(f"{place}, which is not aligned to {form[0]} bytes")
        if result == UNWRITTEN:
            kinds = {
                "shared": UninitialisedSharedError,
                "global": UninitialisedGlobalError,
                "local": UninitialisedLocalError,
            }
            raise kinds[buffer.space](f"{place}, which nobody wrote")
        cell = buffer.cells[int(self.found[2])]
        tag = int(cell[WRITER if result == RACE_WITH_WRITE else READER])
        crowd = ("", " and others of its warp", " and others of its block", " and others of other blocks")[tag >> 1 & 3]
        did = "wrote" if result == RACE_WITH_WRITE else "read"
        error = SharedRaceError if buffer.space == "shared" else GlobalRaceError
        raise error(f"{place}, which {self.tell(tag >> 3)}{crowd} {did} with no barrier between")
