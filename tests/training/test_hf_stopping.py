"""Early stopping, the best model, and both across a stop; sinks beside metrics.jsonl."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.contract import run_program
from training.hf import run_cpt
from training.hf.run import Run

Rows = Callable[[Path, str], dict[int, float]]
RULE = {"patience": 2, "min_delta": 0.05}
PATIENT = {"validate_every": 5, "max_steps": 40, "early_stopping": RULE}
# So little is learned that no validation after the first one beats it by min_delta.
IDLE = {"lr": 1e-5, "min_lr": 1e-5, "decay": "constant"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def train(config: Path) -> int:
    return run_program(run_cpt.main, ["--config", str(config)])


def status(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "status.json").read_text()))


def test_it_stops_early_and_hands_over_the_best(
    job: Callable[..., Path],
    tmp_path: Path,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, run = job(optimizer=IDLE, train=PATIENT), tmp_path / "run"
    assert train(config) == 0
    losses = rows(run, "val/loss")
    told = status(run)
    assert list(losses) == [5, 10, 15]
    assert (told["state"], told["step"]) == ("done", 15)
    assert (told["best_step"], told["best"]) == (5, losses[5])
    assert told["reason"] == "stopped early: 2 validations without a better val/loss"
    final, kept = (load_file(run / name / "model.safetensors") for name in ("final", "best"))
    assert all(torch.equal(final[name], kept[name]) for name in kept)
    last = load_file(run / f"step_{told['step']:08d}" / "model.safetensors")
    assert not torch.equal(last["model.norm.weight"], final["model.norm.weight"])
    capsys.readouterr()
    assert train(config) == 0 and "nothing to do" in capsys.readouterr().out

    # stopped between two validations, it ends at the same step with the same best
    again = tmp_path / "again"
    other = job("again.yaml", optimizer=IDLE, train=PATIENT | {"checkpoint_dir": str(again)})
    learn = run_cpt.learn

    def disturbed(run: Run) -> tuple[float, float]:
        if run.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(run)

    with monkeypatch.context() as patch:
        patch.setattr(run_cpt, "learn", disturbed)
        assert train(other) == 75
    assert train(other) == 0
    assert rows(again, "val/loss") == losses
    assert (status(again)["best_step"], status(again)["step"]) == (5, 15)


def test_more_patience_goes_on(job: Callable[..., Path], tmp_path: Path) -> None:
    assert train(job(optimizer=IDLE, train=PATIENT)) == 0
    assert status(tmp_path / "run")["step"] == 15
    longer = PATIENT | {"early_stopping": RULE | {"patience": 3}}
    assert train(job(optimizer=IDLE, train=longer)) == 0
    assert status(tmp_path / "run")["step"] == 20


def test_best_may_be_left_away(job: Callable[..., Path], tmp_path: Path) -> None:
    assert train(job(train={"keep_best": False})) == 0
    assert not (tmp_path / "run" / "best").exists()


@pytest.mark.parametrize("breaks", [False, True])
def test_tensorboard_gets_rows_and_stops_nothing(
    job: Callable[..., Path],
    tmp_path: Path,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    breaks: bool,
) -> None:
    got: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert (folder, purge_step) == (str(tmp_path / "run" / "tensorboard"), 1)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            if breaks:
                raise OSError("no space left")
            got.append((name, value, step))

        def close(self) -> None:
            got.append(("closed", 0.0, 0))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert train(job(train={"tensorboard": True, "max_steps": 5})) == 0
    losses = rows(tmp_path / "run", "train/loss")
    assert len(losses) == 5 and got[-1][0] == "closed"
    if breaks:
        assert "warning: tensorboard lost a row of step 5: no space left" in capsys.readouterr().err
    else:
        assert {s: v for name, v, s in got if name == "train/loss"} == losses


@pytest.mark.parametrize("breaks", ["init", "log", "finish"])
def test_wandb_stops_nothing(
    job: Callable[..., Path],
    tmp_path: Path,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    breaks: str,
) -> None:
    def may_break(name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            if name == breaks:
                raise RuntimeError(f"no {name}")
            return run

        return call

    run = types.SimpleNamespace(log=may_break("log"), finish=may_break("finish"))
    fake = types.SimpleNamespace(init=may_break("init"), Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert train(job(wandb={"mode": "offline"}, train={"max_steps": 2, "validate_every": 5})) == 0
    assert len(rows(tmp_path / "run", "train/loss")) == 2
    assert f"no {breaks}" in capsys.readouterr().err


def test_without_tensorboard_it_only_warns(
    job: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(job(train={"tensorboard": True, "max_steps": 5})) == 0
    assert "warning: tensorboard is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["activation_checkpointing", "loss"])
def test_options_of_computing_change_no_number(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, option: str
) -> None:
    value = {"activation_checkpointing": True, "loss": "chunked"}[option]
    found = []
    for name, changes in (("one", {}), ("two", {option: value})):
        folder = {"checkpoint_dir": str(tmp_path / name), "max_steps": 4}
        assert train(job(f"{name}.yaml", train=folder | changes)) == 0
        found.append(rows(tmp_path / name, "train/loss"))
    assert found[1] == pytest.approx(found[0], rel=2e-5)


def test_dropout_follows_from_the_step(
    job: Callable[..., Path], tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2 from weights has dropout: a run that was stopped draws what one that was not draws."""
    shape = {"architecture": "gpt2"}
    base = tmp_path / "base"
    first = {"checkpoint_dir": str(base), "max_steps": 1}
    assert train(job("base.yaml", model=shape, train=first)) == 0
    config = json.loads((base / "final" / "config.json").read_text())
    changed = config | {"resid_pdrop": 0.5, "embd_pdrop": 0.5}
    (base / "final" / "config.json").write_text(json.dumps(changed))
    model = shape | {"init": "weights", "base": str(base / "final")}
    learn = run_cpt.learn

    def disturbed(run: Run) -> tuple[float, float]:
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(run)

    for name, codes in (("whole", [0]), ("cut", [75, 0])):
        folder = {"checkpoint_dir": str(tmp_path / name), "max_steps": 8}
        path = job(f"{name}.yaml", model=model, train=folder)
        for code in codes:
            with monkeypatch.context() as patch:
                if code:
                    patch.setattr(run_cpt, "learn", disturbed)
                assert train(path) == code
    losses = [rows(tmp_path / name, "train/loss") for name in ("whole", "cut")]
    assert losses[0] == losses[1] and len(losses[0]) == 8
