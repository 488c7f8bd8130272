"""All that one training holds, and how it is put together: data, model, newest checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from training.artifacts import tokenizer_files
from training.contract import Progress
from training.curriculum import Stage
from training.data import Corpus, open_corpus
from training.health import check_node
from training.hf import checkpoint, record
from training.hf.device import LossScale, pick_precision
from training.hf.feeder import Feeder
from training.hf.guards import Stop
from training.hf.layers import (
    compile_layers,
    forget_shapes,
    layers,
    recompute_layers,
    resolve_compile,
)
from training.hf.loss import LOSSES, resolve_loss
from training.hf.model import build_model, build_optimizer, flops_per_token, set_stage
from training.hf.packing import Boundaries, Trainee
from training.hf.parallel import World, resolve_parallel, resolve_sync, spread
from training.metrics import Sink, Status
from training.pace import Pace
from training.resume import Position, refuse_other_run
from training.settings import Settings
from training.stopping import WATCH_ONLY, Best

SIGNALS = ("SIGTERM", "SIGUSR1")
# Bytes of a checkpoint a parameter: the weight and AdamW's two moments, in fp32.
CHECKPOINT_BYTES = 12


@dataclass
class Run:
    """All that one training holds. `halt` is the signal that all processes have agreed to obey."""

    settings: Settings
    world: World
    identity: dict[str, Any]
    precision: str
    corpus: Corpus
    model: Any
    trainee: Any
    optimizer: torch.optim.AdamW
    scale: LossScale
    best: Best
    feeder: Feeder
    status: Status
    progress: Progress
    stop: Stop
    pace: Pace
    sync: str  # with which micro-batches gradients are added up over the processes
    compiled: bool
    sinks: list[Sink] = field(default_factory=list)
    step: int = 0
    stage: int = -1  # the number of the stage whose values the optimizer has
    halt: str = ""
    resumed: list[dict[str, float]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)  # losses reported since the last validation

    @property
    def consumed(self) -> dict[str, int]:
        """Training samples and tokens seen so far."""
        samples, tokens = self.settings.consumed(self.step)
        return {"consumed_samples": samples, "consumed_tokens": tokens}

    def log(self, values: dict[str, float]) -> None:
        """The same row to every sink; only the first process has any."""
        for sink in self.sinks:
            sink.log(self.step, values)

    def agree(self) -> None:
        """Obey a signal once every process knows of it, at the same step in all of them."""
        own = [float(self.stop.signal == name) for name in SIGNALS]
        counts = self.world.sum(*own)
        self.halt = next((n for n, count in zip(SIGNALS, counts, strict=True) if count), "")

    def position(self) -> Position:
        """Where the run stands, for a manifest."""
        return Position(
            step=self.step, max_steps=self.settings.train.max_steps, identity=self.identity,
            best=self.best.value, best_step=self.best.step, bad=self.best.bad,
            scope=self.best.scope, scale=self.scale.factor, scale_good=self.scale.good,
            stage=self.settings.stage(self.step).number, **self.consumed,
        )  # fmt: skip


def setup(settings: Settings, world: World, stop: Stop) -> Run | None:
    """Check every input, build the model, go back to the newest checkpoint; None when finished."""
    train, device = settings.train, world.device
    progress = Progress(train.max_steps)
    if not world.first:
        progress.path = None
    progress.report(0, "opening data")
    precision = world.together(lambda: pick_precision(train.precision, device))
    corpus, identity = open_data(settings, world, precision)
    parallel = world.together(lambda: resolve_parallel(train.parallel, world))
    loss = world.together(lambda: choose_loss(settings, device))
    sync = resolve_sync(train.gradient_sync, parallel)
    how = {"precision": precision, "parallel": parallel, "gradient_sync": sync, "loss_kind": loss}
    status = record.open_status(settings, world, how)
    if world.together(lambda: record.told_finished(settings, identity, status)):
        return None
    found = world.together(lambda: newest(settings, identity))
    progress.report(0, "building the model")
    model = build(settings, world, status)
    trainee = Trainee(model, LOSSES[loss], Boundaries(settings.data, settings.eod)).train()
    flops = flops_per_token(model, settings.model.seq_length)
    pace = Pace(settings, flops, device, world.size, precision)
    status.facts["peak_flops"] = {"per_second": pace.peak, "from": pace.source}
    trainee = spread(trainee, layers(model), parallel, precision, world)
    run = Run(
        settings=settings,
        world=world,
        identity=identity,
        precision=precision if parallel != "fsdp2" else "fp32",
        corpus=corpus,
        model=model,
        trainee=trainee,
        optimizer=build_optimizer(model, settings.optimizer),
        scale=LossScale(precision),
        best=Best(train.early_stopping or WATCH_ONLY),
        feeder=Feeder(corpus.train, settings, world),
        status=status,
        progress=progress,
        stop=stop,
        pace=pace,
        sync=sync,
        compiled=status.facts["compile"],
    )
    if found:
        resume(run, *found)
    return run


def build(settings: Settings, world: World, status: Status) -> Any:
    """The model on this process's device, its layers recomputed or compiled as the study asks."""
    train = settings.train
    model = build_model(settings).to(world.device)
    count = sum(p.numel() for p in model.parameters())
    world.together(lambda: check_node(0, train.checkpoint_dir, CHECKPOINT_BYTES * count))
    compiled = resolve_compile(train.compile, world)
    status.facts |= {"parameters": count, "compile": compiled}
    if compiled:
        compile_layers(model)
    if train.activation_checkpointing:
        recompute_layers(model)
    return model


def choose_loss(settings: Settings, device: torch.device) -> str:
    """The kind of loss for the largest micro-batch."""
    tokens = max(stage.micro * stage.seq_len for stage in settings.stages)
    tokens = max(tokens, settings.train.validation.batch * settings.model.seq_length)
    return resolve_loss(settings.train.loss, tokens, settings.model.vocab_size, device)


def open_data(settings: Settings, world: World, precision: str) -> tuple[Corpus, dict[str, Any]]:
    """The corpus, every id of it checked by the first process, and what this run is known by."""

    def check() -> None:
        tokenizer_files(settings.tokenizer_path)
        open_corpus(settings.data, settings.model, settings.seed)
        settings.train.checkpoint_dir.mkdir(parents=True, exist_ok=True)

    world.together(check)
    corpus = open_corpus(settings.data, settings.model, settings.seed, check=False)
    identity = {**settings.identity(), **corpus.identity(), "train.precision": precision}
    return corpus, identity


def newest(settings: Settings, identity: dict[str, Any]) -> tuple[Path, Position] | None:
    """The checkpoint to go on from; BadInput when it is another run's."""
    found = checkpoint.find_checkpoint(settings.train.checkpoint_dir)
    if found:
        refuse_other_run(found[1], identity, settings.train.max_steps)
    return found


def enter(run: Run, stage: Stage) -> None:
    """Go on with a stage's values."""
    run.stage = stage.number
    set_stage(run.optimizer, stage)
    run.pace.flops = flops_per_token(run.model, stage.seq_len)
    accumulation = stage.batch_size // (stage.micro * run.world.size)
    tokens = stage.batch_size * stage.seq_len
    run.status.facts |= {"accumulation": accumulation, "tokens_per_step": tokens}
    if not run.settings.staged:
        return
    if run.compiled:
        forget_shapes()
    run.status.facts["stage"] = stage.number
    if run.world.first:
        print(
            f"stage {stage.number} of {len(run.settings.stages)} from update {stage.first}: "
            f"{stage.batch_size} samples of {stage.seq_len} tokens, lr x {stage.lr_scale:g}",
            flush=True,
        )


def resume(run: Run, path: Path, at: Position) -> None:
    """Go back to a checkpoint: tensors, step, best value, patience and loss scale."""
    checkpoint.load_checkpoint(path, run.model, run.optimizer)
    run.step = at.step
    run.best.value, run.best.step, run.best.bad = at.best, at.best_step, at.bad
    run.best.scope = at.scope
    run.scale.factor, run.scale.good = at.scale, at.scale_good
    if run.world.first:
        print(f"resumed from {path}", flush=True)
