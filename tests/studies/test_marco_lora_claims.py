"""The figures of the plan for Marco v2, each with the verdict that it deserves."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import claims, study

ROOT = Path(__file__).parents[2]
FILE = ROOT / "studies/marco-lora.yaml"
JUDGED = {one.claim.id: one for one in claims.judge(study.load(FILE), ROOT)}

VERDICTS = {
    "conversations": "holds",
    "authentic-share": "rounds",
    "generated-share": "rounds",
    "levels": "holds",
    "levels-sum": "holds",
    "level-shares": "rounds",
    "ten-thousand": "contradicts",
    "six-levels": "holds",
    "generation-A1": "holds",
    "generation-C2": "holds",
    "two-models": "holds",
    "two-families": "holds",
    "batch-t4": "holds",
    "batch-l4": "holds",
    "batch-a100": "holds",
    "batch-all": "contradicts",
    "batch-memory": "holds",
    "batch-performance": "holds",
    "warmup": "holds",
    "steps-8": "holds",
    "steps-9": "holds",
    "steps-16": "holds",
    "lr-range": "holds",
    "epochs-range": "holds",
    "per-epoch-evaluations": "holds",
    "saves-aligned": "holds",
    "final-best": "cannot be computed",
    "seed": "holds",
    "memory-t4": "holds",
    "memory-l4": "holds",
    "memory-a100": "holds",
    "t4-oom": "contradicts",
    "a100-fastest": "contradicts",
    "trained-model": "contradicts",
    "base-memory": "contradicts",
    "minerva-memory": "rounds",
    "seven-billion": "contradicts",
    "adapter-parameters": "contradicts",
    "adapter-size": "holds",
    "checkpoint-size": "contradicts",
    "pin-always": "contradicts",
    "pin-gpu-memory": "cannot be computed",
    "checkpointing-memory": "cannot be computed",
    "fp16-memory": "cannot be computed",
    "fp16-a100": "cannot be computed",
}  # fmt: skip


def test_these_are_all():
    assert list(JUDGED) == list(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_a_claim_gets_its_verdict(name):
    assert JUDGED[name].verdict == VERDICTS[name]


def test_every_contradiction_says_why_it_stands():
    assert all(one.claim.acknowledged for one in JUDGED.values() if one.verdict == "contradicts")


V1 = [
    ("model: Qwen/Qwen2.5-3B-Instruct\n", "model: sapienzanlp/Minerva-3B-base-v1.0\n",
     "two-models"),
    ("family: qwen\n", "family: minerva\n", "two-families"),
    ("checkpoint_every: 500\n    log_every", "checkpoint_every: 250\n    log_every",
     "saves-aligned"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "claim"), V1, ids=[row[2] for row in V1])
def test_a_study_that_broke_it_would_not_check(tmp_path, before, after, claim):
    text = FILE.read_text("utf-8")
    assert text.count(before) == 1
    (tmp_path / "v1.yaml").write_text(text.replace(before, after), "utf-8")
    loaded = study.load(tmp_path / "v1.yaml")
    judged = {one.claim.id: one for one in claims.judge(loaded, tmp_path)}
    assert judged[claim].verdict == "contradicts"
    assert not judged[claim].claim.acknowledged
