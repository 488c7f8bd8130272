"""Cross matrices, models down and test sets across, and the orders that a plan expects of them.

A file's place in a glob names its row: in `results/*/perplexity.json` what the `*` stands for. The
numbers in the file are its columns; with a second `*`, that one names the column and the file holds
one number. A name without `*` and `/` is a metric of the arms: `perplexity` with `perplexity.C1`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ledger.evidence import Missing, document, numbers, value_of

MAX_FILES = 10_000
Cells = dict[str, dict[str, float]]  # row -> column -> value

ORDERS = {
    "diagonal-lowest-in-column": "each row's own column is lowest there",
    "diagonal-highest-in-column": "each row's own column is highest there",
    "diagonal-lowest-in-row": "each row is lowest in its own column",
    "diagonal-highest-in-row": "each row is highest in its own column",
    "diagonal-below-row": "each row is below the row {row} in its own column",
    "diagonal-above-row": "each row is above the row {row} in its own column",
    "row-below-row": "the row {0} is below the row {1} in every column",
}


class Ordered(NamedTuple):
    """What an order was found to be: cells that contradict it, cells that are missing, and how
    many were compared."""

    against: list[str]
    missing: list[str]
    compared: int


def read(root: Path, pattern: str, key: str) -> Cells:
    """The cells of all files that a glob names. Raises Missing."""
    stars = pattern.count("*")
    if stars not in (1, 2):
        raise Missing(f"{pattern} has {stars} stars. One names the rows, a second one the columns")
    parts = [re.escape(part) for part in pattern.split("*")]
    wanted = re.compile("([^/]*)".join(parts))
    base = Path("/") if pattern.startswith("/") else root
    cells: Cells = {}
    for path in sorted(base.glob(pattern.lstrip("/")))[:MAX_FILES]:
        match = wanted.fullmatch(str(path if pattern.startswith("/") else path.relative_to(root)))
        if not match:
            continue
        held = document(path)
        found = value_of(held, key) if key else held
        row = cells.setdefault(match[1], {})
        if stars == 2:
            row[match[2]] = _number(found, path)
        else:
            row.update(numbers(found))
    if not cells:
        raise Missing(f"there is no {pattern}")
    return cells


def _number(value: Any, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Missing(f"{path} holds no number there. Name it with `key`")
    return float(value)


def of_arms(values: Mapping[str, Mapping[str, float]], metric: str) -> Cells:
    """The cells of a metric that the arms have for each test set. Raises Missing."""
    start = f"{metric}."
    cells = {
        arm: {k.removeprefix(start): v for k, v in own.items() if k.startswith(start)}
        for arm, own in values.items()
    }
    if not any(cells.values()):
        raise Missing(f"no arm has {start}...")
    return cells


def judge(
    cells: Cells, order: str, row: str, rows: Sequence[str], columns: Sequence[str]
) -> Ordered:
    """Compares what an order speaks of. `rows`, `columns`: only these, where there are any."""
    against: list[str] = []
    missing: list[str] = []
    compared = 0
    for one, other in _pairs(cells, order, row, rows, columns):
        a, b = (cells.get(cell[0], {}).get(cell[1]) for cell in (one, other))
        if a is None or b is None:
            missing.extend(_name(c) for c, v in ((one, a), (other, b)) if v is None)
            continue
        compared += 1
        right = a > b if "highest" in order or "above" in order else a < b
        if not right or not math.isfinite(a):
            against.append(f"{_name(one)} is {a:.4g}, {_name(other)} {b:.4g}")
    return Ordered(against, list(dict.fromkeys(missing)), compared)


Cell = tuple[str, str]


def _pairs(
    cells: Cells, order: str, row: str, rows: Sequence[str], columns: Sequence[str]
) -> list[tuple[Cell, Cell]]:
    """The cells that an order compares: the first is to be below the second, or above it."""
    across = list(columns) or list(dict.fromkeys(c for own in cells.values() for c in own))
    if order == "row-below-row":
        return [((rows[0], column), (rows[1], column)) for column in across]
    own = [name for name in (rows or cells) if name in across]
    if order.endswith("-row") and "in" not in order.split("-"):
        return [((name, name), (row, name)) for name in own if name != row]
    if order.endswith("in-column"):
        others = rows or own
        return [((n, n), (other, n)) for n in own for other in others if other != n]
    return [((name, name), (name, column)) for name in own for column in across if column != name]


def _name(cell: Cell) -> str:
    return f"{cell[0]} on {cell[1]}"
