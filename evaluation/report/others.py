"""Runs x metrics of any study: its own numbers, rows from papers, relative gains, cross matrices.

A study asks for them under `report`: `metrics` (which, in this order), `lower` (those, by the start
of their names, of which less is better), `external` (row -> metric -> value, or a YAML or CSV file
of that), `matrices` (the start of names: of `perplexity`, the columns are perplexity.A1, ...),
`treatment` (the parameters or sections that its arms are meant to differ in).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evaluation.config import InputError
from evaluation.report.fairness import TREATMENT
from evaluation.report.tables import Table
from evaluation.results import Arm

Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a study's `report` asks for, external rows read. `treatment`: the parameters, or
    sections of them, that its arms are meant to differ in."""

    metrics: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    external: dict[str, Row] = field(default_factory=dict)
    matrices: tuple[str, ...] = ()
    treatment: tuple[str, ...] = TREATMENT

    def less_is_better(self, metric: str) -> bool:
        """Whether a metric is one of `lower`, or below one in its dotted name."""
        return any(metric == one or metric.startswith(f"{one}.") for one in self.lower)


def read_asked(report: dict[str, Any], root: Path) -> Asked:
    """A study's `report`; raises InputError for external rows that are no rows of numbers."""
    external = report.get("external") or {}
    if isinstance(external, str):
        external = _file(root / external)
    try:
        rows = {
            str(name): {
                str(k): float(v) for k, v in values.items() if v is not None and v != ""
            }
            for name, values in external.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"report.external is not row -> metric -> number ({error})", "Correct the study"
        ) from error
    def words(key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        return tuple(str(word) for word in report.get(key) or default)

    return Asked(
        words("metrics"), words("lower"), rows, words("matrices"), words("treatment", TREATMENT)
    )


def _file(path: Path) -> dict[str, Any]:
    """Rows from YAML, or from CSV whose first column names them; an empty cell is no value."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            rows = list(csv.reader(text.splitlines()))
            return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:] if row}
        values = yaml.safe_load(text)
    except OSError as error:
        raise InputError(
            f"the external rows {path} cannot be read ({error.strerror})",
            "Correct report.external in the study",
        ) from error
    except (ValueError, yaml.YAMLError, IndexError) as error:
        raise InputError(f"{path} is no table ({error})", "Correct the file") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no rows", "Write row: {metric: number}")
    return values


def everything(arm: Arm) -> Row:
    """An arm's numbers: its own files', its accuracies in per cent, its held-out figures."""
    held = {k: float(v) for k, v in arm.heldout.items() if isinstance(v, int | float)}
    return {**arm.values, **{name: cell.percent for name, cell in arm.cells.items()}, **held}


def overview(arms: Sequence[Arm], asked: Asked) -> Table | None:
    """Arms and external rows down, metrics across; the best of a column has a star. None where
    nothing is asked for and the arms have no numbers of their own."""
    rows = {arm.id: everything(arm) for arm in arms}
    names = asked.metrics or tuple(dict.fromkeys(
        name for arm in arms for name in arm.values if not _in_matrix(name, asked)
    ))  # fmt: skip
    if not names:
        return None
    rows |= {f"{name} (external)": values for name, values in asked.external.items()}
    best = {
        name: _best([values[name] for values in rows.values() if name in values], name, asked)
        for name in names
    }
    shown = [
        [row, *(_mark(values.get(name), best[name]) for name in names)]
        for row, values in rows.items()
    ]
    note = "* the best of its column."
    if lower := [name for name in names if asked.less_is_better(name)]:
        note += f" Less is better: {', '.join(lower)}."
    return Table("overview", "Runs and metrics", ["run", *names], shown, note=note)


def shorten(comparison: dict[str, Any], arms: Sequence[Arm], asked: Asked) -> None:
    """Where a study asks for metrics and has no benchmarks, its short table shows those metrics."""
    if not asked.metrics or any(arm.cells or arm.heldout for arm in arms):
        return
    comparison["headline"] = ["arm", *asked.metrics]
    for row, arm in zip(comparison["rows"], arms, strict=True):
        values = {name: arm.values.get(name) for name in asked.metrics}
        row |= {name: None if v is None else round(v, 4) for name, v in values.items()}


def _in_matrix(name: str, asked: Asked) -> bool:
    return any(name.startswith(f"{start}.") for start in asked.matrices)


def _best(values: list[float], name: str, asked: Asked) -> float | None:
    if len(values) < 2:
        return None
    return min(values) if asked.less_is_better(name) else max(values)


def _mark(value: float | None, best: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}{' *' if value == best else ''}"


def gains(arms: Sequence[Arm], baseline: str, asked: Asked) -> Table | None:
    """Each arm's metrics against the baseline and against each external row, absolute and relative.
    None without anything to compare with."""
    own = {arm.id: everything(arm) for arm in arms}
    others = {f"baseline {baseline}": own[baseline]}
    others |= {f"{name} (external)": values for name, values in asked.external.items()}
    rows = [
        [arm, name, other, f"{values[name]:.4g}", f"{theirs[name]:.4g}",
         *_gain(values[name], theirs[name], asked.less_is_better(name))]
        for name in asked.metrics or tuple(dict.fromkeys(n for a in arms for n in a.values))
        for arm, values in own.items()
        for other, theirs in others.items()
        if name in values and name in theirs and theirs is not values
    ]  # fmt: skip
    head = ["run", "metric", "against", "value", "its value", "difference", "relative gain"]
    note = "Relative gain: difference over the other's value; positive is better."
    return Table("gains", "Gains", head, rows, 3, note) if rows else None


def _gain(value: float, other: float, lower: bool) -> tuple[str, str]:
    change = value - other
    gain = 100 * (-change if lower else change) / abs(other) if other else None
    return f"{change:+.4g}", "-" if gain is None else f"{round(gain, 1) + 0.0:+.1f} %"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Models down, test sets across; None where a model was not tested on a set."""

    name: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]


def matrices(arms: Sequence[Arm], asked: Asked) -> list[Matrix]:
    """The cross matrices that the study asks for and the arms have numbers for."""
    found = []
    for start in asked.matrices:
        own = {arm.id: _below(everything(arm), start) for arm in arms}
        columns = list(dict.fromkeys(column for values in own.values() for column in values))
        ordered = [arm for arm in own if arm in columns]  # a model's own set stands on the diagonal
        columns = [*ordered, *(c for c in columns if c not in ordered)]
        if columns:
            values = [[own[arm].get(column) for column in columns] for arm in own]
            found.append(Matrix(start, list(own), columns, values))
    return found


def _below(values: Row, start: str) -> Row:
    return {k[len(start) + 1 :]: v for k, v in values.items() if k.startswith(f"{start}.")}


def matrix_table(matrix: Matrix) -> Table:
    """A cross matrix as a table."""
    rows = [
        [row, *("-" if value is None else f"{value:.4g}" for value in values)]
        for row, values in zip(matrix.rows, matrix.values, strict=True)
    ]
    return Table(
        f"matrix-{matrix.name.replace('.', '-')}", f"{matrix.name}: models down, test sets across",
        ["model", *matrix.columns], rows,
    )  # fmt: skip
