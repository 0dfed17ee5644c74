"""Registers and memory of a launch, and the instructions of a PTX program bound to them as functions of lanes."""

import numpy as np
from ptx_accesses import ACCESSES, AsyncCopies
from ptx_memory import LOCAL, SHARED, Memory
from ptx_operations import high_product, operation
from ptx_program import Program
from ptx_values import (
    Immediate,
    Name,
    PtxError,
    Register,
    Special,
    Symbol,
    UnknownInstructionError,
    bits_of,
    literal,
    numpy_type,
)
from ptx_warp import active_mask, meeting, special_registers


class LaunchError(PtxError):
    """A grid, a block or arguments that the program does not take."""


def with_carry(parts):
    """(function of (sources…, carry) -> (result, carry out), number of sources) of the extended-precision opcodes."""
    name = parts[0].removesuffix("c") if parts[0] in ("addc", "subc", "madc") else parts[0]
    takes = name != parts[0]

    def total(a, b, carry):
        result = a + b
        final = result + carry
        return final, (result < a) | (final < result)

    def function(*sources):
        carry = (sources[-1] if takes else np.zeros_like(sources[-1])).astype(sources[0].dtype)
        if name == "sub":  # the carry is a borrow
            result = sources[0] - sources[1]
            return result - carry, (sources[0] < sources[1]) | (result < carry)
        if name == "add":
            return total(*sources[:2], carry)
        product = high_product if "hi" in parts else np.multiply
        return total(product(*sources[:2]), sources[2], carry)

    return function, 3 if name == "mad" else 2


class Bound:
    """Registers, memory and bound instructions of a launch."""

    def __init__(self, program: Program, grid, block, checks, shared):
        self.program, self.grid, self.block, self.checks = program, grid, block, checks
        count = int(np.prod(block))
        if not 0 < count <= 1024 or min(grid) < 1:
            raise LaunchError(f"grid {grid} and block {block}: blocks have 1 to 1024 threads, grids at least one block")
        self.threads = -(-count // 32) * 32
        self.exists = np.arange(self.threads) < count
        self.first = 0  # the number of the block's first thread in the launch
        partial = any(self._is_partial(instruction) for instruction in program.instructions)
        self.memory = Memory(self.threads, checks, partial, self.exists, self.tell)
        self.specials = special_registers(grid, block, self.threads, shared)
        self.registers = [np.zeros(self.threads, numpy_type(self._storage(t))) for t in program.register_types]
        self.carry, self.sink = np.zeros(self.threads, bool), np.zeros(self.threads, np.uint64)
        self.parameters, self.addresses, self.copies = {}, {}, AsyncCopies(self)
        self._place_variables(shared)
        with np.errstate(all="ignore"):
            self.steps = {run.start: self._bind(run) for run in program.runs.values()}

    @staticmethod
    def _storage(ptx_type):
        return ptx_type if ptx_type == "pred" else f"b{bits_of(ptx_type)}"

    @staticmethod
    def _is_partial(instruction):
        """Whether a barrier is of a part of the block only."""
        root, parts = instruction.parts[0], instruction.parts
        numbers = len(instruction.operands) - (2 if "red" in parts else 0)
        return root in ("bar", "barrier") and ("warp" in parts or "arrive" in parts or numbers > 1)

    def _place_variables(self, shared):
        for variable in self.program.variables:
            size = shared if variable.size is None else variable.size
            if variable.space == "param":
                self.parameters[variable] = np.zeros((self.threads, size), np.uint8)
            else:
                stride = -(-size // 16) * 16 if variable.space == "local" else 0
                data = np.zeros(stride * self.threads or size, np.uint8)
                data[: len(variable.initial)] = np.frombuffer(variable.initial, np.uint8)
                space, fresh = variable.space, variable.space in ("shared", "local")
                buffer = self.memory.add(f"{space} {variable.name}", space, data, variable.alignment, fresh, stride)
                buffer.size = size
                self.addresses[variable] = buffer.base - {"shared": SHARED, "local": LOCAL}.get(space, 0)
        for function in self.program.functions.values():
            for variable in function.parameters + function.results:
                self.parameters[variable] = np.zeros((self.threads, variable.size), np.uint8)

    def pass_arguments(self, arguments, fresh):
        """Arrays in Numba's form: two unused pointers, number and size of items, address, shape, strides."""
        values = []

        def spread(name, value, is_fresh):
            if isinstance(value, np.ndarray):
                if not value.flags.c_contiguous:
                    raise LaunchError(f"{name} is not C-contiguous")
                data, item = value.reshape(-1).view(np.uint8), f"{value.dtype} {value.shape}"
                alignment = 256 if value.itemsize in (1, 2, 4, 8, 16) else value.itemsize
                grain = value.itemsize if isinstance(is_fresh, np.ndarray) else 16
                buffer = self.memory.add(name, "global", data, alignment, is_fresh, item=item, grain=grain)
                values.extend((0, 0, value.size, value.itemsize, buffer.base, *value.shape, *value.strides))
            elif isinstance(value, tuple):
                for k, item in enumerate(value):
                    spread(f"{name}[{k}]", item, is_fresh)
            elif isinstance(value, complex | np.complexfloating):
                values.extend((value.real, value.imag))
            else:
                values.append(value)

        for k, argument in enumerate(arguments):
            spread(f"argument {k}", argument, fresh[k] if isinstance(fresh, dict) and k in fresh else k in fresh)
        parameters = self.program.entry.parameters
        if len(values) != len(parameters):
            raise LaunchError(f"the arguments are {len(values)} values, the program takes {len(parameters)}")
        for variable, value in zip(parameters, values, strict=True):
            into = self.parameters[variable].view(numpy_type(variable.type))
            if into.dtype.kind == "f":
                into[...] = value
            elif isinstance(value, np.float16 | np.float32 | np.float64):
                into[...] = value.view(f"u{value.itemsize}")
            elif isinstance(value, float):
                raise LaunchError(f"{value!r} for {variable.name}, which is .{variable.type}")
            else:
                into[...] = int(value) & (1 << bits_of(variable.type)) - 1

    def tell(self, thread):
        """The name of a thread by its number in the launch."""
        block, lane = divmod(thread, self.threads)
        places = []
        for number, (width, height, _) in ((lane, self.block), (block, self.grid)):
            places.append((number % width, number // width % height, number // (width * height)))
        return f"thread {places[0]} of block {places[1]}"

    def width(self, register):
        """The bits of a register."""
        return bits_of(self.program.register_types[register.index])

    def source(self, operand, ptx_type):
        """The array of an operand's values, seen as a type."""
        if isinstance(operand, Immediate):
            return np.full(self.threads, literal(operand.text, ptx_type))
        if isinstance(operand, Symbol):
            return np.full(self.threads, self.addresses[operand.variable] + operand.offset, np.uint64).astype(
                numpy_type(ptx_type)
            )
        array = self.specials[operand.name] if isinstance(operand, Special) else self.registers[operand.index]
        kind = np.dtype(numpy_type(ptx_type))
        if array.dtype.itemsize < kind.itemsize or (array.dtype.kind == "b") != (ptx_type == "pred"):
            raise UnknownInstructionError(f"an operand of {array.dtype.itemsize * 8} bits as .{ptx_type}")
        step = array.dtype.itemsize // kind.itemsize
        return array.view(f"u{kind.itemsize}")[::step].view(kind) if step > 1 else array.view(kind)

    def predicate(self, operand):
        """(array, whether it is negated) of a predicate."""
        return self.source(operand, "pred"), isinstance(operand, Register) and operand.negated

    def destination(self, operand, ptx_type):
        """The array to write values of a type into: narrow ones are extended to the register."""
        if isinstance(operand, Name):
            return self.sink.view(numpy_type(ptx_type))[: self.threads]
        array = self.registers[operand.index]
        wide, narrow = array.dtype.itemsize, np.dtype(numpy_type(ptx_type)).itemsize
        if wide < narrow or (wide > narrow and ptx_type[0] == "f") or (array.dtype.kind == "b") != (ptx_type == "pred"):
            raise UnknownInstructionError(f".{ptx_type} into a register of {wide * 8} bits")
        return array if ptx_type == "pred" else array.view(numpy_type(f"{ptx_type[0]}{wide * 8}"))

    def _bind(self, run):
        if run.kind == "plain":
            return [self._guarded_error(self._plain, instruction) for instruction in run.instructions]
        return self._guarded_error(meeting, self, run.instructions[0]) if run.kind == "meeting" else None

    @staticmethod
    def _guarded_error(function, *arguments):
        try:
            return function(*arguments)
        except UnknownInstructionError as error:
            if arguments[-1].text in str(error):
                raise
            raise UnknownInstructionError(f"{arguments[-1].text}: {error}") from error
        except (KeyError, AttributeError, IndexError, ValueError) as error:
            raise UnknownInstructionError(f"{arguments[-1].text}: a form that is not covered ({error!r})") from error

    def _plain(self, instruction):
        root = instruction.parts[0]
        if root == "cp":
            return self.copies.bind(instruction)
        if root == "activemask":
            return active_mask(self, instruction)
        if "cc" in instruction.parts or root in ("addc", "subc", "madc"):
            return self._carrying(instruction)
        return ACCESSES[root](self, instruction) if root in ACCESSES else self._computing(instruction)

    def _carrying(self, instruction):
        function, count = with_carry(instruction.parts)
        ptx_type, keeps = instruction.parts[-1].replace("s", "u"), "cc" in instruction.parts
        target = self.destination(instruction.operands[0], ptx_type)
        sources = [self.source(operand, ptx_type) for operand in instruction.operands[1 : count + 1]]

        def step(lanes):
            value, carry = function(*sources, self.carry)
            lanes.assign(target, value)
            if keeps:
                lanes.assign(self.carry, carry)

        return step

    def _computing(self, instruction):
        pure = operation(instruction)
        first, function = instruction.operands[0], pure.function
        flat = [item for operand in instruction.operands[1:] for item in getattr(operand, "items", (operand,))]
        if len(flat) != len(pure.sources):
            raise UnknownInstructionError(f"{instruction.text}: {len(flat)} sources, not {len(pure.sources)}")
        sources = [self.source(operand, ptx_type) for operand, ptx_type in zip(flat, pure.sources, strict=True)]
        if any(isinstance(operand, Register) and operand.negated for operand in flat):
            signs, inner = [isinstance(operand, Register) and operand.negated for operand in flat], function

            def function(*values):
                return inner(*(~value if sign else value for value, sign in zip(values, signs, strict=True)))

        if len(pure.results) > 1:
            targets = [
                self.destination(item, ptx_type) for item, ptx_type in zip(first.items, pure.results, strict=True)
            ]
            return lambda lanes: [lanes.assign(*pair) for pair in zip(targets, function(*sources), strict=True)]
        target = self.destination(first, pure.results[0])
        if not isinstance(function, np.ufunc) or target.dtype.itemsize * 8 != max(8, bits_of(pure.results[0])):
            return lambda lanes: lanes.assign(target, function(*sources))

        def step(lanes):
            if lanes.full:
                function(*sources, out=target)
            else:
                lanes.assign(target, function(*sources))

        return step
