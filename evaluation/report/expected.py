"""A study's expectations beside the results: inside, below, above or missing."""

from typing import Any

from evaluation.config import InputError
from evaluation.results import Arm

NEAR = 0.2  # a result within a fifth of a figure is near it
# With one of these an expectation is a check of files, of a step, or a study's aim: it is judged by
# `pipeline check --results`, and is not on the page.
OF_CHECKS = {"file", "value", "matrix", "at", "at_least", "at_most", "between", "is", "is_not",
             "exists", "trend", "order", "optional", "tolerance"}  # fmt: skip
FORMS = "{arm, metric, range: [low, high]}, or above, below or near in place of range"


def shown(expected: dict[str, Any]) -> bool:
    """Whether the report judges an expectation: an arm's figure against a range."""
    return not OF_CHECKS & expected.keys()


def bounds(expected: dict[str, Any]) -> tuple[float | None, float | None]:
    """The least and the most that an expectation allows, None for no bound. Raises InputError."""
    try:
        str(expected["metric"])
        if "range" in expected:
            low, high = (float(end) for end in expected["range"])
            return low, high
        if "near" in expected:
            middle = float(expected["near"])
            return (1 - NEAR) * middle, (1 + NEAR) * middle
        if "above" in expected:
            return float(expected["above"]), None
        return None, float(expected["below"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the expectation {expected} is not {FORMS}", "Correct the study"
        ) from error


def judge(
    expected: dict[str, Any], arm: Arm, measured: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """An expectation with the arm's figure and its place; both ends of a range belong to it.

    `inside_possible` says whether the figure's interval reaches into the range, `at_chance` whether
    it holds the chance level.
    """
    low, high = bounds(expected)
    metric = str(expected["metric"])
    judged: dict[str, Any] = {"arm": str(expected["arm"]), "metric": metric, "range": [low, high]}
    figures = measured[arm.id].get(metric)
    value = figures["percent"] if figures else arm.values.get(metric)
    if value is None:
        return {**judged, "value": None, "verdict": "missing", "at_chance": None}
    verdict = "inside"
    if low is not None and value < low:
        verdict = "below"
    if high is not None and value > high:
        verdict = "above"
    judged |= {"value": value, "verdict": verdict}
    if figures is None:
        return {**judged, "interval95": None, "inside_possible": None, "at_chance": None}
    least, most = figures["interval95"]
    reaches = (high is None or least <= high) and (low is None or most >= low)
    at_chance = least <= figures["chance"] <= most
    return {
        **judged, "interval95": [least, most], "inside_possible": reaches, "at_chance": at_chance,
    }
