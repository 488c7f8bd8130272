from pathlib import Path

import pytest
import yaml

from evaluation.config import Config, InputError
from evaluation.report.runs import Run, job_configs, read_curves, read_runs, training_folder
from evaluation.report.spent import by_stage, spent


def test_a_last_row_cut_short_is_left_away(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "train/loss": 3.0}\n{"step": 2, "train/l')
    assert read_curves(path) == {"train/loss": [(1, 3.0)]}
    path.write_text('{"step": 1, "train/l\n{"step": 2, "train/loss": 3.0}\n')
    with pytest.raises(InputError, match="line 1"):
        read_curves(path)


@pytest.mark.parametrize("output", ["run/metrics.jsonl", "run", "run/status.json"])
def test_a_training_is_found_by_its_jobs_outputs(output: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text("")
    assert training_folder(tmp_path, {"outputs": ["other", output]}) == tmp_path / "run"
    assert training_folder(tmp_path, {"outputs": ["other"]}) is None


def write_job(state: Path, name: str, **job: object) -> None:
    (state / "configs").mkdir(parents=True, exist_ok=True)
    values = {
        "job": {"name": name, "stage": "train", **job}, "parameters": {"batch": {"micro": 1}},
        "resources": {"nodes": 2, "gpus": 4, "cpus": 8},
    }  # fmt: skip
    (state / f"configs/{name}.yaml").write_text(yaml.safe_dump(values))


def test_parameters_are_those_that_the_training_had(tmp_path: Path) -> None:
    arms = {"a": {"parameters": {"batch": {"micro": 2}}}}
    config = Config({"parameters": {}, "arms": arms, "paths": {"state": "jobs"}}, "x")
    (run,) = read_runs(config, tmp_path, job_configs(config, tmp_path))
    assert run.parameters == {"batch": {"micro": 2}}
    write_job(tmp_path / "jobs", "train_a", kind="train", arm="a")
    (run,) = read_runs(config, tmp_path, job_configs(config, tmp_path))
    assert run.parameters == {"batch": {"micro": 1}}


def test_tokens_are_those_that_the_training_counted() -> None:
    given = {"model": {"seq_length": 2048}, "train": {"split": [1, 0, 0]}}
    read = {"consumed_samples": 10, "consumed_tokens": 640}  # of 64 tokens each
    staged = Run("a", "a", "a", given, status=read, data={"tokens": 1280, "bytes": 5000})
    assert (staged.tokens, staged.epochs) == (640, 0.5)
    assert Run("a", "a", "a", given, status={"consumed_samples": 10}).tokens == 20_480


def test_all_attempts_cost_and_a_report_does_not_count_itself(tmp_path: Path) -> None:
    for name, kind in (("train_a", "train"), ("analyze", "analyze")):
        write_job(tmp_path / "jobs", name, kind=kind, arm="a")
        folder = tmp_path / f"jobs/receipts/{name}"
        folder.mkdir(parents=True)
        (folder / "1.L1.fail-71").write_text('{"start": 0, "end": 3600}')
        (folder / "1.L2.ok").write_text('{"start": 4000, "end": 11200}')
        (folder / "2.L3.run").write_text('{"start": 4000}')
        (folder / "2.L4.ok").write_text('{"start": 40')
    config = Config({"parameters": {}, "paths": {"state": "jobs"}}, "x")
    (row,) = spent(config, tmp_path, job_configs(config, tmp_path))
    assert (row["job"], row["ended"], row["failed"], row["hours"]) == ("train_a", 2, 1, 3)
    assert (row["gpu_hours"], row["core_hours"]) == (24, 48)


def test_stages_stand_in_the_study_s_order() -> None:
    rows = [
        {"stage": stage, "arm": "", "ended": 1, **dict.fromkeys(("failed", "hours"), 1),
         **dict.fromkeys(("gpu_hours", "core_hours"), 1)}
        for stage in ("train", "split", "train")
    ]  # fmt: skip
    found = by_stage(rows, ["split", "train"])
    assert [(row["stage"], row["ended"]) for row in found] == [("split", 1), ("train", 2)]
