"""Planted accuracies through the whole analysis: what is there is found, what is not is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.report.findings import Question, compare
from evaluation.report.statistics import holm
from evaluation.results import Arm, read_arm
from tests.evaluation.planted import write_arm

EXPECTED = [
    {"arm": "patok", "metric": "pacute.affixation", "range": [60, 70]},
    {"arm": "patok", "metric": "hierarchical.level2", "range": [55, 70]},
    {"arm": "stochastok", "metric": "pacute.affixation", "range": [50, 65]},
]
BASE = {"affixation": 0.4, "level2": 0.35, "level3": 0.3}


def planted(folder: Path, questions: int = 100, **changes: dict[str, float]) -> list[Arm]:
    """vanilla with BASE, and arms with some shares changed; seeds of their own."""
    arms = {"vanilla": {}, **changes}
    for seed, (arm, shares) in enumerate(arms.items()):
        write_arm(folder / arm, arm, {**BASE, **shares}, questions, seed)
    return [read_arm(folder / arm / "metrics.json") for arm in arms]


def chosen(found: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    return [
        test for test in found["details"]["tests"]
        if all(test[key] == value for key, value in wanted.items())
    ]  # fmt: skip


def test_a_planted_effect_is_found_and_a_planted_null_is_not(tmp_path: Path) -> None:
    arms = planted(tmp_path, patok={"affixation": 0.65, "level2": 0.62}, stochastok={})
    found = compare(arms, Question("vanilla", EXPECTED))
    primary = chosen(found, family="primary")
    assert {(t["arm"], t["metric"]) for t in primary if t["found"]} == {
        ("patok", "pacute.affixation"), ("patok", "hierarchical.level2"),
    }  # fmt: skip
    for test in chosen(found, arm="patok", family="primary"):
        low, high = test["interval95"]
        truth = 25 if test["metric"] == "pacute.affixation" else 27
        assert 0 < low <= truth <= high
    assert not any(test["found"] for test in chosen(found, arm="stochastok"))


def test_a_null_is_seldom_found_in_many_studies(tmp_path: Path) -> None:
    """In 8 studies of two families, each wrong in 5 % of them at most."""
    wrong = 0
    for seed in range(8):
        folder = tmp_path / str(seed)
        for at, arm in enumerate(("vanilla", "patok")):
            write_arm(folder / arm, arm, BASE, 20, 100 * seed + at, ("mcq",))
        arms = [read_arm(folder / arm / "metrics.json") for arm in ("vanilla", "patok")]
        wrong += any(test["found"] for test in chosen(compare(arms, Question("vanilla"))))
    assert wrong <= 3  # binomial(8, 0.1) is above 3 in 1 of 200


def test_the_intervals_are_wider_than_if_items_were_independent(tmp_path: Path) -> None:
    write_arm(tmp_path, "vanilla", {"affixation": 0.4}, 100, 0, agreement=1.0)
    arm = read_arm(tmp_path / "metrics.json")
    figures = compare([arm], Question("vanilla"))["details"]["arms"]["vanilla"]["metrics"]
    cell = figures["pacute.affixation"]
    low, high = cell["interval95"]
    wilson_low, wilson_high = arm.cells["pacute.affixation"].interval
    assert (cell["by"], cell["tasks"], cell["n"]) == ("bootstrap", 100, 200)
    assert (high - low) / (wilson_high - wilson_low) == pytest.approx(np.sqrt(2), rel=0.1)


def test_holm_stands_beside_each_p_value_of_its_family(tmp_path: Path) -> None:
    found = compare(planted(tmp_path, 20, patok={"level2": 0.7}), Question("vanilla", EXPECTED[:2]))
    for family in ("primary", "exploratory"):
        own = chosen(found, family=family)
        for key in ("mcnemar", "bootstrap"):
            assert [t[f"{key}_holm"] for t in own] == holm([t[key] for t in own])
    assert {t["metric"] for t in chosen(found, family="primary")} == {
        "pacute.affixation", "hierarchical.level2",
    }  # fmt: skip


def test_without_expectations_whole_benchmarks_are_primary(tmp_path: Path) -> None:
    found = compare(planted(tmp_path, 20, patok={}), Question("vanilla"))
    assert {t["metric"] for t in chosen(found, family="primary")} == {
        "pacute", "hierarchical", "pacute.gen", "hierarchical.gen",
    }  # fmt: skip


def test_one_language_is_tested_where_the_study_asks_for_it(tmp_path: Path) -> None:
    asked = [{"arm": "patok", "metric": "pacute.affixation@fil", "above": 50}]
    found = compare(planted(tmp_path, 30, patok={"affixation": 0.9}), Question("vanilla", asked))
    (test,) = chosen(found, family="primary")
    assert (test["metric"], test["items"], test["tasks"]) == ("pacute.affixation@fil", 30, 30)
    assert found["details"]["expectations"][0]["verdict"] == "inside"
    assert not any("@" in test["metric"] for test in chosen(found, family="exploratory"))


def test_arms_with_other_items_are_compared_on_the_common_ones(tmp_path: Path) -> None:
    write_arm(tmp_path / "vanilla", "vanilla", BASE, 30, 0)
    write_arm(tmp_path / "patok", "patok", BASE, 20, 1)
    arms = [read_arm(tmp_path / arm / "metrics.json") for arm in ("vanilla", "patok")]
    found = compare(arms, Question("vanilla"))
    (test,) = chosen(found, metric="pacute.affixation")
    assert test["items"] == 40
    assert any("not the same items" in note for note in found["notes"])
    figures = found["details"]["arms"]["vanilla"]["metrics"]["pacute.affixation"]
    assert (figures["n"], figures["tasks"], figures["by"]) == (60, 30, "bootstrap")


def test_an_interval_that_reaches_into_the_range_is_told(tmp_path: Path) -> None:
    arms = planted(tmp_path, 30, patok={"affixation": 0.5}, stochastok={})
    judged = compare(arms, Question("vanilla", EXPECTED))["details"]["expectations"][0]
    _, high = judged["interval95"]
    assert judged["verdict"] == "below"
    assert judged["inside_possible"] == (high >= 60)
