from pathlib import Path
from typing import Any

import pytest

from evaluation.config import Config, InputError
from evaluation.report.content import expectations
from evaluation.report.expected import bounds, judge, of_figures, others_judged, read
from evaluation.results import Arm
from ledger.checks import Check


def check(form: dict[str, Any]) -> Check:
    return read([{"arm": "a", "metric": "m", **form}])[0]


@pytest.mark.parametrize(
    ("form", "ends"),
    [
        ({"range": [40, 50]}, (40, 50)), ({"above": 0.2}, (0.2, None)), ({"below": 50}, (None, 50)),
        ({"near": 80}, (64, 96)),
    ],
)  # fmt: skip
def test_each_form_of_an_expectation(form: dict[str, Any], ends: tuple[float, float]) -> None:
    found = bounds(check(form))
    assert (found.low, found.high) == pytest.approx(ends)


@pytest.mark.parametrize("form", [{}, {"range": [1]}, {"above": "x"}, {"range": 3}], ids=str)
def test_another_form_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Correct the study"):
        bounds(check(form))


@pytest.mark.parametrize(
    ("value", "verdict"), [(39.9, "below"), (40, "inside"), (50, "inside"), (50.1, "above")]
)
def test_both_ends_belong_to_the_range(value: float, verdict: str) -> None:
    arm = Arm("a", "a", {}, {}, "", values={"m": value})
    judged = judge(check({"range": [40, 50]}), arm, {"a": {}})
    assert judged["verdict"] == verdict


@pytest.mark.parametrize(
    ("interval", "reaches", "chance"),
    [([20, 45], True, True), ([26, 39], False, False), ([51, 60], False, False)],
)
def test_an_interval_may_reach_into_the_range(
    interval: list[float], reaches: bool, chance: bool
) -> None:
    figures = {"m": {"percent": 30, "interval95": interval, "chance": 25}}
    arm = Arm("a", "a", {}, {}, "")
    judged = judge(check({"range": [40, 50]}), arm, {"a": figures})
    assert (judged["inside_possible"], judged["at_chance"]) == (reaches, chance)


def test_what_bounds_no_figure_is_judged_as_a_check() -> None:
    found = read([
        {"arm": "a", "metric": "m", "above": 1}, {"arm": "a", "metric": "m", "at": 3, "above": 1},
        {"arm": "a", "metric": "m", "trend": "up"}, {"id": "x", "file": "y", "exists": True},
    ])  # fmt: skip
    assert [one.id for one in of_figures(found)] == ["a.m"]


def test_the_report_s_table_shows_checks_too(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"loss": 3}')
    wanted = [
        {"arm": "a", "metric": "m", "above": 1},
        {"id": "low", "file": "x.json", "key": "loss", "below": 2},
    ]  # fmt: skip
    judged = others_judged(Config({"expectations": wanted}, "config.yaml"), tmp_path)
    table = expectations({"details": {"expectations": [], "checks": judged}})
    assert table is not None and table.rows == [["", "low", "below 2", "3", "FAIL"]]
