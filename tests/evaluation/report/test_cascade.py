"""Conditional accuracy on planted words: what hangs together is found, what does not is not."""

import numpy as np
import pytest

from evaluation.report.cascade import cascade, roots
from evaluation.report.records import Answers
from evaluation.results import Arm

ROOTS = 300


def arm_of(linked: float, words: bool = True) -> Arm:
    """Level 2 right for half of the roots; level 3 right with 0.9 on those and 0.3 on the others,
    as far as `linked`, else with 0.6."""
    rng = np.random.default_rng(1)
    known = rng.random(ROOTS) < 0.5
    share = np.where(rng.random(ROOTS) < linked, np.where(known, 0.9, 0.3), 0.6)
    higher = rng.random(ROOTS) < share
    names = [f"root{i}" if words else "" for i in range(ROOTS)]
    ids = tuple(f"{level}-{i}" for level in "23" for i in range(ROOTS))
    parts = ("level2",) * ROOTS + ("level3",) * ROOTS
    answers = Answers(
        ids, ids, parts, ("fil",) * 2 * ROOTS, tuple(names * 2), np.concatenate([known, higher]),
        0.25,
    )  # fmt: skip
    return Arm("a", "a", {}, {}, "", answers={"hierarchical": answers})


def test_a_planted_link_is_found() -> None:
    (row,) = cascade([arm_of(1.0)], 0)
    assert (row["level"], row["mode"], row["roots"]) == ("level3", "mcq", ROOTS)
    assert row["known"]["value"] == pytest.approx(90, abs=6)
    assert row["unknown"]["value"] == pytest.approx(30, abs=8)
    low, high = row["difference"]["interval95"]
    assert low < 60 < high and high - low < 25
    assert row["known"]["n"] + row["unknown"]["n"] == ROOTS


def test_no_link_is_no_difference() -> None:
    (row,) = cascade([arm_of(0.0)], 0)
    low, high = row["difference"]["interval95"]
    assert low < 0 < high


def test_records_without_words_give_nothing() -> None:
    assert cascade([arm_of(1.0, words=False)], 0) == []


def test_forms_of_one_root_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kumain` at level 2 tells of `kainin` at level 3, by the lexicon's roots."""
    known = {"kumain": "kain", "kainin": "kain", "bumili": "bili", "bilhin": "bili"}
    monkeypatch.setattr("evaluation.report.cascade.roots", lambda: known)
    n = 15
    words = ("kumain",) * 1 + ("bumili",) * 1 + ("kainin",) * n + ("bilhin",) * n
    parts = ("level2",) * 2 + ("level3",) * 2 * n
    right = np.array([True, False] + [True] * n + [False] * n)
    ids = tuple(map(str, range(len(words))))
    answers = Answers(ids, ids, parts, ("fil",) * len(words), words, right, 0.25)
    (row,) = cascade([Arm("a", "a", {}, {}, "", answers={"hierarchical": answers})], 0)
    assert (row["known"]["value"], row["unknown"]["value"], row["roots"]) == (100, 0, 2)


def test_the_lexicon_gives_roots() -> None:
    assert roots()["kumain"] == "kain"
