"""Where the time of a training step goes: its kernels one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Profile:
    """The kernels of a step on a bound network, each timed alone; its text is a table.

    Attributes
    ----------
    rows : tuple of (str, float, int)
        A kernel's name, or the names of those that an image goes through in one piece; its seconds, the least of some
        runs; and its floating-point operations, as a dense operation counts them.
    seconds : float
        Of a whole step, the least of some.
    roof : float
        Floating-point operations a second that the machine can do, on as many threads.
    """

    rows: tuple[tuple[str, float, int], ...]
    seconds: float
    roof: float

    def __str__(self) -> str:
        width = max(len("kernel"), *(len(name) for name, _, _ in self.rows))
        lines = [f"{'kernel':{width}s} {'us':>9s} {'of a step':>10s} {'of the roof':>12s}"]
        lines.append("-" * len(lines[0]))
        lines += [self._line(name, seconds, flops, width) for name, seconds, flops in self.rows]
        lines.append("-" * len(lines[0]))
        lines.append(self._line("a whole step", self.seconds, sum(flops for _, _, flops in self.rows), width))
        return "\n".join(lines)

    __repr__ = __str__

    def _line(self, name: str, seconds: float, flops: int, width: int) -> str:
        share = flops / seconds / self.roof
        roof = f"{share:12.0%}" if share >= 0.005 else ""
        return f"{name:{width}s} {seconds * 1e6:9.1f} {seconds / self.seconds:10.1%} {roof}".rstrip()
