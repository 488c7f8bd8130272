import json
import math
from pathlib import Path
from typing import Any

import pytest

from evaluation.config import InputError
from evaluation.results import Cell, metric_names, read_arm, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (8, 10, 0.4901625, 0.9433178),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (50, 200, 0.1950817, 0.3143410),
    ],
)
def test_wilson_intervals(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("correct", "n"), [(3, 17), (50, 200), (0, 5), (5, 5)])
def test_both_ends_solve_wilsons_equation(correct: int, n: int) -> None:
    for end in wilson(correct, n):
        distance = 1.959963984540054 * math.sqrt(end * (1 - end) / n)
        assert abs(correct / n - end) == pytest.approx(distance, abs=1e-9)


def test_chance_inside_and_outside_the_interval() -> None:
    assert Cell(200, 55, 0.25).at_chance
    assert not Cell(200, 90, 0.25).at_chance
    assert not Cell(200, 10, 0.25).at_chance


def metrics(**more: Any) -> dict[str, Any]:
    cell = {"n": 10, "correct": 4, "accuracy": 0.4, "chance": 0.25}
    group = {"mcq": {**cell, "by": {"affixation": cell}}, "gen": {**cell, "by": {}}}
    return {"arm": "patok", "title": "Patok", "benchmarks": {"pacute": group}, **more}


def test_an_arm_is_read_flat(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics(heldout={"bits_per_byte": 1.5})))
    arm = read_arm(path)
    assert (arm.id, arm.title, arm.heldout) == ("patok", "Patok", {"bits_per_byte": 1.5})
    assert metric_names([arm]) == ["pacute", "pacute.affixation", "pacute.gen"]
    assert arm.cells["pacute.affixation"].percent == 40


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        '{"arm": "a"}',
        json.dumps(metrics()).replace('"correct": 4', '"correct": 11'),
    ],
    ids=["missing", "cut", "list", "without", "more right than asked"],
)
def test_what_is_no_metrics_file_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=str(path)):
        read_arm(path, "patok")
