"""Values by step: the plan's nine stages as they are written, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from training.config import load_settings, parse_arguments
from training.contract import BadInput
from training.curriculum import largest_divisor
from training.hf.heldout import samples_of
from training.settings import Settings

# As the plan's own file has it, key for key.
PLAN = yaml.safe_load("""
curriculum_stages:
  - {step: 0,     seq_len: 64,   batch_size: 256, lr_scale: 11.3}
  - {step: 2000,  seq_len: 128,  batch_size: 128, lr_scale: 7.0}
  - {step: 4000,  seq_len: 256,  batch_size: 64,  lr_scale: 3.5}
  - {step: 8000,  seq_len: 512,  batch_size: 32,  lr_scale: 1.5}
  - {step: 12000, seq_len: 768,  batch_size: 21,  lr_scale: 1.0}  # NEW!
  - {step: 18000, seq_len: 1024, batch_size: 16,  lr_scale: 0.7}
  - {step: 25000, seq_len: 1536, batch_size: 10,  lr_scale: 0.5}  # NEW!
  - {step: 35000, seq_len: 2048, batch_size: 8,   lr_scale: 0.4}
  - {step: 50000, seq_len: 2048, batch_size: 8,   lr_scale: 0.3}
""")["curriculum_stages"]
ENDS = [*(row["step"] for row in PLAN[1:]), 100_000]
# Samples of each stage, and of all up to its end.
SAMPLES = [512_000, 256_000, 256_000, 128_000, 126_000, 112_000, 100_000, 120_000, 400_000]
CUMULATIVE = [512_000, 768_000, 1_024_000, 1_152_000, 1_278_000, 1_390_000, 1_490_000, 1_610_000,
              2_010_000]  # fmt: skip
TOKENS = [32_768_000, 32_768_000, 65_536_000, 65_536_000, 96_768_000, 114_688_000, 153_600_000,
          245_760_000, 819_200_000]  # fmt: skip
NUMBERED = list(enumerate(PLAN))


@pytest.fixture
def plan(job: Callable[..., Path]) -> Callable[..., Settings]:
    """The plan's settings; keyword arguments change sections."""

    def make(rows: Any = PLAN, world: int = 1, micro: int = 8, **changes: Any) -> Settings:
        sections: dict[str, Any] = {
            "model": {"seq_length": 2048},
            "optimizer": {"lr": 5e-5, "min_lr": 0.0, "decay": "constant", "warmup_steps": 0},
            "batch": {"global": 8, "micro": micro},
            "train": {"max_steps": 100_000, "validate_every": 2000, "checkpoint_every": 2000},
        }
        for name, values in changes.items():
            sections[name] = sections[name] | values
        path = job(**sections)
        config = yaml.safe_load(path.read_text())
        config["parameters"]["curriculum_stages"] = rows
        path.write_text(yaml.safe_dump(config))
        return load_settings(parse_arguments(["--config", str(path)], "test"), world)

    return make


def test_the_plan_s_rows_load_as_they_are(plan: Callable[..., Settings]) -> None:
    stages = plan().stages
    read = [dict(zip(PLAN[0], (s.first, s.seq_len, s.batch_size, s.lr_scale), strict=True))
            for s in stages]  # fmt: skip
    assert read == PLAN
    assert [stage.number for stage in stages] == list(range(1, 10))


@pytest.mark.parametrize(("place", "row"), NUMBERED, ids=[str(row["step"]) for row in PLAN])
def test_rate_batch_and_length_switch_exactly_there(
    plan: Callable[..., Settings], place: int, row: dict[str, Any]
) -> None:
    settings = plan()
    # update number s, from 1, is the update s - 1 of the plan's table
    for update in (row["step"] + 1, row["step"] + 2, ENDS[place]):
        stage = settings.stage(update)
        assert (stage.seq_len, stage.batch_size) == (row["seq_len"], row["batch_size"])
        assert settings.rate(update) == 5e-5 * row["lr_scale"]
    if place:
        assert settings.stage(row["step"]).seq_len == PLAN[place - 1]["seq_len"]
        assert settings.rate(row["step"]) == 5e-5 * PLAN[place - 1]["lr_scale"]


def test_a_stage_s_scale_is_of_the_base_and_multiplies_warmup_and_decay(
    plan: Callable[..., Settings],
) -> None:
    warm = plan(optimizer={"warmup_steps": 4000})
    assert warm.rate(1000) == pytest.approx(5e-5 / 4 * 11.3, rel=1e-15)
    assert warm.rate(3000) == pytest.approx(5e-5 * 3 / 4 * 7.0, rel=1e-15)
    assert warm.rate(12_001) == 5e-5
    falling = plan(optimizer={"decay": "linear"})
    assert falling.rate(50_000) == pytest.approx(5e-5 / 2 * 0.4, rel=1e-15)


def test_samples_and_tokens_of_each_stage_are_the_plan_s(plan: Callable[..., Settings]) -> None:
    settings = plan()
    done = [settings.consumed(end) for end in ENDS]
    assert [samples for samples, _ in done] == CUMULATIVE
    tokens = [0, *(count for _, count in done)]
    assert [b - a for a, b in pairwise(tokens)] == TOKENS
    assert [s * row["seq_len"] for s, row in zip(SAMPLES, PLAN, strict=True)] == TOKENS
    assert tokens[-1] == 1_626_624_000
    assert settings.consumed(0) == (0, 0)
    assert settings.consumed(2001) == (512_000 + 128, 32_768_000 + 128 * 128)
    assert settings.consumed(12_000) == (1_152_000, 196_608_000)


def test_a_stage_takes_as_many_samples_at_a_time_as_memory_holds_tokens(
    plan: Callable[..., Settings],
) -> None:
    assert [s.micro for s in plan().stages] == [row["batch_size"] for row in PLAN]
    # after the remedy for a lack of memory, 21 falls into three sevens and ten into two fives
    assert [s.micro for s in plan(micro=4).stages] == [128, 64, 32, 16, 7, 8, 5, 4, 4]
    even = [row | {"batch_size": row["batch_size"] // 2 * 2} for row in PLAN]
    assert [s.micro for s in plan(even, world=2, micro=4).stages] == [
        128, 64, 32, 16, 10, 8, 5, 4, 4,
    ]  # fmt: skip


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_largest_divisor(number: int, most: int) -> None:
    found = largest_divisor(number, most)
    assert found <= most and number % found == 0
    assert not [n for n in range(found + 1, min(most, number) + 1) if number % n == 0]


def test_what_a_row_does_not_name_is_the_study_s_own(plan: Callable[..., Settings]) -> None:
    rows = [
        {"step": 0, "clip": 0.5, "weight_decay": 0, "betas": [0.8, 0.9], "eps": 1e-6},
        {"step": 10, "lr_scale": 2},
    ]
    settings = plan(rows)
    first, second = settings.stages
    assert (first.clip, first.weight_decay, first.betas, first.eps) == (0.5, 0.0, (0.8, 0.9), 1e-6)
    assert (first.seq_len, first.batch_size, first.micro, first.lr_scale) == (2048, 8, 8, 1.0)
    assert (second.clip, second.weight_decay, second.betas) == (1.0, 0.1, (0.9, 0.95))
    assert (second.eps, second.lr_scale) == (1e-8, 2.0)


@pytest.mark.parametrize(
    ("rows", "fact"),
    [
        ([], "is [], not a list of rows such as {step: 0,"),
        ({"step": 0}, "not a list of rows"),
        ([5], "not a list of rows"),
        ([{"step": 5}], "curriculum_stages[0].step is 5, and nothing says what holds before"),
        ([{"seq_len": 8}], "each row needs step, a whole number; they are [None]"),
        ([{"step": 0}, {"step": True}], "each row needs step, a whole number"),
        ([{"step": 0}, {"step": 9}, {"step": 9}], "steps must grow from row to row"),
        ([{"step": 0}, {"step": 9}, {"step": 4}], "they are [0, 9, 4]"),
        ([{"step": 0, "seqlen": 8}], "curriculum_stages[0].seqlen is unknown; a row has step, seq"),
        ([{"step": 0, "seq_len": 0}], "seq_len is 0, not a whole number of at least 1"),
        ([{"step": 0, "seq_len": 4096}], "seq_len 4096 is above model.seq_length 2048"),
        ([{"step": 0, "batch_size": 2.5}], "batch_size is 2.5, not a whole number of at least 1"),
        ([{"step": 0, "lr_scale": 0}], "lr_scale is 0, not a number above 0"),
        ([{"step": 0, "lr_scale": float("inf")}], "lr_scale is inf, not a number above 0"),
        ([{"step": 0, "lr_scale": "x"}], "lr_scale is 'x', not a number above 0"),
        ([{"step": 0, "clip": -1}], "clip is -1, not a number of at least 0"),
        ([{"step": 0, "betas": [0.9, 1]}], "betas is [0.9, 1], not two numbers from 0 to below 1"),
        ([{"step": 0, "a": 1}, {"step": 0, "b": 1}], "[1].b is unknown"),
    ],
)
def test_what_is_no_curriculum_is_refused(
    plan: Callable[..., Settings], rows: Any, fact: str
) -> None:
    with pytest.raises(BadInput) as caught:
        plan(rows)
    assert fact in str(caught.value)
    assert "\n" not in str(caught.value)


def test_devices_that_cannot_share_a_batch_are_refused(plan: Callable[..., Settings]) -> None:
    with pytest.raises(BadInput, match=r"stages\[4\]\.batch_size 21 is no multiple of the 2 dev"):
        plan(world=2)


def test_identity_holds_the_stages_but_not_how_a_batch_is_cut(
    plan: Callable[..., Settings], job: Callable[..., Path]
) -> None:
    assert plan(micro=4).identity() == plan().identity()
    changed = [*PLAN[:-1], PLAN[-1] | {"lr_scale": 0.2}]
    assert plan(changed).identity() != plan().identity()
    plain = load_settings(parse_arguments(["--config", str(job())], "test"), 1)
    assert "curriculum_stages" not in plain.identity()
    assert (plain.staged, len(plain.stages), plain.stage(7).lr_scale) == (False, 1, 1.0)


EVALUATIONS = sorted({*range(2000, 100_001, 2000), 25_000, 35_000})
COMPLETED = {2000: 64, 4000: 128, 6000: 256, 8000: 256, 10_000: 512, 12_000: 512, 14_000: 768,
             16_000: 768, 18_000: 768, 20_000: 1024, 22_000: 1024, 24_000: 1024, 25_000: 1024,
             26_000: 1536, 28_000: 1536, 30_000: 1536, 32_000: 1536, 34_000: 1536,
             35_000: 1536}  # fmt: skip


def test_validations_have_the_length_of_the_completed_stage(
    plan: Callable[..., Settings],
) -> None:
    settings = plan(train={"validation": {"stage_ends": True}})
    steps = [step for step in range(100_001) if settings.validates(step)]
    assert steps == EVALUATIONS
    assert len(steps) == 52
    found = {step: settings.validated(step).seq_len for step in steps}
    assert found == {step: COMPLETED.get(step, 2048) for step in EVALUATIONS}


def test_or_that_of_the_next_one(plan: Callable[..., Settings]) -> None:
    settings = plan(train={"validation": {"boundary": "next"}})
    lengths = {step: settings.validated(step).seq_len for step in (2000, 6000, 12_000, 18_000)}
    assert lengths == {2000: 128, 6000: 256, 12_000: 768, 18_000: 1024}
    assert settings.validated(100_000).number == 9
    assert not settings.validates(25_000)


def test_validations_may_be_asked_for_at_any_update(plan: Callable[..., Settings]) -> None:
    settings = plan(train={"validation": {"at": [5, 7001]}, "max_steps": 7500})
    steps = [step for step in range(7501) if settings.validates(step)]
    assert steps == [5, 2000, 4000, 6000, 7001, 7500]


def test_a_capped_validation_reads_the_same_text_at_every_length(
    plan: Callable[..., Settings],
) -> None:
    held_out = 46_000_000
    settings = plan(train={"validate_batches": 64, "validation": {"batch": 16}})
    tokens = {n: samples_of(settings, held_out, n) * n for n in (64, 768, 1536, 2048)}
    assert tokens == {64: 2_097_152, 768: 2_096_640, 1536: 2_096_640, 2048: 2_097_152}
    whole = plan(train={"validate_batches": 0, "validation": {"batch": 16}})
    assert samples_of(whole, held_out, 2048) == (held_out - 1) // 2048
    assert samples_of(settings, 1000, 64) == 15


@pytest.mark.parametrize(
    ("train", "fact"),
    [
        ({"validation": {"every": 5}}, "validation.every is unknown; there are data_path, batch"),
        ({"validation": 5}, "train.validation is 5, not a mapping"),
        ({"validation": {"boundary": "both"}}, "not one of completed, next"),
        ({"validation": {"at": [0]}}, "at is [0], not a list of whole numbers of at least 1"),
        ({"validation": {"probe": 4096}}, "probe 4096 is above model.seq_length 2048"),
        ({"validation": {"data_path": "x"}}, "split is [90.0, 10.0, 0.0], and parameters.train.va"),
        ({"validate_batches": -1}, "validate_batches is -1, below 0"),
        (
            {"early_stopping": {"patience": 2, "scope": "phase"}},
            "scope is 'phase', not one of global, stage, length",
        ),
        (
            {"early_stopping": {"patience": 2, "metric": "probe/loss"}},
            "metric is probe/loss, and parameters.train.validation.probe gives no length",
        ),
        (
            {"early_stopping": {"patience": 2, "metric": "val/accuracy", "mode": "max"}},
            "metric is val/accuracy, and parameters.train.validation.accuracy is not true",
        ),
    ],
)
def test_what_is_no_validation_is_refused(
    plan: Callable[..., Settings], train: dict[str, Any], fact: str
) -> None:
    with pytest.raises(BadInput) as caught:
        plan(train=train)
    assert fact in str(caught.value)
