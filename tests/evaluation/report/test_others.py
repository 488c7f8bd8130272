"""Runs x metrics of any study: rows of a paper, gains, cross matrices."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.config import InputError
from evaluation.report.others import (
    gains,
    matrices,
    matrix_table,
    overview,
    read_asked,
    shorten,
)
from evaluation.results import Arm

# Ang et al. (2023), table 3, and the run that the plan compares with it.
PAPER = {"T5-p": {"rougeL": 0.211, "bleu4": 0.017}, "GPT-p": {"rougeL": 0.187}}


def arm(name: str, **values: float) -> Arm:
    return Arm(name, name, {}, {}, "", values=values)


def test_a_paper_s_rows_stand_below_the_runs(tmp_path: Path) -> None:
    asked = read_asked({"metrics": ["rougeL", "bleu4"], "external": PAPER}, tmp_path)
    table = overview([arm("small", rougeL=0.273)], asked)
    assert table is not None
    assert table.rows == [
        ["small", "0.273 *", "-"], ["T5-p (external)", "0.211", "0.017"],
        ["GPT-p (external)", "0.187", "-"],
    ]  # fmt: skip


def test_the_plan_s_relative_gain(tmp_path: Path) -> None:
    asked = read_asked({"external": PAPER}, tmp_path)
    table = gains([arm("small", rougeL=0.273)], "small", asked)
    assert table is not None
    row = ["small", "rougeL", "T5-p (external)", "0.273", "0.211", "+0.062", "+29.4 %"]
    assert table.rows[0] == row


def test_where_less_is_better_a_fall_is_a_gain(tmp_path: Path) -> None:
    asked = read_asked({"lower": ["perplexity"]}, tmp_path)
    arms = [arm("a", **{"perplexity.C1": 40.0}), arm("b", **{"perplexity.C1": 30.0})]
    table, seen = gains(arms, "a", asked), overview(arms, asked)
    assert table is not None and table.rows[0][5:] == ["-10", "+25.0 %"]
    assert seen is not None and seen.rows[1] == ["b", "30 *"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paper.csv", "model,rougeL,bleu4\nT5-p,0.211,0.017\nGPT-p,0.187,\n"),
        ("paper.yaml", "T5-p: {rougeL: 0.211, bleu4: 0.017}\nGPT-p: {rougeL: 0.187}\n"),
    ],
)
def test_rows_come_from_a_file_too(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_asked({"external": name}, tmp_path).external == PAPER


@pytest.mark.parametrize(
    "external", ["none.csv", {"T5-p": {"rougeL": "high"}}, {"T5-p": 0.2}], ids=str
)
def test_rows_that_are_none_are_refused(external: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_asked({"external": external}, tmp_path)


def test_a_cross_matrix_has_its_own_sets_on_the_diagonal(tmp_path: Path) -> None:
    arms = [
        arm("C1", **{"perplexity.A1": 80.0, "perplexity.C1": 25.0}),
        arm("A1", **{"perplexity.A1": 15.0}),
        arm("GENERAL", **{"perplexity.A1": 20.0, "perplexity.C1": 27.0, "perplexity.X": 1.0}),
    ]
    (found,) = matrices(arms, read_asked({"matrices": ["perplexity"]}, tmp_path))
    assert found.columns == ["C1", "A1", "X"]
    assert found.values == [[25, 80, None], [None, 15, None], [27, 20, 1]]
    assert matrix_table(found).rows[1] == ["A1", "-", "15", "-"]


def test_a_study_without_numbers_of_its_own_has_no_such_tables(tmp_path: Path) -> None:
    asked = read_asked({}, tmp_path)
    assert overview([arm("a")], asked) is None and gains([arm("a")], "a", asked) is None


def test_the_short_table_shows_what_a_study_asks_for(tmp_path: Path) -> None:
    asked = read_asked({"metrics": ["rougeL", "bertscore"]}, tmp_path)
    arms = [arm("a", rougeL=0.27349)]
    found: dict[str, Any] = {"headline": ["arm", "bits_per_byte"], "rows": [{"arm": "a"}]}
    shorten(found, arms, asked)
    assert found["headline"] == ["arm", "rougeL", "bertscore"]
    assert found["rows"] == [{"arm": "a", "rougeL": 0.2735, "bertscore": None}]
    kept: dict[str, Any] = {"headline": ["arm"], "rows": [{"arm": "a"}]}
    shorten(kept, arms, read_asked({}, tmp_path))
    assert kept["headline"] == ["arm"]
