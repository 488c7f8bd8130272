"""The figures of the nine-stage plan, each with the verdict that it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.claims import Verdict
from pipeline import claims, study

ROOT = Path(__file__).parents[2]
LOADED = study.load(ROOT / "studies/wiki-curriculum.yaml")
JUDGED = {one.claim.id: one for one in claims.judge(LOADED, ROOT)}

VERDICTS = {
    "articles": "holds",
    "split": "holds",
    "examples-by-stage": "holds",
    "tokens-by-stage": "rounds",
    "examples-at-12k": "rounds",
    "examples-at-35k": "contradicts",
    "examples": "contradicts",
    "tokens": "contradicts",
    "stages": "holds",
    "advantage": "contradicts",
    "same-compute": "rounds",
    "chunks": "rounds",
    "chunks-at-512": "rounds",
    "chunks-at-1024": "contradicts",
    "steps-per-epoch": "rounds",
    "steps-per-epoch-at-768": "contradicts",
    "steps-of-an-epoch": "contradicts",
    "coverage": "contradicts",
    "coverage-by-text": "contradicts",
    "hours-to-12k": "holds",
    "hours-to-35k": "rounds",
    "hours": "rounds",
    "hours-with-validation": "contradicts",
    "on-a-4090": "cannot be computed",
    "random-accuracy": "rounds",
    "no-overfitting": "holds",
    "overfitting": "holds",
    "validation-at-5k": "contradicts",
    "validation-at-25k": "contradicts",
    "phase-ends": "contradicts",
    "last-target": "contradicts",
    "easy-short": "cannot be computed",
    "base-rate": "cannot be computed",
}
COMPUTED = {
    "examples-at-35k": "1.49 M",
    "examples": "2.01 M",
    "tokens": "1.626624 billion",
    "advantage": "2.5125",
    "same-compute": "0.9928125",
    "steps-per-epoch-at-768": "56,609.05, 54,981.54, 59,439.5",
}


def test_every_figure_has_a_verdict_here():
    assert set(VERDICTS) == set(JUDGED)


@pytest.mark.parametrize(("name", "verdict"), VERDICTS.items(), ids=VERDICTS)
def test_the_verdicts(name, verdict):
    one = JUDGED[name]
    assert one.verdict == Verdict(verdict)
    assert bool(one.claim.acknowledged) == (verdict == "contradicts")


@pytest.mark.parametrize(("name", "text"), COMPUTED.items(), ids=COMPUTED)
def test_what_comes_out_instead(name, text):
    assert JUDGED[name].computed == text
