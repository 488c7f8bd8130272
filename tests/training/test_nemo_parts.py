"""The learning rate and the callback that NeMo gets, with stand-ins for the two base classes."""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training import pace
from training.config import load_settings, parse_arguments
from training.contract import ProgramError
from training.metrics import Sink, Status
from training.settings import Settings

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


class Model(torch.nn.Module):
    """What the callback sees of a model: some parameters, and Gemma 3's configuration."""

    config = types.SimpleNamespace(
        num_layers=13, num_attention_heads=2, kv_channels=8, window_size=8,
        interleaved_attn_pattern=(5, 1),
    )  # fmt: skip
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(100))


class Trainer:
    """What the callback sees of a trainer, with a loss that falls."""

    def __init__(self, root: Path, max_steps: int) -> None:
        self.max_steps = max_steps
        self.global_step = 0
        self.should_stop = False
        self.is_global_zero = True
        self.limit_val_batches = 50
        self.save_last = True  # of the checkpoint callback, which this is as well
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
        model = Model()
        callback.on_train_start(self, model)
        while self.global_step < self.max_steps and not self.should_stop:
            callback.on_train_batch_start(self, model, None, 0)
            self.global_step += 1
            loss = torch.tensor(5.0 - 0.1 * self.global_step)
            self.callback_metrics = {"reduced_train_loss": loss, "grad_norm": torch.tensor(1.5)}
            act(self.global_step)
            try:
                callback.on_train_batch_end(self, model, None, None, 0)
            except Exception as error:  # as Lightning does
                callback.on_exception(self, model, error)
                raise
            if self.global_step % 10 == 0:
                self.callback_metrics["val_loss"] = torch.tensor(4.0)
                callback.on_validation_end(self, None)
        callback.on_train_end(self, None)


@pytest.fixture
def world(parts: Any, job: Callable[..., Path], tmp_path: Path) -> tuple[Any, Trainer]:
    argv = ["--config", str(job(train={"max_steps": 12, "log_every": 2}))]
    settings = load_settings(parse_arguments(argv, "test"), 1)
    return callback_of(parts, settings), Trainer(tmp_path / "run", 12)


def callback_of(parts: Any, settings: Settings) -> Any:
    return parts.RowsAndSignals(settings, Status(settings.train.checkpoint_dir / "status.json", {}))


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
    assert rows(run, "val/perplexity")[10] == pytest.approx(math.exp(4))
    assert trainer.saved == [12]  # 12 is no multiple of checkpoint_every
    assert (status(tmp_path)["state"], status(tmp_path)["step"]) == ("done", 12)
    assert status(tmp_path)["remaining_s"] == 0 and status(tmp_path)["parameters"] == 100
    assert json.loads((tmp_path / "progress.json").read_text())["remaining"] == 0
    assert json.loads((run / "run.json").read_text())["step"] == 12
    assert signal.getsignal(signal.SIGTERM) is handler


def test_utilisation_and_memory(world: tuple[Any, Trainer], tmp_path: Path, rows: Rows) -> None:
    callback, trainer = world
    trainer.fit(callback)
    run = tmp_path / "run"
    # 13 layers, of which the 6th and the 12th see all 16 tokens and the others 8
    flops = 6 * 100 + 12 * 2 * 8 * (2 * 16 + 11 * 8)
    peak = status(tmp_path)["peak_flops"]["per_second"]
    speed = rows(run, "train/tokens_per_second")
    used = {step: rate * flops / peak for step, rate in speed.items()}
    assert rows(run, "train/mfu") == pytest.approx(used) and len(used) == 6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 2**24 < rows(run, "train/memory_bytes")[12] <= most


def test_time_between_steps_is_no_training(
    world: tuple[Any, Trainer], tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation and checkpoints take the clock's time, and tokens/s does not show it."""
    callback, trainer = world
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(pace, "peak_flops", lambda device, precision: (1e12, "told"))
    validate = callback.on_validation_end

    def slowly(*given: Any) -> None:
        now[0] += 100.0
        validate(*given)

    monkeypatch.setattr(callback, "on_validation_end", slowly)

    def act(step: int) -> None:
        now[0] += 0.5

    trainer.fit(callback, act)
    assert set(rows(tmp_path / "run", "train/tokens_per_second").values()) == {4 * 16 / 0.5}
    assert set(rows(tmp_path / "run", "train/mfu")) == {2, 4, 6, 8, 10, 12}


def test_tensorboard_and_wandb_get_the_same_rows(
    parts: Any,
    job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: Rows,
) -> None:
    argv = ["--config", str(job(train={"max_steps": 4, "tensorboard": True}))]
    settings = load_settings(parse_arguments(argv, "test"), 1)
    made: dict[str, Sink] = {}

    class Keeping:
        def __init__(self) -> None:
            self.rows: dict[int, dict[str, float]] = {}
            self.closed = False

        def log(self, step: int, values: dict[str, float]) -> None:
            self.rows[step] = values

        def close(self) -> None:
            self.closed = True

    def keep(name: str) -> Sink:
        return made.setdefault(name, Keeping())

    monkeypatch.setattr(parts, "open_tensorboard", lambda root, step: keep("board"))
    monkeypatch.setattr(parts, "open_wandb", lambda *_: keep("wandb"))
    Trainer(tmp_path / "run", 4).fit(callback_of(parts, settings))
    for sink in (made["board"], made["wandb"]):
        assert isinstance(sink, Keeping) and sink.closed
        losses = {step: row["train/loss"] for step, row in sink.rows.items()}
        assert losses == rows(tmp_path / "run", "train/loss")
        assert all(row["train/mfu"] > 0 for row in sink.rows.values())


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
    assert trainer.limit_val_batches == 0, "Lightning validates before it stops"
    assert not trainer.save_last, "NeMo saves again when training ends"
    assert (status(tmp_path)["state"], status(tmp_path)["step"]) == ("stopped", 7)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {}


def test_a_signal_in_the_last_step_stops_nothing(
    world: tuple[Any, Trainer], tmp_path: Path
) -> None:
    callback, trainer = world

    def act(step: int) -> None:
        if step == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.fit(callback, act)
    assert callback.stopped_by == "" and trainer.saved == [12]
    assert (status(tmp_path)["state"], status(tmp_path)["step"]) == ("done", 12)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["step"] == 12


@pytest.mark.parametrize(
    ("loss", "told"),
    [(float("nan"), "step 3: loss is nan. "), (99.0, "step 3: loss is 99, and it is bounded by")],
    ids=["nan", "large"],
)
def test_a_loss_that_diverges(
    world: tuple[Any, Trainer], tmp_path: Path, loss: float, told: str
) -> None:
    callback, trainer = world
    handler = signal.getsignal(signal.SIGTERM)

    def spoil(step: int) -> None:
        if step == 3:
            trainer.callback_metrics["reduced_train_loss"] = torch.tensor(loss)

    with pytest.raises(ProgramError) as caught:
        trainer.fit(callback, spoil)
    assert caught.value.code == 70 and str(caught.value).startswith(told)
    assert status(tmp_path)["state"] == "diverged" and told in status(tmp_path)["reason"]
    assert trainer.saved == [] and signal.getsignal(signal.SIGTERM) is handler


def test_any_other_failure_is_in_the_status(world: tuple[Any, Trainer], tmp_path: Path) -> None:
    callback, trainer = world

    def fail(step: int) -> None:
        if step == 3:
            trainer.callback_metrics = {}

    with pytest.raises(KeyError):
        trainer.fit(callback, fail)
    assert (status(tmp_path)["state"], status(tmp_path)["step"]) == ("failed", 3)


def test_operations_of_a_token_are_those_of_the_other_back_end(parts: Any) -> None:
    """Gemma 3 1B, and a small one built by transformers."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    from training.hf.model import flops_per_token
    from training.nemo.plan import PARAMETERS

    real = types.SimpleNamespace(
        num_layers=26, num_attention_heads=4, kv_channels=256, window_size=512,
        interleaved_attn_pattern=(5, 1),
    )  # fmt: skip
    # 4 of 26 layers see all 2,048 tokens, 22 see 512
    assert parts.gemma_flops(real, PARAMETERS, 2048) == 6 * PARAMETERS + 12 * 4 * 256 * 19_456
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=13,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, sliding_window=8,
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    parameters = sum(p.numel() for p in model.parameters())
    for length in (4, 16):
        assert parts.gemma_flops(Model.config, parameters, length) == flops_per_token(model, length)


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
