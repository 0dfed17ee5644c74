"""What the compiled code of the cuda backend tells of its speed: `python -m benchmarks.cuda_report` needs no GPU.

Kernels that representative calls launch are compiled to machine code, and benchmarks/CUDA.md gets a table of them. The
exit status is 0, 1 (a kernel has faults) or 2 (something is missing here, or arguments are wrong).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from inspect import getclosurevars
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv import files

from . import cuda_compiler, machine, markdown, units
from .cuda_compiler import Assembled, Capability, Mix, Occupancy

if TYPE_CHECKING:
    from .cuda_calls import Launched

INSTALL = 'pip install "fastconv[cuda]" "cuda-toolkit[nvcc,nvdisasm]"'
CAPABILITIES: dict[Capability, str] = {(8, 0): "A100", (9, 0): "H100"}
TELLING = ("tile_rows", "tile_columns", "depth", "extent_e", "extent_r", "extent_s", "tall", "wide")
PEAK = 10  # multiply-adds in a kernel's loop from which on their part of the peak tells something

TOP = """\
# What the compiled kernels imply

This page is what the compiled code implies, no more: `fastconv bench --backend cuda` measures. `python -m
benchmarks.cuda_report` writes this page; it is not edited by hand.
"""
NOTE = """\
Each kernel is compiled for the types of its arguments by NVIDIA's compiler and assembler, as planned for that GPU. A
kernel that several calls launch stands once, with the first of them and the blocks of its largest launch there.

- *registers* of a thread, and bytes of *shared* memory of a block, by the assembler.
- *occupancy*: warps that a multiprocessor holds at once, of those that it has room for, and what keeps others out.
- *multiply-adds*: their part of the instructions in the innermost loop with the most of them; where a kernel has no
  loop, of all. One of tensor cores is 1,024 of them at once.
- *bound*: the part of the peak of float32 multiply-adds that this loop can reach by the instructions that it issues,
  whatever memory does. Given where the loop has ten or more; it says nothing of tensor cores or float64.
- *faults*: spills, local memory, float64 arithmetic in a float32 kernel, or a block that can't be launched.
"""


@dataclass(frozen=True)
class Row:
    """A kernel, compiled for a capability."""

    launched: Launched
    assembled: Assembled
    mix: Mix
    occupancy: Occupancy
    bound: float
    faults: list[str]

    @property
    def name(self) -> str:
        """Module and function of the kernel."""
        function = self.launched.kernel.function
        return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"

    def cells(self) -> list[str]:
        """The row in the table."""
        call, blocks = next(iter(self.launched.calls.items()))
        others = len(self.launched.calls) - 1
        loop = self.mix.loop or self.mix.total
        more = f", and {others} more" if others else ""
        return [
            self.name,
            made_for(self.launched) + ", tensor cores" * bool(self.mix.total["matrix"]),
            call + more,
            f"{blocks} x {self.launched.kernel.block}",
            str(self.assembled.registers),
            str(self.assembled.shared),
            f"{units.percent(self.occupancy.fraction)} ({self.occupancy.limit})",
            units.percent(self.mix.fma_fraction()),
            units.percent(self.bound) if loop["fma"] >= PEAK and not self.launched.double else units.NOTHING,
            "; ".join(self.faults) or "none",
        ]


HEAD = ["kernel", "made for", "launched by", "blocks x threads", "registers", "shared"]
HEAD += ["occupancy", "multiply-adds", "bound", "faults"]


def made_for(launched: Launched) -> str:
    """The dtype, and which of its kind the kernel is, by what it has as literals."""
    kinds = [kind.dtype for kind in launched.signature if hasattr(kind, "dtype")]
    found = getclosurevars(launched.kernel.function).nonlocals
    told = [f"{name} {found[name]}" for name in TELLING if type(found.get(name)) is int]
    told += [name for name, value in sorted(found.items()) if value is True]
    return ", ".join([str(kinds[0]) if kinds else "", *told])


def compiled(launched: Launched, capability: Capability) -> Row:
    """Compile a kernel, and look at what came out."""
    kernel, options = launched.kernel, dict(launched.kernel.options)
    most = options.pop("max_registers", None)
    text = cuda_compiler.ptx(kernel.function, launched.signature, capability, **options)
    assembled = cuda_compiler.assemble(text, capability, most)
    mix = cuda_compiler.mix(assembled.sass or text)
    return Row(
        launched,
        assembled,
        mix,
        cuda_compiler.occupancy(assembled, kernel.block, capability),
        cuda_compiler.bound(mix, capability),
        cuda_compiler.faults(assembled, text, kernel.block, launched.double),
    )


def report(capability: Capability, calls: dict[str, Any] | None = None) -> list[Row]:
    """Every kernel's row; progress goes to standard error."""
    from .cuda_calls import recorded

    kernels, rows = recorded(capability, calls), []
    for number, launched in enumerate(kernels, 1):
        row = compiled(launched, capability)
        told = "; ".join(row.faults) or f"{row.assembled.registers} registers"
        print(f"{number}/{len(kernels)} sm_{digits(capability)} {row.name}: {told}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def digits(capability: Capability) -> str:
    """(9, 0) as 90."""
    return "".join(map(str, capability))


def page(found: dict[Capability, list[Row]]) -> str:
    """The page's text."""
    used = ", ".join(f"{name} {version}" for name, version in machine.versions(["numba-cuda"]).items())
    language = next((row.mix.language for rows in found.values() for row in rows), "PTX")
    code = "machine code" if language == "SASS" else "PTX, for want of a disassembler; machine code may have others"
    parts = [TOP, f"Written on {datetime.now(UTC):%Y-%m-%d} with {used}. Instructions are counted in {code}.", "", NOTE]
    for capability, rows in found.items():
        faulty = sum(bool(row.faults) for row in rows)
        parts += [
            f"## Compute capability {'.'.join(map(str, capability))} ({CAPABILITIES[capability]})",
            "",
            f"{len(rows)} kernels, {faulty or 'none'} with faults.",
            "",
            *markdown.grid(HEAD, [row.cells() for row in rows]),
            "",
        ]
    parts += ["## What they compute", "", *[f"- `{name}`: {line}" for name, line in meanings(found).items()]]
    return "\n".join(parts) + "\n"


def meanings(found: dict[Capability, list[Row]]) -> dict[str, str]:
    """The first line of each kernel's docstring."""
    rows = [row for of in found.values() for row in of]
    return {row.name: f"`{' '.join((row.launched.kernel.__doc__ or '').split())}`" for row in rows}


def missing() -> str:
    """What has to be installed before kernels can be compiled here, in a line; empty where nothing is."""
    if find_spec("numba_cuda") is None:  # Numba's own, older, compiler for GPUs is not enough
        return f"the package numba-cuda is not installed: {INSTALL}"
    fault = cuda_compiler.missing_compiler()
    if fault:
        return fault
    try:
        from numba import int32

        cuda_compiler.assemble(cuda_compiler.ptx(nothing, (int32,)))
    except cuda_compiler.NoAssemblerError as error:
        return str(error)
    return ""


def nothing(x: Any) -> None:
    """The least kernel."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compile, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda_report",
        description="Compile the cuda backend's kernels and write what their code implies, without a GPU.",
    )
    default = Path(__file__).parent / "CUDA.md"
    parser.add_argument("--out", metavar="FILE", type=Path, default=default, help="(default: benchmarks/CUDA.md)")
    options = parser.parse_args(argv)
    fault = missing() or ("" if options.out.parent.is_dir() else f"{options.out.parent} is no folder")
    if fault:
        print(f"{parser.prog}: {' '.join(fault.split())}", file=sys.stderr)
        return 2
    found = {capability: report(capability) for capability in CAPABILITIES}
    files.replace(options.out, page(found).encode())
    print(f"The report is {options.out}.", file=sys.stderr)
    return int(any(row.faults for rows in found.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
