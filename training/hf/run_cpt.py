"""Continued pretraining with transformers, in one process or many: setup -> main -> fit.

    python training/hf/run_cpt.py --config jobs/configs/run_cpt_baseline.yaml
    torchrun --nproc-per-node 8 training/hf/run_cpt.py --config ...

Update s learns samples (s-1) x global ... s x global - 1 at the rate lr(s), whatever the number of
processes, so that a checkpoint needs no data cursor: a run that was killed goes on exactly where it
stood, to the bit on a CPU.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from torch.utils.checkpoint import checkpoint as recompute

from training.artifacts import tokenizer_files
from training.contract import Exit, ProgramError, Progress, mark_checkpoint, run_program
from training.data import Corpus, open_corpus
from training.hf import checkpoint, record
from training.hf.device import LossScale, autocast, pick_precision
from training.hf.feeder import Feeder
from training.hf.guards import Stop, catch_signals, tell_out_of_memory
from training.hf.loss import LOSSES, resolve_loss
from training.hf.model import build_model, build_optimizer, flops_per_token
from training.hf.packing import Boundaries, Trainee, count_targets
from training.hf.parallel import (
    World,
    adding_up,
    clip_gradients,
    join,
    layers,
    resolve_parallel,
    spread,
)
from training.metrics import JsonlSink, Sink, Status, open_tensorboard, open_wandb
from training.pace import Pace
from training.resume import Position, refuse_other_run
from training.settings import Settings, load_settings, parse_arguments
from training.stopping import WATCH_ONLY, Best

SIGNALS = ("SIGTERM", "SIGUSR1")


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
    sinks: list[Sink] = field(default_factory=list)
    step: int = 0
    halt: str = ""
    resumed: list[dict[str, float]] = field(default_factory=list)

    @property
    def consumed(self) -> int:
        """Training samples seen so far."""
        return self.step * self.settings.batch.global_size

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
            self.step, self.consumed, self.settings.train.max_steps, self.identity,
            self.best.value, self.best.step, self.best.bad, self.scale.factor, self.scale.good,
        )  # fmt: skip


def main(argv: list[str]) -> Exit:
    """Train to the end, or as far as it goes; the exit code says which."""
    args = parse_arguments(argv, "Train one arm with transformers (GPUs or CPU).")
    with join() as world, catch_signals() as stop:
        settings = world.together(lambda: load_settings(args, world.size))
        with tell_out_of_memory(settings):
            run = setup(settings, world, stop)
        if run is None:
            return Exit.OK
        try:
            run.sinks = open_sinks(run) if world.first else []
            run.status.write("running", step=run.step, consumed_samples=run.consumed)
            with tell_out_of_memory(settings):
                return fit(run)
        except ProgramError as error:
            state = "diverged" if error.code is Exit.DIVERGED else "failed"
            run.status.write(state, step=run.step, reason=str(error))
            raise
        finally:
            run.feeder.close()
            for sink in run.sinks:
                sink.close()


def setup(settings: Settings, world: World, stop: Stop) -> Run | None:
    """Check every input, build the model, go back to the newest checkpoint; None when finished."""
    train, device = settings.train, world.device
    progress = Progress(train.max_steps)
    if not world.first:
        progress.path = None
    progress.report(0, "opening data")
    precision = world.together(lambda: pick_precision(train.precision, device))
    corpus, identity = open_data(settings, world, precision)
    how = {
        "precision": precision,
        "parallel": resolve_parallel(train.parallel, world),
        "loss_kind": world.together(lambda: choose_loss(settings, device)),
    }
    status = record.open_status(settings, world, how)
    if world.together(lambda: record.finished(settings, identity, status)):
        return None
    found = world.together(lambda: newest(settings, identity))
    progress.report(0, "building the model")
    model = build_model(settings).to(device)
    if train.activation_checkpointing:
        for layer in layers(model):  # each computes its activations again in the backward pass
            layer.forward = partial(recompute, layer.forward, use_reentrant=False)
    if train.compile:
        for layer in layers(model):
            layer.compile()
    boundaries = Boundaries(settings.data, settings.eod)
    trainee = Trainee(model, LOSSES[how["loss_kind"]], boundaries).train()
    flops = flops_per_token(model, settings.model.seq_length)
    pace = Pace(settings, flops, device, world.size, precision)
    status.facts["parameters"] = sum(p.numel() for p in model.parameters())
    status.facts["peak_flops"] = {"per_second": pace.peak, "from": pace.source}
    trainee = spread(trainee, how["parallel"], precision, world)
    run = Run(
        settings=settings,
        world=world,
        identity=identity,
        precision=precision if how["parallel"] != "fsdp2" else "fp32",
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
    )
    if found:
        resume(run, *found)
    return run


def choose_loss(settings: Settings, device: torch.device) -> str:
    """The kind of loss for one micro-batch."""
    tokens = settings.batch.micro * settings.model.seq_length
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


def resume(run: Run, path: Path, at: Position) -> None:
    """Go back to a checkpoint: tensors, step, best value, patience and loss scale."""
    checkpoint.load_checkpoint(path, run.model, run.optimizer)
    run.step = at.step
    run.best.value, run.best.step, run.best.bad = at.best, at.best_step, at.bad
    run.scale.factor, run.scale.good = at.scale, at.scale_good
    if run.world.first:
        print(f"resumed from {path}", flush=True)


def open_sinks(run: Run) -> list[Sink]:
    """Where rows go: always metrics.jsonl, and what the study asks for."""
    root = run.settings.train.checkpoint_dir
    rows = JsonlSink(root / "metrics.jsonl")
    run.resumed = rows.trim(run.step)
    wandb = open_wandb(run.settings.wandb, root, {**run.identity, **run.status.facts})
    board = open_tensorboard(root, run.step) if run.settings.train.tensorboard else None
    return [rows, *(sink for sink in (wandb, board) if sink)]


def fit(run: Run) -> Exit:
    """The loop: steps, rows, validation, checkpoints, until max_steps, patience or a signal."""
    train = run.settings.train
    if run.world.together(lambda: validation_missing(run)):
        validate(run)
    run.pace.start(run.step)
    while run.step < train.max_steps and not run.best.exhausted:
        loss, norm = learn(run)
        run.agree()
        if due(run, train.log_every):
            report(run, loss, norm)
        if due(run, train.validate_every) and not run.halt:
            validate(run)
        if due(run, train.checkpoint_every) or run.halt or run.best.exhausted:
            save(run)
        if run.halt and run.step < train.max_steps:
            run.status.write("stopped", reason=run.halt)
            if run.world.first:
                print(f"stopped by {run.halt} after step {run.step}", file=sys.stderr)
            return Exit.PREEMPTED
    return finish(run)


def due(run: Run, every: int) -> bool:
    """Whether this step is one of every so many, or the last."""
    return run.step > 0 and (run.step % every == 0 or run.step == run.settings.train.max_steps)


def validation_missing(run: Run) -> bool:
    """Whether a signal came between the resumed step's checkpoint and its validation."""
    rows = [row for row in run.resumed if row["step"] == run.step and "val/loss" in row]
    return due(run, run.settings.train.validate_every) and not rows


def learn(run: Run) -> tuple[float, float]:
    """One update. Returns the mean loss in nats a token and the gradient norm before clipping."""
    settings, world, step = run.settings, run.world, run.step + 1
    for group in run.optimizer.param_groups:
        group["lr"] = settings.schedule(step)
    # Dropout, where a model has any, follows from the step: no random state needs to be saved.
    torch.manual_seed(((settings.seed << 32) + (step << 12) + world.rank) % 2**63)
    tokens = run.feeder.take(step)
    (count,) = world.sum(count_targets(tokens, settings.data, settings.eod))
    factor = run.scale.factor * world.size / max(count, 1)  # gradients are averaged over processes
    total = torch.zeros((), device=world.device)
    parts = torch.split(tokens, settings.batch.micro)
    for number, part in enumerate(parts, 1):
        with adding_up(run.trainee, number == len(parts)), autocast(run.precision, world.device):
            loss = run.trainee(part.to(world.device))
            torch.autograd.backward(loss * factor)
        total += loss.detach()
    loss_value = world.sum(float(total))[0] / max(count, 1)
    run.step = step
    return loss_value, update(run, loss_value)


def update(run: Run, loss: float) -> float:
    """Clip, refuse what has diverged, step. Returns the gradient norm before clipping."""
    optimizer, scale, clip = run.optimizer, run.scale.factor, run.settings.optimizer.clip
    parameters = [p for p in run.model.parameters() if p.grad is not None]
    if scale != 1:
        for parameter in parameters:
            parameter.grad /= scale
    norm = clip_gradients(parameters, clip if clip > 0 else math.inf)
    most = run.settings.train.max_loss or 3 * math.log(run.settings.model.vocab_size)
    accepted = run.scale.accept(math.isfinite(norm))
    numbers = math.isfinite(loss) and (math.isfinite(norm) or run.scale.active)
    if not numbers or loss > most or run.scale.factor < 1:
        run.step -= 1
        raise ProgramError(
            Exit.DIVERGED,
            f"step {run.step + 1}: loss is {loss:.4g}, gradient norm {norm:.4g}"
            + (f", and the loss is bounded by {most:.4g}" if numbers else ""),
            "Lower optimizer.lr or lengthen the warm-up; the last checkpoint is from before",
        )
    if accepted:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def report(run: Run, loss: float, norm: float) -> None:
    """One row of metrics, one line for whoever watches."""
    last, rate = run.settings.train.max_steps, run.settings.schedule(run.step)
    pace = run.pace.measure(run.step, run.feeder.waited)
    if not run.world.first:
        return
    run.log(
        {
            "train/loss": loss,
            "train/learning_rate": rate,
            "train/consumed_samples": run.consumed,
            "train/grad_norm": norm,
            **pace.row,
        }
    )
    run.status.write(
        "running",
        sync=False,
        step=run.step,
        consumed_samples=run.consumed,
        loss=loss,
        tokens_per_second=pace.tokens_per_second,
        remaining_s=pace.remaining_s,
    )
    run.progress.report(run.step, "training", pace.tokens_per_second, loss, pace.remaining_s)
    print(
        f"step {run.step}/{last}  loss {loss:.4f}  lr {rate:.3g}  norm {norm:.3f}  "
        f"{pace.tokens_per_second:.0f} tokens/s",
        flush=True,
    )


def validate(run: Run) -> None:
    """Mean loss over the first validate_batches global batches of held-out text, fewer if short.

    A signal ends it without a row: the checkpoint matters more, and the next attempt validates.
    """
    settings, world = run.settings, run.world
    length, micro = settings.model.seq_length + 1, settings.batch.micro
    stream = run.corpus.validation
    most = settings.train.validate_batches * settings.batch.global_size
    samples = min((stream.total - 1) // (length - 1), most)
    total, count, device = 0.0, 0, world.device
    run.trainee.eval()
    with torch.no_grad(), autocast(run.precision, device), run.pace.pause():
        for first in range(0, samples, micro * world.size):
            run.agree()
            if run.halt:
                break
            mine = first + world.rank * micro
            rows = min(micro, samples - mine)
            # A process with none left computes one for nothing: shares of weights need them all.
            tokens = torch.from_numpy(stream.batch(min(mine, samples - 1), max(rows, 1), length))
            loss = float(run.trainee(tokens.to(device)))
            if rows > 0:
                total += loss
                count += count_targets(tokens, settings.data, settings.eod)
    run.trainee.train()
    if run.halt:
        return
    total, seen = world.sum(total, count)
    loss = total / max(seen, 1)
    values = {"val/loss": loss, "val/perplexity": math.exp(min(loss, 700.0))}
    run.log(values)
    if run.best.update(run.step, values[run.best.rule.metric]) and settings.train.keep_best:
        record.write_model(run, "best")
    run.status.facts |= {"val_loss": loss, "best": run.best.value, "best_step": run.best.step}
    if world.first:
        print(f"step {run.step}  validation loss {loss:.4f} ({samples} samples)", flush=True)


def save(run: Run) -> None:
    """Write a checkpoint, then let go of the oldest."""
    train = run.settings.train
    run.progress.report(run.step, "writing a checkpoint")
    with run.pace.pause():
        path = checkpoint.save_checkpoint(
            train.checkpoint_dir, run.position(), run.model, run.optimizer,
            run.settings.tokenizer_path, run.world,
        )  # fmt: skip
    if run.world.first:
        mark_checkpoint(run.step)
        checkpoint.prune_checkpoints(train.checkpoint_dir, train.keep_checkpoints)
    run.status.write("running", step=run.step, consumed_samples=run.consumed, checkpoint=path.name)


def finish(run: Run) -> Exit:
    """Write final/, then say that it is done, and why if before max_steps."""
    train = run.settings.train
    kept = run.world.together(lambda: (train.checkpoint_dir / "best").is_dir())
    best = train.early_stopping is not None and train.keep_best and kept
    record.write_model(run, "final", of="best" if best else "")
    why: dict[str, Any] = {}
    if run.step < train.max_steps:
        patience, metric = run.best.rule.patience, run.best.rule.metric
        why["reason"] = f"stopped early: {patience} validations without a better {metric}"
    run.status.write("done", step=run.step, consumed_samples=run.consumed, **why)
    if run.world.first:
        run.progress.report(train.max_steps, why.get("reason", "done"))
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
