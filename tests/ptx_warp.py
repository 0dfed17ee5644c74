"""PTX instructions in which the threads of a warp meet, bound to a machine: shuffles, votes, tensor-core products."""

import numpy as np
from ptx_values import PtxError, UnknownInstructionError, Vector, numpy_type


class InactiveLaneError(PtxError):
    """A shuffle reads a register of a thread that does not take part in it."""


def meeting(machine, instruction):
    """(array of masks of who has to come, or None for all of a warp; the function of lanes once they have)."""
    root, parts = instruction.parts[0], instruction.parts
    if parts[:2] == ("bar", "warp"):
        return machine.source(instruction.operands[0], "u32"), warp_barrier(machine)
    if root == "mma":
        return None, matrix_product(machine, instruction)
    if "sync" not in parts[1:3]:
        raise UnknownInstructionError(f"{instruction.text}: the form without .sync")
    step = {"shfl": shuffle, "vote": vote, "match": match, "redux": reduction}[root](machine, instruction)
    return machine.source(instruction.operands[-1], "u32"), step


def warp_barrier(machine):
    """`bar.warp.sync`."""

    def step(lanes):
        for warp in np.unique(lanes.index // 32):
            machine.memory.barrier(lanes.index[lanes.index // 32 == warp])

    return step


def results(machine, instruction, ptx_type):
    """(array for the value, array for the predicate or None)."""
    first = instruction.operands[0]
    if isinstance(first, Vector):
        return machine.destination(first.items[0], ptx_type), machine.destination(first.items[1], "pred")
    return machine.destination(first, ptx_type), None


def shuffle(machine, instruction):
    """`shfl.sync` in its four modes."""
    mode, ptx_type = instruction.parts[2:]
    target, valid = results(machine, instruction, ptx_type)
    value = machine.source(instruction.operands[1], ptx_type)
    step_by, clamp = (machine.source(operand, "u32") for operand in instruction.operands[2:4])
    lane = np.arange(machine.threads) % 32
    first = np.arange(machine.threads) - lane

    def step(lanes):
        by, bound, segment = (x.astype(np.int64) & 31 for x in (step_by, clamp, clamp >> np.uint32(8)))
        highest = (lane & segment) | (bound & ~segment & 31)
        other = {
            "up": lane - by,
            "down": lane + by,
            "bfly": lane ^ by,
            "idx": (lane & segment) | (by & ~segment & 31),
        }[mode]
        inside = other >= highest if mode == "up" else other <= highest
        source = first + np.where(inside, other, lane)
        missing = lanes.index[~lanes.mask[source[lanes.index]]]
        if len(missing):
            who, lane_read = machine.tell(machine.first + int(missing[0])), source[missing[0]] % 32
            raise InactiveLaneError(f"{instruction.text}: {who} reads from lane {lane_read}, which does not take part")
        lanes.assign(target, value[source])
        if valid is not None:
            lanes.assign(valid, inside)

    return step


def ballot(flags):
    """The 32 flags of each warp as bits, for each of its lanes."""
    return np.repeat(np.packbits(flags, bitorder="little").view(np.uint32), 32)


def active_mask(machine, instruction):
    """`activemask`: the threads that happen to execute it together."""
    target = machine.destination(instruction.operands[0], "b32")
    return lambda lanes: lanes.assign(target, ballot(lanes.mask))


def vote(machine, instruction):
    """`vote.sync`: all, any, uni, ballot."""
    mode, ptx_type = instruction.parts[2:]
    target = machine.destination(instruction.operands[0], ptx_type)
    source, negated = machine.predicate(instruction.operands[1])

    def step(lanes):
        flags, active = (source ^ negated) & lanes.mask, lanes.mask
        if mode == "ballot":
            return lanes.assign(target, ballot(flags))
        some, all_ = ballot(flags) != 0, ballot(flags) == ballot(active)
        return lanes.assign(target, {"any": some, "all": all_, "uni": all_ | ~some}[mode])

    if mode not in ("ballot", "any", "all", "uni"):
        raise UnknownInstructionError(instruction.text)
    return step


def match(machine, instruction):
    """`match.any.sync` and `match.all.sync`."""
    mode, ptx_type = instruction.parts[1], instruction.parts[3]
    target, valid = results(machine, instruction, "b32")
    value = machine.source(instruction.operands[1], ptx_type)

    def step(lanes):
        table = value.reshape(-1, 32)
        active = lanes.mask.reshape(-1, 32)
        same = (table[:, :, None] == table[:, None, :]) & active[:, None, :]
        bits = np.packbits(same, axis=-1, bitorder="little").view(np.uint32).reshape(-1)
        if mode == "all":
            whole = bits == ballot(lanes.mask)
            bits = np.where(whole, bits, np.uint32(0))
            if valid is not None:
                lanes.assign(valid, whole)
        lanes.assign(target, bits)

    return step


def reduction(machine, instruction):
    """`redux.sync` of integers."""
    name, ptx_type = instruction.parts[2:]
    functions = {
        "add": np.add,
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
    }
    if name not in functions:
        raise UnknownInstructionError(instruction.text)
    target, value = (
        machine.destination(instruction.operands[0], ptx_type),
        machine.source(instruction.operands[1], ptx_type),
    )

    def step(lanes):
        for warp in np.unique(lanes.index // 32):
            some = lanes.index[lanes.index // 32 == warp]
            target[some] = functions[name].reduce(value[some], dtype=value.dtype)

    return step


def matrix_product(machine, instruction):
    """`mma.sync` of a 16 by 8 tile of float32 from tf32 operands: products are exact, sums rounded one by one.

    A GPU adds the products in an order and with a rounding that are not documented.
    """
    parts = instruction.parts
    depth = {"m16n8k8": 8, "m16n8k4": 4}.get(parts[3])
    if depth is None or parts[1:3] != ("sync", "aligned") or parts[4:] != ("row", "col", "f32", "tf32", "tf32", "f32"):
        raise UnknownInstructionError(f"{instruction.text}: this shape and these types are not covered")
    d, a, b, c = instruction.operands
    target = [machine.destination(item, "f32") for item in d.items]
    (left, right), start = (
        [[machine.source(item, "b32") for item in operand.items] for operand in (a, b)],
        [machine.source(item, "f32") for item in c.items],
    )
    group, member = np.arange(32) // 4, np.arange(32) % 4

    def step(lanes):
        def tf32(register):  # the lower 13 bits are not looked at
            return (register & np.uint32(0xFFFFE000)).view(np.float32).reshape(-1, 32)

        warps = len(lanes.mask) // 32
        rows, columns = np.zeros((warps, 16, depth), np.float32), np.zeros((warps, depth, 8), np.float32)
        for k, register in enumerate(left):
            rows[:, group + k % 2 * 8, member + k // 2 * 4] = tf32(register)
        for k, register in enumerate(right):
            columns[:, member + k * 4, group] = tf32(register)
        total = np.zeros((warps, 16, 8), np.float32)
        for k, register in enumerate(start):
            total[:, group + k // 2 * 8, member * 2 + k % 2] = register.reshape(-1, 32)
        for k in range(depth):
            total += rows[:, :, k, None] * columns[:, None, k, :]
        for k, register in enumerate(target):
            lanes.assign(register, total[:, group + k // 2 * 8, member * 2 + k % 2].reshape(-1))

    return step


def special_registers(grid, block, threads, shared):
    """Arrays of the registers that a thread finds set; `%ctaid` is filled in for each block."""
    lane = np.arange(threads, dtype=np.uint32)
    within = lane % np.uint32(32)
    one, full = np.uint32(1), np.uint64(0xFFFFFFFF)
    found = {
        "%laneid": within,
        "%warpid": lane // np.uint32(32),
        "%nwarpid": np.full(threads, threads // 32, np.uint32),
    }
    found["%dynamic_smem_size"] = np.full(threads, shared, np.uint32)
    for i, axis in enumerate("xyz"):
        found[f"%ntid.{axis}"], found[f"%nctaid.{axis}"] = (np.full(threads, e[i], np.uint32) for e in (block, grid))
        found[f"%ctaid.{axis}"] = np.zeros(threads, np.uint32)
        found[f"%tid.{axis}"] = (lane // np.uint32(np.prod(block[:i], dtype=np.int64)) % np.uint32(block[i])).astype(
            np.uint32
        )
    less = (np.uint64(1) << within.astype(np.uint64)) - np.uint64(1)
    equal = (one << within).astype(np.uint64)
    masks = {"eq": equal, "lt": less, "le": less | equal, "gt": full & ~(less | equal), "ge": full & ~less}
    found.update({f"%lanemask_{name}": mask.astype(numpy_type("u32")) for name, mask in masks.items()})
    return found
