"""Pieces that NeMo holds during training: the learning rate, and a callback for rows and signals.

A module of its own, since it subclasses NeMo's classes and so cannot be imported without NeMo, and
since NeMo stores importable names of what it was built from beside each checkpoint.
"""

from __future__ import annotations

import json
import math
import signal
import time
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from nemo.lightning.pytorch.optim.base import LRSchedulerModule
from torch.optim.lr_scheduler import LambdaLR

from training.contract import Exit, ProgramError, Progress, mark_checkpoint, write_atomic
from training.metrics import JsonlSink, Sink, Status, open_wandb
from training.schedule import Schedule
from training.settings import Settings


class PlannedRate(LRSchedulerModule):  # type: ignore[misc]
    """The study's learning rate, exactly: NeMo's own warm-up is (s + 1) / (warmup + 1)."""

    def __init__(self, lr: float, min_lr: float, warmup: int, max_steps: int, shape: str) -> None:
        super().__init__()
        self.plan = Schedule(lr, min_lr, warmup, max_steps, shape)

    def scheduler(self, model: Any, optimizer: Any) -> dict[str, Any]:
        """The scheduler of one optimizer, in Lightning's form."""
        plan = self.plan

        def share(done: int) -> float:  # a function, so that a checkpoint does not bring back it
            return plan(done + 1) / plan.lr

        rate = LambdaLR(optimizer, share)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": rate, "interval": "step", "frequency": 1},
        }


class RowsAndSignals(Callback):  # type: ignore[misc]
    """Writes the rows of docs/payloads.md, stops on a signal, and refuses a loss that is no number.

    Rows come from the first process only; signals and losses are looked at in all of them.
    """

    def __init__(self, settings: Settings, status: Status) -> None:
        self.settings = settings
        self.status = status
        self.stopped_by = ""
        self._sinks: list[Sink] = []
        self._progress = Progress(settings.train.max_steps)
        self._since = (0, 0.0)
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the signals (after Lightning, which would raise in the middle of a step)."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            self._handlers[number] = signal.signal(number, self._ask)
        self._since = (trainer.global_step, time.perf_counter())
        if trainer.is_global_zero:
            root = self.settings.train.checkpoint_dir
            rows = JsonlSink(root / "metrics.jsonl")
            rows.trim(trainer.global_step)
            wandb = open_wandb(self.settings.wandb, root, self.settings.identity())
            self._sinks = [rows, *([wandb] if wandb else [])]
            self.status.write("running", step=trainer.global_step)

    def _ask(self, number: int, _frame: object) -> None:
        self.stopped_by = signal.Signals(number).name

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """The checkpoint of the step before, if one was due, is on disk by now."""
        step = trainer.global_step
        if self._sinks and step > 0 and step % self.settings.train.checkpoint_every == 0:
            mark_checkpoint(step)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One optimizer step is over."""
        step, metrics = trainer.global_step, trainer.callback_metrics
        loss = float(metrics["reduced_train_loss"])
        if not math.isfinite(loss):
            self._write("diverged", step)
            raise ProgramError(
                Exit.DIVERGED, f"step {step}: loss is {loss}", "Lower optimizer.lr, then go on"
            )
        if step % self.settings.train.log_every == 0:
            self._report(step, loss, metrics)
        asked = torch.tensor(int(bool(self.stopped_by)), device=pl_module.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        stop = bool(asked.item()) and step < trainer.max_steps
        if stop:
            self.stopped_by = self.stopped_by or "signal"
            trainer.should_stop = True
        # The checkpoint callback's own turn comes after this one, at every multiple.
        due = step % self.settings.train.checkpoint_every == 0
        if (stop or step == trainer.max_steps) and not due:
            keeper = trainer.checkpoint_callback
            keeper._save_last_checkpoint(trainer, keeper._monitor_candidates(trainer))

    def _report(self, step: int, loss: float, metrics: Any) -> None:
        before, then = self._since
        self._since = (step, time.perf_counter())
        rate = (step - before) * self.settings.tokens_per_step / (self._since[1] - then)
        row = {
            "train/loss": loss,
            "train/learning_rate": self.settings.schedule(step),
            "train/consumed_samples": step * self.settings.batch.global_size,
            "train/tokens_per_second": rate,
        }
        if "grad_norm" in metrics:
            row["train/grad_norm"] = float(metrics["grad_norm"])
        for sink in self._sinks:
            sink.log(step, row)
        if self._sinks:
            self._progress.report(step, "training", rate, loss)
            self.status.facts |= {"loss": loss}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the held-out loss."""
        if "val_loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["val_loss"])
            for sink in self._sinks:
                sink.log(trainer.global_step, {"val/loss": loss})
            self.status.facts |= {"val_loss": loss}
        self._since = (trainer.global_step, time.perf_counter())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Say how it ended; the checkpoint of the last step is on disk."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._sinks and (self.stopped_by or trainer.global_step == trainer.max_steps):
            mark_checkpoint(trainer.global_step)
        self._write("stopped" if self.stopped_by else "done", trainer.global_step)
        if self._sinks and not self.stopped_by:
            record = self.settings.train.checkpoint_dir / "run.json"
            facts = json.loads(record.read_text(encoding="utf-8")) | {"step": trainer.global_step}
            write_atomic(record, json.dumps(facts, indent=1) + "\n")
        for sink in self._sinks:
            sink.close()

    def _write(self, state: str, step: int) -> None:
        if self._sinks:
            consumed = step * self.settings.batch.global_size
            self.status.write(state, step=step, consumed_samples=consumed, reason=self.stopped_by)
