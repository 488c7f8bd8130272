"""The main plan's own arithmetic."""

from __future__ import annotations

from pathlib import Path

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
    model = {"init": "random", "base": "none", "vocab_size": 262144, "config": SHAPE}
    assert estimate.parameters(model) == estimate.PARAMETERS["google/gemma-3-1b-pt"]
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
