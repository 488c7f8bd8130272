from typing import Any

import pytest

from evaluation.config import InputError
from evaluation.report.expected import bounds, judge, shown
from evaluation.results import Arm


@pytest.mark.parametrize(
    ("form", "ends"),
    [
        ({"range": [40, 50]}, (40, 50)), ({"above": 0.2}, (0.2, None)), ({"below": 50}, (None, 50)),
        ({"near": 80}, (64, 96)),
    ],
)  # fmt: skip
def test_each_form_of_an_expectation(form: dict[str, Any], ends: tuple[float, float]) -> None:
    assert bounds({"arm": "a", "metric": "m", **form}) == pytest.approx(ends)


@pytest.mark.parametrize("form", [{}, {"range": [1]}, {"above": "x"}, {"range": 3}], ids=str)
def test_another_form_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="or above, below or near"):
        bounds({"arm": "a", "metric": "m", **form})


@pytest.mark.parametrize(
    ("form", "here"),
    [
        ({"below": 50}, True), ({"range": [4, 5]}, True), ({"at": 2000, "below": 50}, False),
        ({"at_most": "1.2 * 5000"}, False), ({"below": 30, "optional": True}, False),
        ({"file": "x.json", "key": "a", "above": 3}, False), ({"belwo": 50}, True),
    ],
)  # fmt: skip
def test_checks_of_files_and_steps_are_not_the_page_s(form: dict[str, Any], here: bool) -> None:
    assert shown({"arm": "a", "metric": "m", **form}) == here


@pytest.mark.parametrize(
    ("value", "verdict"), [(39.9, "below"), (40, "inside"), (50, "inside"), (50.1, "above")]
)
def test_both_ends_belong_to_the_range(value: float, verdict: str) -> None:
    arm = Arm("a", "a", {}, {}, "", values={"m": value})
    judged = judge({"arm": "a", "metric": "m", "range": [40, 50]}, arm, {"a": {}})
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
    judged = judge({"arm": "a", "metric": "m", "range": [40, 50]}, arm, {"a": figures})
    assert (judged["inside_possible"], judged["at_chance"]) == (reaches, chance)
