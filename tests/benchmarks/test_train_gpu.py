"""The training benchmark: its arithmetic, its table, and a tiny row of each program for real."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import train_gpu, train_rows
from pipeline import yamlio
from tests.require import require
from training.data import open_shard

ROOT = Path(__file__).parents[2]
RATE = {"device": "A100", "torch": "2", "rate": 250e12, "sheet": 312e12}
# 20,000 tokens in a second, of 6.25e9 operations each, are 125e12 operations a second.
OURS = {"program": "ours", "name": "", "micro": 2, "global": 32, "seconds": 2.0, "tokens": 40_000,
        "bytes": 30 * 2**30, "flops": 6.25e9, "loss_kind": "chunked", "waited": 0.001}  # fmt: skip
THEIRS = OURS | {"program": "Trainer", "seconds": 4.0, "loss_kind": "plain"}
FASTER = THEIRS | {"name": "liger", "seconds": 2.5, "micro": 4}
FAILED = {"program": "Trainer", "name": "compiled", "micro": 8, "global": 32,
          "failed": "out of memory"}  # fmt: skip


def test_utilisation_is_operations_a_second_over_the_measured_rate() -> None:
    assert train_gpu.figures(OURS, RATE) == {
        "speed": 20_000, "gib": 30, "utilisation": 0.5, "sheet": 125 / 312
    }  # fmt: skip
    assert train_gpu.figures(OURS, RATE | {"sheet": 0.0})["sheet"] is None


def test_the_table_compares_with_trainer_at_its_best() -> None:
    rows: list[dict[str, Any]] = [OURS, THEIRS, FASTER, FAILED]
    found = train_gpu.best(rows, RATE, "Trainer")
    assert found and (found["name"], found["speed"]) == ("liger", 16_000)
    lines = train_gpu.table(rows, RATE).splitlines()
    assert lines[0] == "A100, torch 2, matrix product 250 TFLOP/s"
    assert lines[4:] == [
        "| ours |  | 2 x 16 | chunked | 20,000 | 30.00 | 50.0% | 40.1% | 0.10% | 1.25 |",
        "| Trainer |  | 2 x 16 | plain | 10,000 | 30.00 | 25.0% | 20.0% | 0.10% | 0.62 |",
        "| Trainer | liger | 4 x 8 | plain | 16,000 | 30.00 | 40.0% | 32.1% | 0.10% | 1.00 |",
        "| Trainer | compiled | 8 x 4 | out of memory |  |  |  |  |  |  |",
    ]
    assert train_gpu.aims(rows, RATE) == [
        "1.25 of Trainer's best tokens/s; aim 1.3",
        "50.0% of the measured matrix product; aim 50%",
        "32.2 GB at micro-batch 2; aim below 40",
    ]
    assert train_gpu.best([FAILED], RATE, "ours") is None
    assert train_gpu.aims([FAILED], RATE) == []


def test_all_cases_make_whole_batches_and_some_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for tiny in (False, True):
        found = train_gpu.cases(list(train_gpu.GROUPS), tiny)
        assert all(case["global"] % case["micro"] == 0 for case in found)
        assert {case["program"] for case in found} == {"ours", "Trainer", "NeMo"}
    assert {case["program"] for case in train_gpu.cases(["loss", "micro"], True)} == {"ours"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    told = {case["program"]: train_gpu.absent(case) for case in found}
    assert told == {
        "ours": "",
        "Trainer": "absent: accelerate is not installed",
        "NeMo": "absent: nemo_toolkit is not installed",
    }


def case(**more: Any) -> dict[str, Any]:
    found = train_gpu.cases(["micro"], True)[1]
    return {**found, **more}


def test_the_corpus_is_one(tmp_path: Path) -> None:
    train_rows.write_corpus(tmp_path, train_rows.TINY)
    shard = open_shard(tmp_path / "text")
    last = shard.starts + shard.lengths - 1
    assert shard.documents > 500 and np.all(shard.tokens[last] == train_rows.EOD)
    assert int((shard.tokens == train_rows.EOD).sum()) == shard.documents
    assert int(shard.tokens.max()) < train_rows.TINY["vocab_size"]


def test_the_ladder_is_that_of_the_study() -> None:
    rows = yamlio.load(ROOT / "studies/wiki-curriculum.yaml")["parameters"]["curriculum_stages"]
    stages = dict.fromkeys((row["seq_len"], row["batch_size"]) for row in rows)
    assert tuple(stages) == train_gpu.LADDER
    *updates, validation = train_gpu.ladder(False)
    assert [(one["length"], one["micro"]) for one in updates] == list(train_gpu.LADDER)
    assert (validation["length"], validation["validation"]) == (2048, 16)


@pytest.mark.parametrize("place", [0, -1], ids=["shortest", "validation"])
def test_a_step_of_the_ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    size = train_rows.size_of(True, True)
    train_rows.write_corpus(tmp_path, size)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one = train_gpu.ladder(True)[place]
    found = train_rows.measure(one, tmp_path, size, "cpu")
    if place == 0:
        assert found["tokens"] == 2 * 64 * 4
    assert found["tokens"] % one["length"] == 0 and found["seconds"] > 0 and found["bytes"] > 0


def test_both_programs_are_measured_with_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_rows.write_corpus(tmp_path, train_rows.TINY)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as `measure` does for its whole process
    ours = train_rows.measure(case(), tmp_path, train_rows.TINY, "cpu")
    assert ours["tokens"] == 2 * 4 * 64 and ours["seconds"] > 0
    assert ours["loss_kind"] == "plain" and 0 <= ours["waited"] < 1
    failed = train_gpu.child(case(options={"loss": "liger"}), tmp_path, True, "cpu")
    assert failed["failed"].startswith("train.loss is liger, and ")
    here = importlib.util.find_spec("accelerate") is not None
    require("accelerate", here, "accelerate is not installed, which transformers' Trainer needs")
    theirs = train_rows.measure(case(program="Trainer"), tmp_path, train_rows.TINY, "cpu")
    assert (theirs["tokens"], theirs["flops"]) == (ours["tokens"], ours["flops"])
