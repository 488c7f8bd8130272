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
