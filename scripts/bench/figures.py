"""Samples of durations, and tables of figures in Markdown."""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Answer = TypeVar("Answer")

PROCESSES = ("handler", "postgres", "redis")
"""Whose processor time is measured."""
FEW, MANY = 3, 41
"""Steps of a short run and of a long one: between them is the engine, without start and end."""


class Sample:
    """Durations of the same thing, over and over, and the CPU that this process spent in them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds = 0.0
        self.spent: list[Mapping[str, float]] = []
        """Milliseconds of processor time a call, of each turn."""

    def time(self, call: Callable[[], Answer]) -> Answer:
        """Return what a call returns, and keep how long it took."""
        cpu, started = time.process_time(), time.perf_counter()
        answer = call()
        self.seconds.append(time.perf_counter() - started)
        self.cpu_seconds += time.process_time() - cpu
        return answer

    def summary(self) -> dict[str, float]:
        """Return p50 and p99, calls per second of CPU (0: not known), and what was spent a call."""
        return {
            "p50": median(self.seconds) * 1000,
            "p99": quantiles(self.seconds, n=100, method="inclusive")[98] * 1000,
            "per_cpu": len(self.seconds) / self.cpu_seconds if self.cpu_seconds else 0,
        } | {name: median(turn[name] for turn in self.spent) for name in self._processes()}

    def _processes(self) -> Iterable[str]:
        return self.spent[0] if self.spent else ()


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table: first column to the left, the others to the right, aligned as text too."""
    lines = [list(titles), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([line(lines[0]), line(rule), *map(line, lines[1:])])


def verdict(figure: float, budget: float) -> str:
    """Return how a figure stands to its budget."""
    return "ok" if figure <= budget else "over"
