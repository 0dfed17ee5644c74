"""Runs a PTX program block by block, all threads of a block in an array: what a GPU would compute and not tell.

    program = Program(text)
    run(program, grid, block, (x, y, np.int64(3)), fresh=(1,))

Threads that stand at the same instruction go on together, the hindmost first, so that they meet again where a branch
ends. `ptx_memory` says which accesses are reported. An endless loop is reported after `LIMIT` instructions of a block.
"""

from dataclasses import dataclass, field

import numpy as np
from ptx_binding import Bound
from ptx_values import PtxError, UnknownInstructionError, registers

LIMIT = 20_000_000
WARP = 0xFFFFFFFF


class DivergentBarrierError(PtxError):
    """Threads wait for others that will not come."""


class UnwrittenRegisterError(PtxError):
    """A read of a register that the thread never wrote."""


class TrapError(PtxError):
    """`trap`."""


class EndlessError(PtxError):
    """More instructions than any test has."""


class Lanes:
    """Some threads of a block, as bits, as a mask and as indices."""

    def __init__(self, bits, every):
        raw = np.frombuffer(bits.to_bytes(len(every) // 8, "little"), np.uint8)
        self.bits, self.mask = bits, np.unpackbits(raw, bitorder="little").astype(bool)
        self.index = np.flatnonzero(self.mask)
        self.full = bool((self.mask == every).all())
        self.whole = bool(self.mask.all())
        self.passed = set()  # runs whose registers are known to have been written

    def assign(self, target, value):
        """Writes the values of these threads."""
        if self.full:
            target[...] = value
        else:
            np.copyto(target, value, where=self.mask, casting="unsafe")


def bits_from(mask):
    """A mask as bits."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


@dataclass
class Barrier:
    """Threads that have come to a barrier: those that wait, at which places, and those that only arrived."""

    count: int | None
    waiting: dict = field(default_factory=dict)
    arrived: int = 0


def run(program, grid, block, arguments, *, checks=True, fresh=(), shared=0):
    """Launches the program's entry on arrays, which it writes into, and numbers; returns how many instructions ran.

    An instruction counts once for all threads that execute it together. `fresh` names the arguments whose elements
    nobody may read before they are written; as a dict, it gives for each of them an array of which have been written,
    and that is brought up to date. `shared` is the size of dynamic shared memory. Without checks, only bounds and
    alignment are checked.
    """
    machine = Machine(program, extents(grid), extents(block), checks, shared)
    machine.pass_arguments(arguments, fresh)
    with np.errstate(all="ignore"):
        machine.launch()
    for buffer in machine.memory.pages.values() if checks else ():
        buffer.remember()
    return machine.executed


def extents(shape):
    """Three extents of a grid or a block."""
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return tuple(int(extent) for extent in shape) + (1,) * (3 - len(shape))


class Machine(Bound):
    """A launch: groups of threads by the place where they stand."""

    def __init__(self, program, grid, block, checks, shared):
        super().__init__(program, grid, block, checks, shared)
        self.every = bits_from(self.exists)
        self.known_lanes, self.executed = {}, 0
        self.returns = {name: np.zeros(self.threads, np.int64) for name in program.functions}

    def lanes(self, bits):
        """The group of these threads."""
        found = self.known_lanes.get(bits)
        if found is None:
            found = self.known_lanes[bits] = Lanes(bits, self.exists)
        return found

    def launch(self):
        """All blocks, one after the other."""
        for z, y, x in np.ndindex(*self.grid[::-1]):
            for axis, place in zip("xyz", (x, y, z), strict=True):
                self.specials[f"%ctaid.{axis}"][:] = place
            number = (z * self.grid[1] + y) * self.grid[0] + x
            self.first = number * self.threads
            self.memory.begin_block(number)
            self.copies.forget()
            self.written = [0] * len(self.registers)
            self.known_lanes.clear()
            self.inside = dict.fromkeys(self.program.functions, 0)
            self.ready = {self.program.entry.start: self.every}
            self.parked, self.barriers, self.exited, self.left = {}, {}, 0, LIMIT
            self.retried = 0
            self._run_block()

    def _run_block(self):
        ready, parked, runs = self.ready, self.parked, self.program.runs
        while ready or self._retry():
            place = min(ready)
            lanes = self.lanes(ready.pop(place) | parked.pop(place, 0))
            while place is not None:
                run = runs[place]
                place = self._execute(run, lanes)
                if place is not None and (ready or parked):
                    ready[place] = ready.get(place, 0) | lanes.bits
                    break
        if parked or any(barrier.waiting for barrier in self.barriers.values()):
            self._stuck()

    def _execute(self, run, lanes):
        """The place where all go on, or None when they have been sent on."""
        if run.start not in lanes.passed and run.instructions[0].guard is None:
            self._require(run, run.reads, lanes)
            for index in run.writes:
                self.written[index] |= lanes.bits
            lanes.passed.add(run.start)
        self.executed += len(run.instructions)
        self.left -= len(run.instructions)
        if self.left < 0:
            raise EndlessError(f"{run.instructions[0].text}: still running after {LIMIT} instructions of a block")
        instruction = run.instructions[0]
        if instruction.guard is not None:
            return self._execute_some(run, instruction, lanes)
        if run.kind == "plain":
            for step in self.steps[run.start]:
                step(lanes)
            return run.start + len(run.instructions)
        return self._leave(run, instruction, lanes)

    def _execute_some(self, run, instruction, lanes):
        """The same of an instruction with a guard."""
        guard, after = instruction.guard, run.start + 1
        self._require(run, (guard.index,), lanes)
        bits = bits_from(self.registers[guard.index] ^ guard.negated) & lanes.bits
        if not bits:
            return after
        taken, rest = self.lanes(bits), lanes.bits & ~bits
        self._require(run, run.reads, taken)
        for index in run.writes:
            self.written[index] |= bits
        if run.kind == "plain":
            self.steps[run.start][0](taken)
            return after
        target = self._leave(run, instruction, taken)
        if not rest:
            return target
        self._send(after, rest)
        return None if target is None else self._send(target, bits)

    def _require(self, run, reads, lanes):
        """All registers have been written by all lanes."""
        for index in reads if self.checks else ():
            missing = lanes.bits & ~self.written[index]
            if missing:
                who = self.tell(self.first + int(self.lanes(missing).index[0]))
                name = self.program.register_names[index]
                raise UnwrittenRegisterError(f"{self._reader(run, index)}: {who} never wrote {name}")

    @staticmethod
    def _reader(run, index):
        """The first instruction of a run that reads a register."""
        return next(
            (i.text for i in run.instructions if any(index in registers(operand) for operand in i.operands)),
            run.instructions[0].text,
        )

    def _send(self, place, bits):
        self.ready[place] = self.ready.get(place, 0) | bits

    def _leave(self, run, instruction, lanes):
        """An instruction that decides where threads go on, or that they wait at."""
        root, place = instruction.parts[0], run.start
        if run.kind == "meeting":
            return self._meet(*self.steps[place], place, lanes)
        if run.kind == "barrier":
            return self._barrier(instruction, lanes)
        if root == "bra":
            return instruction.targets[0]
        if root == "brx":
            return self._jump(instruction, lanes)
        if root == "call":
            return self._call(instruction, lanes)
        if root == "returned":
            results = self.program.functions[instruction.call[0]].results
            self._pass(results, instruction.call[2], lanes)
            return place + 1
        if root == "trap":
            raise TrapError(f"{instruction.text}: {self.tell(self.first + int(lanes.index[0]))} is trapped")
        if root == "ret" and instruction.owner != self.program.entry.name:
            return self._return(instruction.owner, lanes)
        self.exited |= lanes.bits
        return None

    def _jump(self, instruction, lanes):
        choices = self.source(instruction.operands[0], "u32")
        for choice in np.unique(choices[lanes.index]):
            if choice >= len(instruction.targets):
                raise PtxError(f"{instruction.text}: there is no target {choice}")
            self._send(instruction.targets[int(choice)], bits_from(choices == choice) & lanes.bits)

    def _pass(self, sources, targets, lanes):
        for source, target in zip(sources, targets, strict=True):
            data = self.parameters[source]
            self.parameters[target][lanes.index, : data.shape[1]] = data[lanes.index]

    def _call(self, instruction, lanes):
        name, arguments, _ = instruction.call
        if self.inside[name] & lanes.bits:
            raise PtxError(f"{instruction.text}: recursion is not covered")
        self.inside[name] |= lanes.bits
        self._pass(arguments, self.program.functions[name].parameters, lanes)
        self.returns[name][lanes.index] = instruction.place + 1
        return instruction.targets[0]

    def _return(self, name, lanes):
        self.inside[name] &= ~lanes.bits
        back = self.returns[name]
        for place in np.unique(back[lanes.index]):
            self._send(int(place), bits_from(back == place) & lanes.bits)

    def _meet(self, members, step, place, lanes):
        """Threads of a warp wait for all that a mask names and that have not exited."""
        alive, done = self.every & ~self.exited, 0
        masks = (WARP,) if members is None else np.unique(members[lanes.index])
        for mask in map(int, masks):
            same = lanes.bits if len(masks) == 1 else bits_from(members == mask) & lanes.bits
            complete = 0
            for shift in range(0, self.threads, 32):
                here, named = same >> shift & WARP, mask & (alive >> shift)
                if here & ~mask:
                    who = self.tell(self.first + shift + (here & ~mask).bit_length() - 1)
                    text = self.program.instructions[place].text
                    raise DivergentBarrierError(f"{text}: {who} is not in its own mask {mask:#x}")
                if not named & ~here:
                    complete |= here << shift
            if complete:
                step(self.lanes(complete))
                done |= complete
        if done == lanes.bits:
            return place + 1
        self.parked[place] = lanes.bits & ~done
        return self._send(place + 1, done) if done else None

    def _retry(self):
        """Threads that wait for their warp look again where some have exited since."""
        if not self.parked or self.retried == self.exited:
            return False
        self.retried = self.exited
        self.ready.update(self.parked)
        self.parked.clear()
        return True

    def _barrier(self, instruction, lanes):
        """`bar.sync`, `bar.arrive` and `bar.red`, of the whole block or with a count of threads."""
        words = set(instruction.parts[1:])
        unknown = words - {"sync", "arrive", "red", "cta", "aligned", "popc", "and", "or", "u32", "pred"}
        if unknown:
            raise UnknownInstructionError(f"{instruction.text}: .{unknown.pop()} is not covered")
        numbers = instruction.operands[1:-1] if "red" in words else instruction.operands
        number, *count = (int(self.source(operand, "u32")[lanes.index[0]]) for operand in numbers)
        barrier = self.barriers.setdefault(number, Barrier(count[0] if count else None))
        if "arrive" in words:
            barrier.arrived |= lanes.bits
        else:
            barrier.waiting[instruction.place] = barrier.waiting.get(instruction.place, 0) | lanes.bits
        waiting = 0
        for bits in barrier.waiting.values():
            waiting |= bits
        if barrier.count is None:
            complete = (
                self.every in barrier.waiting.values()
            )  # others may wait at another barrier: that is not this one
        else:
            complete = (waiting | barrier.arrived).bit_count() >= barrier.count
        if complete:
            del self.barriers[number]
            self._release(barrier, waiting)
        return instruction.place + 1 if "arrive" in words else None

    def _release(self, barrier, waiting):
        if barrier.count is None:
            self.memory.barrier()
        else:
            everyone = self.lanes(waiting | barrier.arrived)
            self.memory.barrier(everyone.index, self.lanes(waiting).index)
        for place, bits in barrier.waiting.items():
            instruction = self.program.instructions[place]
            if "red" in instruction.parts:
                self._reduce(instruction, self.lanes(bits))
            self._send(place + 1, bits)

    def _reduce(self, instruction, lanes):
        flags, negated = self.predicate(instruction.operands[-1])
        flags = (flags ^ negated)[lanes.index]
        target = self.destination(instruction.operands[0], instruction.parts[-1])
        kind = next(word for word in instruction.parts if word in ("popc", "and", "or"))
        lanes.assign(target, {"popc": flags.sum(), "and": flags.all(), "or": flags.any()}[kind])

    def _stuck(self):
        """Nobody can go on: who waits where, and who has left."""
        groups = [(place, bits) for barrier in self.barriers.values() for place, bits in barrier.waiting.items()]
        groups += self.parked.items()
        told = []
        for place, bits in groups:
            who = self.tell(self.first + int(self.lanes(bits).index[0]))
            told.append(f"{bits.bit_count()} threads ({who} first) wait at {self.program.instructions[place].text}")
        if self.exited:
            who = self.tell(self.first + int(self.lanes(self.exited).index[0]))
            told.append(f"{self.exited.bit_count()} ({who} first) have exited")
        raise DivergentBarrierError("; ".join(told))
