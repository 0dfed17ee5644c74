"""PTX instructions that touch memory, bound to a machine: each becomes a function of the lanes that execute it."""

import numpy as np
from ptx_memory import ATOMIC, CONSTANT_LOAD, LOAD, NEVER, STORE, STRONG_LOAD, STRONG_STORE, WINDOW, WRITTEN, page_of
from ptx_values import Register, Symbol, UnknownInstructionError, Vector, bits_of, numpy_type

SPACES = {
    "global": "global",
    "shared": "shared",
    "shared_cta": "shared",
    "local": "local",
    "const": "const",
    "param": "param",
}
STRONG = {"volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"}
SCOPES = {"cta", "cluster", "gpu", "sys"}
HINTS = {"weak", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"}
FORMS = {"v2", "v4", "v8"}


def space_of(instruction):
    """The state space that an opcode names; generic where it names none. Words that are not known raise."""
    words = instruction.parts[1:-1]
    for word in words:
        if word not in SPACES and word not in STRONG | SCOPES | HINTS | FORMS and not word.startswith(("L1_", "L2_")):
            raise UnknownInstructionError(f"{instruction.text}: .{word} is not covered")
    return next((SPACES[word] for word in words if word in SPACES), "generic")


def items(operand):
    """The operands of a vector, or one."""
    return operand.items if isinstance(operand, Vector) else (operand,)


def address(machine, operand, space):
    """(array of addresses, what is to be added for a generic one)."""
    wide = not isinstance(operand.base, Register) or machine.width(operand.base) == 64
    return machine.source(operand.base, "u64" if wide else "u32"), operand.offset + WINDOW[space]


def parameter_columns(machine, operand, ptx_type, count):
    """The bytes of a parameter as numbers of a type, one array of lanes for each item."""
    if not isinstance(operand.base, Symbol):
        raise UnknownInstructionError("a parameter's address in a register")
    storage, step = machine.parameters[operand.base.variable], bits_of(ptx_type) // 8
    start = operand.base.offset + operand.offset
    return [
        storage[:, at : at + step].view(numpy_type(ptx_type))[:, 0] for at in range(start, start + count * step, step)
    ]


def load(machine, instruction):
    """`ld`, also of vectors and through the read-only cache."""
    space, ptx_type, words = space_of(instruction), instruction.parts[-1], set(instruction.parts)
    targets = [machine.destination(item, ptx_type) for item in items(instruction.operands[0])]
    if space == "param":
        columns = parameter_columns(machine, instruction.operands[1], ptx_type, len(targets))
        return lambda lanes: [lanes.assign(target, column) for target, column in zip(targets, columns, strict=True)]
    addresses, shift = address(machine, instruction.operands[1], space)
    kind = STRONG_LOAD if words & STRONG else CONSTANT_LOAD if "nc" in words else LOAD
    form, memory = (len(targets) * bits_of(ptx_type) // 8, bits_of(ptx_type) // 8, kind), machine.memory

    def step(lanes):
        for buffer, some, places in memory.access(instruction, addresses, shift, lanes.index, form):
            view = buffer.view(ptx_type)
            for k, target in enumerate(targets):
                value = view.take(places + k if k else places)
                if lanes.whole and some is lanes.index:
                    target[...] = value
                else:
                    target[some] = value

    return step


def store(machine, instruction):
    """`st`, also of vectors."""
    space, ptx_type = space_of(instruction), instruction.parts[-1]
    sources = [machine.source(item, ptx_type) for item in items(instruction.operands[1])]
    if space == "param":
        columns = parameter_columns(machine, instruction.operands[0], ptx_type, len(sources))
        return lambda lanes: [lanes.assign(column, source) for column, source in zip(columns, sources, strict=True)]
    addresses, shift = address(machine, instruction.operands[0], space)
    kind = STRONG_STORE if set(instruction.parts) & STRONG else STORE
    form, memory = (len(sources) * bits_of(ptx_type) // 8, bits_of(ptx_type) // 8, kind), machine.memory

    def step(lanes):
        for buffer, some, places in memory.access(instruction, addresses, shift, lanes.index, form):
            view = buffer.view(ptx_type)
            for k, source in enumerate(sources):
                view[places + k if k else places] = source if lanes.whole and some is lanes.index else source[some]

    return step


ATOMICS = {
    "add": np.add,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "min": np.minimum,
    "max": np.maximum,
    "exch": lambda old, new: new,
    "cas": lambda old, expected, new: np.where(old == expected, new, old),
    "inc": lambda old, limit: np.where(old >= limit, 0, old + 1).astype(old.dtype),
    "dec": lambda old, limit: np.where((old == 0) | (old > limit), limit, old - 1).astype(old.dtype),
}


def atomic(machine, instruction):
    """`atom` and `red`: lanes that touch one place do so in their order."""
    name, ptx_type, words = instruction.parts[0], instruction.parts[-1], instruction.parts[1:-1]
    operation = next((word for word in words if word in ATOMICS), None)
    for word in words:
        if word != operation and word not in SPACES and word not in STRONG | SCOPES:
            raise UnknownInstructionError(f"{instruction.text}: .{word} is not covered")
    if operation is None:
        raise UnknownInstructionError(f"{instruction.text}: the operation is not covered")
    space = next((SPACES[word] for word in words if word in SPACES), "generic")
    operands = instruction.operands if name == "red" else instruction.operands[1:]
    target = None if name == "red" else machine.destination(instruction.operands[0], ptx_type)
    addresses, shift = address(machine, operands[0], space)
    sources, function = [machine.source(operand, ptx_type) for operand in operands[1:]], ATOMICS[operation]
    form = (bits_of(ptx_type) // 8, bits_of(ptx_type) // 8, ATOMIC)

    def step(lanes):
        for buffer, some, places in machine.memory.access(instruction, addresses, shift, lanes.index, form):
            view, rest = buffer.view(ptx_type), np.arange(len(some))
            while len(rest):
                first = np.sort(np.unique(places[rest], return_index=True)[1])
                turn = rest[first]
                lane, old = some[turn], view[places[turn]]
                view[places[turn]] = function(old, *(source[lane] for source in sources))
                if target is not None:
                    target[lane] = old
                rest = np.delete(rest, first)

    return step


class AsyncCopies:
    """`cp.async`: bytes on their way into shared memory, which nobody may read before their thread has waited."""

    def __init__(self, machine):
        self.machine = machine
        self.forget()

    def forget(self):
        """A block begins."""
        self.pending = []
        self.groups = np.zeros(self.machine.threads, np.int64)  # how many each thread has committed

    def bind(self, instruction):
        """The function of lanes of one of the instructions."""
        words = instruction.parts[2:]
        if words[0] == "commit_group":
            return self.commit
        if words[0] in ("wait_group", "wait_all"):
            still = 0 if words[0] == "wait_all" else int(instruction.operands[0].text)
            return lambda lanes: self.wait(lanes, still, words[0] == "wait_all")
        unknown = [w for w in words if w not in ("ca", "cg", "global") and not w.startswith(("shared", "L2_"))]
        if unknown or len(instruction.operands) != 3:
            raise UnknownInstructionError(f"{instruction.text}: a form that is not covered")
        width = int(instruction.operands[2].text)
        into, source = (
            address(self.machine, o, s) for o, s in zip(instruction.operands, ("shared", "global"), strict=False)
        )
        return lambda lanes: self.issue(instruction, into, source, width, lanes)

    def issue(self, instruction, into, source, width, lanes):
        """Reads, and claims where it will be written."""
        memory, data = self.machine.memory, np.zeros((self.machine.threads, width), np.uint8)
        for buffer, some, places in memory.access(instruction, *source, lanes.index, (width, 1, LOAD)):
            data[some] = buffer.data[places[:, None] + np.arange(width)]
        for buffer, _, places in memory.access(instruction, *into, lanes.index, (width, 1, STORE)):
            for place in places if memory.checks else ():
                buffer.cells[place // buffer.grain : (place + width) // buffer.grain, WRITTEN] = NEVER
        place = into[0].copy(), into[1]  # the registers may change before the copy is complete
        self.pending.append([instruction, place, data, self.groups.copy(), lanes.mask.copy()])

    def commit(self, lanes):
        """What was issued since the last one becomes a group."""
        self.groups[lanes.index] += 1

    def wait(self, lanes, still, everything):
        """Until all but so many groups are complete."""
        for copy in self.pending:
            instruction, into, data, group, open_ = copy
            done = open_ & lanes.mask & (everything | (group < self.groups - still))
            index = np.flatnonzero(done)
            if len(index):
                width = data.shape[1]
                for buffer, some, places in self.machine.memory.access(instruction, *into, index, (width, 1, STORE)):
                    buffer.data[places[:, None] + np.arange(width)] = data[some]
                copy[-1] = open_ & ~done
        self.pending = [copy for copy in self.pending if copy[-1].any()]


def convert_address(machine, instruction):
    """`cvta`: between generic addresses and those of a space."""
    words, ptx_type = instruction.parts[1:-1], instruction.parts[-1]
    window = WINDOW[SPACES.get(words[-1])] * (-1 if words[0] == "to" else 1) & (1 << 64) - 1
    source = machine.source(instruction.operands[1], ptx_type).astype(np.uint64, copy=False)
    target = machine.destination(instruction.operands[0], ptx_type)
    if window == 0:
        return lambda lanes: lanes.assign(target, source)
    return lambda lanes: lanes.assign(target, source + np.uint64(window))


def in_space(machine, instruction):
    """`isspacep`."""
    space = SPACES[instruction.parts[1]]
    target = machine.destination(instruction.operands[0], "pred")
    source = machine.source(instruction.operands[1], "u64")

    def step(lanes):
        lanes.assign(target, np.array([page_of(int(address))[0] == space for address in source]))

    return step


def nothing(machine, instruction):
    """Fences order what the interpreter orders anyway; a prefetch changes nothing."""
    return lambda lanes: None


ACCESSES = {
    "ld": load,
    "ldu": load,
    "st": store,
    "atom": atomic,
    "red": atomic,
    "cvta": convert_address,
    "isspacep": in_space,
    **dict.fromkeys(("membar", "fence", "prefetch", "prefetchu", "nanosleep"), nothing),
}
