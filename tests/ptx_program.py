"""A PTX file as data: its functions and variables, and its instructions with operands parsed once and for all.

Registers are numbered through the whole program, names are resolved in the scopes that declare them, and instructions
are cut into *runs*: stretches that begin at a jump's target and that all threads which enter them execute alike.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ptx_values import (
    Address,
    Immediate,
    Name,
    PtxError,
    Register,
    Special,
    Symbol,
    UnknownInstructionError,
    Variable,
    Vector,
    registers,
    variables_of,
)


@dataclass(eq=False)
class Function:
    """An entry or a device function; `start` is the place of its first instruction."""

    name: str
    start: int
    parameters: list
    results: list


@dataclass(eq=False)
class Instruction:
    """One instruction; `targets` are the places it may jump to, `call` is (function's name, arguments, results)."""

    text: str
    parts: tuple
    operands: tuple = ()
    guard: Register | None = None
    place: int = -1
    owner: str = ""
    targets: tuple = ()
    call: tuple = ()


class Run(NamedTuple):
    """Instructions that a group of threads executes one after the other.

    `reads` are the registers that must have been written before, `writes` those that have been afterwards. Instructions
    that decide who goes on where, or that threads wait at, are alone in their run, and so is one with a guard.
    """

    start: int
    instructions: tuple
    reads: tuple
    writes: tuple
    kind: str


SPECIAL = re.compile(
    r"%(tid|ntid|ctaid|nctaid)\.[xyz]|%(laneid|warpid|nwarpid|lanemask_(eq|lt|le|gt|ge)|dynamic_smem_size)"
)
FLOW = {"bra", "brx", "ret", "exit", "trap", "call", "returned"}
MEETING = {"shfl", "vote", "match", "redux", "mma"}  # all named threads of a warp have to come
NO_RESULT = FLOW | {"st", "red", "membar", "fence", "cp", "prefetch", "prefetchu", "nanosleep", "bar", "barrier"}


def kind_of(instruction):
    """How an instruction ends a run: `flow`, `barrier`, `meeting`; `plain` where it does not."""
    root = instruction.parts[0]
    if root in FLOW:
        return "flow"
    if root in MEETING or instruction.parts[:2] == ("bar", "warp"):
        return "meeting"
    return "barrier" if root in ("bar", "barrier") else "plain"


def split_results(instruction):
    """(operands that an instruction writes, operands that it reads)."""
    has_none = instruction.parts[0] in NO_RESULT and "red" not in instruction.parts[1:]
    cut = 0 if has_none else 1
    return instruction.operands[:cut], instruction.operands[cut:]


class Program:
    """A program with one entry, from its text."""

    def __init__(self, text):
        self.instructions, self.variables, self.functions = [], [], {}
        self.register_types, self.register_names = [], []
        self.entry = None
        text = re.sub(r"/\*.*?\*/|//[^\n]*|^\s*\.(?:loc|file)\b[^\n]*", "", text, flags=re.DOTALL | re.MULTILINE)
        outside = self._module(text)
        for function, body in outside:
            _Body(self, function).read(body)
        if self.entry is None:
            raise PtxError("the program has no .entry")
        self._link()
        self.runs = {run.start: run for run in self._cut()}

    def _module(self, text):
        """Declares everything of the module and yields (function, its body) in the file's order."""
        head = re.compile(r"\.(entry|func)\s*(\([^)]*\))?\s*([\w$]+)\s*(\([^)]*\))?[^;{]*([;{])")
        self.scope, found, rest, at = {}, [], "", 0
        while match := head.search(text, at):
            rest += text[at : match.start()]
            at = match.end()
            if match[5] == ";":
                continue
            end = _closing(text, at)
            function = Function(match[3], -1, variables_of(match[4] or ""), variables_of(match[2] or ""))
            self.functions[function.name] = function
            if match[1] == "entry":
                if self.entry:
                    raise PtxError("the program has several .entry functions: compile one kernel at a time")
                self.entry = function
            found.append((function, text[at:end]))
            at = end + 1
        for variable in variables_of(rest + text[at:]):
            self.scope[variable.name] = variable
            self.variables.append(variable)
        return found

    def add(self, instruction, function):
        """Appends an instruction of a function."""
        instruction.place, instruction.owner = len(self.instructions), function.name
        self.instructions.append(instruction)

    def new_register(self, name, ptx_type):
        """The number of a register that appears for the first time."""
        self.register_types.append(ptx_type)
        self.register_names.append(name)
        return len(self.register_types) - 1

    def _link(self):
        for instruction in self.instructions:
            if instruction.parts[0] == "call":
                name = instruction.call[0]
                if name not in self.functions:
                    raise UnknownInstructionError(f"{instruction.text}: {name} is not defined in the program")
                instruction.targets = (self.functions[name].start,)

    def _cut(self):
        """The runs."""
        starts = {function.start for function in self.functions.values()}
        for instruction in self.instructions:
            starts.update(instruction.targets)
            if kind_of(instruction) != "plain" or instruction.guard:
                starts.update((instruction.place, instruction.place + 1))
        places = sorted(place for place in starts if place < len(self.instructions))
        for start, end in zip(places, [*places[1:], len(self.instructions)], strict=True):
            stretch = tuple(self.instructions[start:end])
            reads, writes = {}, {}
            for instruction in stretch:
                results, sources = split_results(instruction)
                for index in (index for operand in sources for index in registers(operand)):
                    if index not in writes:
                        reads[index] = None
                for operand in results:  # an address is read even where it is what is written to
                    found = registers(operand)
                    (reads if isinstance(operand, Address) else writes).update(dict.fromkeys(found))
            yield Run(start, stretch, tuple(reads), tuple(writes), kind_of(stretch[0]))


def _closing(text, at):
    """Where the brace that is open at a place closes."""
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    raise PtxError("a brace is not closed")


@dataclass
class _Body:
    """Reads the body of a function into the program."""

    program: Program
    function: Function
    labels: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)

    PIECE = re.compile(r"\s*(?:(\{)|(\})|([\w$%]+)\s*:(?!:)|((?:[^;{}]|\{[^{}]*\})*);)")

    def read(self, text):
        program, function = self.program, self.function
        function.start = len(program.instructions)
        self.scopes = [program.scope, {v.name: v for v in function.parameters + function.results}, {}]
        at, end = 0, len(text.rstrip())
        while at < end:
            piece = self.PIECE.match(text, at)
            if piece is None:
                raise UnknownInstructionError(f"cannot read {text[at : at + 60]!r}")
            at = piece.end()
            if piece[1]:
                self.scopes.append({})
            elif piece[2]:
                self.scopes.pop()
            elif piece[3]:
                self.labels[piece[3]] = (len(program.instructions),)
                self.last_label = piece[3]
            elif piece[4] and piece[4].strip():
                self._statement(" ".join(piece[4].split()))
        program.add(Instruction("ret (the function's end)", ("ret",)), function)
        for instruction, names in self.pending:
            instruction.targets = tuple(place for name in names for place in self._places(name, instruction))

    def _places(self, name, instruction):
        if name not in self.labels:
            raise UnknownInstructionError(f"{instruction.text}: no label {name}")
        found = self.labels[name]  # a list of targets names labels, which may have been read after it
        return [
            place for item in found for place in (self._places(item, instruction) if isinstance(item, str) else [item])
        ]

    def _statement(self, text):
        if text.startswith(".reg"):
            for name in re.sub(r"^\.reg\s+\.\w+\s+", "", text).split(","):
                self.scopes[-1][re.sub(r"<\d+>$", "#", name.strip())] = text.split()[1][1:]
        elif text.startswith(".branchtargets"):
            names = [name.strip() for name in text.partition(" ")[2].split(",")]
            self.labels[self.last_label] = tuple(names)
        elif text.startswith("."):
            if not text.startswith(".pragma"):
                found = variables_of(text)
                if not found:
                    raise UnknownInstructionError(f"directive {text!r}")
                for variable in found:
                    self.scopes[-1][variable.name] = variable
                    self.program.variables.append(variable)
        else:
            self._instruction(text)

    def _instruction(self, text):
        match = re.match(r"(?:@(!?)([%\w$]+)\s+)?([\w.:]+)\s*(.*)$", text, re.DOTALL)
        parts = tuple(match[3].replace("::", "_").split("."))
        instruction = Instruction(text, parts)
        if match[2]:
            instruction.guard = Register(self._register(match[2]), bool(match[1]))
        self.program.add(instruction, self.function)
        operands = [
            item.strip() for item in re.findall(r"\s*(\([^)]*\)|\{[^}]*\}|\[[^\]]*\]|[^,]+)\s*(?:,|$)", match[4])
        ]
        if parts[0] == "call":
            groups = [[v.strip() for v in item.strip("()").split(",") if v.strip()] for item in operands]
            results = groups.pop(0) if operands[0].startswith("(") else []
            arguments = groups[1] if len(groups) > 1 else []
            instruction.call = (groups[0][0], *([self._lookup(v) for v in names] for names in (arguments, results)))
            if not all(isinstance(v, Variable) for names in instruction.call[1:] for v in names):
                raise UnknownInstructionError(f"{text}: only variables in .param are passed")
            self.program.add(Instruction(f"{text} (return)", ("returned",), call=instruction.call), self.function)
        elif parts[0] in ("bra", "brx"):
            self.pending.append((instruction, [operands[-1]]))
            instruction.operands = tuple(self._operand(item) for item in operands[:-1])
        else:
            instruction.operands = tuple(self._operand(item) for item in operands)

    def _operand(self, text):
        if text[0] == "[":
            base, sign, offset = re.fullmatch(r"\[\s*([^\s+\]-]+)\s*(?:(\+|-)\s*(-?\w+))?\s*\]", text).groups()
            return Address(self._operand(base), int(offset or "0", 0) * (-1 if sign == "-" else 1))
        if text[0] == "{":
            return Vector(tuple(self._operand(item.strip()) for item in text[1:-1].split(",")))
        if "|" in text:
            return Vector(tuple(self._operand(item.strip()) for item in text.split("|")))
        if text[0] == "!":
            return Register(self._register(text[1:]), True)
        if re.match(r"-?[\d.]", text):
            return Immediate(text)
        if SPECIAL.fullmatch(text):
            return Special(text)
        name, _, offset = text.partition("+")
        found = self._lookup(name.strip())
        if isinstance(found, Variable):
            return Symbol(found, int(offset or "0", 0))
        if found is None and text[0] == "%":
            raise UnknownInstructionError(f"special register {text}")
        return Name(text) if found is None else Register(self._register(text))

    def _lookup(self, name):
        """What a name means in the innermost scope that knows it."""
        for scope in reversed(self.scopes):
            for key in (name, re.sub(r"\d+$", "#", name)):
                if key in scope:
                    return scope[key]
        return None

    def _register(self, name):
        for scope in reversed(self.scopes):
            if isinstance(scope.get(name), int):
                return scope[name]
            for key in (name, re.sub(r"\d+$", "#", name)):
                if isinstance(scope.get(key), str):
                    index = self.program.new_register(name, scope[key])
                    scope[name] = index
                    return index
        raise UnknownInstructionError(f"register {name} is not declared")
