"""The learning rate and the callback that NeMo gets, with stand-ins for the two base classes."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import load_settings, parse_arguments
from training.contract import ProgramError
from training.metrics import Status

Rows = Callable[[Path, str], dict[int, float]]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    base = types.SimpleNamespace(Callback=object, LRSchedulerModule=object)
    for name in (
        *("lightning", "lightning.pytorch", "lightning.pytorch.callbacks", "nemo"),
        *("nemo.lightning", "nemo.lightning.pytorch", "nemo.lightning.pytorch.optim"),
        "nemo.lightning.pytorch.optim.base",
    ):
        monkeypatch.setitem(sys.modules, name, base)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_, **__: None)
    yield importlib.import_module("training.nemo.parts")
    del sys.modules["training.nemo.parts"]


class Trainer:
    """What the callback sees of a trainer, with a loss that falls."""

    def __init__(self, root: Path, max_steps: int) -> None:
        self.max_steps = max_steps
        self.global_step = 0
        self.should_stop = False
        self.is_global_zero = True
        self.callback_metrics: dict[str, Any] = {}
        self.checkpoint_callback = self
        self.saved: list[int] = []
        root.mkdir()
        (root / "run.json").write_text("{}")

    def _monitor_candidates(self, trainer: Any) -> None:
        return None

    def _save_last_checkpoint(self, trainer: Any, candidates: None) -> None:
        self.saved.append(self.global_step)

    def fit(self, callback: Any, act: Callable[[int], None] = lambda step: None) -> None:
        callback.on_train_start(self, None)
        while self.global_step < self.max_steps and not self.should_stop:
            callback.on_train_batch_start(self, None, None, 0)
            self.global_step += 1
            loss = torch.tensor(5.0 - 0.1 * self.global_step)
            self.callback_metrics = {"reduced_train_loss": loss, "grad_norm": torch.tensor(1.5)}
            act(self.global_step)
            model = types.SimpleNamespace(device="cpu")
            callback.on_train_batch_end(self, model, None, None, 0)
            if self.global_step % 10 == 0:
                self.callback_metrics["val_loss"] = torch.tensor(4.0)
                callback.on_validation_end(self, None)
        callback.on_train_end(self, None)


@pytest.fixture
def world(parts: Any, job: Callable[..., Path], tmp_path: Path) -> tuple[Any, Trainer]:
    argv = ["--config", str(job(train={"max_steps": 12, "log_every": 2}))]
    settings = load_settings(parse_arguments(argv, "test"), 1)
    run = tmp_path / "run"
    trainer = Trainer(run, 12)
    return parts.RowsAndSignals(settings, Status(run / "status.json", {})), trainer


def status(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "run" / "status.json").read_text())


def test_rows_of_a_whole_run(world: tuple[Any, Trainer], tmp_path: Path, rows: Rows) -> None:
    callback, trainer = world
    handler = signal.getsignal(signal.SIGTERM)
    trainer.fit(callback)
    run = tmp_path / "run"
    assert list(rows(run, "train/loss")) == [2, 4, 6, 8, 10, 12]
    assert rows(run, "train/consumed_samples")[12] == 48
    assert rows(run, "train/grad_norm")[2] == 1.5
    assert rows(run, "train/learning_rate")[2] == 0.05
    assert rows(run, "val/loss") == {10: 4.0}
    assert trainer.saved == [12]  # 12 is no multiple of checkpoint_every
    assert (status(tmp_path)["state"], status(tmp_path)["step"]) == ("done", 12)
    assert json.loads((run / "run.json").read_text())["step"] == 12
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_signal_saves_and_stops(
    world: tuple[Any, Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback, trainer = world
    told = tmp_path / "checkpoint"
    monkeypatch.setenv("PIPELINE_CHECKPOINT", str(told))

    def act(step: int) -> None:
        assert told.exists() == (step > 5), "the checkpoint of step 5 is whole when step 6 begins"
        if step == 7:
            assert told.read_text() == "5\n"
            os.kill(os.getpid(), signal.SIGUSR1)

    trainer.fit(callback, act)
    assert told.read_text() == "7\n"
    assert callback.stopped_by == "SIGUSR1"
    assert (trainer.global_step, trainer.saved) == (7, [7])
    assert (status(tmp_path)["state"], status(tmp_path)["step"]) == ("stopped", 7)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {}


def test_a_loss_that_is_no_number(world: tuple[Any, Trainer], tmp_path: Path) -> None:
    callback, trainer = world

    def spoil(step: int) -> None:
        if step == 3:
            trainer.callback_metrics["reduced_train_loss"] = torch.tensor(float("nan"))

    with pytest.raises(ProgramError) as caught:
        trainer.fit(callback, spoil)
    assert caught.value.code == 70
    assert status(tmp_path)["state"] == "diverged"
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


def test_the_rate_is_the_studys(parts: Any) -> None:
    module = parts.PlannedRate(1e-4, 1e-5, 500, 10_000, "cosine")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=1e-4)
    rate = module.scheduler(None, optimizer)["lr_scheduler"]["scheduler"]
    seen = {}
    for done in range(10_000):  # the rate of update number done + 1
        seen[done + 1] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        rate.step()
    wanted = {1: 2e-7, 500: 1e-4, 5250: 5.5e-5, 10_000: 1e-5}
    assert {step: seen[step] for step in wanted} == pytest.approx(wanted)
    assert rate.state_dict()["lr_lambdas"] == [None]
