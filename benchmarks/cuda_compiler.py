"""Kernels to PTX and machine code (SASS) on a machine without a GPU, and what the code tells of their speed.

`ptx` compiles, `assemble` runs the assembler, `faults` lists what makes a kernel slow or impossible to launch,
`occupancy` says how many warps a multiprocessor holds, `mix` counts instructions and `bound` says which part of the
peak they leave.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

Capability = tuple[int, int]


class NoCompilerError(RuntimeError):
    """Numba's CUDA target can't compile here."""


class NoAssemblerError(RuntimeError):
    """There is no ptxas."""


class AssemblyError(RuntimeError):
    """The assembler, or what reads its output, refused a program."""


def missing_compiler() -> str:
    """Why `ptx` can't compile on this machine; empty where it can."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        return "the simulator compiles nothing (NUMBA_ENABLE_CUDASIM is set)"
    try:
        from numba import cuda, int32

        ptx(_nothing, (int32,))
    except NoCompilerError as error:
        return str(error)
    except Exception as error:  # a missing toolkit is reported by classes of the driver's own
        return f"numba.cuda can't compile: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return "" if callable(cuda.compile_ptx) else "numba.cuda has no compile_ptx"


def _nothing(x: Any) -> None:
    """The least kernel."""


@contextlib.contextmanager
def assumed(capability: Capability) -> Iterator[None]:
    """Device functions are compiled for a capability instead of that of a device which isn't there.

    Numba asks the device for it, even where `compile_ptx` was told: there is no public way round.
    """
    import numba.cuda.dispatcher as dispatcher

    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def ptx(function: Callable[..., Any], signature: Any, capability: Capability = (9, 0), **options: Any) -> str:
    """PTX of a kernel, a plain function or one in `cuda.jit`, for the types of its arguments.

    Options are those of `numba.cuda.compile_ptx`: `fastmath`, `lineinfo`, `opt`, with NVIDIA's target `launch_bounds`.
    """
    try:
        from numba import cuda
    except Exception as error:  # without a toolkit the import raises an error of the driver's own
        raise NoCompilerError('numba.cuda can\'t be imported: pip install "fastconv[cuda]"') from error
    if not callable(getattr(cuda, "compile_ptx", None)):
        raise NoCompilerError("numba.cuda is the simulator: unset NUMBA_ENABLE_CUDASIM")
    plain = getattr(function, "py_func", function)
    capability = (int(capability[0]), int(capability[1]))
    with assumed(capability):
        text, _ = cuda.compile_ptx(plain, signature, cc=capability, **options)
    return str(text)


class Assembled(NamedTuple):
    """What the assembler made of a kernel: registers a thread, and bytes."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    code_size: int
    sass: str  # empty where no disassembler is installed


def _tool(name: str) -> str | None:
    """A tool of the toolkit: from the variable named like it (PTXAS), the packages of this environment, or PATH."""
    named = os.environ.get(name.upper())
    if named:
        return shutil.which(named)
    for root in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in sorted(Path(root, "nvidia").glob(f"**/bin/{name}*")):
            if path.stem == name and os.access(path, os.X_OK):
                return str(path)
    return shutil.which(name)


def assemble(ptx_text: str, capability: Capability = (9, 0), max_registers: int | None = None) -> Assembled:
    """Machine code of a program for a capability."""
    ptxas = _tool("ptxas")
    if ptxas is None:
        raise NoAssemblerError(
            'there is no ptxas: pip install "fastconv[cuda]" "cuda-toolkit[nvcc]", or set PTXAS to one'
        )
    arch = f"sm_{capability[0]}{capability[1]}"
    limit = [] if max_registers is None else ["-maxrregcount", str(max_registers)]
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        for attempt in (0, 1):
            source.write_text(ptx_text)
            done = subprocess.run(
                [ptxas, "-arch", arch, "-v", *limit, str(source), "-o", str(cubin)], capture_output=True, text=True
            )
            told = done.stdout + done.stderr
            newer = re.search(r"Unsupported \.version [\d.]+; current version is '([\d.]+)'", told)
            if newer is None or attempt:
                break
            # An assembler older than the compiler knows all that Numba's kernels use: only the header is too new.
            ptx_text = re.sub(r"^\.version\s+[\d.]+", f".version {newer[1]}", ptx_text, flags=re.MULTILINE)
        if done.returncode:
            raise AssemblyError(f"ptxas -arch {arch} failed:\n{told.strip()}")
        return _assembled(told, cubin)


def _assembled(told: str, cubin: Path) -> Assembled:
    def most(pattern: str) -> int:
        return max(map(int, re.findall(pattern, told)), default=0)

    return Assembled(
        registers=most(r"Used (\d+) registers"),
        stack=most(r"(\d+) bytes stack frame"),
        spill_stores=most(r"(\d+) bytes spill stores"),
        spill_loads=most(r"(\d+) bytes spill loads"),
        shared=most(r"(\d+) bytes smem"),
        code_size=_code_size(cubin.read_bytes()),
        sass=_disassembled(cubin),
    )


def _code_size(elf: bytes) -> int:
    """Bytes in an ELF file's sections of code."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", elf, table + entry * k) for k in range(count)]
    strings = sections[names][4]
    return sum(size for name, _, _, _, _, size in sections if elf[strings + name :].startswith(b".text."))


def _disassembled(cubin: Path) -> str:
    tool = _tool("nvdisasm")
    if tool is None:
        return ""
    done = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


SHARED_LIMIT = 48 * 1024  # of static shared memory in a block
REGISTER_FILE = 64 * 1024  # of a multiprocessor, from compute capability 5.0 on
REGISTER_UNIT = 256  # registers are given to a warp in units of this many
WARP = 32
MAX_THREADS = 1024


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def faults(assembled: Assembled, ptx_text: str, threads: int, float64_allowed: bool = False) -> list[str]:
    """What is wrong with a kernel launched in blocks of so many threads; empty where nothing is."""
    found = []
    if assembled.spill_stores or assembled.spill_loads:
        found.append(f"registers spill: {assembled.spill_stores} bytes of stores, {assembled.spill_loads} of loads")
    if assembled.stack:
        found.append(f"a stack frame of {assembled.stack} bytes lies in local memory")
    if assembled.shared > SHARED_LIMIT:
        found.append(f"{assembled.shared} bytes of shared memory, more than {SHARED_LIMIT}")
    if threads > MAX_THREADS:
        found.append(f"a block of {threads} threads, more than {MAX_THREADS}")
    needed = _up(assembled.registers * WARP, REGISTER_UNIT) * -(-threads // WARP)
    if needed > REGISTER_FILE:
        found.append(
            f"a block of {threads} threads needs {needed} registers, more than {REGISTER_FILE}: it can't be launched"
        )
    if not float64_allowed:
        double = Counter(opcode for opcode in _opcodes(ptx_text) if ".f64" in opcode)
        for opcode in [o for o in double if o.startswith(("ld.", "st.", "mov."))]:
            del double[opcode]
        if double:
            named = ", ".join(f"{count} {opcode}" for opcode, count in sorted(double.items()))
            found.append(f"float64 arithmetic in a float32 kernel: {named}")
    return found


def _opcodes(ptx_text: str) -> list[str]:
    return re.findall(r"^\s*(?:@!?%\w+\s+)?([a-z]\w*(?:\.\w+)+)", ptx_text, flags=re.MULTILINE)


class Multiprocessor(NamedTuple):
    """What blocks share; FMA lanes are of a quarter, which issues one warp's instruction a cycle."""

    warps: int
    blocks: int
    shared: int
    fma_lanes: int


MULTIPROCESSORS = {
    (8, 0): Multiprocessor(warps=64, blocks=32, shared=164 * 1024, fma_lanes=16),
    (9, 0): Multiprocessor(warps=64, blocks=32, shared=228 * 1024, fma_lanes=32),
}
SHARED_RESERVED = 1024  # of each block, for the system
SHARED_UNIT = 128
WARP_UNIT = 4  # a multiprocessor's quarters hold equally many


class Occupancy(NamedTuple):
    """Blocks and warps that a multiprocessor holds at once, the part of its warps, and what keeps others out."""

    blocks: int
    warps: int
    fraction: float
    limit: str


def occupancy(assembled: Assembled, threads: int, capability: Capability = (9, 0)) -> Occupancy:
    """What fits on a multiprocessor, by CUDA's rules of allocation."""
    if capability not in MULTIPROCESSORS:
        raise ValueError(f"capability must be one of {sorted(MULTIPROCESSORS)}, not {capability}")
    unit, warps = MULTIPROCESSORS[capability], -(-threads // WARP)
    by_registers = REGISTER_FILE // _up(max(assembled.registers, 1) * WARP, REGISTER_UNIT)
    limits = {
        "warps": unit.warps // warps,
        "blocks": unit.blocks,
        "registers": by_registers // WARP_UNIT * WARP_UNIT // warps,
        "shared memory": unit.shared // _up(assembled.shared + SHARED_RESERVED, SHARED_UNIT),
    }
    limit = min(limits, key=lambda name: limits[name])
    blocks = limits[limit] if threads <= MAX_THREADS else 0
    return Occupancy(blocks, blocks * warps, blocks * warps / unit.warps, limit)


class Mix(NamedTuple):
    """How many instructions of each kind a kernel has, in all and in its innermost loop with the most multiply-adds."""

    language: str  # "SASS" or "PTX"
    total: Counter[str]
    loop: Counter[str]

    def fma_fraction(self) -> float:
        """The part of multiply-adds in the loop, or in all where there is no loop."""
        counts = self.loop or self.total
        return (counts["fma"] + counts["matrix"]) / max(counts.total(), 1)


# The first pattern that an opcode begins with says its kind.
SASS_KINDS = {
    "fma": r"FFMA|DFMA|HFMA2(?!\.MMA)",
    "matrix": r"[HDIB]G?MMA|WGMMA",
    "shared": r"LDS|STS|LDSM|STSM|ATOMS",
    "global": r"LDG|STG|LD\b|ST\b|RED|ATOM|UTMA|UBLK",
    "local": r"LDL|STL",
    "move": r"U?MOV|IMAD\.MOV|HFMA2\.MMA|S2R|S2UR|R2UR|CS2R|LDC|ULDC|U?SEL|P2R|R2P|PLOP3|SHFL|VOTE|LEPC|UPLOP3",
    "integer": r"U?(?:I|V)[A-Z]*ADD|U?IMAD|U?LEA|U?LOP|U?SHF|U?ISETP|U?IABS|U?[IV]*MNMX"
    r"|U?(?:PRMT|FLO|POPC|BREV|BMSK|SGXT)",
    "float": r"F[A-Z]+|D(?:ADD|MUL|SETP|MNMX)|H[A-Z]+2|MUFU|[IF]2[IF]|I2FP|F2FP",
    "control": r"BRA|BRX|BAR|EXIT|CALL|RET|BSSY|BSYNC|BREAK|BMOV|WARPSYNC|NOP|YIELD|DEPBAR|LDGDEPBAR|MEMBAR|ERRBAR"
    r"|CCTL|NANO|KILL|SYNCS|FENCE",
}
PTX_KINDS = {
    "fma": r"(?:fma|mad)\.\w+(?:\.\w+)*\.?f(?:16|32|64)",
    "matrix": r"mma|wgmma",
    "shared": r"(?:ld|st|atom|red)\.(?:\w+\.)*shared|ldmatrix",
    "local": r"(?:ld|st)\.local",
    "move": r"mov|cvta|ld\.(?:param|const)|st\.param|selp|shfl|vote",
    "global": r"ld|st|atom|red|prefetch|cp",
    "control": r"bra|brx|bar|ret|exit|call|trap|membar|fence",
    "float": r"\w+(?:\.\w+)*\.f(?:16|32|64)",
    "integer": r"\w+",
}


def mix(text: str) -> Mix:
    """The instruction mix of PTX, or of SASS as `Assembled.sass` has it."""
    is_ptx = ".address_size" in text
    kinds = PTX_KINDS if is_ptx else SASS_KINDS
    opcodes, labels, jumps = (_read_ptx if is_ptx else _read_sass)(text)
    named = [next((kind for kind, pattern in kinds.items() if re.match(pattern, o)), "other") for o in opcodes]
    loops = sorted({(labels[target], place) for place, target in jumps if labels.get(target, place + 1) <= place})
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    counted = [Counter(named[start : end + 1]) for start, end in inner]
    hottest = max(counted, key=lambda c: (c["fma"] + c["matrix"], c.total()), default=Counter())
    return Mix("PTX" if is_ptx else "SASS", Counter(named), hottest)


Listing = tuple[list[str], dict[str, int], list[tuple[int, str]]]


def _read(text: str, label: str, instruction: str, jump: str) -> Listing:
    """Opcodes, the places of labels, and (place, label) of jumps."""
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in text.splitlines():
        if found := re.match(label, line):
            labels[found[1]] = len(opcodes)
        elif found := re.match(instruction, line):
            if target := re.match(jump, found[1]):
                jumps.append((len(opcodes), target[1]))
            opcodes.append(found[1].split()[0])
    return opcodes, labels, jumps


def _read_ptx(text: str) -> Listing:
    return _read(text, r"\s*(\$?\w+):", r"\s*(?:@!?%\w+\s+)?([a-z]\w*(?:[.:]\w+)*(?:\s[^;]*)?);", r"bra\S*\s+(\S+)")


def _read_sass(text: str) -> Listing:
    return _read(text, r"(\.L\w+):", r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][^;]*);", r"BRA\S*\s.*`\((\.L\w+)\)")


def bound(counts: Mix, capability: Capability = (9, 0)) -> float:
    """The part of the peak of float32 multiply-adds that a kernel's loop can reach, whatever its memory does.

    A quarter of a multiprocessor issues one instruction a cycle and has L lanes of multiply-add, so that one of a warp
    keeps them busy for 32/L cycles. A loop of `all` instructions, `fma` of them multiply-adds, takes at least
    max(all, fma·32/L) cycles, of which the peak would take fma·32/L:

        bound = fma·32/L / max(all, fma·32/L)
    """
    if capability not in MULTIPROCESSORS:
        raise ValueError(f"capability must be one of {sorted(MULTIPROCESSORS)}, not {capability}")
    loop = counts.loop or counts.total
    busy = loop["fma"] * WARP / MULTIPROCESSORS[capability].fma_lanes
    return busy / max(loop.total(), busy, 1)
