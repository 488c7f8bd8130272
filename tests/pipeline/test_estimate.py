"""The main plan's own arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pipeline import estimate, plan, site, study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml")
    return estimate.figures(plan.make(loaded, site.reference(ROOT)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("before training", "20.5 h one after the other, 10.5 h side by side"),
        ("training", "72-144 h one after the other"),
        ("stage after stage, GPU jobs one at a time", "87.16-163.18 h"),
        ("gradient accumulation", "16 = 256 / (2 x 8)"),
        ("tokens a step", "524,288"),
        ("tokens in all", "5,242,880,000 an arm"),
        ("checkpoints", "10, validations 20, log points 1000"),
        ("fp32 logits", "4.29 GB a GPU"),
        ("disk of a training", "60 GB while it holds 4 checkpoints"),
        (
            "as many at once as GPUs allow",
            "80.33-153.67 h on 8, 56.33-105.67 h on 16, 36.33-61.67 h on 32",
        ),
        ("speed that the hours ask for", "30,341-60,681 tokens/s over 8 GPUs"),
    ],
    ids=lambda value: value if " " not in value else value.split()[0],
)
def test_a_figure_of_the_plan(figures: dict[str, str], name: str, text: str) -> None:
    assert figures[name] == text


def test_a_smaller_micro_batch_keeps_the_global_one() -> None:
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml", sets=["batch.micro=1"])
    made = plan.make(loaded, site.reference(ROOT))
    figures = estimate.figures(made)
    assert figures["gradient accumulation"] == "32 = 256 / (1 x 8)"
    assert figures["fp32 logits"] == "2.15 GB a GPU"
    assert figures["tokens a step"] == "524,288"


def test_the_arms_differ_in_the_variant_only() -> None:
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml")
    assert {key.split(".")[0] for key in estimate.differing(loaded)} == {"variant"}


SHAPE = {
    "hidden_size": 1152, "intermediate_size": 6912, "layers": 26, "heads": 4, "kv_heads": 1,
    "head_dim": 256,
}  # fmt: skip


def test_parameters_of_a_shape_are_the_models_own_number() -> None:
    model = {"base": "none", "vocab_size": 262144, "architecture": "gemma3", "config": SHAPE}
    assert estimate.parameters(model) == 999_885_952
    known = {"init": "weights", "base": "google/gemma-3-1b-it", "vocab_size": 262144}
    assert estimate.parameters(known) == 999_885_952
    assert estimate.parameters({"init": "weights", "base": "somebody/else"}) is None


@pytest.mark.parametrize(
    ("job", "corpus", "size"),
    [
        ("download", 10**9, 10**9),
        ("split", None, None),
        ("preprocess_vanilla", 35 * 10**8, 4 * 10**9),
        ("preprocess_patok", 35 * 10**8, 6 * 10**9),
        ("preprocess_patok", None, None),
        # Four checkpoints of 14 bytes a parameter, and the weights to begin with.
        ("train_vanilla", None, (4 * 14 + 4) * 999_885_952),
        ("export_vanilla", None, 4 * 999_885_952),
        ("analyze", None, 0),
    ],
)
def test_what_a_job_writes(job: str, corpus: int | None, size: int | None) -> None:
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml")
    made = plan.make(loaded, site.reference(ROOT))
    assert estimate.written(made.job(job), corpus) == size


def test_hours_with_more_gpus() -> None:
    loaded = study.load(ROOT / "studies/efcamdat-ilm.yaml")
    jobs = plan.make(loaded, site.reference(ROOT)).jobs
    found = estimate.makespans(jobs)
    # Every training waits for the acceptance of the one before, so that four GPUs help little.
    assert list(found) == [1, 2, 4]
    assert found[1][0] > found[2][0] > found[4][0] >= estimate.critical_path(jobs)[0]
    apart = [msgspec.structs.replace(job, upstream=()) for job in jobs]
    trainings = [job for job in apart if job.stage.startswith("train")]
    assert estimate.makespans(trainings)[1] == estimate.stage_after_stage(trainings)
    assert estimate.makespans(trainings)[4] == (16, 19.4)  # 4 and then 12 hours on one GPU
    assert estimate.makespans([job for job in jobs if not job.resources.gpus]) == {}


def test_tokens_of_a_corpus_are_known_when_all_its_chunks_are(tmp_path: Path) -> None:
    loaded = study.load(ROOT / "studies/filipino-cpt.yaml")
    job = plan.make(loaded, site.reference(ROOT)).job("train_vanilla")
    folder = tmp_path / "data/processed/vanilla"
    folder.mkdir(parents=True)
    for number in range(1, 21):
        assert estimate.corpus_tokens(job, tmp_path) is None
        path = folder / f"seapile_{number:04d}.json"
        path.write_text(json.dumps({"tokens": 90, "tokens_with_eod": 100}), "utf-8")
    assert estimate.corpus_tokens(job, tmp_path) == 2000
    (folder / "seapile_0007.json").write_text('{"tokens_wi', "utf-8")
    assert estimate.corpus_tokens(job, tmp_path) is None
    (folder / "seapile.json").write_text(json.dumps({"tokens_with_eod": 1999}), "utf-8")
    assert estimate.corpus_tokens(job, tmp_path) == 1999
