"""`curriculum_stages` of any study: what is told on the laptop, and what a plan makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import curriculum, forecast, plan, site, study, yamlio
from pipeline.errors import ConfigError
from pipeline.plan import Plan
from training import curriculum as trained

ROOT = Path(__file__).parents[2]
PBS = site.load(ROOT, "example-pbs")
SHORT = [{"step": 0, "seq_len": 1024, "batch_size": 512}, {"step": 100, "lr_scale": 0.5}]


def main_study(folder: Path, rows: Any, backend: str = "hf", gpus: int = 8) -> Plan:
    """The main study with stages of training."""
    raw = yamlio.load(ROOT / "studies/filipino-cpt.yaml")
    raw["parameters"]["curriculum_stages"] = rows
    raw["parameters"]["train"]["backend"] = backend
    raw["stages"]["train"]["resources"] = {"gpus": gpus, "nodes": 1}
    path = folder / "study.yaml"
    path.write_text(yamlio.dump(raw))
    return plan.make(study.load(path), PBS)


def test_any_study_may_have_stages(tmp_path: Path) -> None:
    made = main_study(tmp_path, SHORT)
    told = made.job("train_patok").config["parameters"]
    assert told["curriculum_stages"] == SHORT
    assert curriculum.spans(told) == [(100, 512, 1024), (9900, 256, 2048)]
    found = forecast.forecasts(made)[0]
    assert found.tokens == 100 * 512 * 1024 + 9900 * 256 * 2048


def test_a_training_without_stages_is_one(tmp_path: Path) -> None:
    made = plan.make(study.load(ROOT / "studies/filipino-cpt.yaml"), PBS)
    told = made.job("train_patok").config["parameters"]
    assert "curriculum_stages" not in told
    assert curriculum.spans(told) == [(10_000, 256, 2048)]
    assert curriculum.validations(told) == 20


@pytest.mark.parametrize(
    ("rows", "fact"),
    [
        ([], "parameters.curriculum_stages: expected a list of rows"),
        ({"step": 0}, "parameters.curriculum_stages: expected a list of rows"),
        ([{"step": 0, "seqlen": 64}], "curriculum_stages[0].seqlen: unknown key; did you mean"),
        ([{"seq_len": 64}], "curriculum_stages[0].step: missing"),
        ([{"step": 0, "lr_scale": 0}], "curriculum_stages[0].lr_scale"),
        ([{"step": 5}], "[0].step: 5, and nothing says what holds before. Begin at 0"),
        ([{"step": 0}, {"step": 0}], "[1].step: 0 is not after 0. Steps must grow"),
        ([{"step": 0}, {"step": 9}, {"step": 3}], "[2].step: 3 is not after 9"),
        ([{"step": 0, "seq_len": 4096}], "seq_len: 4096 is above model.seq_length 2048"),
        ([{"step": 0, "batch_size": 21}], "batch_size: 21 is no multiple of 8 GPUs"),
    ],
)
def test_what_is_no_curriculum_is_refused(tmp_path: Path, rows: Any, fact: str) -> None:
    with pytest.raises(ConfigError) as caught:
        main_study(tmp_path, rows)
    assert fact in str(caught.value)


def test_nemo_takes_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the NeMo back end trains with one length and one batch"):
        main_study(tmp_path, SHORT, backend="nemo")


@given(st.integers(1, 300), st.sampled_from([64, 96, 768, 1536, 2048]), st.integers(1, 64))
def test_the_plan_cuts_batches_as_the_trainer_does(share: int, length: int, micro: int) -> None:
    most = max(micro * 2048 // length, 1)
    assert curriculum.largest_micro(share, length, micro, 2048) == trained.largest_divisor(
        share, most
    )


def test_validations_are_counted_with_the_forced_ones() -> None:
    made = plan.make(study.load(ROOT / "studies/wiki-curriculum.yaml"), PBS)
    told = made.job("train_curriculum").config["parameters"]
    assert curriculum.validations(told) == 52  # 50, and the stages' ends at 25,000 and 35,000
    one = next(f for f in forecast.forecasts(made) if f.job == "train_curriculum")
    assert one.accumulation == 1
