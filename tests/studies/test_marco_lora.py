"""The study of Marco v2: the plan's values, its profiles, its jobs."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import plan, site, study, yamlio
from pipeline.errors import ConfigError
from training.contract import load_config
from training.fit_settings import read_fit

ROOT = Path(__file__).parents[2]
FILE = ROOT / "studies/marco-lora.yaml"
SITE = site.load(ROOT, "example-slurm")


@functools.cache
def made(*profiles, sets=()):
    return plan.make(study.load(FILE, profiles, sets), SITE)


@functools.cache
def parameters(*profiles):
    return yamlio.flatten(study.load(FILE, profiles).parameters(""))


PLAN = {
    "train.epochs": 3, "optimizer.lr": 2e-4, "optimizer.weight_decay": 0.01,
    "optimizer.warmup_ratio": 0.03, "optimizer.decay": "cosine",
    "train.activation_checkpointing": True, "train.pin_memory": False, "train.workers": 2,
    "train.log_every": 10, "train.validate_every": 100, "train.checkpoint_every": 500,
    "train.keep_checkpoints": 3, "train.early_stopping.metric": "val/loss",
    "train.early_stopping.mode": "min", "train.early_stopping.patience": 0, "seed": 42,
    "wandb.name": "marco-lora-{gpu}", "wandb.mode": "online",
    "generate.model": "Qwen/Qwen2.5-3B-Instruct",
    "model.base": "sapienzanlp/Minerva-3B-base-v1.0",
    "questions.authentic.count": 771, "mix.origins.generated": 17142,
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), PLAN.items(), ids=PLAN)
def test_the_plan_s_values(key, value):
    assert parameters()[key] == value


# What each profile changes, and nothing else.
PROFILES: dict[str, dict[str, Any]] = {
    "t4": {"batch.train": 1, "batch.eval": 1, "batch.accumulation": 8},
    "l4": {},
    "a100": {"batch.train": 2, "batch.eval": 3, "batch.accumulation": 4, "train.pin_memory": True},
    "fp16": {"train.precision": "fp16-mixed"},
    "debug": {"train.epochs": 1, "train.validate_every": 10, "train.checkpoint_every": 50,
              "train.log_every": 5},
    "quick": {"train.epochs": 1, "train.validate_every": 50, "train.checkpoint_every": 200},
    "production": {},
    "memory-constrained": {"batch.train": 1, "batch.accumulation": 16},
    "high-performance": {"batch.train": 4, "batch.accumulation": 2,
                         "train.activation_checkpointing": False, "train.pin_memory": True},
    "conservative": {"optimizer.lr": 1e-4, "optimizer.warmup_ratio": 0.05},
    "aggressive": {"optimizer.lr": 5e-4, "optimizer.warmup_ratio": 0.01,
                   "optimizer.weight_decay": 0.001},
}  # fmt: skip


def test_these_are_all_profiles_beside_the_demo():
    assert {*PROFILES, "demo"} == set(yamlio.load(FILE)["profiles"])


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_changes_exactly_its_keys(name):
    before, after = parameters(), parameters(name)
    assert {k: after[k] for k in after if before.get(k) != after[k]} == PROFILES[name]
    assert set(before) == set(after)


def jobs_that_differ(name):
    plain, changed = (
        {job.name: (job.resources, job.argv[1:], job.config["resources"]) for job in done.jobs}
        for done in (made(), made(name))
    )
    return [job for job in plain if plain[job][0] != changed[job][0]]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_asks_for_no_other_machine(name):
    assert jobs_that_differ(name) == []


GPUS = ("t4", "l4", "a100", "memory-constrained", "high-performance")
SCENARIOS = ("debug", "quick", "production")
RATES = ("conservative", "aggressive")


@pytest.mark.parametrize("names", list(itertools.product(GPUS, SCENARIOS, RATES)), ids="+".join)
def test_a_gpu_a_scenario_and_a_rate_go_together(names):
    found = parameters(*names)
    want = {key: value for name in names for key, value in PROFILES[name].items()}
    assert {key: found[key] for key in want} == want


CONFLICTS = [
    *itertools.combinations(("t4", "l4", "a100"), 2), ("a100", "memory-constrained"),
    ("t4", "high-performance"), ("memory-constrained", "high-performance"),
    *itertools.combinations(SCENARIOS, 2), RATES,
]  # fmt: skip


@pytest.mark.parametrize("pair", CONFLICTS, ids="+".join)
def test_profiles_that_exclude_each_other_are_both_named(pair):
    with pytest.raises(ConfigError) as caught:
        made(*pair)
    assert all(repr(name) in str(caught.value) for name in pair)


# Updates of an epoch, in all, of warm-up; all 17,913 as the plan counts, and the 17,017 of the
# training part.
STEPS = {
    "t4": (8, (2240, 6720, 202), (2128, 6384, 192)),
    "l4": (9, (1991, 5973, 180), (1891, 5673, 171)),
    "a100": (8, (2240, 6720, 202), (2128, 6384, 192)),
    "memory-constrained": (16, (1120, 3360, 101), (1064, 3192, 96)),
    "high-performance": (8, (2240, 6720, 202), (2128, 6384, 192)),
}


@pytest.mark.parametrize(("name", "batch", "whole", "part"),
                         [(k, *v) for k, v in STEPS.items()], ids=STEPS)
def test_batches_and_updates_of_a_profile(tmp_path, name, batch, whole, part):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(made(name).job("train").config))
    config = load_config(path)
    settings = read_fit(config)
    config.raise_problems()
    assert settings.batch.effective == batch
    for examples, (epoch, total, warmup) in ((17913, whole), (17017, part)):
        assert settings.steps_per_epoch(examples) == epoch
        assert settings.total_steps(examples) == total
        assert settings.schedule(total).warmup_steps == warmup


def test_generation_goes_in_shards_and_by_all_levels():
    done = made()
    assert done.job("generate").tasks == 20
    assert made(sets=("generate.shards=50",)).job("generate").tasks == 50
    config = done.job("generate").config["parameters"]
    assert list(config["generate"]["levels"]) == ["A1", "A2", "B1", "B2", "C1", "C2"]
    assert config["reply"]["levels"] == config["generate"]["levels"]


def test_training_waits_for_every_gate_of_the_data():
    done = made()
    before, found = ["train"], set()
    while before:
        for up in done.job(before.pop()).upstream:
            if up.job not in found:
                found.add(up.job)
                before.append(up.job)
    gates = {job.name for job in done.jobs if job.config.get("gate")}
    assert gates - {"train"} == {"lineage", "mix", "templates"}
    assert gates - {"train"} <= found


def test_the_gates_hold_the_plan_s_counts():
    checks = {c["id"]: c for c in made().job("mix").config["gate"]}
    counts = {name: checks[name]["is"] for name in checks}
    assert counts == {
        "conversations": 17913, "authentic": 771, "generated": 17142,
        "levels": {"A1": 4000, "A2": 4000, "B1": 3501, "B2": 2600, "C1": 2600, "C2": 1212},
    }  # fmt: skip
    assert made().job("templates").config["gate"][0]["is"] == 0
