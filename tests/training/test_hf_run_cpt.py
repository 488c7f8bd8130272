"""Whole runs of a tiny model: to the end, killed, stopped, diverged, refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import children
from training.artifacts import check_model
from training.contract import run_program
from training.hf import run_cpt
from training.hf.run import Run

Rows = Callable[[Path, str], dict[int, float]]
NAMES = ("loss", "learning_rate", "consumed_samples", "consumed_tokens", "grad_norm",
         "tokens_per_second", "data_wait", "memory_bytes", "mfu")  # fmt: skip
ROW = {"step", "time", *(f"train/{name}" for name in NAMES)}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def train(config: Path, *flags: str) -> int:
    return run_program(run_cpt.main, ["--config", str(config), *flags])


def status(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "status.json").read_text()))


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], Any]) -> None:
    """Do something as the loss of one step is computed."""
    learn = run_cpt.learn

    def watched(run: Run) -> tuple[float, float]:
        if run.step + 1 == step:
            action()
        return learn(run)

    monkeypatch.setattr(run_cpt, "learn", watched)


def test_a_run_to_its_end(
    job: Callable[..., Path],
    tmp_path: Path,
    rows: Rows,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, run = job(), tmp_path / "run"
    assert train(config) == 0
    losses = rows(run, "train/loss")
    assert list(losses) == list(range(1, 21))
    assert losses[20] < losses[1] - 0.3
    assert list(rows(run, "val/loss")) == [10, 20]
    assert rows(run, "train/learning_rate")[2] == 0.05
    assert rows(run, "train/consumed_samples")[20] == 80
    assert rows(run, "train/consumed_tokens")[20] == 80 * 16
    assert all(norm > 0 for norm in rows(run, "train/grad_norm").values())
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [set(row) for row in map(json.loads, lines) if "train/loss" in row] == [ROW] * 20
    assert all(0 <= share < 1 for share in rows(run, "train/data_wait").values())
    assert all(share > 0 for share in rows(run, "train/mfu").values())
    done = status(run)
    assert (done["state"], done["step"], done["precision"]) == ("done", 20, "fp32")
    assert done["accumulation"] == 2 and done["val_loss"] > 0
    assert (done["max_steps"], done["loss"], done["remaining_s"]) == (20, losses[20], 0)
    assert done["tokens_per_second"] > 0
    assert (done["compile"], done["gradient_sync"], done["parallel"]) == (False, "none", "none")
    assert sorted(p.name for p in run.glob("step_*")) == ["step_00000015", "step_00000020"]
    assert check_model(run / "final")["vocab_size"] == 64
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 20
    assert not list(run.glob(".*"))

    # once finished, a second run touches nothing
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    capsys.readouterr()
    assert train(config) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}

    # under other values it is refused, and with more steps it goes on
    assert train(job("other.yaml", optimizer={"lr": 0.02})) == 65
    assert "optimizer.lr 0.05 -> 0.02" in capsys.readouterr().err
    assert train(config, "--max-steps", "10") == 65
    assert train(config, "--max-steps", "22") == 0
    assert list(rows(run, "train/loss")) == list(range(1, 23))
    assert json.loads((run / "final" / "manifest.json").read_text())["step"] == 22


def test_kill_9_and_again_gives_the_same_run(
    job: Callable[..., Path], tmp_path: Path, rows: Rows
) -> None:
    assert train(job("whole.yaml", train={"checkpoint_dir": str(tmp_path / "whole")})) == 0
    config, run = job(), tmp_path / "run"
    [killed] = children.train("--config", str(config), prepare=children.killed_after(13))
    assert killed.code == -signal.SIGKILL
    assert max(rows(run, "train/loss")) == 12  # of which 11 and 12 came after the checkpoint
    assert train(config) == 0
    for key in ("train/loss", "train/grad_norm", "train/learning_rate", "val/loss"):
        assert rows(run, key) == rows(tmp_path / "whole", key)
    weights = [(d / "final" / "model.safetensors").read_bytes() for d in (run, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_a_truncated_checkpoint_falls_back(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = job(), tmp_path / "run"
    assert train(config, "--max-steps", "20") == 0
    losses = rows(run, "train/loss")
    (run / "final" / "model.safetensors").unlink()
    state = run / "step_00000020" / "optimizer.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    capsys.readouterr()
    assert train(config) == 0
    told = capsys.readouterr()
    assert "checkpoint step_00000020 is skipped" in told.err
    assert "step_00000015" in told.out
    assert rows(run, "train/loss") == losses


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_in_a_checkpoint(
    job: Callable[..., Path],
    tmp_path: Path,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    config, run = job(), tmp_path / "run"
    handler = signal.getsignal(signal.Signals[name])
    with monkeypatch.context() as patch:
        at_step(patch, 10, lambda: os.kill(os.getpid(), signal.Signals[name]))
        assert train(config) == 75
    assert signal.getsignal(signal.Signals[name]) is handler
    assert (status(run)["state"], status(run)["reason"]) == ("stopped", name)
    assert (run / "step_00000010" / "manifest.json").exists()
    assert list(rows(run, "val/loss")) == []
    assert train(config) == 0
    assert list(rows(run, "train/loss")) == list(range(1, 21))
    assert list(rows(run, "val/loss")) == [10, 20]
    assert "reason" not in status(run)


def test_a_weight_that_is_no_number_ends_the_run(
    job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    learn = run_cpt.learn

    def planted(run: Run) -> tuple[float, float]:
        if run.step == 6:
            with torch.no_grad():
                run.model.model.norm.weight[3] = float("nan")
        return learn(run)

    monkeypatch.setattr(run_cpt, "learn", planted)
    assert train(job()) == 70
    assert "error: step 7: loss is nan" in capsys.readouterr().err
    assert status(tmp_path / "run")["state"] == "diverged"
    assert [p.name for p in (tmp_path / "run").glob("step_*")] == ["step_00000005"]


def test_a_loss_beyond_its_bound_ends_the_run(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = {"lr": 100.0, "min_lr": 100.0, "warmup_steps": 0, "decay": "constant", "clip": 0.0}
    assert train(job(optimizer=wild)) == 70
    err = capsys.readouterr().err
    assert "the loss is bounded by 12.48" in err  # 3 ln 64
    assert status(tmp_path / "run")["state"] == "diverged"
    config = job("bounded.yaml", train={"max_loss": 0.5, "checkpoint_dir": str(tmp_path / "b")})
    assert train(config) == 70
    assert "step 1: loss is 4.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["gpu", "host", "python"],
)
def test_out_of_memory_has_its_code(
    job: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def full() -> None:
        raise error

    at_step(monkeypatch, 2, full)
    assert train(job()) == 71
    assert "Set batch.micro to 1; the global batch stays 4" in capsys.readouterr().err


def test_a_smaller_micro_batch_may_go_on(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 10, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train(job()) == 75
    assert train(job(), "--micro-batch-size", "1") == 0
    assert status(tmp_path / "run")["accumulation"] == 4
    assert rows(tmp_path / "run", "train/consumed_samples")[20] == 80


def test_bad_input_is_refused_before_training(
    job: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(config: Path, fact: str, *flags: str) -> None:
        assert train(config, *flags) == 65
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1 and fact in err

    refused(job(corpus={"chunks": 3}), "seapile_0003.bin, ")
    refused(job(model={"vocab_size": 50}), "and the model's vocabulary has 50")
    refused(job(train={"split": [100, 0, 0]}), "the validation share of")
    refused(job(train={"precision": "bf16-mixed"}), "has no fast bf16")
    refused(job(tokenizer={"path": str(tmp_path)}), "holds neither tokenizer.json")
    refused(job(), "no multiple of micro 3", "--micro-batch-size", "3")
    refused(tmp_path / "absent.yaml", "cannot be read")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
