"""Names of runs and of settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import foreign_names
from training.contract import Section
from training.naming import gpu_slug, run_name

DEVICES = [
    ("Tesla T4", "tesla-t4"), ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"), ("NVIDIA L4", "l4"),
    ("NVIDIA GeForce RTX 4090", "geforce-rtx-4090"), ("AMD Instinct MI300X", "instinct-mi300x"),
    ("cpu", "cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("device", "slug"), DEVICES, ids=[row[1] for row in DEVICES])
def test_a_device_s_name_as_part_of_another(device, slug):
    assert gpu_slug(device) == slug
    assert run_name("marco-lora-{gpu}", device) == f"marco-lora-{slug}"


def problems(**parameters):
    config = Section({"parameters": parameters}, Path("c.yaml"))
    foreign_names.refuse(config)
    return config.problems


# The plan's names, where its values stand in a study.
PLAN = [
    ("train", "num_train_epochs", "train.epochs"),
    ("batch", "per_device_train_batch_size", "batch.train"),
    ("batch", "per_device_eval_batch_size", "batch.eval"),
    ("batch", "gradient_accumulation_steps", "batch.accumulation"),
    ("optimizer", "learning_rate", "optimizer.lr"),
    ("optimizer", "lr_scheduler_type", "optimizer.decay"),
    ("train", "gradient_checkpointing", "train.activation_checkpointing"),
    ("train", "dataloader_pin_memory", "train.pin_memory"),
    ("train", "dataloader_num_workers", "train.workers"),
    ("train", "remove_unused_columns", "nothing"),
    ("train", "logging_steps", "train.log_every"),
    ("train", "eval_steps", "train.validate_every"),
    ("train", "evaluation_strategy", "train.validate_every"),
    ("train", "save_steps", "train.checkpoint_every"),
    ("train", "save_total_limit", "train.keep_checkpoints"),
    ("train", "load_best_model_at_end", "train.early_stopping"),
    ("train", "metric_for_best_model", "train.early_stopping.metric"),
    ("train", "greater_is_better", "train.early_stopping.mode"),
    ("train", "run_name", "wandb.name"),
    ("wandb", "report_to", "wandb.mode"),
    ("train", "fp16", "train.precision"),
    ("train", "warmup_ratio", "optimizer.warmup_ratio"),
]


@pytest.mark.parametrize(("section", "name", "here"), PLAN, ids=[row[1] for row in PLAN])
def test_the_plan_s_names_are_told_what_they_are_called_here(section, name, here):
    (said,) = problems(**{section: {name: 1}})
    assert said.startswith(f"parameters.{section}.{name} is transformers' name for {here}")


def test_names_of_both_are_no_foreign_ones():
    both = {"warmup_ratio": 0.03, "warmup_steps": 0, "weight_decay": 0.01}
    assert problems(train={"max_steps": 5}, optimizer=both) == []
