"""The figures of the plan for Socratic questions, each with the verdict that it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.claims import Verdict
from pipeline import claims, study

ROOT = Path(__file__).parents[2]
LOADED = study.load(ROOT / "studies/socratic-t5.yaml")
JUDGED = {one.claim.id: one for one in claims.judge(LOADED, ROOT)}

VERDICTS = {
    "small-size": "rounds",
    "base-size": "rounds",
    "old-base-size": "contradicts",
    "same-size": "contradicts",
    "same-architecture": "contradicts",
    "models": "holds",
    "scale": "holds",
    "same-targets": "contradicts",
    "trainable": "holds",
    "all-parameters": "holds",
    "share-of-tied": "rounds",
    "share": "contradicts",
    "share-of-t5-small": "contradicts",
    "broken-share": "rounds",
    "broken-counts": "rounds",
    "loss-of-655": "contradicts",
    "sane-loss": "holds",
    "one-row": "contradicts",
    "vocabulary": "contradicts",
    "initial-batch": "holds",
    "final-batch": "holds",
    "doubled": "contradicts",
    "usual-rate": "cannot be computed",
    "warm-up-samples": "holds",
    "warm-up-share": "rounds",
    "warm-up": "rounds",
    "warm-up-in-all": "contradicts",
    "warm-up-examples": "rounds",
    "mantissa": "contradicts",
    "initial-patience": "holds",
    "final-patience": "rounds",
    "memory-in-use": "rounds",
    "gpu-memory": "rounds",
    "small-without": "contradicts",
    "base-at-32": "holds",
    "checkpointing-cost": "cannot be computed",
    "fused-gain": "cannot be computed",
    "cuda-index": "contradicts",
    "numpy": "cannot be computed",
    "gain": "holds",
    "relative-gain": "rounds",
    "minutes": "rounds",
}


def test_the_table_has_every_claim() -> None:
    assert list(JUDGED) == list(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_a_verdict(name: str) -> None:
    assert JUDGED[name].verdict.value == VERDICTS[name]


def test_what_contradicts_is_acknowledged() -> None:
    wrong = [one for one in JUDGED.values() if one.verdict is Verdict.CONTRADICTS]
    assert wrong and all(one.claim.acknowledged for one in wrong)
    assert not any(one.claim.acknowledged for one in JUDGED.values() if one not in wrong)
