"""All that a training over padded examples holds, and how it is put together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from training.contract import BadInput
from training.fit_settings import FitSettings
from training.hf import fit_files
from training.hf.batches import Batches
from training.hf.checkpoint import load_optimizer
from training.hf.device import LossScale
from training.hf.guards import Stop
from training.hf.model import build_optimizer
from training.hf.task import Place, Task, find_place
from training.metrics import JsonlSink, Sink, Status, open_tensorboard, open_wandb
from training.resume import Position
from training.schedule import Schedule
from training.stopping import WATCH_ONLY, Best


class Clock:
    """Examples a second without evaluations and checkpoints, and the seconds left with them."""

    def __init__(self) -> None:
        self.begun = (0, time.perf_counter())
        self.since = (0, self.begun[1])
        self.paused = 0.0

    def start(self, step: int, consumed: int) -> None:
        """Before the first update of this attempt."""
        now = time.perf_counter()
        self.begun, self.since, self.paused = (step, now), (consumed, now), 0.0

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around what is not training."""
        start = time.perf_counter()
        yield
        self.paused += time.perf_counter() - start

    def measure(self, step: int, consumed: int, total: int) -> tuple[float, float]:
        """Examples a second since the last call, and the seconds that the updates left take."""
        now = time.perf_counter()
        rate = (consumed - self.since[0]) / max(now - self.since[1] - self.paused, 1e-9)
        self.since, self.paused = (consumed, now), 0.0
        return rate, (now - self.begun[1]) / max(step - self.begun[0], 1) * (total - step)


@dataclass
class Fit:
    """All that one training holds. `order` is that of the epoch `epoch`; `unmeasured` says that a
    signal cut the last evaluation short."""

    settings: FitSettings
    task: Task
    place: Place
    identity: dict[str, Any]
    total: int
    schedule: Schedule
    optimizer: torch.optim.AdamW
    scale: LossScale
    best: Best
    status: Status
    progress: fit_files.ExampleProgress
    batches: Batches
    clock: Clock = field(default_factory=Clock)
    sinks: list[Sink] = field(default_factory=list)
    resumed: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    epoch: int = -1
    order: Sequence[int] = ()
    unmeasured: bool = False

    @property
    def halt(self) -> str:
        """The signal that asked to stop, if one did."""
        return self.place.stop.signal

    @property
    def per_epoch(self) -> int:
        """Updates of an epoch."""
        return self.settings.steps_per_epoch(self.task.examples)

    def consumed(self) -> int:
        """Examples learned from so far; the last update of an epoch may have had fewer."""
        epochs, steps = divmod(self.step, self.per_epoch)
        return epochs * self.task.examples + steps * self.settings.batch.effective

    def log(self, values: dict[str, float]) -> None:
        """The same row to every sink."""
        for sink in self.sinks:
            sink.log(self.step, values)

    def position(self) -> Position:
        """Where the run stands, for a manifest."""
        return Position(
            self.step, self.consumed(), self.total, self.identity,
            self.best.value, self.best.step, self.best.bad, self.scale.factor, self.scale.good,
        )  # fmt: skip


def setup(settings: FitSettings, task: Task, stop: Stop) -> Fit | None:
    """Check every input, build the model, go back to the newest checkpoint; None when finished."""
    options = settings.train
    if task.examples < 1:
        raise BadInput("there is no training example", "Look at the data and its preparation")
    options.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    if options.checkpoint_every % options.validate_every:
        print(
            f"note: train.checkpoint_every {options.checkpoint_every} is no multiple of "
            f"validate_every {options.validate_every}, so some checkpoints have no evaluation"
        )
    place = find_place(options.precision, options.tf32, stop)
    total = settings.total_steps(task.examples)
    identity = {**settings.identity(), **task.identity(), "train.precision": place.precision}
    status = fit_files.open_status(settings, place, task.examples, total)
    progress = fit_files.ExampleProgress(total)
    if fit_files.told_finished(settings, identity, total, status):
        return None
    found = fit_files.newest(options.checkpoint_dir, identity, total)
    progress.report(0, "building the model")
    status.facts |= task.build(place)
    if options.activation_checkpointing:
        recompute(task.model)
    fuse = settings.optimizer_name != "adamw_torch"
    run = Fit(
        settings, task, place, identity, total, settings.schedule(total),
        optimizer=build_optimizer(task.model, settings.optimizer, fuse),
        scale=LossScale(place.precision),
        best=Best(options.early_stopping or WATCH_ONLY),
        status=status,
        progress=progress,
        batches=Batches(
            task.collate, options.workers, options.pin_memory and place.device.type == "cuda"
        ),
    )  # fmt: skip
    status.facts |= {
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "trainable": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
        "optimizer": f"adamw_torch{'_fused' * bool(run.optimizer.defaults['fused'])}",
        "warmup_steps": run.schedule.warmup_steps,
    }
    if found:
        resume(run, *found)
    return run


def recompute(model: Any) -> None:
    """Have a model of transformers compute activations a second time instead of keeping them; this
    is the one place that does."""
    newer = getattr(model, "activation_checkpointing_enable", None)  # the name since 5.2x
    (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})


def resume(run: Fit, path: Path, at: Position) -> None:
    """Go back to a checkpoint: tensors, step, best value, patience and loss scale."""
    run.task.load(path)
    load_optimizer(path, run.task.model, run.optimizer)
    run.step = at.step
    run.best.value, run.best.step, run.best.bad = at.best, at.best_step, at.bad
    run.scale.factor, run.scale.good = at.scale, at.scale_good
    print(f"resumed from {path}", flush=True)


def open_sinks(run: Fit) -> list[Sink]:
    """Where rows go: always metrics.jsonl, and what the study asks for."""
    root = run.settings.train.checkpoint_dir
    rows = JsonlSink(root / "metrics.jsonl")
    run.resumed = rows.trim(run.step)
    tracked = replace(run.settings.wandb, name=run.status.facts["run_name"])
    wandb = open_wandb(tracked, root, {**run.identity, **run.status.facts})
    board = open_tensorboard(root, run.step) if run.settings.train.tensorboard else None
    return [rows, *(sink for sink in (wandb, board) if sink)]
