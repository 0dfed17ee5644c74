"""Integer, comparing and moving PTX operations on arrays of lanes; `operation` finds these and those of floats."""

import numpy as np
from ptx_floats import EXACT, OPERATIONS, Pure, as_bits, covers, extreme, float_operation, flush, modifiers
from ptx_values import UnknownInstructionError, Vector, bits_of, numpy_type


def operation(instruction):
    """The operation of an instruction that only computes registers from registers."""
    builder = OPERATIONS.get(instruction.parts[0])
    if builder is None:
        raise UnknownInstructionError(f"{instruction.text}: opcode {'.'.join(instruction.parts)} is not covered")
    try:
        return builder(instruction.parts, instruction)
    except (KeyError, AttributeError, IndexError, ValueError) as error:
        raise UnknownInstructionError(f"{instruction.text}: a form that is not covered ({error!r})") from error


def signed(x):
    """The same bits as signed integers."""
    return x.view(f"i{x.dtype.itemsize}")


def widened(ptx_type):
    """`s32` -> `s64`."""
    return f"{ptx_type[0]}{2 * bits_of(ptx_type)}"


def high_product(a, b):
    """The upper half of a product of integers."""
    if a.dtype.itemsize < 8:
        wide = np.int64 if a.dtype.kind == "i" else np.uint64
        return (np.multiply(a, b, dtype=wide) >> wide(8 * a.dtype.itemsize)).astype(a.dtype)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    x, y = as_bits(a), as_bits(b)
    middle = (x >> half) * (y & low) + ((x & low) * (y & low) >> half)
    other = (x & low) * (y >> half) + (middle & low)
    result = (x >> half) * (y >> half) + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":
        result = result - np.where(a < 0, y, 0) - np.where(b < 0, x, 0)
    return result.view(a.dtype)


def wide_product(ptx_type):
    """A function for a product of twice the width."""
    wide = numpy_type(widened(ptx_type))
    return lambda a, b: np.multiply(a, b, dtype=wide)


def saturated_sum(sign):
    """Of 32-bit signed integers."""
    limits = np.iinfo(np.int32)
    return lambda a, b: np.clip(a.astype(np.int64) + sign * b.astype(np.int64), limits.min, limits.max).astype(np.int32)


@covers("add", "sub")
def _(parts, _):
    name, ptx_type = parts[0], parts[-1]
    if ptx_type[0] == "f":
        return float_operation(name, parts)
    if "sat" in modifiers(parts, "sat"):
        return Pure(saturated_sum(1 if name == "add" else -1), (ptx_type,), (ptx_type, ptx_type))
    return Pure(EXACT[name][0], (ptx_type,), (ptx_type, ptx_type))


@covers("mul")
def _(parts, _):
    ptx_type = parts[-1]
    if ptx_type[0] == "f":
        return float_operation("mul", parts)
    form = modifiers(parts, "lo", "hi", "wide")
    if "wide" in form:
        return Pure(wide_product(ptx_type), (widened(ptx_type),), (ptx_type, ptx_type))
    return Pure(high_product if "hi" in form else np.multiply, (ptx_type,), (ptx_type, ptx_type))


@covers("mad")
def _(parts, _):
    ptx_type = parts[-1]
    if ptx_type[0] == "f":
        return float_operation("fma", parts)
    form = modifiers(parts, "lo", "hi", "wide")
    product = wide_product(ptx_type) if "wide" in form else high_product if "hi" in form else np.multiply
    into = widened(ptx_type) if "wide" in form else ptx_type
    return Pure(lambda a, b, c: product(a, b) + c, (into,), (ptx_type, ptx_type, into))


def quotient(a, b):
    """Truncated; by zero, all bits set."""
    result = np.floor_divide(a - np.fmod(a, b), b)
    return np.where(b == 0, ~np.zeros_like(a), result)


@covers("div", "rem")
def _(parts, _):
    ptx_type = parts[-1]
    if ptx_type[0] == "f":
        return float_operation("div", parts)
    modifiers(parts)
    return Pure(
        quotient if parts[0] == "div" else lambda a, b: np.where(b == 0, a, np.fmod(a, b)),
        (ptx_type,),
        (ptx_type, ptx_type),
    )


@covers("min", "max")
def _(parts, _):
    ptx_type = parts[-1]
    if ptx_type[0] == "f":
        return extreme(parts[0], parts)
    modifiers(parts)
    return Pure(np.minimum if parts[0] == "min" else np.maximum, (ptx_type,), (ptx_type, ptx_type))


@covers("abs", "neg")
def _(parts, _):
    modifiers(parts, "ftz")
    return Pure(np.abs if parts[0] == "abs" else np.negative, (parts[-1],), (parts[-1],))


LOGIC = {
    "and": (np.bitwise_and, np.logical_and),
    "or": (np.bitwise_or, np.logical_or),
    "xor": (np.bitwise_xor, np.logical_xor),
    "not": (np.bitwise_not, np.logical_not),
}


@covers(*LOGIC)
def _(parts, _):
    modifiers(parts)
    ptx_type = parts[-1]
    return Pure(LOGIC[parts[0]][ptx_type == "pred"], (ptx_type,), (ptx_type,) * (1 if parts[0] == "not" else 2))


@covers("cnot")
def _(parts, _):
    return Pure(lambda a: (a == 0).astype(a.dtype), (parts[-1],), (parts[-1],))


@covers("lop3")
def _(parts, _):
    def function(a, b, c, table):
        result = np.zeros_like(a)
        for row in range(8):
            term = (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
            result |= np.where(table >> np.uint32(row) & np.uint32(1), term, np.uint32(0))
        return result

    modifiers(parts)
    return Pure(function, (parts[-1],), (parts[-1],) * 3 + ("u32",))


@covers("shl", "shr")
def _(parts, _):
    """NumPy's shifts by more than the width are PTX's: zero, or the sign."""
    modifiers(parts)
    ptx_type, shift = parts[-1], np.left_shift if parts[0] == "shl" else np.right_shift
    return Pure(lambda a, n: shift(a, np.minimum(n, 64).astype(a.dtype)), (ptx_type,), (ptx_type, "u32"))


@covers("shf")
def _(parts, _):
    def function(low, high, n):
        n = (n & np.uint32(31) if "wrap" in parts else np.minimum(n, 32)).astype(np.uint64)
        pair = high.astype(np.uint64) << np.uint64(32) | low
        return ((pair << n) >> np.uint64(32) if "l" in parts else pair >> n).astype(np.uint32)

    modifiers(parts, "l", "r", "wrap", "clamp")
    return Pure(function, ("b32",), ("b32", "b32", "u32"))


def _mask(length, width, dtype):
    one = dtype.type(1)
    return np.where(length >= width, ~dtype.type(0), (one << np.minimum(length, width - 1).astype(dtype)) - one)


@covers("bfe")
def _(parts, _):
    ptx_type, width = parts[-1], bits_of(parts[-1])

    def function(a, at, length):
        at, length = at & np.uint32(255), np.minimum(length & np.uint32(255), width)
        field = a >> at.astype(a.dtype)
        if ptx_type[0] == "u":
            return field & _mask(length, width, a.dtype)
        rest = (width - length).astype(a.dtype)  # the sign of the field fills what is above it
        return np.where(length == 0, a.dtype.type(0), (field << rest) >> rest)

    modifiers(parts)
    return Pure(function, (ptx_type,), (ptx_type, "u32", "u32"))


@covers("bfi")
def _(parts, _):
    ptx_type, width = parts[-1], bits_of(parts[-1])

    def function(a, b, at, length):
        at = (at & np.uint32(255)).astype(a.dtype)
        mask = _mask(length & np.uint32(255), width, a.dtype) << at
        return (b & ~mask) | ((a << at) & mask)

    modifiers(parts)
    return Pure(function, (ptx_type,), (ptx_type, ptx_type, "u32", "u32"))


def filled(x):
    """All bits below the highest that is set, and it."""
    for shift in (1, 2, 4, 8, 16, 32):
        if shift < 8 * x.dtype.itemsize:
            x = x | x >> x.dtype.type(shift)
    return x


@covers("popc", "clz", "bfind", "brev")
def _(parts, _):
    ptx_type, width = parts[-1], bits_of(parts[-1])

    def highest(x):
        count = np.bitwise_count(filled(as_bits(np.where(x < 0, ~x, x) if ptx_type[0] == "s" else x))).astype(np.uint32)
        return np.where(
            count == 0, np.uint32(0xFFFFFFFF), width - count if "shiftamt" in parts else count - np.uint32(1)
        )

    def reverse(x):
        bits = np.unpackbits(x.view(np.uint8).reshape(len(x), -1), axis=1, bitorder="little")
        return np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(x.dtype)[:, 0]

    modifiers(parts, *(("shiftamt",) if parts[0] == "bfind" else ()))
    functions = {
        "popc": lambda x: np.bitwise_count(x).astype(np.uint32),
        "clz": lambda x: (width - np.bitwise_count(filled(x))).astype(np.uint32),
        "bfind": highest,
        "brev": reverse,
    }
    return Pure(functions[parts[0]], (ptx_type if parts[0] == "brev" else "u32",), (ptx_type,))


PERMUTE = {
    "f4e": lambda n, i: n + i,
    "b4e": lambda n, i: n - i,
    "rc8": lambda n, i: n,
    "ecl": lambda n, i: np.maximum(n, i),
    "ecr": lambda n, i: np.minimum(n, i),
    "rc16": lambda n, i: (n & 1) * 2 + i % 2,
}


@covers("prmt")
def _(parts, _):
    mode = parts[2] if len(parts) > 2 else None

    def function(a, b, selector):
        pair, result = b.astype(np.uint64) << np.uint64(32) | a, np.zeros_like(a)
        for i in range(4):
            choice = (selector >> np.uint32(4 * i)) & np.uint32(15)
            if mode:
                choice = PERMUTE[mode]((selector & np.uint32(3)).astype(np.int64), i) % 8
            byte = (pair >> (choice.astype(np.uint64) % 8 * 8)).astype(np.uint8)
            byte = np.where(choice & 8, np.where(byte >= 128, 255, 0), byte)  # bit 3 asks for the sign only
            result |= byte.astype(np.uint32) << np.uint32(8 * i)
        return result

    if mode and mode not in PERMUTE:
        raise UnknownInstructionError(f"opcode {'.'.join(parts)}")
    return Pure(function, ("b32",), ("b32", "b32", "u32"))


@covers("dp2a", "dp4a")
def _(parts, _):
    first, second = (t.replace("32", "8") for t in parts[-2:])
    four = parts[0] == "dp4a"
    into = "s32" if "s32" in parts[-2:] else "u32"

    def function(a, b, c):
        left = a.view(numpy_type(first if four else first.replace("8", "16"))).reshape(len(a), -1)
        right = b.view(numpy_type(second)).reshape(len(b), 4)
        if not four:
            right = right[:, 2:] if "hi" in parts else right[:, :2]
        return ((left.astype(np.int64) * right).sum(axis=1) + c).astype(c.dtype)

    return Pure(function, (into,), (parts[-2], parts[-1], into))


@covers("sad")
def _(parts, _):
    modifiers(parts)
    return Pure(lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c, (parts[-1],), (parts[-1],) * 3)


COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


def comparison(parts):
    """(the comparison of two arrays, what is done with its result and a third source)."""
    name, ptx_type, words = parts[1], parts[-1], parts[2:-1]
    known = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
    if name in COMPARE:
        function = COMPARE[name]
        if name == "ne" and ptx_type[0] == "f":

            def function(a, b):  # ordered: false for a NaN, where NumPy says true
                return (a < b) | (a > b)

    elif name in ("num", "nan"):

        def function(a, b):
            return (np.isnan(a) | np.isnan(b)) == (name == "nan")

    else:
        ordered = COMPARE[name.removesuffix("u")]

        def function(a, b):
            return ordered(a, b) | np.isnan(a) | np.isnan(b)

    plain = function
    if "ftz" in words:

        def function(a, b):
            return plain(flush(a), flush(b))

    return function, next((known[word] for word in words if word in known), None)


@covers("setp")
def _(parts, instruction):
    compare, join = comparison(parts)
    modifiers((parts[0], *parts[2:]), "and", "or", "xor", "ftz")
    ptx_type, pair = parts[-1], isinstance(instruction.operands[0], Vector)
    sources = (ptx_type, ptx_type) + (("pred",) if join else ())
    if not pair:
        return Pure(compare if join is None else lambda a, b, c: join(compare(a, b), c), ("pred",), sources)

    def both(a, b, *c):
        holds = compare(a, b)
        return (join(holds, *c), join(~holds, *c)) if join else (holds, ~holds)

    return Pure(both, ("pred", "pred"), sources)


@covers("set")
def _(parts, _):
    into, ptx_type = parts[-2:]
    compare, join = comparison((*parts[:-2], ptx_type))
    modifiers((parts[0], *parts[2:-1]), "and", "or", "xor", "ftz")
    one = np.float32(1) if into == "f32" else numpy_type(into)(0xFFFFFFFF if into == "u32" else -1)

    def function(a, b, *c):
        holds = join(compare(a, b), *c) if join else compare(a, b)
        return np.where(holds, one, one.dtype.type(0))

    return Pure(function, (into,), (ptx_type, ptx_type) + (("pred",) if join else ()))


@covers("selp")
def _(parts, _):
    modifiers(parts)
    return Pure(lambda a, b, p: np.where(p, a, b), (parts[-1],), (parts[-1], parts[-1], "pred"))


@covers("slct")
def _(parts, _):
    into, ptx_type = parts[-2:]
    return Pure(lambda a, b, c: np.where(c >= 0, a, b), (into,), (into, into, ptx_type))


@covers("mov")
def _(parts, instruction):
    modifiers(parts)
    ptx_type, width = parts[-1], bits_of(parts[-1])
    into, source = instruction.operands
    if isinstance(into, Vector):
        part = f"b{width // len(into.items)}"

        def unpack(x):
            return tuple(np.ascontiguousarray(x).view(numpy_type(part)).reshape(len(x), -1).T)

        return Pure(unpack, (part,) * len(into.items), (ptx_type,))
    if isinstance(source, Vector):
        parts_of = (f"b{width // len(source.items)}",) * len(source.items)
        return Pure(lambda *x: np.stack(x, axis=1).view(numpy_type(f"u{width}"))[:, 0], (f"b{width}",), parts_of)
    return Pure(lambda x: x, (ptx_type,), (ptx_type,))
