"""`plan` as a user sees it: any study, by generic keys only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli

ROOT = Path(__file__).parents[2]
STUDY = """
study: six
arms: {C1: {}, B2: {}, B1: {}, A2: {}, A1: {}, GENERAL: {}}
parameters:
  seed: 1
  model: {base: gpt2}
  optimizer: {lr: 1e-4, warmup_ratio: 0.03}
  batch: {train: 4, accumulation: 2, seq_length: 256}
  train: {max_steps: 1000, validate_every: 100, checkpoint_every: 500, log_every: 10}
  dataset: {examples: 10000, validation_share: 0.2}
stages:
  read:
    {kind: command, run: [echo], inputs: [data/texts, "hub:${model.base}"], resources: {gpus: 0}}
  train:
    {kind: command, run: [echo], arms: all, needs: [read],
     reads: [model, optimizer, batch, train, dataset], disk: {dataset: 5MB},
     hours: {C1: [2, 3], B2: [4, 5], B1: [6, 8], A2: [8, 10], A1: [10, 12], GENERAL: [12, 14.4]}}
profiles:
  small: {parameters: {batch: {train: 1, accumulation: 8}}}
  other: {parameters: {batch: {train: 3, accumulation: 3}}}
  trial: {parameters: {batch: {train: 1}}, resources: {gpus: 0}}
  broken: {parameters: {dataset: "${nothing}"}}
resources: {gpus: 1, cpus: 8, mem: 60GB, walltime: "16:00:00"}
"""
CURRICULUM = """
study: growing
parameters:
  seed: 1
  model: {seq_length: 512}
  optimizer: {lr: 1e-4}
  batch: {global: 32, micro: 8}
  train: {max_steps: 12000}
  dataset: {tokens: 920000000}
  curriculum_stages:
    - {step: 0, seq_len: 64, batch_size: 256, lr_scale: 11.3}
    - {step: 4000, seq_len: 256, batch_size: 64, lr_scale: 3.5}
    - {step: 8000}
stages:
  train:
    {kind: command, run: [echo], reads: [model, optimizer, batch, train, dataset,
     curriculum_stages]}
resources: {gpus: 1, cpus: 8, mem: 60GB, walltime: "16:00:00"}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `plan` of a study in some words."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "140")

    def run(*words: str, text: str = STUDY) -> Result:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        argv = ["plan", "--study", str(path), "--site", "example-slurm", *words]
        return CliRunner().invoke(cli, argv, catch_exceptions=False)

    return run


def lines(result: Result) -> list[str]:
    """What it printed, spaces made one."""
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_it_tells_times_costs_inputs_and_disk(plan: Any) -> None:
    shown = lines(plan())
    wanted = [
        "one after the other: 42-52.4 h",
        "all side by side (critical path): 12-14.4 h",
        "as many at once as GPUs allow: 42-52.4 h on 1, 24-29.4 h on 2, 16-19.4 h on 4",
        "longest first (--order longest): 22-27 h on 2, 12-14.4 h on 4",
        "GPU-hours: 42-52.4",
        "core-hours: 336-547.2",
        "you bring: data/texts (read); `pipeline doctor` says whether it is there",
        "fetched by name, unless a folder is called so: gpt2 (read)",
        "no hours are stated for read: 0 at the low end, their walltime at the high end",
    ]
    assert [line for line in wanted if line not in shown] == []
    # Six trainings of four checkpoints: weights of 4 bytes a parameter, moments of 8.
    [disk] = [line for line in shown if line.startswith("disk: ")]
    weights, moments = (6 * 4 * each * 124_439_808 / 1e9 for each in (4, 8))
    assert f"checkpoints: optimizer {moments:.3g} GB" in disk
    assert f"checkpoints: weights {weights:.3g} GB, dataset 30 MB" in disk


def test_it_tells_what_trainings_do_and_need(plan: Any) -> None:
    shown = lines(plan())
    assert "train_B2 1,000 8 8,000 2.048 M 1,000 1 10 2, 3 kept 5.97 GB" in shown
    assert "An epoch is as large as the study says: no tokens are counted yet." in shown
    [memory] = [line for line in shown if line.startswith("memory: ")]
    assert memory.startswith("memory: weights 0.7 GiB, gradients 0.5 GiB, optimizer 0.9 GiB")


def test_a_curriculum_stage_by_stage(plan: Any) -> None:
    shown = lines(plan(text=CURRICULUM))
    start = shown.index("train, stage by stage:")
    assert shown[start + 1 : start + 5] == [
        "stage updates length batch rate examples so far tokens an update an epoch",
        "1 0-4,000 64 256 0.00113 1,024,000 1,024,000 65.536 M 16,384 tokens 56,152 updates",
        "2 4,000-8,000 256 64 0.00035 256,000 1,280,000 65.536 M 16,384 tokens 56,152 updates",
        "3 8,000-12,000 512 32 0.0001 128,000 1,408,000 65.536 M 16,384 tokens 56,152 updates",
    ]


def test_the_schedule_on_so_many_gpus(plan: Any) -> None:
    shown = lines(plan("--gpus", "1,4", "--schedule"))
    start = shown.index("on 4 GPUs GPU from to h, at least GPU from to h, at most")
    assert shown[start + 1 : start + 8] == [
        "read 0 0 0 0", "train_C1 1 0 2 1 0 3", "train_B2 2 0 4 2 0 5", "train_B1 3 0 6 3 0 8",
        "train_A2 4 0 8 4 0 10", "train_A1 1 2 12 1 3 15", "train_GENERAL 2 4 16 2 5 19.4",
    ]  # fmt: skip
    longest = lines(plan("--gpus", "4", "--order", "longest"))
    assert "as many at once as GPUs allow: 12-14.4 h on 4" in longest
    assert not [line for line in longest if line.startswith("longest first")]


@pytest.mark.parametrize("words", ["0", "x", "1,", "1,-2", "1000000"])
def test_numbers_of_gpus_that_are_none(plan: Any, words: str) -> None:
    result = plan("--gpus", words)
    assert result.exit_code == 2 and "write it like 1,2,4" in result.output


def test_too_few_gpus_are_told_before_anything_is_shown(plan: Any) -> None:
    result = plan("--gpus", "1", text=STUDY.replace("resources: {gpus: 1,", "resources: {gpus: 2,"))
    assert result.exit_code == 2
    assert result.output == "error: train_C1 needs 2 GPUs, more than 1. Give --gpus 2 or more\n"


def test_profiles_side_by_side(plan: Any) -> None:
    shown = lines(plan("--profiles"))
    assert shown[:5] == [
        "profile trainings GPUs micro accum. effective length updates an epoch epochs rate warm-up "
        "evals saves",
        "(none) all 6 1 4 2 8 256 1,000 1,000 1 0.0001 30 10 2",
        "small all 6 1 1 8 8 256 1,000 1,000 1 0.0001 30 10 2",
        "other all 6 1 3 3 9 256 1,000 889 1.12 0.0001 30 10 2",
        "trial all 6 0 1 2 2 256 1,000 4,000 0.25 0.0001 30 10 2",
    ]
    warning = " ".join(shown[5:])
    assert "broken: " in warning and "nothing is called 'nothing'" in warning
    # The trial on a CPU is none of the runs that are compared.
    assert (
        "warning: train_C1, train_B2, train_B1, train_A2, train_A1, train_GENERAL: effective "
        "batches differ between profiles: 8 ((none), small); 9 (other). Their runs do not compare "
        "fairly"
    ) in warning


def test_profiles_that_agree_are_no_warning(plan: Any) -> None:
    result = plan("--profiles", "--json", text=STUDY.replace("accumulation: 3", "accumulation: 0"))
    found = json.loads(result.stdout)
    assert [row["profile"] for row in found["profiles"]][:2] == ["(none)", "small"]
    own = found["profiles"][1]["trainings"]["train_C1"]
    assert (own["micro"], own["accum."], own["effective"], own["warm-up"]) == (1, 8, 8, 30)
    same = STUDY.replace("train: 3, accumulation: 3", "train: 2, accumulation: 4")
    assert json.loads(plan("--profiles", "--json", text=same).stdout)["warnings"] == []


def test_all_of_it_in_json(plan: Any) -> None:
    text = STUDY + "budget: {gpu_hours: 50, disk: 1GB, tables: {memory: 8}}\n"
    found = json.loads(plan("--json", "--schedule", text=text).stdout)
    assert found["makespans"]["4"] == [16, 19.4] and found["longest_first"]["4"] == [12, 14.4]
    assert found["schedules"]["4"][0][-1] == {
        "job": "train_GENERAL", "gpus": [2], "start": 4, "end": 16,
    }  # fmt: skip
    assert found["quote"]["gpu_hours"] == [42, 52.4]
    assert found["quote"]["budget"] == {"gpu_hours": 50, "disk": "1GB"}
    assert found["quote"]["beyond"] == ["gpu_hours", "disk"]
    assert found["quote"]["unstated"] == ["read"]
    assert found["disk"]["train_C1"]["dataset"] == 5_000_000
    assert found["parameters"]["train_C1"]["total"] == 124_439_808
    assert found["recipes"]["train_C1"]["phases"][0]["steps_an_epoch"] == 1000
    assert found["trainings"][0]["epochs"] == 1.0
    assert found["jobs"][0]["inputs"][0]["path"] == "data/texts"
