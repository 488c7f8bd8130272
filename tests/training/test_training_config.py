"""Parameters become settings, and every impossible value is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.budget import training_tokens
from training.config import load_settings, parse_arguments
from training.contract import BadInput


def load(path: Path, *flags: str, world: int | None = 1) -> Any:
    return load_settings(parse_arguments(["--config", str(path), *flags], "test"), world)


def test_accumulation_is_computed(job: Callable[..., Path]) -> None:
    path = job(gpus=8, batch={"global": 256, "micro": 2})
    assert load(path, world=None).batch.accumulation == 16
    halved = load(path, "--micro-batch-size", "1", world=None)
    assert (halved.batch.global_size, halved.batch.accumulation) == (256, 32)


def test_flags_win(job: Callable[..., Path]) -> None:
    flags = ["--data-path=d", "--checkpoint-dir=c", "--wandb-name=w", "--max-steps=3"]
    settings = load(job(), *flags)
    assert settings.data.path == Path("d")
    assert settings.train.checkpoint_dir == Path("c")
    assert settings.wandb.name == "w"
    assert settings.schedule.max_steps == 3


def test_a_flag_for_a_section_that_is_no_mapping(job: Callable[..., Path]) -> None:
    path = job()
    values = yaml.safe_load(path.read_text())
    values["parameters"]["train"] = 1.5
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(BadInput, match="parameters.train is 1.5, not a mapping"):
        load(path, "--max-steps=3")


def test_of_equal_text_the_updates_follow_from_the_tokens(
    job: Callable[..., Path], tmp_path: Path, write_shard: Callable[..., None]
) -> None:
    for part in ("0001", "0002"):  # as many documents as the job's own, of eight tokens each
        write_shard(tmp_path / "vanilla" / f"x_{part}", [[2] * 8] * 30)
    train = {"budget": "text", "reference_data": str(tmp_path / "vanilla/x")}
    path = job(train=train)
    own = training_tokens(tmp_path / "data/seapile", 2, (90.0, 10.0, 0.0))[1]
    assert load(path, "--max-steps=100").schedule.max_steps == round(100 * own / (54 * 8))


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"batch": {"micro": 3}}, "batch.global 4 is no multiple of micro 3 x 1 devices"),
        ({"batch": {"micro": 0}}, "batch.micro is 0, not a whole number of at least 1"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr is 'fast', not a number"),
        ({"optimizer": {"min_lr": 1.0}}, "min_lr is 1.0, not between 0 and lr"),
        ({"optimizer": {"name": "lion"}}, "optimizer.name is 'lion', not one of adamw"),
        ({"optimizer": {"betas": [0.9]}}, "betas is [0.9], not a list of 2 numbers"),
        ({"model": {"init": "weights"}}, "init is weights but parameters.model.base names none"),
        ({"model": {"config": {}}}, "model.config.hidden_size is missing"),
        ({"train": {"tensor_parallel": 2}}, "tensor_parallel is 2, and only 1 is supported"),
        ({"train": {"split": [0, 1, 1]}}, "split is [0.0, 1.0, 1.0], and trains on nothing"),
        ({"train": {"precision": "fp8"}}, "not one of auto, bf16-mixed, fp16-mixed, fp32"),
        ({"train": {"loss": "fast"}}, "not one of auto, plain, chunked, liger, cce"),
        ({"train": {"parallel": "zero"}}, "not one of auto, none, ddp, fsdp2"),
        ({"train": {"early_stopping": {"mode": "min"}}}, "early_stopping.patience is missing"),
        ({"train": {"eod_mask_loss": 1}}, "eod_mask_loss is 1, not true or false"),
        ({"model": {"architecture": "t5"}}, "not one of gemma3, gpt2, llama, qwen"),
        ({"optimizer": {"warmup_ratio": 0.1}}, "warmup_steps and warmup_ratio are both given"),
        (
            {"optimizer": {"warmup_steps": 0, "warmup_ratio": 2.0}},
            "warmup_ratio is 2.0, not between 0 and 1",
        ),
    ],
)
def test_an_impossible_value_is_named(
    job: Callable[..., Path], changes: dict[str, Any], fact: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load(job(**changes))
    assert fact in str(caught.value)
    assert "\n" not in str(caught.value)


def test_identity_leaves_out_what_may_change(job: Callable[..., Path]) -> None:
    before = load(job()).identity()
    assert before == load(job(), "--max-steps", "50", "--micro-batch-size", "1").identity()
    assert before != load(job(optimizer={"lr": 0.02})).identity()
    assert before["model.config.layers"] == 2


def test_a_warmup_may_be_a_share_of_the_steps(job: Callable[..., Path]) -> None:
    path = job(optimizer={"warmup_steps": 0, "warmup_ratio": 0.1})
    assert load(path).schedule(2) == 0.05 and load(path, "--max-steps=40").schedule(4) == 0.05
    assert load(path).identity() == load(path, "--max-steps=40").identity()


def test_a_model_has_the_keys_of_its_architecture(job: Callable[..., Path]) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 16, "layers": 2, "heads": 2}
    gpt2 = {"architecture": "gpt2", "config": shape}
    assert load(job(model=gpt2)).model.shape == shape | {"kv_heads": 2}
    with pytest.raises(BadInput, match="config.kv_heads is missing"):
        load(job(model=gpt2 | {"architecture": "llama"}))
