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
from training.metrics import JsonlSink, Sink, Status, open_tensorboard, open_wandb
from training.pace import Pace, flops_per_token
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


def gemma_flops(config: Any, parameters: int, length: int) -> float:
    """What training.pace makes of Gemma 3 in Megatron: of every six layers five look at a window.

    `config` is the model's (num_layers, interleaved_attn_pattern and so on); its head is the
    embedding, so all parameters multiply.
    """
    period = sum(config.interleaved_attn_pattern)  # Megatron's layers count from 1
    full = config.num_layers // period
    window = min(config.window_size, length)
    seen = full * length + (config.num_layers - full) * window
    return flops_per_token(parameters, config.num_attention_heads, config.kv_channels, seen)


class RowsAndSignals(Callback):  # type: ignore[misc]
    """Writes the rows of docs/training.md, stops on a signal, and refuses a loss that diverges.

    Rows come from the first process only; signals and losses are looked at in all of them.
    """

    def __init__(self, settings: Settings, status: Status) -> None:
        self.settings = settings
        self.status = status
        self.stopped_by = ""
        self._sinks: list[Sink] = []
        self._progress = Progress(settings.train.max_steps)
        self._pace: Pace | None = None
        self._left = 0.0  # when the last step ended: validation and checkpoints come after it
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the signals (after Lightning, which would raise in the middle of a step)."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            self._handlers[number] = signal.signal(number, self._ask)
        if trainer.is_global_zero:
            self._open(trainer.global_step, pl_module)

    def _open(self, step: int, model: Any) -> None:
        settings, root = self.settings, self.settings.train.checkpoint_dir
        parameters = sum(p.numel() for p in model.parameters())
        flops = gemma_flops(model.config, parameters, settings.model.seq_length)
        self._pace = Pace(settings, flops, model.device, settings.batch.world, "bf16-mixed")
        self.status.facts |= {
            "parameters": parameters,
            "peak_flops": {"per_second": self._pace.peak, "from": self._pace.source},
        }
        rows = JsonlSink(root / "metrics.jsonl")
        rows.trim(step)
        wandb = open_wandb(settings.wandb, root, settings.identity())
        board = open_tensorboard(root, step) if settings.train.tensorboard else None
        self._sinks = [rows, *(sink for sink in (wandb, board) if sink)]
        self._write("running", step)
        self._pace.start(step)
        self._left = time.perf_counter()

    def _ask(self, number: int, _frame: object) -> None:
        self.stopped_by = signal.Signals(number).name

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """The checkpoint of the step before, if one was due, is on disk by now."""
        if self._pace is None:
            return
        self._pace.paused += time.perf_counter() - self._left
        step = trainer.global_step
        if step > 0 and step % self.settings.train.checkpoint_every == 0:
            self._mark(step)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One optimizer step is over."""
        step, metrics = trainer.global_step, trainer.callback_metrics
        loss = float(metrics["reduced_train_loss"])
        self._refuse_divergence(step, loss)
        if step % self.settings.train.log_every == 0 or step == trainer.max_steps:
            self._report(step, loss, metrics)
        asked = torch.tensor(int(bool(self.stopped_by)), device=pl_module.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        stop = bool(asked.item()) and step < trainer.max_steps
        if stop:
            self.stopped_by = self.stopped_by or "signal"
            trainer.should_stop = True
            if step % self.settings.train.validate_every:
                trainer.limit_val_batches = 0  # Lightning would validate once more before it stops
        # The checkpoint callback's own turn comes after this one, at every multiple.
        due = step % self.settings.train.checkpoint_every == 0
        if (stop or step == trainer.max_steps) and not due:
            keeper = trainer.checkpoint_callback
            keeper._save_last_checkpoint(trainer, keeper._monitor_candidates(trainer))
            self._mark(step)
        self._left = time.perf_counter()

    def _mark(self, step: int) -> None:
        if self._sinks:
            mark_checkpoint(step)

    def _refuse_divergence(self, step: int, loss: float) -> None:
        most = self.settings.train.max_loss or 3 * math.log(self.settings.model.vocab_size)
        if math.isfinite(loss) and loss <= most:
            return
        bound = f", and it is bounded by {most:.4g}" if math.isfinite(loss) else ""
        raise ProgramError(
            Exit.DIVERGED,
            f"step {step}: loss is {loss:.4g}{bound}",
            "Lower optimizer.lr or lengthen the warm-up; the last checkpoint is from before",
        )

    def _report(self, step: int, loss: float, metrics: Any) -> None:
        if self._pace is None:
            return
        pace = self._pace.measure(step)
        row = {
            "train/loss": loss,
            "train/learning_rate": self.settings.schedule(step),
            "train/consumed_samples": step * self.settings.batch.global_size,
            **pace.row,
        }
        if "grad_norm" in metrics:
            row["train/grad_norm"] = float(metrics["grad_norm"])
        self._log(step, row)
        speed, left = pace.tokens_per_second, pace.remaining_s
        self._progress.report(step, "training", speed, loss, left)
        self.status.facts |= {"loss": loss, "tokens_per_second": speed, "remaining_s": left}
        self._write("running", step, sync=False)

    def _log(self, step: int, row: dict[str, float]) -> None:
        for sink in self._sinks:
            sink.log(step, row)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the held-out loss."""
        if "val_loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["val_loss"])
            row = {"val/loss": loss, "val/perplexity": math.exp(min(loss, 700.0))}
            self._log(trainer.global_step, row)
            self.status.facts |= {"val_loss": loss}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Say how it ended; the checkpoint of the last step is on disk."""
        step = trainer.global_step
        trainer.checkpoint_callback.save_last = False  # NeMo would write the same once more
        self._mark(step)
        if step == trainer.max_steps:
            self.stopped_by = ""  # a signal that came in the last step stopped nothing
        if self._sinks and not self.stopped_by:
            record = self.settings.train.checkpoint_dir / "run.json"
            facts = json.loads(record.read_text(encoding="utf-8")) | {"step": step}
            write_atomic(record, json.dumps(facts, indent=1) + "\n")
        self._close("stopped" if self.stopped_by else "done", step, self.stopped_by)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Say that it failed, and how; the last checkpoint is from before."""
        diverged = getattr(exception, "code", None) is Exit.DIVERGED or "NaN" in str(exception)
        state = "diverged" if diverged else "failed"
        self._close(state, trainer.global_step, str(exception)[:500])

    def _close(self, state: str, step: int, reason: str) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._write(state, step, reason=reason)
        for sink in self._sinks:
            sink.close()
        self._sinks = []

    def _write(self, state: str, step: int, sync: bool = True, reason: str = "") -> None:
        if self._sinks:
            consumed = step * self.settings.batch.global_size
            self.status.write(state, sync, step=step, consumed_samples=consumed, reason=reason)
