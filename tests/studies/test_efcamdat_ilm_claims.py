"""The figures of the EFCAMDAT plan, each with the verdict that it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import claims, study

ROOT = Path(__file__).parents[2]
FILE = ROOT / "studies/efcamdat-ilm.yaml"
JUDGED = {one.claim.id: one for one in claims.judge(study.load(FILE), ROOT)}

VERDICTS = {
    "documents": "holds",
    "share-a1": "rounds",
    "share-a2": "rounds",
    "share-b1": "rounds",
    "share-b2": "contradicts",
    "share-c1": "rounds",
    "five-models": "contradicts",
    "six-models": "holds",
    "general": "rounds",
    "general-examples": "cannot be computed",
    "examples-c1": "holds",
    "examples-b2": "holds",
    "examples-b1": "holds",
    "examples-a2": "holds",
    "examples-a1": "holds",
    "other-examples-c1": "contradicts",
    "train-part-c1": "holds",
    "train-part-a1": "holds",
    "whole-texts": "contradicts",
    "split-sum": "holds",
    "split-c1": "contradicts",
    "split-b2": "contradicts",
    "split-b1": "contradicts",
    "split-a2": "contradicts",
    "split-a1": "contradicts",
    "heuristic": "contradicts",
    "table-of-steps": "holds",
    "square-root": "contradicts",
    "more-data": "contradicts",
    "epochs": "contradicts",
    "ngrams": "contradicts",
    "batch": "holds",
    "interval": "holds",
    "minute": "contradicts",
    "speed-by-interval": "contradicts",
    "speed-by-hours": "contradicts",
    "disk-raw": "holds",
    "disk-masked": "holds",
    "disk-checkpoints": "holds",
    "disk-logs": "holds",
    "disk-by-level": "holds",
    "disk-total": "rounds",
    "disk-enough": "contradicts",
    "memory-model": "rounds",
    "memory-total": "holds",
    "small-gpu": "holds",
    "small-gpu-effective": "holds",
    "hours": "rounds",
    "hours-general": "cannot be computed",
    "sequential": "contradicts",
    "workflow": "holds",
    "two-gpus": "holds",
    "four-gpus": "contradicts",
    "per-l1": "holds",
    "monotonic": "cannot be computed",
    "gradient-norm": "cannot be computed",
    "resume-flag": "cannot be computed",
    "workers": "cannot be computed",
    "linguistics": "cannot be computed",
    "c1-on-a1": "cannot be computed",
}


def test_every_figure_has_its_verdict():
    assert list(JUDGED) == list(VERDICTS)


@pytest.mark.parametrize(("name", "verdict"), VERDICTS.items(), ids=VERDICTS)
def test_the_verdict(name, verdict):
    assert JUDGED[name].verdict == verdict


@pytest.mark.parametrize("name", [n for n, v in VERDICTS.items() if v == "contradicts"])
def test_a_contradiction_stands_with_its_reason(name):
    assert JUDGED[name].claim.acknowledged
