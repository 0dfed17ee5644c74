"""What PTX instructions work on: operands, variables, and numbers of PTX's types."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class PtxError(Exception):
    """A program does what a GPU would not forgive, or what this interpreter does not know."""


class UnknownInstructionError(PtxError):
    """An opcode, a modifier of one, an operand or a directive that is not covered."""


class Register(NamedTuple):
    """A register by its number in the program; negated for `!%p1`."""

    index: int
    negated: bool = False


class Immediate(NamedTuple):
    """A number as it is written: its type is the instruction's."""

    text: str


class Special(NamedTuple):
    """A special register: `%tid.x`."""

    name: str


class Symbol(NamedTuple):
    """The address of a variable, so many bytes on."""

    variable: "Variable"
    offset: int = 0


class Address(NamedTuple):
    """`[base + offset]`."""

    base: "Register | Immediate | Symbol"
    offset: int


class Vector(NamedTuple):
    """`{a, b}`, or `p|q`."""

    items: tuple


class Name(NamedTuple):
    """A label or a function: `_` for a result that is not wanted."""

    text: str


@dataclass(eq=False)
class Variable:
    """Something with an address: `size` is None where the launch gives it (`.extern .shared`)."""

    name: str
    space: str
    type: str
    size: int | None
    alignment: int
    initial: bytes = b""


TYPE = re.compile(r"(?:[usbf](?:8|16|32|64)|pred|f16x2)$")


def bits_of(ptx_type):
    """The width of `u32` and the like."""
    return 1 if ptx_type == "pred" else int(ptx_type[1:].partition("x")[0])


def registers(operand):
    """The registers in an operand."""
    if isinstance(operand, Register):
        return [operand.index]
    if isinstance(operand, Address):
        return registers(operand.base)
    return [index for item in operand.items for index in registers(item)] if isinstance(operand, Vector) else []


def literal(text, ptx_type):
    """A number as it is written, as a NumPy scalar of a type: bit patterns are kept."""
    if text[:2].lower() == "0f":
        return _cast(np.uint32(int(text[2:], 16)).view(np.float32), ptx_type)
    if text[:2].lower() == "0d":
        return _cast(np.uint64(int(text[2:], 16)).view(np.float64), ptx_type)
    try:
        if ptx_type[0] == "f" and not text.lower().startswith("0x"):
            return numpy_type(ptx_type)(float(text))
        value = int(text.rstrip("Uu"), 0)
    except ValueError:
        raise UnknownInstructionError(f"{text!r} is not a number of type {ptx_type}") from None
    if ptx_type == "pred":
        return np.bool_(value != 0)
    width = bits_of(ptx_type)
    return numpy_type(f"u{width}")(value & ((1 << width) - 1)).view(numpy_type(ptx_type))


def _cast(value, ptx_type):
    """A float of a literal, as bits where the type has no meaning of its own."""
    if ptx_type[0] == "f":
        return value.astype(numpy_type(ptx_type))
    return value.view(numpy_type(f"u{value.nbytes * 8}")).astype(numpy_type(ptx_type))


def numpy_type(ptx_type):
    """The NumPy type of a PTX type: bits are unsigned."""
    if ptx_type == "pred":
        return np.bool_
    kind = {"u": "uint", "b": "uint", "s": "int", "f": "float"}[ptx_type[0]]
    return getattr(np, f"{kind}{bits_of(ptx_type)}")


DECLARATION = re.compile(
    r"\.(shared|global|const|local|param)\s+((?:\.\w+(?:\s+\d+)?\s+)+)([%\w$]+)\s*(\[\s*\d*\s*\])?(?:\s*=\s*(\{[^}]*\}|[^;,{]+))?"
)


def variables_of(text):
    """The variables that a text declares, separated by anything."""
    found = []
    for space, words, name, extent, initial in DECLARATION.findall(text):
        ptx_type = next(word for word in re.findall(r"\.(\w+)", words) if TYPE.match(word))
        width = bits_of(ptx_type) // 8
        count = extent.strip("[] \n\t") if extent else "1"
        size = width * int(count) if count else None
        alignment = max(width, *(int(a) for a in re.findall(r"\.align\s+(\d+)", words)), 1)
        data = b"".join(
            literal(v.strip(), ptx_type).tobytes() for v in initial.strip("{} \n\t").split(",") if v.strip()
        )
        found.append(Variable(name, space, ptx_type, size, alignment, data))
    return found
