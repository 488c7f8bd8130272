"""A study's expectations beside the results: inside, below, above or missing.

What an expectation allows is ledger's to say; here the figure gets its interval and its chance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.config import Config, InputError
from evaluation.results import Arm
from ledger import checks, checks_file, results
from ledger.checks import BOUNDED, Bounds, Check
from ledger.names import LedgerError


def read(expectations: Sequence[dict[str, Any]]) -> list[Check]:
    """The expectations as checks. Raises InputError with all that is wrong with them."""
    found, problems = checks_file.read(expectations, "expectations")
    if problems:
        raise InputError("; ".join(problems), "Correct the study")
    return found


def of_figures(checks: Sequence[Check]) -> list[Check]:
    """Those that bound a figure of an arm, which may have an interval."""
    return [
        one for one in checks
        if one.source == "metric" and one.test in BOUNDED and "at" not in one.given
    ]  # fmt: skip


def others_judged(config: Config, root: Path) -> list[dict[str, Any]]:
    """What became of the expectations that bound no figure of an arm: rows, files, orders."""
    found = read(config.top("expectations", list, []))
    others = [check for check in found if check not in of_figures(found)]
    world = results.world(config.values, root)
    return [checks.judge(check, world)._asdict() for check in others]


def bounds(check: Check) -> Bounds:
    """What an expectation allows. Raises InputError."""
    try:
        return checks.bounds(check, {})
    except LedgerError as error:
        raise InputError(f"the expectation {check.id}: {error}", "Correct the study") from error


def judge(check: Check, arm: Arm, measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An expectation with the arm's figure and its place.

    `inside_possible` says whether the figure's interval reaches into the range, `at_chance` whether
    it holds the chance level.
    """
    allowed, metric = bounds(check), str(check.given["metric"])
    low, high = allowed.low, allowed.high
    told = str(check.given.get("arm") or arm.id)
    judged: dict[str, Any] = {"arm": told, "metric": metric, "range": [low, high]}
    figures = measured[arm.id].get(metric)
    value = figures["percent"] if figures else arm.values.get(metric)
    if value is None:
        return {**judged, "value": None, "verdict": "missing", "at_chance": None}
    judged |= {"value": value, "verdict": allowed.place(value)}
    if figures is None:
        return {**judged, "interval95": None, "inside_possible": None, "at_chance": None}
    least, most = figures["interval95"]
    reaches = (high is None or least <= high) and (low is None or most >= low)
    at_chance = least <= figures["chance"] <= most
    return {
        **judged, "interval95": [least, most], "inside_possible": reaches, "at_chance": at_chance,
    }
