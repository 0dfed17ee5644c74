"""The table that `Module.summary` prints."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastconv.nn.parameter import Parameter
from fastconv.typing import Shape

if TYPE_CHECKING:
    from fastconv.nn.module import Module

HEADER = ("layer", "output shape", "parameters", "FLOPs")
Row = tuple[str, str, str, str]


def table(module: "Module", input_shape: Shape) -> str:
    """A line for each layer below `module`, a container's own before them, and a total."""
    rows = list(_rows(module, "", input_shape, -1, set()))
    parameters = sum(parameter.size for parameter in module.parameters())
    total = ("total", str(module.output_shape(input_shape)), f"{parameters:,}", f"{module.flops(input_shape):,}")
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, total, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([_line(HEADER, widths), rule, *[_line(row, widths) for row in rows], rule, _line(total, widths)])


def _rows(module: "Module", name: str, shape: Shape, depth: int, seen: set[int]) -> Iterator[Row]:
    """The rows of one module and those below it; the outermost container has none of its own."""
    below, flops = list[Row](), 0
    for child_name, child, child_shape in module.child_inputs(shape):
        # The child goes first, so that a shape that it does not accept is told under its own name.
        below += _rows(child, f"{name}.{child_name}" if name else child_name, child_shape, depth + 1, seen)
        flops += child.flops(child_shape)
    label = f"{name} {type(module).__name__}".strip()
    try:
        output, own = module.output_shape(shape), module.flops(shape) - flops
    except ValueError as error:
        raise ValueError(f"layer {label}: {error}") from error
    if depth >= 0 or not below:
        yield "  " * max(depth, 0) + label, str(output), f"{_parameters(module, seen):,}", f"{own:,}"
    yield from below


def _parameters(module: "Module", seen: set[int]) -> int:
    """Numbers in the module's own parameters, without those that an earlier row counted."""
    own = [value for value in vars(module).values() if isinstance(value, Parameter) and id(value) not in seen]
    seen.update(map(id, own))
    return sum(parameter.size for parameter in own)


def _line(row: Row, widths: list[int]) -> str:
    left, right = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)], row[2:]
    return "  ".join([*left, *(cell.rjust(width) for cell, width in zip(right, widths[2:], strict=True))])
