"""Vector instructions: what kernels are written in, where the compiler's own choice of vectors would not do.

An instruction set is two literal ints, the bytes of a number and the numbers in a register, so that a kernel's code is
the same on every machine and for both dtypes. Addresses are int64 and count bytes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.backends.cpu import masks
from fastconv.memory import aligned as aligned

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
READ, WRITE = 0, 1  # what a cache line is fetched for
Value = Any  # of llvmlite's IR


class Emit:
    """Writes instructions on vectors of `lanes` numbers of `item` bytes, at the builder's place."""

    def __init__(self, builder: Any, item: int, lanes: int) -> None:
        self.b, self.item, self.lanes = builder, item, lanes
        self.scalar = ir.FloatType() if item == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, lanes)
        self.name = f"v{lanes}f{8 * item}"
        self.zero = ir.Constant(self.vector, [0.0] * lanes)
        self.leads: dict[int, Value] = {}  # masks of a vector's first lanes

    def call(self, name: str, result: Any, *args: Value) -> Value:
        """One of LLVM's intrinsic functions."""
        kind = ir.FunctionType(result, [a.type for a in args])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), args)

    def long(self, value: Value) -> Value:
        """An int64, from a Python int or an IR value of any width."""
        if isinstance(value, int):
            return I64(value)
        return value if value.type == I64 else self.b.sext(value, I64)

    def least(self, number: int, limit: Value) -> Value:
        """The lesser of a number and a limit of at least 0."""
        if number == 0:
            return I64(0)
        return self.b.select(self.b.icmp_signed("<", I64(number), limit), I64(number), limit)

    def clamped(self, value: Value) -> Value:
        """An int64 as a number of lanes: none if it is negative, all if it is more."""
        low = self.b.select(self.b.icmp_signed(">", value, I64(0)), value, I64(0))
        return self.b.select(self.b.icmp_signed("<", low, I64(self.lanes)), low, I64(self.lanes))

    def at(self, base: Value, *terms: Value) -> Value:
        """A sum of byte addresses: ints, IR values or (int, IR value) products."""
        for term in terms:
            if isinstance(term, tuple):
                term = self.b.mul(self.long(term[0]), self.long(term[1]))
            if not (isinstance(term, int) and term == 0):
                base = self.b.add(base, self.long(term))
        return base

    def present(self, first: Value, pitch: Value, rows: Value) -> list[Value]:
        """Addresses of as many rows as there are lanes, of which so many are there: the others' are the last one's.

        A load by a mask of none costs hundreds of cycles where there is no memory.
        """
        places = [first]
        for r in range(1, self.lanes):
            there = self.b.icmp_signed("<", self.long(r), rows)
            places.append(self.b.select(there, self.b.add(places[-1], pitch), places[-1]))
        return places

    def pointer(self, address: Value, kind: Any) -> Value:
        """The address as a pointer to this type."""
        return self.b.inttoptr(address, kind.as_pointer())

    def element(self, address: Value, offset: Value, kind: Any) -> Value:
        """A pointer some bytes after an address, in a form that addressing modes take."""
        place = self.b.gep(self.pointer(address, I8), [self.long(offset)])
        return self.b.bitcast(place, kind.as_pointer())

    def load(self, address: Value, offset: Value = 0) -> Value:
        """A vector."""
        return self.b.load(self.element(address, offset, self.vector), align=self.item)

    def store(self, value: Value, address: Value, offset: Value = 0) -> None:
        """Store a vector."""
        self.b.store(value, self.element(address, offset, self.vector), align=self.item)

    def number(self, address: Value, offset: Value = 0) -> Value:
        """A single number."""
        return self.b.load(self.element(address, offset, self.scalar), align=self.item)

    def number_at(self, address: Value, place: Value, offset: int) -> Value:
        """A single number some bytes after a place that many numbers share."""
        shared = self.b.gep(self.pointer(address, I8), [place])
        return self.b.load(self.b.bitcast(self.b.gep(shared, [I64(offset)]), self.scalar.as_pointer()), align=self.item)

    def word(self, table: Value, index: Value) -> Value:
        """An int64 of a table."""
        return self.b.load(self.b.gep(self.pointer(table, I64), [index]))

    def splat(self, scalar: Value) -> Value:
        """A vector of one number."""
        kind = ir.VectorType(scalar.type, self.lanes)
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
        return self.b.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes))

    def constant(self, value: float) -> Value:
        """A vector of one constant."""
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, rounded once."""
        return self.call(f"llvm.fma.{self.name}", self.vector, x, y, z)

    def first(self, count: Value) -> Value:
        """The mask of the first `count` lanes, an int or an IR value."""
        if isinstance(count, int):
            return ir.Constant(ir.VectorType(I1, self.lanes), [lane < count for lane in range(self.lanes)])
        return self.lead(self.b.icmp_signed("<", self.numbered(), self.splat(self.long(count))))

    def leading(self, count: Value) -> Value:
        """The mask of the first `count` lanes, an int64 of any size: quick where masks have registers of their own."""
        bits = self.b.sub(self.b.shl(I64(1), self.clamped(count)), I64(1))
        return self.lead(self.b.bitcast(self.b.trunc(bits, ir.IntType(self.lanes)), ir.VectorType(I1, self.lanes)))

    def lead(self, mask: Value) -> Value:
        """A mask of the first lanes, which is remembered as such."""
        self.leads[id(mask)] = mask
        return mask

    def within(self, begin: Value, count: Value) -> Value:
        """The mask of the lanes, of places from `begin` on, that are among the first `count` places."""
        return self.b.xor(self.leading(self.b.neg(begin)), self.leading(self.b.sub(count, begin)))

    def gather(self, places: Value, mask: Value, outside: Value = None) -> Value:
        """The numbers at a vector of addresses; lanes outside the mask are 0, or those of a vector."""
        pointers = self.b.inttoptr(places, ir.VectorType(self.scalar.as_pointer(), self.lanes))
        name = f"llvm.masked.gather.{self.name}.v{self.lanes}p0"
        return self.call(name, self.vector, pointers, I32(self.item), mask, self.zero if outside is None else outside)

    def masked_load(self, mask: Value, address: Value, offset: Value = 0, outside: Value = None) -> Value:
        """A vector whose other lanes are 0, or those of a vector of any kind; their memory is not touched."""
        outside = self.zero if outside is None else outside
        return masks.load(self, mask, self.element(address, offset, outside.type), outside)

    def either(
        self, condition: Value, likely: Callable[[], list[Value]], other: Callable[[], list[Value]]
    ) -> list[Value]:
        """The values of one of two pieces of code, of which only that one runs."""
        with self.b.if_else(condition, likely=True) as (then, otherwise):
            with then:
                first, one = likely(), self.b.block
            with otherwise:
                second, two = other(), self.b.block
        found = []
        for pair in zip(first, second, strict=True):
            phi = self.b.phi(pair[0].type)
            for value, block in zip(pair, (one, two), strict=True):
                phi.add_incoming(value, block)
            found.append(phi)
        return found

    def save(self, scalar: Value, address: Value, offset: Value = 0) -> None:
        """Store a single number."""
        self.b.store(scalar, self.element(address, offset, self.scalar), align=self.item)

    def will_store(self, address: Value, offset: Value = 0) -> None:
        """Fetch a cache line that is stored to later: a store that misses would hold up those behind it."""
        self.fetch(self.element(address, offset, I8), WRITE, 3)

    def will_load(self, address: Value, offset: Value = 0) -> None:
        """Fetch a cache line that is loaded later, from where the processor does not expect it."""
        self.fetch(self.element(address, offset, I8), READ, 3)

    def fetch(self, pointer: Value, purpose: int, level: int) -> None:
        """Bring a cache line into the first (3) or second (2) level of the cache, to READ or to WRITE it."""
        self.call("llvm.prefetch.p0", ir.VoidType(), pointer, I32(purpose), I32(level), I32(1))

    def masked_store(self, value: Value, mask: Value, address: Value, offset: Value = 0, rarely: bool = False) -> None:
        """Store some lanes of a vector of any kind; as short code, which may take longer, if it is done `rarely`."""
        masks.store(self, value, mask, self.at(address, offset), self.element(address, offset, value.type), rarely)

    def transposed(self, rows: Sequence[Value]) -> list[Value]:
        """Rows for columns of each square: out[j][lane] = rows[lane % n][lane - lane % n + j].

        The n rows are a power of 2, as many as a vector has lanes where they are one square, or fewer.
        """
        found, bit = list(rows), 1
        while bit < len(rows):
            found = self.swapped(found, bit)
            bit *= 2
        return found

    def swapped(self, rows: Sequence[Value], bit: int) -> list[Value]:
        """The rows with their off-diagonal blocks of `bit` rows by as many lanes swapped."""
        lanes = self.lanes
        low = [lane if not lane & bit else (lane ^ bit) + lanes for lane in range(lanes)]
        high = [lane | bit if not lane & bit else lane + lanes for lane in range(lanes)]
        return [self.shuffle(rows[i & ~bit], rows[i | bit], high if i & bit else low) for i in range(len(rows))]

    def shuffle(self, u: Value, v: Value, lanes: Sequence[int]) -> Value:
        """The lanes of two vectors in this order; the second one's count on."""
        return self.b.shuffle_vector(u, v, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    def interleaved(self, u: Value, v: Value) -> list[Value]:
        """The lanes of two vectors in turn, as two vectors."""
        lanes = [lane for j in range(self.lanes) for lane in (j, j + self.lanes)]
        return [self.shuffle(u, v, lanes[: self.lanes]), self.shuffle(u, v, lanes[self.lanes :])]

    def loop(
        self,
        count: Value,
        start: Sequence[Value],
        step: Callable[[Value, list[Value]], Sequence[Value]],
        times: int = 1,
    ) -> list[Value]:
        """Carry values through `count` steps, which may be none: `step(index, values)` gives the next ones.

        So many steps are written one behind the other, which saves instructions, and the others by themselves; LLVM
        writes no more of them.
        """
        if times > 1:
            whole = self.b.sdiv(count, self.long(times))
            done = self.b.mul(whole, self.long(times))

            def several(index: Value, values: list[Value]) -> Sequence[Value]:
                found: Sequence[Value] = values
                for i in range(times):
                    found = step(self.at(self.b.mul(index, self.long(times)), i), list(found))
                return found

            start = self.loop(whole, start, several)
            return self.loop(self.b.sub(count, done), start, lambda i, values: step(self.b.add(done, i), values))
        before = self.b.block
        head, inside = self.b.append_basic_block("head"), self.b.append_basic_block("step")
        done = self.b.append_basic_block("done")
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(I64)
        carried = [self.b.phi(value.type) for value in start]
        self.b.cbranch(self.b.icmp_signed("<", index, self.long(count)), inside, done)
        self.b.position_at_end(inside)
        following = step(index, list(carried))
        after = self.b.add(index, I64(1))
        end = self.b.block
        self.as_written(self.b.branch(head))
        index.add_incoming(I64(0), before)
        index.add_incoming(after, end)
        for phi, first, value in zip(carried, start, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, end)
        self.b.position_at_end(done)
        return list(carried)

    def as_written(self, back: Any) -> None:
        """Keep LLVM from writing the step of a loop, of which this is the branch back, several times.

        For some processors it does so whatever the step holds in registers, and then there are not enough of them.
        """
        module = self.b.module
        disable = module.add_metadata(["llvm.loop.unroll.disable"])
        loop = module.add_metadata([str(len(module.metadata))])  # one of its own, which names itself
        loop.operands = (loop, disable)
        back.set_metadata("llvm.loop", loop)

    def over(
        self, count: Value, start: Sequence[Value], step: Callable[[Value, Value, list[Value]], Sequence[Value]]
    ) -> list[Value]:
        """Carry values through the vectors of so many numbers: `step(offset, mask, values)` gives the next ones.

        The offset counts bytes; the mask has all lanes but of the last vector, whose lanes may be none.
        """
        whole, width = self.b.sdiv(count, self.long(self.lanes)), self.long(self.lanes * self.item)
        values = self.loop(whole, start, lambda v, inner: step(self.b.mul(v, width), self.first(self.lanes), inner))
        rest = self.b.sub(count, self.b.mul(whole, self.long(self.lanes)))
        return list(step(self.b.mul(whole, width), self.leading(rest), values))

    def each(self, count: Value, work: Callable[[Value, Value], object]) -> None:
        """`work(offset, mask)` for the vectors of so many numbers, as in `over`."""

        def step(offset: Value, mask: Value, _: list[Value]) -> list[Value]:
            work(offset, mask)
            return []

        self.over(count, [], step)

    def widened(self, value: Value) -> Value:
        """A vector, or a number, in float64."""
        kind: Any = ir.DoubleType()
        if isinstance(value.type, ir.VectorType):
            kind = ir.VectorType(kind, value.type.count)
        return value if value.type == kind else self.b.fpext(value, kind)

    def narrowed(self, value: Value) -> Value:
        """A vector, or a number, of float64 in the width of a number here."""
        if self.item == 8:
            return value
        kind = ir.VectorType(self.scalar, value.type.count) if isinstance(value.type, ir.VectorType) else self.scalar
        return self.b.fptrunc(value, kind)

    def numbered(self) -> Value:
        """The vector of int64 0, 1, 2, ..."""
        return ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))

    def total(self, vector: Value) -> Value:
        """The sum of the lanes, halves first."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (self.shuffle(vector, vector, range(begin, begin + lanes)) for begin in (0, lanes))
            vector = self.b.fadd(low, high)
        return self.b.extract_element(vector, I32(0))

    def totals(self, vectors: Sequence[Value]) -> Value:
        """A vector with the sums of the lanes of so many vectors, not more than the lanes; halves first, as `total`."""
        size = 1 << (len(vectors) - 1).bit_length()
        found, group = [*vectors, *[self.zero] * (size - len(vectors))], self.lanes
        while group > 1:
            # A number is the sum of a group of lanes; its halves are added, two vectors' at a time while there are two.
            several, half = len(found) > 1, group // 2
            pairs = list(zip(found[::2], found[1::2], strict=True)) if several else [(found[0], found[0])]
            starts = range(0, (2 if several else 1) * (self.lanes if several else size * group), group)
            low, high = ([start + shift + lane for start in starts for lane in range(half)] for shift in (0, half))
            found = [self.b.fadd(self.shuffle(*pair, low), self.shuffle(*pair, high)) for pair in pairs]
            group = half
        (total,) = found
        if total.type.count == self.lanes:
            return total
        return self.shuffle(total, total, [lane % total.type.count for lane in range(self.lanes)])

    def dot(self, row: Sequence[float], xs: Sequence[Value]) -> Value:
        """The sum of constants times vectors; a factor of 0 leaves its term out, one of 1 costs no product."""
        terms = sorted(((float(c), x) for c, x in zip(row, xs, strict=True) if c), key=lambda term: term[0] != 1)
        (c, total), *rest = terms
        total = total if c == 1 else self.b.fmul(self.constant(c), total)
        for c, x in rest:
            total = self.b.fadd(total, x) if c == 1 else self.fma(self.constant(c), x, total)
        return total


def instruction(literals: int) -> Callable[[Callable[..., None]], Any]:
    """Make a function that emits code an instruction of compiled code.

    Its first `literals` arguments are literal ints, the bytes of a number and the lanes of a vector first; it gets an
    `Emit` for these two, then the other literals, then the rest, which are int64 values.
    """

    def wrap(write: Callable[..., None]) -> Any:
        def typed(typingctx: Any, *args: Any) -> Any:
            if not all(isinstance(kind, types.IntegerLiteral) for kind in args[:literals]):
                return None
            item, lanes, *others = [kind.literal_value for kind in args[:literals]]

            def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                write(Emit(builder, item, lanes), *others, *values[literals:])
                return context.get_dummy_value()

            return types.void(*args[:literals], *[types.int64] * (len(args) - literals)), codegen

        functools.update_wrapper(typed, write)
        names = ["typingctx", "_item", "_lanes", *list(inspect.signature(write).parameters)[1:]]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        return intrinsic(typed)

    return wrap
