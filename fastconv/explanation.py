"""What a convolution costs and how it is computed: `explain`, also on the command line."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fastconv import algorithms, backends, borders, functional, geometry, ndimage
from fastconv.functional import checks
from fastconv.geometry import Convolution
from fastconv.typing import ArrayLike, Shape, Size

PASSES = {"": "forward", "_input_grad": "input_grad", "_weight_grad": "weight_grad"}
TURNED = {"forward": "input_grad", "input_grad": "forward", "weight_grad": "weight_grad"}  # conv_transpose's passes
OPERATIONS = {
    f"{name}{rank}d{suffix}": (name, rank, which)
    for name in ("conv", "conv_transpose")
    for rank in (1, 2, 3)
    for suffix, which in PASSES.items()
}
FILTERS = ("correlate", "convolve")  # of `ndimage`
OPTIONS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
SECONDS, CALLS = 0.5, (5, 1000)  # that a measurement takes, and calls at least and at most
TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
FLOPS = ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP"), (1.0, "FLOP"))


@dataclass(frozen=True, repr=False)
class Explanation:
    """How an operation is computed here; its text is a table.

    Attributes
    ----------
    operation : str
        As "conv2d_input_grad".
    x, weight, y : tuple of int
        The shapes of the operation's input, its weight and its output.
    options : dict
        Stride, padding, dilation, groups, and output_padding, as they were given.
    dtype, backend : str
    algorithm : str
        "direct", "winograd" or "fft"; "reference" on that backend, which has no plan: what a plan says is None there.
    flops : int
        Multiplications and additions of the operation's definition, with the taps that lie in the input.
    bytes : int
        Of what it reads and writes, each once.
    tile, blocks : str or None
        What is computed in registers at a time, and how work falls into tasks.
    tasks, threads : int or None
    workspace : int or None
        Bytes beside inputs and output.
    expected : float or None
        Seconds, by the plan's count of cycles.
    parts : dict or None
        Seconds of these, by what needs them.
    measured : float or None
        Seconds, the median of many calls on random numbers.
    roof : float or None
        FLOP/s that all threads can do at most, measured by multiply-adds alone.
    assembly : str or None
        Machine code of the loop that does most of the work.
    """

    operation: str
    x: Shape
    weight: Shape
    y: Shape
    options: dict[str, Any]
    dtype: str
    backend: str
    flops: int
    bytes: int
    algorithm: str
    tile: str | None = None
    blocks: str | None = None
    tasks: int | None = None
    threads: int | None = None
    workspace: int | None = None
    expected: float | None = None
    parts: dict[str, float] | None = None
    measured: float | None = None
    roof: float | None = None
    assembly: str | None = None

    @property
    def speed(self) -> float | None:
        """FLOP/s, as measured."""
        return self.flops / self.measured if self.measured else None

    @property
    def fraction(self) -> float | None:
        """Of the roof, as measured; more than 1 where an algorithm needs fewer operations than the definition."""
        return self.speed / self.roof if self.speed and self.roof else None

    def shares(self, least: float = 0.02) -> str:
        """The parts of the expected time in per cent, the largest first, without those of less than `least` of it."""
        parts = sorted((self.parts or {}).items(), key=lambda part: -part[1])
        whole = sum(seconds for _, seconds in parts)
        shown = [f"{name} {100 * seconds / whole:.0f} %" for name, seconds in parts if seconds >= least * whole]
        return ", ".join(shown) if len(parts) > 1 else ""

    def __repr__(self) -> str:
        """A table, a line for all that is known."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        rows: dict[str, str | None] = {
            "operation": f"{self.operation}, x {self.x}, weight {self.weight}, y {self.y}, {self.dtype}",
            "options": options,
            "arithmetic": f"{scaled(self.flops, FLOPS)}, {self.flops / max(1, self.bytes):.1f} for each byte",
            "memory": f"{scaled(self.bytes, BYTES)} to read and write",
            "algorithm": self.algorithm if self.backend == "cpu" else f"{self.algorithm}, backend {self.backend}",
            "tile": self.tile,
            "blocks": self.blocks,
            "tasks": f"{self.tasks} on {self.threads} thread{'s' * (self.threads != 1)}" if self.tasks else None,
            "workspace": told(self.workspace, BYTES),
            "expected time": told(self.expected, TIMES),
            "of which": self.shares() or None,
            "measured time": told(self.measured, TIMES),
            "speed": told(self.speed, FLOPS, "/s"),
            "roof": told(self.roof, FLOPS, "/s"),
        }
        if rows["speed"] and self.fraction:
            rows["speed"] += f", {100 * self.fraction:.0f} % of the roof"
        width = max(len(label) for label, text in rows.items() if text) + 2
        lines = [f"{label:<{width}}{text}" for label, text in rows.items() if text]
        if self.assembly is not None:
            lines += ["the loop that does most of the work:", self.assembly]
        return "\n".join(lines)


def explain(
    operation: str,
    x_size: Size,
    weight_size: Size | ArrayLike,
    *,
    dtype: Any = "float32",
    algorithm: str = "auto",
    measure: bool = False,
    assembly: bool = False,
    **options: Any,
) -> Explanation:
    """How a convolution, a transposed one or a gradient of theirs is computed here, and what it costs; or a filter.

    Parameters
    ----------
    operation : str
        "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv_transpose2d" and so on, for 1, 2 and 3 axes; or
        "correlate" and "convolve", those of `ndimage`.
    x_size : (N, C, *spatial) or (C, *spatial)
        The shape of the operation's x, for gradients too; that of an image for a filter.
    weight_size : (O, C / groups, *taps); for transposed convolution (C, O / groups, *taps)
        For a filter itself: how it is computed depends on its numbers.
    dtype : "float32", "float64" or "float16"
    algorithm : {"auto", "direct", "winograd", "fft"}
        As in `functional.conv2d`.
    measure : bool
        Also time it on random numbers, for half a second, and measure the machine's roof.
    assembly : bool
        Also compile its machine code anew, and show the loop that does most of the work.
    stride, padding, dilation, groups, output_padding
        As in the operation; of a filter `mode` and `output`, a dtype.

    Returns
    -------
    Explanation

    Raises
    ------
    TypeError, ValueError
        As the operation; and if there is none of that name.

    Examples
    --------
    >>> import fastconv
    >>> found = fastconv.explain("conv2d", (1, 64, 56, 56), (64, 64, 3, 3), padding=1, algorithm="direct")
    >>> found.algorithm, found.y, found.flops
    ('direct', (1, 64, 56, 56), 225738752)
    """
    if operation in FILTERS:
        return _filter(operation, x_size, weight_size, np.dtype(dtype), measure, options)
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise ValueError(f"operation is {operation!r}: one of {', '.join((*OPERATIONS, *FILTERS))} is accepted")
    name, rank, which = OPERATIONS[operation]
    known = OPTIONS | ({"output_padding": 0} if name == "conv_transpose" else {})
    for option in options:
        if option not in known:
            raise TypeError(f"{option} is no option of {operation}: {', '.join(known)} are accepted")
    given = known | options
    number = np.dtype(dtype)
    if number not in (checks.HALF, checks.SINGLE, checks.DOUBLE):
        raise TypeError(f"dtype is {number}: float32, float64 and float16 are accepted")
    computed = checks.SINGLE if number == checks.HALF else number
    sizes = checks.size(x_size, "x_size"), checks.size(cast(Size, weight_size), "weight_size")
    shape, x, y = _geometry(name, rank, *sizes, given)
    chosen = algorithms.chosen(algorithm, shape, computed)
    backend = backends.module("explain")
    call = (shape, TURNED[which] if name == "conv_transpose" else which, computed, chosen)
    found: dict[str, Any] = backend.plan(*call)
    if measure:
        found["measured"] = _measured(operation, x, shape.weight_shape, y, number, {**given, "algorithm": algorithm})
        found["roof"] = backend.roof(computed)
    if assembly:
        found["assembly"] = backend.hot_loop(*call)
    numbers = sum(int(np.prod(s)) for s in (shape.input_shape, shape.weight_shape, shape.output_shape))
    return Explanation(
        operation,
        x,
        shape.weight_shape,
        y,
        given,
        str(number),
        backends.backend_name(),
        shape.flops,
        numbers * number.itemsize,
        **found,
    )


def _filter(
    operation: str, size: Size, weights: ArrayLike, dtype: np.dtype[Any], measure: bool, options: dict[str, Any]
) -> Explanation:
    """A filter of an image, which is all zeros until it is timed."""
    for option in options:
        if option not in ("mode", "output"):
            raise TypeError(f"{option} is no option of {operation}: mode, output are accepted")
    shape, taps = checks.size(size, "x_size"), np.asarray(weights, np.float64)
    if taps.ndim != len(shape):
        raise ValueError(f"weight_size has {taps.ndim} axes, x_size {len(shape)}: a filter with those of x is accepted")
    mode, output = options.get("mode", "reflect"), np.dtype(options.get("output", dtype))
    if mode not in borders.MODES:
        raise ValueError(f"mode is {mode!r}: one of {', '.join(map(repr, borders.MODES))} is accepted")
    x, y = np.zeros(shape, dtype), np.empty(shape, output)
    turned = taps[(slice(None, None, -1),) * taps.ndim] if operation == "convolve" else taps
    origins = [-1 if operation == "convolve" and not count % 2 else 0 for count in taps.shape]
    around = tuple(borders.around(n, k, o, mode) for n, k, o in zip(shape, taps.shape, origins, strict=True))
    backend = backends.module("filtering")
    found = backend.plan(x, np.ascontiguousarray(turned), y, around, 0.0)
    if measure:
        function = getattr(ndimage, operation)
        x = (100 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
        found["measured"] = _median(lambda: function(x, taps, output=y, mode=mode))
        found["roof"] = backends.module("explain").roof(np.dtype(np.float32 if dtype == np.float32 else np.float64))
    flops = 2 * x.size * taps.size
    given = {"mode": mode, "output": str(output)}
    moved = x.nbytes + y.nbytes
    name = backends.backend_name()
    return Explanation(operation, shape, taps.shape, shape, given, str(dtype), name, flops, moved, **found)


def _geometry(
    name: str, rank: int, x_size: Shape, weight_size: Shape, options: dict[str, Any]
) -> tuple[Convolution, Shape, Shape]:
    """The geometry of a call, and the shapes of its x and y."""
    x = (1, *x_size) if len(x_size) == rank + 1 else x_size
    for label, given, shape in (("x_size", x_size, x), ("weight_size", weight_size, weight_size)):
        if len(shape) != rank + 2:
            raise ValueError(f"{label} is {given}: {rank + 2} ints are accepted, N or O, channels and {rank} spatial")
    if name == "conv":
        found = geometry.convolution(x, weight_size, *(options[key] for key in OPTIONS))
        return found, x, found.output_shape
    order = ("stride", "padding", "output_padding", "groups", "dilation")
    found = geometry.conv_transpose(x, weight_size, *(options[key] for key in order))
    return found, x, found.input_shape


def _measured(operation: str, x: Shape, weight: Shape, y: Shape, dtype: Any, options: dict[str, Any]) -> float:
    """The median of the seconds that calls take."""
    rng, function = np.random.default_rng(0), getattr(functional, operation)
    images, filters, grads = (rng.standard_normal(shape, np.float32).astype(dtype) for shape in (x, weight, y))
    arguments: dict[str, tuple[Any, ...]] = {
        "forward": (images, filters),
        "input_grad": (x, filters, grads),
        "weight_grad": (images, weight, grads),
    }
    args = arguments[OPERATIONS[operation][2]]
    return _median(lambda: function(*args, **options))


def _median(call: Callable[[], object]) -> float:
    """The median of the seconds of some calls, after one that compiles."""
    call()
    seconds: list[float] = []
    least, most = CALLS
    end = time.perf_counter() + SECONDS
    while len(seconds) < least or (len(seconds) < most and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def told(value: float | None, units: tuple[tuple[float, str], ...], per: str = "") -> str | None:
    """What is known, as text."""
    return None if value is None else scaled(value, units) + per


def scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Three digits that count, in the largest unit that leaves one before the point."""
    size, unit = next(((size, unit) for size, unit in units if value >= 0.9995 * size), units[-1])
    number = value / size
    places = 0 if number >= 99.95 or (size == 1 and value == int(value)) else 1 if number >= 9.995 else 2
    return f"{number:.{places}f} {unit}"
