"""What a training over padded examples is told (training/hf/fitting.py), checked and typed.

The keys are those of docs/training.md where both trainers have them. What differs: `batch.train`
and `batch.accumulation` in place of a global batch, and `train.epochs` as well as `max_steps`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from training import foreign_names
from training.config import PRECISIONS
from training.contract import Section
from training.curriculum import OF_OPTIMIZER, Stage, read_stages, stage_at
from training.schedule import SHAPES, Schedule
from training.settings import EarlyStopping, Optimizer, Wandb

OPTIMIZERS = ("adamw", "adamw_torch", "adamw_torch_fused")


@dataclass(frozen=True)
class FitBatch:
    """Examples that go through the model at a time, in training and in evaluation, and how many
    such micro-batches make an update."""

    train: int
    eval: int
    accumulation: int

    @property
    def effective(self) -> int:
        """Examples that one update learns from; the last one of an epoch may have fewer."""
        return self.train * self.accumulation


@dataclass(frozen=True)
class FitTrain:
    """How long (`max_steps`, or `epochs` where that is 0), what is written how often, in updates,
    and how it is computed. `max_first_loss` 0 stands for 1.5 ln V, `max_loss` 0 for 3 ln V."""

    checkpoint_dir: Path
    max_steps: int
    epochs: float
    validate_every: int
    checkpoint_every: int
    log_every: int
    keep_checkpoints: int
    keep_best: bool
    validate_first: bool
    precision: str
    tf32: bool
    activation_checkpointing: bool
    pin_memory: bool
    workers: int
    tensorboard: bool
    max_loss: float
    max_first_loss: float
    early_stopping: EarlyStopping | None


@dataclass(frozen=True)
class FitSettings:
    """Everything the loop needs to know; what is trained, and on what, the task knows."""

    seed: int
    optimizer: Optimizer
    optimizer_name: str
    batch: FitBatch
    train: FitTrain
    wandb: Wandb
    gpus: int
    config_path: Path
    stages: tuple[Stage, ...]

    def stage(self, step: int) -> Stage:
        """The optimizer's values for update number `step`, counted from 1."""
        return stage_at(self.stages, step)

    def steps_per_epoch(self, examples: int) -> int:
        """Updates that see each example once; nothing is dropped, the last update is short."""
        return math.ceil(examples / self.batch.effective)

    def total_steps(self, examples: int) -> int:
        """Updates in all."""
        if self.train.max_steps:
            return self.train.max_steps
        return math.ceil(self.train.epochs * self.steps_per_epoch(examples))

    def schedule(self, total: int) -> Schedule:
        """The learning rate of each update; a warm-up ratio is one of all `total` updates, rounded
        up as transformers' trainer does."""
        o = self.optimizer
        ratio = o.warmup_ratio
        warmup = o.warmup_steps if ratio is None else math.ceil(Fraction(str(ratio)) * total)
        return Schedule(o.lr, o.min_lr, warmup, total, o.decay)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that wrote the checkpoint. Not in it: the
        number of updates, which may grow, and the micro-batch, which a lack of memory changes."""
        rows: dict[str, Any] = {"seed": self.seed, "batch.effective": self.batch.effective}
        rows |= {f"optimizer.{key}": value for key, value in asdict(self.optimizer).items()}
        rows["optimizer.betas"] = list(self.optimizer.betas)
        if self.stages[0].number:
            rows["curriculum_stages"] = [
                {key: stage.identity()[key] for key in OF_OPTIMIZER} for stage in self.stages
            ]
        return rows


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command line that every such trainer takes."""
    parser.add_argument("--config", required=True, help="the job's resolved configuration")
    parser.add_argument("--checkpoint-dir", help="where checkpoints and metrics go")
    parser.add_argument("--max-steps", type=int, help="updates in all")
    parser.add_argument("--batch", type=int, help="examples that go through the model at a time")


def override(config: Section, args: argparse.Namespace) -> None:
    """Put the values of add_flags' flags into the configuration."""
    parameters = config.values["parameters"]
    for section, key, value in (
        ("train", "checkpoint_dir", args.checkpoint_dir),
        ("train", "max_steps", args.max_steps),
        ("batch", "train", args.batch),
    ):
        if value is not None:
            parameters[section] = config.mapping(f"parameters.{section}") | {key: value}
    if args.max_steps is not None:
        parameters["train"]["epochs"] = 0


def read_fit(config: Section) -> FitSettings:
    """Settings from a configuration; problems stay in `config` for its raise_problems."""
    p = "parameters."
    foreign_names.refuse(config)
    gpus = config.get("resources.gpus", int, 0) * config.positive("resources.nodes", 1)
    config.check(gpus <= 1, f"resources ask for {gpus} GPUs, and this training uses one")
    directory = config.get(p + "train.checkpoint_dir", str)
    micro = config.positive(p + "batch.train")
    o = _optimizer(config)
    base = Stage(0, 0, 1, 1, 1, 1.0, o.weight_decay, o.clip, o.betas, o.eps)
    return FitSettings(
        seed=config.get(p + "seed", int),
        optimizer=o,
        optimizer_name=config.choice(p + "optimizer.name", OPTIMIZERS, "adamw"),
        batch=FitBatch(
            micro,
            config.positive(p + "batch.eval", micro),
            config.positive(p + "batch.accumulation", 1),
        ),
        train=_train(config, directory),
        wandb=Wandb(
            project=config.get(p + "wandb.project", str, "training"),
            name=config.get(p + "wandb.name", str, Path(directory).name or "run"),
            mode=config.choice(p + "wandb.mode", ("online", "offline", "disabled"), "disabled"),
            directory=Path(config.get(p + "wandb.dir", str, "logs/wandb")),
        ),
        gpus=gpus,
        config_path=config.source,
        stages=read_stages(config, base, 1, OF_OPTIMIZER),
    )


def _optimizer(config: Section) -> Optimizer:
    p = "parameters.optimizer."
    lr = config.get(p + "lr", float)
    min_lr = config.get(p + "min_lr", float, 0.0)
    steps = config.get(p + "warmup_steps", int, 0)
    ratio = config.get(p + "warmup_ratio", float, 0.0)
    config.check(lr > 0, f"{p}lr is {lr}, not above 0")
    config.check(0 <= min_lr <= lr, f"{p}min_lr is {min_lr}, not between 0 and lr")
    config.check(not (steps and ratio), f"{p}warmup_steps and warmup_ratio are both given")
    config.check(0 <= ratio <= 1, f"{p}warmup_ratio is {ratio}, not between 0 and 1")
    config.check(steps >= 0, f"{p}warmup_steps is below 0")
    betas = config.numbers(p + "betas", 2, (0.9, 0.999))
    return Optimizer(
        lr=lr,
        min_lr=min_lr,
        warmup_steps=steps,
        warmup_ratio=ratio or None,
        decay=config.choice(p + "decay", SHAPES, "linear"),
        weight_decay=config.get(p + "weight_decay", float, 0.0),
        clip=config.get(p + "clip", float, 1.0),
        betas=(betas[0], betas[1]),
        eps=config.get(p + "eps", float, 1e-8),
    )


def _train(config: Section, directory: str) -> FitTrain:
    p = "parameters.train."
    steps, epochs = config.get(p + "max_steps", int, 0), config.get(p + "epochs", float, 0.0)
    config.check(
        (steps > 0) != (epochs > 0) and min(steps, epochs) >= 0,
        f"{p}max_steps is {steps} and {p}epochs {epochs:g}: one of them must be above 0",
    )
    every = config.positive(p + "validate_every")
    return FitTrain(
        checkpoint_dir=Path(directory),
        max_steps=steps,
        epochs=epochs,
        validate_every=every,
        checkpoint_every=config.positive(p + "checkpoint_every", every),
        log_every=config.positive(p + "log_every", 10),
        keep_checkpoints=config.positive(p + "keep_checkpoints", 3),
        keep_best=config.get(p + "keep_best", bool, True),
        validate_first=config.get(p + "validate_first", bool, False),
        precision=config.choice(p + "precision", PRECISIONS, "auto"),
        tf32=config.get(p + "tf32", bool, False),
        activation_checkpointing=config.get(p + "activation_checkpointing", bool, False),
        pin_memory=config.get(p + "pin_memory", bool, False),
        workers=_workers(config, p + "workers"),
        tensorboard=config.get(p + "tensorboard", bool, False),
        max_loss=config.get(p + "max_loss", float, 0.0),
        max_first_loss=config.get(p + "max_first_loss", float, 0.0),
        early_stopping=_early_stopping(config) if config.has(p + "early_stopping") else None,
    )


def _workers(config: Section, key: str) -> int:
    workers = config.get(key, int, 0)
    config.check(0 <= workers <= 64, f"{key} is {workers}, not between 0 and 64 threads")
    return max(workers, 0)


def _early_stopping(config: Section) -> EarlyStopping:
    """Patience 0 keeps the best and never stops."""
    p = "parameters.train.early_stopping."
    patience = config.get(p + "patience", int, 0)
    config.check(patience >= 0, f"{p}patience is {patience}, below 0")
    return EarlyStopping(
        metric=config.get(p + "metric", str, "val/loss"),
        mode=config.choice(p + "mode", ("min", "max"), "min"),
        min_delta=config.get(p + "min_delta", float, 0.0),
        patience=patience,
    )
