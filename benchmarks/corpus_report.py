"""Goals of benchmarks/corpus.py, its tables and its plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from corpus.errors import require

MB = 1e6  # bytes; memory too is reported in these


class Goal(NamedTuple):
    """What a figure must reach, and what it should."""

    floor: float
    aim: float
    unit: str  # "x": the more the better; "s": the fewer the better


# Throughput goals are ratios of CPU seconds for the same documents, peer over ours.
GOALS = {
    "table, built": Goal(1.0, 0.4, "s"),
    "table, from cache": Goal(0.020, 0.020, "s"),
    "vanilla / encode_batch_fast": Goal(8, 15, "x"),
    "vanilla / Megatron fast": Goal(1, 1.5, "x"),
    "stochastok / encode_batch_fast": Goal(7, 12, "x"),
    "patok / encode_batch_fast": Goal(1.5, 3, "x"),
    "start, vanilla": Goal(2, 1, "s"),
    "start, stochastok": Goal(2, 1, "s"),
    "start, patok": Goal(2, 1, "s"),
    "two workers / one": Goal(1.8, 1.95, "x"),
}


class Figure(NamedTuple):
    """One measured figure of a row, its rounds, and what to know about it."""

    name: str
    corpus: str
    rounds: list[float]
    unit: str
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def verdict(self) -> str:
        """`aim`, `floor` (reached, and the aim not), `below`, or nothing where no goal is set."""
        goal = GOALS.get(self.name)
        if goal is None:
            return ""
        sign = 1 if goal.unit == "x" else -1
        if sign * self.value >= sign * goal.aim:
            return "aim"
        return "floor" if sign * self.value >= sign * goal.floor else "below"

    def record(self) -> dict[str, Any]:
        """For --json."""
        goal = GOALS.get(self.name)
        return {**self._asdict(), "median": self.value, "verdict": self.verdict,
                "goal": goal._asdict() if goal else None}


def show_figures(figures: Sequence[Figure]) -> None:
    """Prints the figures beside their goals."""
    rows = [("", "text", "median", "floor", "aim", "reached", "rounds", "")]
    for figure in figures:
        goal = GOALS.get(figure.name)
        spread = f"{len(figure.rounds)}: {min(figure.rounds):.3g}-{max(figure.rounds):.3g}"
        rows.append((
            figure.name, figure.corpus, f"{figure.value:.3g} {figure.unit}",
            f"{goal.floor:g} {goal.unit}" if goal else "",
            f"{goal.aim:g} {goal.unit}" if goal else "", figure.verdict, spread, figure.note))
    show_rows(rows)


def show_rows(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows in columns as wide as they need; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print()


def throughput_rows(runs: dict[str, list[dict[str, Any]]]) -> list[Sequence[str]]:
    """A row for each process that was measured: rates and memory, medians of its rounds."""
    rows: list[Sequence[str]] = [
        ("", "M tokens/s", "CPU s", "start-up s", "peak MB", "documents", "M tokens")]
    for name, rounds in runs.items():
        work = statistics.median(run["work"] for run in rounds)
        rows.append((
            name, f"{rounds[0]['tokens'] / work / 1e6:.2f}", f"{work:.2f}",
            f"{statistics.median(run['start'] for run in rounds):.2f}",
            f"{max(run['peak'] for run in rounds) / MB:.0f}", f"{rounds[0]['documents']:,}",
            f"{rounds[0]['tokens'] / 1e6:.2f}"))
    return rows


def cost(run: dict[str, Any], price: float) -> float:
    """USD for a million tokens at `price` USD per core hour, start-up included."""
    seconds: float = run["start"] + run["work"]
    tokens: int = run["tokens"]
    return seconds / 3600 * price / (tokens / 1e6)


def scale_rows(points: Sequence[dict[str, Any]]) -> list[Sequence[str]]:
    """A row for each size and arm of --scale."""
    rows: list[Sequence[str]] = [
        ("MB", "arm", "M tokens", "M tokens/s", "with start-up", "peak MB", "USD per M tokens")]
    rows += [(f"{point['mb']:g}", point["arm"], f"{point['tokens'] / 1e6:.2f}",
              f"{point['rate'] / 1e6:.2f}", f"{point['rate_with_start'] / 1e6:.2f}",
              f"{point['peak'] / MB:.0f}", f"{point['usd_per_million']:.2e}") for point in points]
    return rows


def plot(points: Sequence[dict[str, Any]], path: Path, price: float) -> None:
    """Throughput and cost against the size of the input, to a PNG or SVG file."""
    require("matplotlib", "matplotlib").use("Agg")
    from matplotlib import pyplot

    figure, (rate, usd) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for arm in dict.fromkeys(point["arm"] for point in points):
        line = [point for point in points if point["arm"] == arm]
        sizes = [point["mb"] for point in line]
        rate.plot(sizes, [point["rate_with_start"] / 1e6 for point in line], "o-", label=arm)
        usd.plot(sizes, [point["usd_per_million"] for point in line], "o-", label=arm)
    for axes, label in ((rate, "M tokens per CPU second, with start-up"),
                        (usd, f"USD per M tokens, at {price:g} USD a core hour")):
        axes.set(xscale="log", yscale="log", xlabel="input, MB", ylabel=label)
        axes.grid(True, which="both", alpha=0.3)
        axes.legend()
    figure.savefig(path)
    pyplot.close(figure)
