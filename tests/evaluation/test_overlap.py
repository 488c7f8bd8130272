"""ROUGE-L and BLEU-4 against the implementations that papers report."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.overlap import common_subsequence, corpus_bleu, mean_rouge_l, rouge_l
from tests.draws import draws

WORDS = ["why", "what", "do", "you", "think", "so", "?", "3.5", "1,000", "a-b", "9-", "It's", "(x)",
         "&quot;", '"quoted"', "evidence", "mean", "é", "...", "U.S.", "%", "~", "[Q]"]  # fmt: skip


def judge_rouge(told: str, reference: str) -> float:
    from rouge_score import rouge_scorer

    scorer: Any = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    return float(scorer.score(reference, told)["rougeL"].fmeasure)


def judge_bleu(told: list[str], references: list[str]) -> float:
    import sacrebleu

    return float(sacrebleu.corpus_bleu(told, [references]).score) / 100


@given(st.text(max_size=40), st.text(max_size=40))
@draws(60)
def test_rouge_l_of_any_text(one: str, other: str) -> None:
    assert rouge_l(one, other) == pytest.approx(judge_rouge(one, other), abs=1e-12)


def sentences(seed: int, count: int) -> tuple[list[str], list[str]]:
    chance = random.Random(seed)
    draw = lambda: " ".join(chance.choices(WORDS, k=chance.randint(1, 14)))  # noqa: E731
    references = [draw() for _ in range(count)]
    told = [r if chance.random() < 0.2 else f"{r} {draw()}" if chance.random() < 0.5 else draw()
            for r in references]  # fmt: skip
    return told, references


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [1, 3, 40])
def test_both_over_a_corpus(seed: int, count: int) -> None:
    told, references = sentences(seed, count)
    assert corpus_bleu(told, references) == pytest.approx(judge_bleu(told, references), abs=1e-9)
    mean = sum(map(judge_rouge, told, references)) / count
    assert mean_rouge_l(told, references) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(
    ("told", "reference", "expected"),
    [("", "why?", 0.0), ("why", "", 0.0), ("", "", 0.0), ("WHY?", "why", 1.0), ("a b", "b a", 0.5)],
)
def test_rouge_l_at_its_ends(told: str, reference: str, expected: float) -> None:
    assert rouge_l(told, reference) == expected


@pytest.mark.parametrize("told", [[""], ["zzz"], ["why"], ["why do you"]])
def test_bleu_of_next_to_nothing(told: list[str]) -> None:
    reference = ["why do you think so ?"]
    assert corpus_bleu(told, reference) == pytest.approx(judge_bleu(told, reference), abs=1e-9)


def test_common_subsequence() -> None:
    assert common_subsequence("abcbdab", "bdcaba") == 4
    assert common_subsequence("", "abc") == common_subsequence("abc", "") == 0


def test_pairs_must_match_in_number() -> None:
    with pytest.raises(ValueError):
        corpus_bleu(["a"], [])
    assert mean_rouge_l([], []) == 0.0
