"""Loads and stores of some lanes of a vector: by the processor's own instructions, or in pieces where those are slow.

Where masks have no registers of their own, a processor may take twenty cycles to store by one, so that all lanes are
stored plainly, and the first ones in pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastconv.backends.cpu.machine import vectors

if TYPE_CHECKING:
    from fastconv.backends.cpu.vectors import Emit, Value

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def load(e: Emit, mask: Value, place: Value, outside: Value) -> Value:
    """A vector whose lanes beyond the mask are those of another of its kind; their memory is not touched."""
    kind, size = outside.type, bytes_of(outside.type)

    def some() -> Value:
        return e.call(f"llvm.masked.load.{name_of(kind)}.p0", kind, place, I32(size), mask, outside)

    if size >= 4 or not branches(mask):
        return some()
    every = e.b.icmp_unsigned("==", *bits_of(e, mask))
    return e.either(every, lambda: [e.b.load(place, align=size)], lambda: [some()])[0]


def store(e: Emit, value: Value, mask: Value, address: Value, place: Value, rarely: bool) -> None:
    """Store some lanes of a vector; as short code if it is done `rarely`. `place` is the address as a pointer."""
    kind, size = value.type, bytes_of(value.type)

    def some() -> None:
        e.call(f"llvm.masked.store.{name_of(kind)}.p0", ir.VoidType(), value, place, I32(size), mask)

    if isinstance(mask, ir.Constant) and not vectors().masks:
        store_lanes(e, value, [bool(lane.constant) for lane in mask.constant], address)
        return
    if rarely or not branches(mask):
        some()
        return
    bits, every = bits_of(e, mask)
    with e.b.if_else(e.b.icmp_unsigned("==", bits, every), likely=True) as (whole, part):
        with whole:
            e.b.store(value, place, align=size)
        with part:
            if id(mask) in e.leads:
                e.b.call(storing_first(e, kind), (value, bits, address))
            else:
                some()


def store_lanes(e: Emit, value: Value, wanted: list[bool], address: Value) -> None:
    """Store lanes that are known, as many at a time as lie in one half, quarter and so on."""
    begin, size = 0, bytes_of(value.type)
    while begin < len(wanted):
        lanes = len(wanted)
        while begin % lanes or (not all(wanted[begin : begin + lanes]) and lanes > 1):
            lanes //= 2
        if wanted[begin]:
            part = value if lanes == len(wanted) else e.shuffle(value, value, range(begin, begin + lanes))
            e.b.store(part, e.pointer(e.at(address, begin * size), part.type), align=size)
        begin += lanes


def storing_first(e: Emit, kind: Any) -> Value:
    """A function that stores the first lanes: one for all places, which would be much code."""
    name = f"store_first_{name_of(kind)}"
    found = e.b.module.globals.get(name)
    if found is None:
        taken = ir.FunctionType(ir.VoidType(), [kind, ir.IntType(e.lanes), I64])
        found = ir.Function(e.b.module, taken, name)
        found.linkage = "internal"
        found.attributes.add("noinline")
        store_first(type(e)(ir.IRBuilder(found.append_basic_block()), e.item, e.lanes), *found.args)
    return found


def store_first(e: Emit, value: Value, bits: Value, address: Value) -> None:
    """Store the lanes before the first bit that is not set: halves, quarters and so on, each where all are."""
    lanes, size = e.lanes, bytes_of(value.type)
    while lanes > 1:
        lanes //= 2
        low, high = (e.shuffle(value, value, range(begin, begin + lanes)) for begin in (0, lanes))
        part = bits.type((1 << lanes) - 1)
        filled = e.b.icmp_unsigned("==", e.b.and_(bits, part), part)
        with e.b.if_then(filled):
            e.b.store(low, e.pointer(address, low.type), align=size)
        value = e.b.select(filled, high, low)
        bits = e.b.select(filled, e.b.lshr(bits, bits.type(lanes)), bits)
        address = e.b.select(filled, e.at(address, lanes * size), address)
    with e.b.if_then(e.b.trunc(bits, I1)):
        e.b.store(value, e.pointer(address, value.type), align=size)
    e.b.ret_void()


def branches(mask: Value) -> bool:
    """Whether a mask had better be looked at."""
    return not (vectors().masks or isinstance(mask, ir.Constant))


def bits_of(e: Emit, mask: Value) -> tuple[Value, Value]:
    """A mask as an int, and that of all lanes."""
    kind = ir.IntType(e.lanes)
    return e.b.bitcast(mask, kind), kind((1 << e.lanes) - 1)


def bytes_of(kind: Any) -> int:
    """Of a vector's number."""
    element = kind.element
    return element.width // 8 if isinstance(element, ir.IntType) else 4 if element == ir.FloatType() else 8


def name_of(kind: Any) -> str:
    """A vector's kind, as LLVM's intrinsic functions name it."""
    return f"v{kind.count}{'i' if isinstance(kind.element, ir.IntType) else 'f'}{8 * bytes_of(kind)}"
