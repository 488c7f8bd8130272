from typing import Any

import pytest

from evaluation.report.fairness import changed, fairness, nameless
from evaluation.report.runs import Run


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("data/processed/patok/seapile", "data/processed/<arm>/seapile"),
        ("gemma3-1b-patok", "gemma3-1b-<arm>"),
        ("run_patok_2", "run_<arm>_2"),
        ("patoks/unpatok", "patoks/unpatok"),
    ],
)
def test_names_are_left_out_as_whole_words(text: str, bare: str) -> None:
    assert nameless(text, {"patok": "<arm>"}) == bare
    assert nameless([text, 3], {"patok": "<arm>"}) == [bare, 3]


def test_what_is_equal_as_it_stands_differs_in_nothing() -> None:
    """The baseline's name stands in every arm's parameters, e.g. for reference data."""
    one = ({"reference": "data/vanilla", "lr": 1}, {"vanilla": "<arm>"})
    other = ({"reference": "data/vanilla", "lr": 2}, {"patok": "<arm>"})
    assert changed(one, other) == {"lr": (1, 2)}


def run(arm: str, tokens: int, samples: int = 480, **parameters: Any) -> Run:
    given = {"model": {"seq_length": 100}, "train": {"split": [90, 10, 0]}, **parameters}
    status = {"consumed_samples": samples, "step": samples // 16}
    return Run(arm, arm, arm, given, status=status, data={"tokens": tokens, "bytes": 50_000})


def test_equal_tokens_are_what_a_study_holds_equal_by_default() -> None:
    found = fairness([run("vanilla", 10_000), run("patok", 15_000)], [], "vanilla")
    assert (found["budget"], found["equal"], found["differing"]) == ("tokens", "tokens", [])
    read = found["consequences"]
    assert read["vanilla"]["epochs"] == pytest.approx(48_000 / 9_000)
    assert read["patok"]["bytes of text read"] == pytest.approx(48_000 / 13_500 * 45_000)


def test_equal_text_takes_more_updates_where_a_text_has_more_tokens() -> None:
    text: dict[str, Any] = {"train": {"split": [90, 10, 0], "budget": "text"}}
    runs = [run("vanilla", 10_000, **text), run("patok", 15_000, 720, **text)]
    found = fairness(runs, [], "vanilla")
    assert (found["budget"], found["equal"], found["differing"]) == ("text", "text", [])


def test_what_is_not_held_equal_is_told() -> None:
    text: dict[str, Any] = {"train": {"split": [90, 10, 0], "budget": "text"}}
    found = fairness([run("vanilla", 10_000, **text), run("patok", 15_000, **text)], [], "vanilla")
    assert found["differing"] == [
        "the study holds text equal, but tokens are equal between the runs"
    ]
    found = fairness([run("vanilla", 10_000), run("patok", 15_000, 496)], [], "vanilla")
    assert found["differing"] == [
        "updates: patok 31, vanilla 30", "samples: patok 496, vanilla 480",
    ]  # fmt: skip


def test_the_study_says_what_its_arms_are_to_differ_in() -> None:
    runs = [run("a", 1, optimizer={"lr": 1}, level=1), run("b", 1, optimizer={"lr": 2}, level=2)]
    found = fairness(runs, [], "a", ("level",))
    assert found["meant"] == ["level"] and found["differing"] == ["optimizer.lr: b 2, a 1"]
    found = fairness(runs, [], "a", ("level", "optimizer.lr"))
    assert found["differing"] == []
