"""Checks of what a run left: PASS, FAIL or INCONCLUSIVE, with the evidence. docs/ledger.md.

`checks_file.read` gives the checks of a stage's `gate` or of a study's `expectations`, `judge` the
outcome of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ledger import evidence, matrix, trend, units
from ledger.evidence import DOCUMENTS, LINES, Missing, Row
from ledger.expressions import parse
from ledger.names import LedgerError, nearest
from ledger.operations import said, same
from ledger.units import Quantity

BOUNDED = ("above", "below", "at_least", "at_most", "between", "range", "near")
NEAR = 0.2  # a result within a fifth of a figure is near it, where no tolerance is given


class Verdict(StrEnum):
    """Of a check."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Check(NamedTuple):
    """One criterion. `given` is what the study says of it, `source` and `test` the keys that
    say what it looks at and what is wanted. An `optional` one is told, and closes nothing."""

    id: str
    source: str
    test: str
    given: Mapping[str, Any]
    optional: bool = False

    @property
    def wanted(self) -> Any:
        """What the test compares with."""
        return self.given[self.test]


class Outcome(NamedTuple):
    """What became of a check: what was found, what was wanted, and where."""

    id: str
    verdict: Verdict
    found: str
    wanted: str
    evidence: str
    optional: bool = False

    @property
    def closes(self) -> bool:
        """Whether it closes a gate. What nobody knows is no success."""
        return self.verdict is not Verdict.PASS and not self.optional

    def __str__(self) -> str:
        where = f" ({self.evidence})" if self.evidence else ""
        what = " is inconclusive" if self.verdict is Verdict.INCONCLUSIVE else ""
        return f"{self.id}{what}: {self.found}, wanted {self.wanted}{where}"


class World(NamedTuple):
    """What checks may look at: files under `root`, the job's parameters and task, and of each arm
    its numbers and files of rows."""

    root: Path
    parameters: Mapping[str, Any] = {}
    task: int = 1
    values: Mapping[str, Mapping[str, float]] = {}
    rows: Mapping[str, Sequence[Path]] = {}
    aliases: Mapping[str, str] = {}

    def arm(self, check: Check) -> str:
        """The arm that a check names, by its id or alias; of one, it need not. Raises Missing."""
        given = str(check.given.get("arm", ""))
        if not given and len(self.values) == 1:
            return next(iter(self.values))
        name = self.aliases.get(given, given)
        if name not in self.values:
            raise Missing(f"no arm {given!r} has results; {nearest(given, self.values)}")
        return name

    def path(self, text: str) -> Path:
        """A file that a check names."""
        named = text.replace("{task4}", f"{self.task:04d}").replace("{task}", str(self.task))
        return self.root / named


def judge(check: Check, world: World) -> Outcome:
    """What became of a check."""
    wanted = words(check)
    try:
        if check.test == "exists":
            verdict, found, where = _existence(check, world)
        elif check.source == "matrix":
            verdict, found, where = _matrix(check, world)
        elif check.test == "trend":
            verdict, found, where = _trend(check, world)
        else:
            verdict, found, where = _value(check, world)
    except LedgerError as error:
        verdict, found, where = Verdict.INCONCLUSIVE, str(error), ""
    return Outcome(check.id, verdict, found, wanted, where, check.optional)


def words(check: Check) -> str:
    """What a check wants."""
    wanted = check.wanted
    if check.test == "exists":
        what = check.given.get("key") or check.given["file"]
        return f"{what} to be there" if wanted else f"no {what}"
    if check.test in ("between", "range"):
        return f"between {_number_text(wanted[0])} and {_number_text(wanted[1])}"
    if check.test == "trend":
        return "to rise" if wanted == "up" else "to fall"
    if check.test == "order":
        rows = check.given.get("rows") or ["", ""]
        return "that " + matrix.ORDERS[wanted].format(*rows[:2], row=check.given.get("row", ""))
    if check.test == "near":
        return f"near {_number_text(wanted)} (by {check.given.get('tolerance', 'a fifth')})"
    word = {"is": "exactly", "is_not": "anything but"}.get(check.test, check.test.replace("_", " "))
    return f"{word} {_number_text(wanted)}"


def _number_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return units.group(value) if math.isfinite(value) else str(value)


def _existence(check: Check, world: World) -> tuple[Verdict, str, str]:
    path = world.path(check.given["file"])
    there = path.exists()
    key = check.given.get("key")
    if there and key:
        try:
            _find(check, world)
        except Missing:
            there = False
    found = "it is there" if there else "it is not there"
    return _passed(there == check.wanted), found, str(path)


def _passed(good: bool) -> Verdict:
    return Verdict.PASS if good else Verdict.FAIL


def _value(check: Check, world: World) -> tuple[Verdict, str, str]:
    value, where = _find(check, world)
    if check.test in ("is", "is_not"):
        return _passed(_alike(value, check.wanted) == (check.test == "is")), _short(value), where
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Verdict.INCONCLUSIVE, f"{_short(value)} is no number", where
    place = bounds(check, world.parameters).place(value)
    return _passed(place == "inside"), _number_text(value), where


def _alike(value: Any, wanted: Any) -> bool:
    numeric = (int, float)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, numeric) and isinstance(wanted, numeric):
        return same(value, wanted)
    return bool(value == wanted)


def _short(value: Any) -> str:
    text = _number_text(value)
    return text if len(text) <= 200 else text[:197] + "..."


class Bounds(NamedTuple):
    """The least and the most that a check allows, None for no bound; whether the ends belong to
    what it allows."""

    low: float | None
    high: float | None
    ends: bool

    def place(self, value: float) -> str:
        """`inside`, `below` or `above`; a number that is not finite is never inside."""
        if self.low is not None and not (value > self.low or (self.ends and same(value, self.low))):
            return "below"
        if self.high is None:
            return "inside" if value < math.inf else "above"
        return "inside" if value < self.high or (self.ends and same(value, self.high)) else "above"


def bounds(check: Check, parameters: Mapping[str, Any]) -> Bounds:
    """What a check of BOUNDED allows. Raises LedgerError for an expression that has no number."""
    test, wanted = check.test, check.wanted
    if test in ("between", "range"):
        low, high = (_figure(end, parameters) for end in wanted)
        return Bounds(low, high, True)
    figure = _figure(wanted, parameters)
    if test == "near":
        far = _tolerance(check.given.get("tolerance"), figure)
        return Bounds(figure - far, figure + far, True)
    ends = test in ("at_least", "at_most")
    if test in ("above", "at_least"):
        return Bounds(figure, None, ends)
    return Bounds(None, figure, ends)


def _figure(wanted: Any, parameters: Mapping[str, Any]) -> float:
    """A bound: a number, or an expression over the job's parameters."""
    value = parse(wanted).value(parameters) if isinstance(wanted, str) else wanted
    if isinstance(value, bool | Quantity) or not isinstance(value, int | float):
        raise LedgerError(f"{wanted!r} comes to {said(value)}, which is no plain number")
    return float(value)


def _tolerance(given: Any, figure: float) -> float:
    if given is None:
        return NEAR * abs(figure)
    found = units.written(str(given))
    if found is None or found.powers:
        raise LedgerError(f"the tolerance {given!r} is neither a number nor like `5 %`")
    share = float(found.number) * found.factor * found.scale
    return share * abs(figure) if found.unit.endswith("%") else share


def _find(check: Check, world: World) -> tuple[Any, str]:
    """The value that a check looks at, and where it stands. Raises Missing."""
    if check.source == "value":
        return check.given["value"], ""
    if check.source == "metric":
        return _metric(check, world)
    path, key = world.path(check.given["file"]), check.given["key"]
    if path.suffix == LINES:
        return _at(evidence.rows(path, key), check.given.get("at", "last"), path)
    if path.suffix not in DOCUMENTS:
        raise Missing(f"{path} is none of {', '.join((*DOCUMENTS, LINES))}")
    return evidence.value_of(evidence.document(path), key), f"{path}, {key}"


def _metric(check: Check, world: World) -> tuple[Any, str]:
    """Of an arm: a number of its files, or of the rows that it left."""
    arm, metric = world.arm(check), check.given["metric"]
    own = world.values[arm]
    if metric in own and "at" not in check.given:
        return own[metric], f"{arm}, {metric}"
    for path in world.rows.get(arm, ()):
        try:
            return _at(evidence.rows(path, metric), check.given.get("at", "last"), path)
        except Missing:
            continue
    raise Missing(f"arm {arm} has no {metric!r}; {nearest(metric, own)}")


def _at(rows: Sequence[Row], at: str | int, path: Path) -> tuple[Any, str]:
    if at in ("min", "max"):
        usable = [row for row in rows if isinstance(row.value, int | float)]
        if not usable:
            raise Missing(f"no row of {path} holds a number there")
        wrong = [row for row in usable if not math.isfinite(row.value)]
        choose = min if at == "min" else max
        row = wrong[0] if wrong else choose(usable, key=lambda one: one.value)
    elif isinstance(at, str):
        row = rows[0 if at == "first" else -1]
    else:
        before = [row for row in rows if row.step <= at]
        if not before:
            raise Missing(f"{path} has no row at step {at:,} or before it")
        if rows[-1].step < at:
            raise Missing(f"{path} ends at step {rows[-1].step:g}, before {at:,}")
        row = max(before, key=lambda one: one.step)
    return row.value, f"{path}, step {row.step:g}"


def _trend(check: Check, world: World) -> tuple[Verdict, str, str]:
    if check.source == "metric":
        paths, key = world.rows.get(world.arm(check), ()), check.given["metric"]
    else:
        paths, key = [world.path(check.given["file"])], check.given["key"]
    if not paths:
        raise Missing("no rows were left")
    found = evidence.rows(paths[0], key)
    values = [row.value for row in found]
    where = f"{paths[0]}, {len(found)} rows"
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return Verdict.INCONCLUSIVE, "rows that hold no number", where
    if wrong := [row for row in found if not math.isfinite(row.value)]:
        return Verdict.FAIL, f"{wrong[0].value} at step {wrong[0].step:g}", where
    if len(values) < trend.LEAST:
        few = f"{len(values)} rows, fewer than the {trend.LEAST} that show a trend"
        return Verdict.INCONCLUSIVE, few, where
    seen = trend.of(values)
    wanted, other = ("up", "down") if check.wanted == "up" else ("down", "up")
    text = (
        f"from {_number_text(seen.before)} to {_number_text(seen.after)} (medians of the first and "
        f"last third, p = {seen.rising if wanted == 'up' else seen.falling:.2g})"
    )
    if seen.shows(wanted):
        return Verdict.PASS, text, where
    flat = len(set(values)) == 1
    return (Verdict.FAIL if flat or seen.shows(other) else Verdict.INCONCLUSIVE), text, where


def _matrix(check: Check, world: World) -> tuple[Verdict, str, str]:
    given = check.given
    name = given["matrix"]
    files = "*" in name or "/" in name
    cells = (
        matrix.read(world.root, name, given.get("key", ""))
        if files
        else matrix.of_arms(world.values, name)
    )
    found = matrix.judge(
        cells, check.wanted, given.get("row", ""),
        [str(row) for row in given.get("rows", [])],
        [str(column) for column in given.get("columns", [])],
    )  # fmt: skip
    if found.against:
        more = f" and {len(found.against) - 5} more" if len(found.against) > 5 else ""
        return Verdict.FAIL, "; ".join(found.against[:5]) + more, name
    if found.missing or not found.compared:
        shown = ", ".join(found.missing[:5]) or "no two cells to compare"
        return Verdict.INCONCLUSIVE, f"missing: {shown}", name
    return Verdict.PASS, f"so it is in {found.compared} comparisons", name
