"""The study's own files: its sample is what its generator writes, its demo trains on it."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

from pipeline import plan, site, study

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/samples/socratic-t5"
STUDY = ROOT / "studies/socratic-t5.yaml"


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", SAMPLE / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sample_is_what_its_generator_writes(tmp_path: Path) -> None:
    generator().write(tmp_path)
    names = ["train.csv", "valid.csv", "test.csv", "tokenizer/tokenizer.json",
             "tokenizer/tokenizer_config.json"]  # fmt: skip
    for name in names:
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name


def test_its_parts_share_no_pair() -> None:
    rows = {
        name: {tuple(row[1:]) for row in csv.reader((SAMPLE / name).read_text().splitlines()[1:])}
        for name in ("train.csv", "valid.csv", "test.csv")
    }
    assert [len(part) for part in rows.values()] == [480, 48, 48]
    assert len(set.union(*rows.values())) == 576


def test_the_paths_of_a_run() -> None:
    made = plan.make(study.load(STUDY), site.load(ROOT, "example-slurm"))
    jobs = {job.name: job for job in made.jobs}
    assert [name for name in jobs if name.startswith("train_")] == [
        "train_flan-t5-small", "train_flan-t5-base", "train_t5-base",
    ]  # fmt: skip
    assert [one.path for one in jobs["train_t5-base"].inputs] == ["hub:t5-base"]
    assert len(jobs["prepare"].inputs) == 5
    assert {check["id"] for check in jobs["train_t5-base"].config["gate"]} == {
        "trainable", "initial-loss", "loss-falls", "overlap",
    }  # fmt: skip
