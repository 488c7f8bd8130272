"""Compare the arms: differences to the baseline, expectations, what the figures cannot say."""

from typing import Any

from evaluation.config import InputError
from evaluation.results import BITS, Arm, Cell, metric_names

HIGHER_LEVELS = ("level3", "level4", "level5")


def compare(
    arms: list[Arm], baseline: str, expectations: list[dict[str, Any]], demo: bool
) -> dict[str, Any]:
    """The content of comparison.json.

    `columns`, `headline` (those of them for a short table), `rows` (one an arm; accuracies and
    differences in per cent, missing ones null) and `notes` are a stable form for any program;
    `details` has counts, intervals, chance, differences, expectations and the levels. Raises
    InputError for an unknown arm or expectation.
    """
    base = find_arm(arms, baseline, "baseline")
    names = metric_names(arms)
    judged = [_judge(expected, arms) for expected in expectations]
    details = {
        "baseline": base.id,
        "arms": {arm.id: _details(arm, base, names) for arm in arms},
        "expectations": judged,
        "levels": [_levels(arm, base) for arm in arms if "hierarchical.level2" in arm.cells],
    }
    chosen = [name for name in names if not name.endswith(".gen")]
    return {
        "columns": ["arm", "title", *BITS[:2], *names],
        "headline": ["arm", *BITS[:2], *chosen],
        "rows": [_row(arm, names) for arm in arms],
        "notes": _notes(arms, judged, demo),
        "details": details,
    }


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


def _details(arm: Arm, base: Arm, names: list[str]) -> dict[str, Any]:
    metrics = {}
    for name in names:
        if (cell := arm.cells.get(name)) is None:
            continue
        low, high = cell.interval
        metrics[name] = {
            "percent": round(cell.percent, 3),
            "wilson95": [round(low, 3), round(high, 3)],
            "chance": round(100 * cell.chance, 3),
            "n": cell.n,
            "correct": cell.correct,
            "points_over_baseline": _points(cell, base.cells.get(name)),
        }
    bits = {}
    for name in BITS:
        own, other = arm.heldout.get(name), base.heldout.get(name)
        if own is not None:
            over = None if other is None else round(own - other, 6)
            bits[name] = {"value": own, "over_baseline": over}
    heldout = {key: value for key, value in arm.heldout.items() if key not in BITS}
    return {"source": arm.source, "metrics": metrics, "bits": bits, "heldout": heldout}


def _points(cell: Cell, other: Cell | None) -> float | None:
    """The difference in percentage points."""
    return None if other is None else round(cell.percent - other.percent, 3)


def _judge(expected: dict[str, Any], arms: list[Arm]) -> dict[str, Any]:
    """An expectation with the arm's figure and its place: inside, below, above or missing.

    Both ends of the range belong to it.
    """
    try:
        low, high = (float(end) for end in expected["range"])
        name, metric = str(expected["arm"]), str(expected["metric"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the expectation {expected} is not {{arm, metric, range: [low, high]}}",
            "Correct the study",
        ) from error
    cell = find_arm(arms, name, "expectation's arm").cells.get(metric)
    judged: dict[str, Any] = {"arm": name, "metric": metric, "range": [low, high]}
    if cell is None:
        return {**judged, "percent": None, "verdict": "missing", "at_chance": None}
    verdict = "below" if cell.percent < low else "above" if cell.percent > high else "inside"
    percent = round(cell.percent, 3)
    return {**judged, "percent": percent, "verdict": verdict, "at_chance": cell.at_chance}


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
    gain = None if higher is None or base_higher is None else round(higher - base_higher, 3)
    return {
        "arm": arm.id,
        "level2": round(two.percent, 3),
        "levels3to5": _rounded(higher, 3),
        "level2_gain": _points(two, base.cells.get("hierarchical.level2")),
        "levels3to5_gain": gain,
    }


def _notes(arms: list[Arm], expectations: list[dict[str, Any]], demo: bool) -> list[str]:
    """What a reader must know before comparing."""
    choices = [
        cell for arm in arms for name, cell in arm.cells.items() if not name.endswith(".gen")
    ]
    notes = [
        "Accuracies are per cent; without a suffix of multiple choice (chance 25), with .gen of "
        "free answers. Intervals are Wilson's at 95 %. One run an arm: they cover the choice of "
        "items, not the chance of training.",
        "Bits per byte are lower when better. Of an arm's own tokens they are an upper bound, "
        "for a text has many tokenisations: compare arms by the first column.",
    ]
    apart = sum(not cell.at_chance for cell in choices)
    if choices:
        notes.append(
            f"{apart} of {len(choices)} multiple-choice figures have an interval without the "
            f"chance level; about {0.05 * len(choices):.0f} would by chance alone."
        )
    if expectations and (demo or not apart):
        notes.append(
            "These models are tiny or at chance: inside, below and above compare numbers, and say "
            "nothing about the study's claims."
        )
    if len({arm.heldout.get("heldout_text_sha256") for arm in arms if arm.heldout}) > 1:
        notes.append("The arms hold out different texts: their bits per byte are not comparable.")
    return notes
