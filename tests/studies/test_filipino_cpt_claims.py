"""The figures of the main study's plan: which hold, which do not."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from pipeline import claims, study

ROOT = Path(__file__).parents[2]
VERDICTS = [
    ("vram", 18, "holds"),
    ("parameters", 176, "cannot be computed"),
    ("corpus-size", 82, "cannot be computed"),
    ("chunks", 99, "holds"),
    ("vocabulary", 178, "holds"),
    ("vocabulary-set", 178, "holds"),
    ("sequence-length", 177, "holds"),
    ("stochastok-expansion", 215, "holds"),
    ("patok-contraction", 220, "holds"),
    ("patok-expansion", 221, "holds"),
    ("patok-affixes", 222, "holds"),
    ("patok-lengths", 223, "holds"),
    ("patok-weights", 224, "holds"),
    ("learning-rate", 185, "holds"),
    ("least-rate", 186, "holds"),
    ("middle-rate", 186, "holds"),
    ("warmup", 187, "holds"),
    ("no-model-parallelism", 21, "holds"),
    ("global-batch", 196, "holds"),
    ("accumulation", 198, "holds"),
    ("accumulation-small", 288, "holds"),
    ("checkpoints", 205, "holds"),
    ("validations", 206, "holds"),
    ("checkpoints-validated", 206, "holds"),
    ("log-points", 207, "holds"),
    ("samples", 270, "holds"),
    ("tokens-a-step", 196, "holds"),
    ("tokens", 204, "holds"),
    ("speed", 45, "rounds"),
    ("logits", 197, "rounds"),
    ("logits-small", 288, "rounds"),
    ("runs", 41, "holds"),
    ("scripts", 245, "holds"),
    ("split-time", 34, "holds"),
    ("benchmarks-time", 55, "rounds"),
    ("preparation-time", 39, "rounds"),
    ("preparation-parallel", 39, "holds"),
    ("training-time", 49, "holds"),
    ("evaluation-steps", 56, "rounds"),
    ("evaluation-time", 310, "holds"),
    ("evaluation-sum", 310, "contradicts"),
    ("total-time", 311, "rounds"),
    ("total-steps", 311, "rounds"),
    ("total-split", 311, "contradicts"),
    ("days", 313, "rounds"),
    ("gain-stochastok-affixation", 236, "holds"),
    ("gain-stochastok-level2", 236, "contradicts"),
    ("gain-patok-affixation", 237, "contradicts"),
    ("gain-patok-level2", 237, "contradicts"),
]


@functools.cache
def judged():
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml")
    return {one.claim.id: one for one in claims.judge(loaded, ROOT)}


@pytest.mark.parametrize(("name", "line", "verdict"), VERDICTS, ids=[v[0] for v in VERDICTS])
def test_a_claim(name, line, verdict):
    one = judged()[name]
    assert (one.claim.line, one.verdict) == (line, verdict), (one.claimed, one.computed)


def test_these_are_all():
    assert [v[0] for v in VERDICTS] == list(judged())


def test_every_contradiction_is_acknowledged():
    assert not [name for name, one in judged().items() if one.stands]
    notes = [one.note for one in judged().values() if one.claim.acknowledged]
    assert len(notes) == 5 and not any("no longer" in note for note in notes)
