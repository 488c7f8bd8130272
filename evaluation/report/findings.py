"""What the arms' figures say: shares with intervals, tests against the baseline, expectations.

`compare` gives the content of comparison.json; tables and figures are drawn from it.
"""

from dataclasses import dataclass, field
from typing import Any

from evaluation.config import InputError
from evaluation.report.cascade import cascade
from evaluation.report.expected import judge, of_figures, read
from evaluation.report.notes import notes
from evaluation.report.records import Answers, joined
from evaluation.report.statistics import (
    bootstrap,
    clustered,
    holm,
    paired,
    share_interval,
)
from evaluation.results import BITS, Arm, Cell, language_names, metric_names
from ledger.checks import Check

HIGHER_LEVELS = ("level3", "level4", "level5")
LEVEL = 0.05  # of the corrected tests


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the arms: against which, with which expectations; `seed` of the resamples,
    whether this is the study's demo."""

    baseline: str
    expectations: list[dict[str, Any]] = field(default_factory=list)
    demo: bool = False
    seed: int = 0


def compare(arms: list[Arm], question: Question) -> dict[str, Any]:
    """The content of comparison.json.

    `columns`, `headline` (those of them for a short table), `rows` (one an arm; accuracies and
    differences in per cent, missing ones null) and `notes` are a stable form for any program;
    `details` has counts, intervals, tests, expectations, levels. Raises InputError for an unknown
    arm or expectation.
    """
    base = find_arm(arms, question.baseline, "baseline")
    names, spoken = metric_names(arms), language_names(arms)
    measured, tests = _measure(arms, base, [*names, *spoken], question)
    judged = [
        judge(expected, _arm_of(arms, expected), measured)
        for expected in of_figures(read(question.expectations))
    ]
    details = {
        "baseline": base.id,
        "arms": {arm.id: _details(arm, base, measured[arm.id]) for arm in arms},
        "tests": tests,
        "expectations": judged,
        "levels": [_levels(arm, base) for arm in arms if "hierarchical.level2" in arm.cells],
        "cascade": cascade(arms, question.seed),
        "checkpoints": {arm.id: _checkpoints(arm) for arm in arms if arm.checkpoints},
    }
    chosen = [name for name in names if not name.endswith((".gen", ".marginal"))]
    return {
        "columns": ["arm", "title", *BITS[:2], *names],
        "headline": ["arm", *BITS[:2], *chosen],
        "rows": [_row(arm, names) for arm in arms],
        "notes": notes(arms, details, question.demo),
        "details": details,
    }


def _arm_of(arms: list[Arm], expected: Check) -> Arm:
    """The arm of an expectation; of one arm, it need not name it."""
    if "arm" not in expected.given and len(arms) == 1:
        return arms[0]
    return find_arm(arms, str(expected.given.get("arm")), "expectation's arm")


def find_arm(arms: list[Arm], name: str, what: str) -> Arm:
    """The arm with an id or alias; raises InputError that lists the ids."""
    for arm in arms:
        if name == arm.id or name in arm.aliases:
            return arm
    known = ", ".join(arm.id for arm in arms)
    raise InputError(f"the {what} {name!r} has no results", f"Choose from {known}")


def _row(arm: Arm, names: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": arm.id, "title": arm.title}
    row |= {name: _rounded(arm.heldout.get(name), 4) for name in BITS[:2]}
    return row | {n: _rounded(arm.cells[n].percent, 2) if n in arm.cells else None for n in names}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _measure(
    arms: list[Arm], base: Arm, names: list[str], question: Question
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Arm -> metric -> figures, and the tests of every other arm against the baseline."""
    found: dict[str, dict[str, Any]] = {arm.id: {} for arm in arms}
    tests: list[dict[str, Any]] = []
    asked = {str(expected.get("metric")) for expected in question.expectations}
    for name in names:
        for arm in arms:
            if name in arm.cells:
                found[arm.id][name] = _figures(arm.cells[name], base.cells.get(name))
        joint = joined({a.id: a.answers[name] for a in arms if name in a.answers})
        if joint is None:
            continue
        sums, sizes = clustered(joint.answers.tasks, joint.correct)
        draws = bootstrap(sums, sizes, question.seed, name)
        for column, arm_id in enumerate(joint.arms):
            interval = share_interval(draws[:, column], sums[:, column], sizes)
            found[arm_id][name] |= _drawn(interval, len(sizes))
        if joint.left_out:  # the arms' own intervals are of all their items
            for arm in (a for a in arms if a.id in joint.arms):
                found[arm.id][name] |= _own(arm.answers[name], question.seed, name)
        # A metric of one language is part of another one: it is tested where the study asks for it.
        if base.id in joint.arms and ("@" not in name or name in asked):
            against = joint.arms.index(base.id)
            for column, arm_id in enumerate(joint.arms):
                if column != against:
                    result = paired(sums, sizes, draws, (column, against))
                    tests.append({"arm": arm_id, "metric": name, **result})
    return found, _corrected(tests, asked)


def _drawn(interval: tuple[float, float], tasks: int) -> dict[str, Any]:
    low, high = (round(100 * end, 3) for end in interval)
    return {"interval95": [low, high], "by": "bootstrap", "tasks": tasks}


def _own(answers: Answers, seed: int, name: str) -> dict[str, Any]:
    sums, sizes = clustered(answers.tasks, answers.correct[:, None])
    draws = bootstrap(sums, sizes, seed, name)
    return _drawn(share_interval(draws[:, 0], sums[:, 0], sizes), len(sizes))


def _figures(cell: Cell, other: Cell | None) -> dict[str, Any]:
    """Wilson's interval stands until the records give a better one."""
    low, high = cell.interval
    points = None if other is None else round(cell.percent - other.percent, 3)
    return {
        "percent": round(cell.percent, 3),
        "interval95": [round(low, 3), round(high, 3)],
        "by": "Wilson",
        "chance": round(100 * cell.chance, 3),
        "n": cell.n,
        "correct": cell.correct,
        "points_over_baseline": points,
    }


def _corrected(tests: list[dict[str, Any]], asked: set[str]) -> list[dict[str, Any]]:
    """Holm's correction in two families: what the study's expectations name, or without any the
    whole benchmarks; and all the rest, which only suggests."""
    if not any(test["metric"] in asked for test in tests):
        asked = {t["metric"] for t in tests if "." not in t["metric"].removesuffix(".gen")}
    for test in tests:
        test["family"] = "primary" if test["metric"] in asked else "exploratory"
    for family in ("primary", "exploratory"):
        own = [test for test in tests if test["family"] == family]
        for key in ("mcnemar", "bootstrap"):
            for test, value in zip(own, holm([test[key] for test in own]), strict=True):
                test[f"{key}_holm"] = value
    for test in tests:
        test["found"] = test["mcnemar_holm"] < LEVEL
    return tests


def _details(arm: Arm, base: Arm, measured: dict[str, Any]) -> dict[str, Any]:
    bits = {}
    for name in BITS:
        own, other = arm.heldout.get(name), base.heldout.get(name)
        if own is not None:
            over = None if other is None else round(own - other, 6)
            bits[name] = {"value": own, "over_baseline": over}
    heldout = {key: value for key, value in arm.heldout.items() if key not in BITS}
    return {"source": arm.source, "metrics": measured, "bits": bits, "heldout": heldout}


def _checkpoints(arm: Arm) -> dict[str, dict[str, Any]]:
    """Step -> the figures of whole benchmarks and of levels, with Wilson's intervals."""
    return {
        str(step): {name: _figures(cell, None) for name, cell in cells.items() if "@" not in name}
        for step, cells in arm.checkpoints.items()
    }


def _levels(arm: Arm, base: Arm) -> dict[str, Any]:
    """Level 2 beside the mean of levels 3 to 5, and what each gained over the baseline."""

    def mean(cells: dict[str, Cell]) -> float | None:
        values = [
            cells[f"hierarchical.{level}"]
            for level in HIGHER_LEVELS
            if f"hierarchical.{level}" in cells
        ]
        return sum(c.percent for c in values) / len(values) if values else None

    two, higher, base_higher = arm.cells["hierarchical.level2"], mean(arm.cells), mean(base.cells)
    other = base.cells.get("hierarchical.level2")
    gain = None if higher is None or base_higher is None else round(higher - base_higher, 3)
    return {
        "arm": arm.id,
        "level2": round(two.percent, 3),
        "levels3to5": _rounded(higher, 3),
        "level2_gain": None if other is None else round(two.percent - other.percent, 3),
        "levels3to5_gain": gain,
    }
