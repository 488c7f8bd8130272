"""Training over padded examples, in one process: setup -> fit. What is trained is a Task.

Update s learns a known set of examples: those at places (s-1) x effective ... of its epoch's order,
the last update of an epoch the rest. So a checkpoint needs no data cursor, and a run that was
killed goes on exactly where it stood, to the bit on a CPU. Files, rows and exit codes are those of
docs/training.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from training.contract import BadInput, Exit, ProgramError, mark_checkpoint
from training.fit_settings import FitSettings
from training.health import check_all
from training.hf import fit_files
from training.hf.advice import advice, use_of
from training.hf.batches import Wanted
from training.hf.checkpoint import list_checkpoints, prune_checkpoints
from training.hf.descent import descend
from training.hf.device import memory_bytes
from training.hf.fit_run import Fit, open_sinks, setup
from training.hf.guards import catch_signals, is_out_of_memory
from training.hf.model import set_stage
from training.hf.task import Interrupted, Task, refuse_unknown_metric
from training.metrics import warn
from training.stopping import WATCH_ONLY


def train(settings: FitSettings, task: Task) -> Exit:
    """Set up and fit; nothing to do where final/ is whole and holds what the settings ask for."""
    rule = settings.train.early_stopping
    refuse_unknown_metric((rule or WATCH_ONLY).metric, task.metrics)
    if settings.gpus:
        check_all(settings.gpus, settings.train.checkpoint_dir)
    with catch_signals() as stop, tell_out_of_memory(settings):
        run = setup(settings, task, stop)
        if run is None:
            return Exit.OK
        try:
            run.sinks = open_sinks(run)
            run.status.write("running", step=run.step, consumed_samples=run.consumed())
            return fit(run)
        except ProgramError as error:
            state = "diverged" if error.code is Exit.DIVERGED else "failed"
            run.status.write(state, step=run.step, reason=str(error))
            raise
        finally:
            run.batches.close()
            for sink in run.sinks:
                sink.close()


def fit(run: Fit) -> Exit:
    """The loop: updates, rows, evaluations, checkpoints, until the last, patience or a signal."""
    options = run.settings.train
    run.task.model.train()
    if evaluation_missing(run):
        evaluate(run)
    run.clock.start(run.step, run.consumed())
    while run.step < run.total and not run.best.exhausted and not run.halt:
        loss, norm, parts = learn(run)
        if due(run, options.log_every):
            report(run, loss, norm, parts)
            advise(run)
        if due(run, options.validate_every):
            evaluate(run)
        if due(run, options.checkpoint_every) or run.halt or run.best.exhausted:
            save(run)
    if run.halt and (run.step < run.total or run.unmeasured):
        run.status.write("stopped", step=run.step, reason=run.halt)
        print(f"stopped by {run.halt} after step {run.step}", file=sys.stderr)
        return Exit.PREEMPTED
    return finish(run)


def due(run: Fit, every: int) -> bool:
    """Whether this step is one of every so many, or the last."""
    return run.step > 0 and (run.step % every == 0 or run.step == run.total)


def evaluation_missing(run: Fit) -> bool:
    """Whether one is asked for before training, or a signal came between the resumed step's
    checkpoint and its evaluation."""
    first = run.step == 0 and run.settings.train.validate_first
    metric = run.best.rule.metric
    rows = [row for row in run.resumed if row["step"] == run.step and metric in row]
    return (first or due(run, run.settings.train.validate_every)) and not rows


def examples_of(run: Fit, step: int) -> Sequence[int]:
    """The examples that update `step` (from 1) learns from."""
    epoch, place = divmod(step - 1, run.per_epoch)
    if epoch != run.epoch:
        run.epoch, run.order = epoch, run.task.order(epoch)
    size = run.settings.batch.effective
    return run.order[place * size : (place + 1) * size]


def micro_batches(run: Fit, step: int) -> list[Wanted]:
    """What update `step` learns from, cut as it goes through the model."""
    numbers, size = examples_of(run, step), run.settings.batch.train
    return [(numbers[at : at + size], run.epoch) for at in range(0, len(numbers), size)]


def learn(run: Fit) -> tuple[float, float, dict[str, float]]:
    """One update: its mean loss in nats a target, the gradient norm before clipping, and what the
    loss is made of. Micro-batches are weighed by their targets, as if they were one batch."""
    settings, step, task = run.settings, run.step + 1, run.task
    stage = settings.stage(step)
    set_stage(run.optimizer, stage)
    for group in run.optimizer.param_groups:
        group["lr"] = run.schedule(step) * stage.lr_scale
    # Dropout follows from the step: no random state needs to be saved.
    torch.manual_seed(((settings.seed << 32) + (step << 12)) % 2**63)
    batches = run.batches.take(step, lambda one: micro_batches(run, one), run.total)
    count = max(sum(task.count(batch) for batch in batches), 1)
    total, sums = 0.0, dict[str, tuple[float, float]]()
    for batch in batches:
        with run.place.autocast():
            loss = task.loss(run.place.put(batch))
        (loss.total * (run.scale.factor / count)).backward()  # type: ignore[no-untyped-call]
        total += float(loss.total.detach())
        for name, (value, among) in loss.parts.items():
            before = sums.get(name, (0.0, 0.0))
            sums[name] = (before[0] + value, before[1] + among)
    run.step = step
    parts = {name: value / among for name, (value, among) in sums.items() if among}
    return total / count, update(run, total / count), parts


def update(run: Fit, loss: float) -> float:
    """Update run.step; where it is refused, the run stands at the one before. The gradient norm."""
    clip, model = run.settings.stage(run.step).clip, run.task.model
    most = run.settings.train.max_loss or 3 * math.log(run.task.vocab_size)
    run.step -= 1
    if run.step == 0:
        refuse_first_loss(run, loss)
    norm = descend(run.optimizer, model.parameters(), run.scale, run.step + 1, loss, clip, most)
    run.step += 1
    return norm


def refuse_first_loss(run: Fit, loss: float) -> None:
    """BadInput when the loss before any update is far above that of guessing, ln V."""
    guess = math.log(run.task.vocab_size)
    most = run.settings.train.max_first_loss or 1.5 * guess
    if math.isfinite(loss) and loss > most:
        raise BadInput(
            f"the loss before the first update is {loss:.4g}, above {most:.4g} (guessing among "
            f"{run.task.vocab_size} ids costs {guess:.4g})",
            run.task.blame,
        )


def report(run: Fit, loss: float, norm: float, parts: dict[str, float]) -> None:
    """One row of metrics, one line for whoever watches."""
    rate = run.schedule(run.step) * run.settings.stage(run.step).lr_scale
    pace, left = run.clock.measure(run.step, run.consumed(), run.total)
    run.log(
        {
            "train/loss": loss,
            **{f"train/{name}": value for name, value in parts.items()},
            "train/learning_rate": rate,
            "train/grad_norm": norm,
            "train/grad_norm_clipped": min(norm, run.settings.optimizer.clip or math.inf),
            "train/epoch": run.step / run.per_epoch,
            "train/consumed_samples": run.consumed(),
            "train/examples_per_second": pace,
            "train/memory_bytes": float(memory_bytes(run.place.device)),
        }
    )
    now = {"step": run.step, "consumed_samples": run.consumed(), "loss": loss}
    run.status.write("running", sync=False, **now, examples_per_second=pace, remaining_s=left)
    run.progress.report(run.step, "training", pace, loss, left)
    print(
        f"step {run.step}/{run.total}  loss {loss:.4f}  lr {rate:.3g}  norm {norm:.3f}  "
        f"{pace:.1f} examples/s",
        flush=True,
    )


def advise(run: Fit) -> None:
    """Once, when the first rows are written: say where the GPU has much to spare."""
    used = use_of(run.place.device)
    if "advice" in run.status.facts or used is None:
        return
    told = advice(*used, run.settings)
    run.status.facts["advice"] = told
    if told:
        warn(told)


def evaluate(run: Fit) -> None:
    """The task's metrics; the best model is kept. A signal ends it without a row: the checkpoint
    matters more, and the next attempt evaluates."""
    run.progress.report(run.step, "evaluating")
    run.task.model.eval()
    try:
        with torch.no_grad(), run.place.autocast(), run.clock.pause():
            values = run.task.evaluate(run.place)
    except Interrupted:
        run.unmeasured = True
        return
    finally:
        run.task.model.train()
    run.log(values)
    if broken := [name for name, value in values.items() if not math.isfinite(value)]:
        raise ProgramError(
            Exit.DIVERGED,
            f"step {run.step}: {broken[0]} is {values[broken[0]]}",
            "Lower optimizer.lr or compute in fp32; the last checkpoint is from before",
        )
    if run.step == 0 and "val/loss" in values:
        refuse_first_loss(run, values["val/loss"])
    elif run.best.update(run.step, values[run.best.rule.metric]) and run.settings.train.keep_best:
        with run.clock.pause():
            fit_files.write_model(run.settings, run.task, run.position(), "best")
    told = "  ".join(f"{name} {value:.4f}" for name, value in sorted(values.items()))
    run.status.facts |= {"best": run.best.value, "best_step": run.best.step, "evaluation": values}
    print(f"step {run.step}  {told}", flush=True)


def save(run: Fit) -> None:
    """Write a checkpoint, then let go of the oldest."""
    options = run.settings.train
    run.progress.report(run.step, "writing a checkpoint")
    with run.clock.pause():
        path = fit_files.save_checkpoint(run.settings, run.task, run.optimizer, run.position())
    mark_checkpoint(run.step)
    prune_checkpoints(options.checkpoint_dir, options.keep_checkpoints)
    # Which evaluations can be had again: a model of each of these steps is on disk.
    kept = sorted(int(one.name.removeprefix("step_")) for one in list_checkpoints(path.parent))
    restorable = {"checkpoints": kept, "best": run.best.step if options.keep_best else None}
    run.status.facts |= {"restorable": restorable}
    run.status.write(
        "running", step=run.step, consumed_samples=run.consumed(), checkpoint=path.name
    )


def finish(run: Fit) -> Exit:
    """Write final/, then say that it is done, and why if before the last update."""
    options = run.settings.train
    kept = options.keep_best and (options.checkpoint_dir / "best").is_dir()
    best = options.early_stopping is not None and kept
    fit_files.write_model(
        run.settings, run.task, run.position(), "final", of="best" if best else ""
    )
    why: dict[str, Any] = {}
    if run.step < run.total:
        patience, metric = run.best.rule.patience, run.best.rule.metric
        why["reason"] = f"stopped early: {patience} evaluations without a better {metric}"
    run.status.write("done", step=run.step, consumed_samples=run.consumed(), **why)
    run.progress.report(run.total, why.get("reason", "done"))
    return Exit.OK


@contextmanager
def tell_out_of_memory(settings: FitSettings) -> Iterator[None]:
    """Turn torch's ways to run out of memory into exit code 71 with the remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        batch = settings.batch
        parts = [n for n in range(1, batch.train) if batch.effective % n == 0]
        smaller = min((n for n in parts if 2 * n >= batch.train), default=max(parts, default=1))
        remedy = (
            f"Set batch.train to {smaller}, batch.eval to {max(batch.eval // 2, 1)} and "
            f"batch.accumulation to {batch.effective // smaller}; an update keeps its "
            f"{batch.effective} examples"
            if batch.train > 1
            else "Use a device with more memory; batch.train is 1 already"
        )
        if not settings.train.activation_checkpointing:
            remedy += ". train.activation_checkpointing saves memory too"
        raise ProgramError(
            Exit.OUT_OF_MEMORY, f"out of memory at {batch.train} examples at a time", remedy
        ) from error
