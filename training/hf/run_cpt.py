"""Continued pretraining with transformers, in one process or many: setup -> main -> fit.

    python training/hf/run_cpt.py --config jobs/configs/run_cpt_baseline.yaml
    torchrun --nproc-per-node 8 training/hf/run_cpt.py --config ...

Which samples update s learns, of which length, how many and at which rate follows from s alone,
whatever the number of processes, so that a checkpoint needs no data cursor: a run that was killed
goes on exactly where it stood, to the bit on a CPU.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from training.config import load_settings, parse_arguments
from training.contract import Exit, ProgramError, mark_checkpoint, run_program
from training.hf import checkpoint, record
from training.hf.descent import descend
from training.hf.device import autocast
from training.hf.guards import Stop, catch_signals, refuse_unfit, tell_out_of_memory
from training.hf.heldout import measure
from training.hf.packing import count_targets
from training.hf.parallel import World, adding_up, join
from training.hf.run import Run, enter, setup
from training.metrics import JsonlSink, Sink, open_tensorboard, open_wandb
from training.settings import Settings


def main(argv: list[str]) -> Exit:
    """Train to the end, or as far as it goes; the exit code says which."""
    args = parse_arguments(argv, "Train one arm with transformers (GPUs or CPU).")
    refuse_unfit(args)
    with join() as world, catch_signals() as stop:
        settings = world.together(lambda: load_settings(args, world.size))
        return train(settings, world, stop)


def train(settings: Settings, world: World, stop: Stop) -> Exit:
    """Set up and fit. What holds the model ends here, before the processes part: see join."""
    with tell_out_of_memory(settings):
        run = setup(settings, world, stop)
    if run is None:
        return Exit.OK
    try:
        run.sinks = open_sinks(run) if world.first else []
        run.status.write("running", sync=True, step=run.step, **run.consumed)
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


def open_sinks(run: Run) -> list[Sink]:
    """Where rows go: always metrics.jsonl, and what the study asks for."""
    root = run.settings.train.checkpoint_dir
    rows = JsonlSink(root / "metrics.jsonl")
    run.resumed = rows.trim(run.step)
    for row in run.resumed:
        if "val/loss" in row:
            run.recent.clear()
        elif "train/loss" in row:
            run.recent.append(row["train/loss"])
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
        if run.settings.validates(run.step) and not run.halt:
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
    return run.settings.validates(run.step) and not rows


def learn(run: Run) -> tuple[float, float]:
    """One update. Returns the mean loss in nats a token and the gradient norm before clipping."""
    settings, world, step = run.settings, run.world, run.step + 1
    stage = settings.stage(step)
    if stage.number != run.stage:
        enter(run, stage)
    for group in run.optimizer.param_groups:
        group["lr"] = settings.rate(step)
    # Dropout, where a model has any, follows from the step: no random state needs to be saved.
    torch.manual_seed(((settings.seed << 32) + (step << 12) + world.rank) % 2**63)
    tokens = run.feeder.take(step)
    (count,) = world.sum(count_targets(tokens, settings.data, settings.eod))
    factor = run.scale.factor * world.size / max(count, 1)  # gradients are averaged over processes
    total = torch.zeros((), device=world.device)
    parts = torch.split(tokens, stage.micro)
    for number, part in enumerate(parts, 1):
        together = run.sync == "each" or number == len(parts)
        with adding_up(run.trainee, together), autocast(run.precision, world.device):
            loss = run.trainee(part.to(world.device))
            torch.autograd.backward(loss * factor)
        total += loss.detach()
    loss_value = world.sum(float(total))[0] / max(count, 1)
    run.step = step
    return loss_value, update(run, loss_value, stage.clip)


def update(run: Run, loss: float, clip: float) -> float:
    """Update run.step; where it is refused, the run stands at the one before. The gradient norm."""
    most = run.settings.train.max_loss or 3 * math.log(run.settings.model.vocab_size)
    run.step -= 1
    norm = descend(
        run.optimizer, run.model.parameters(), run.scale, run.step + 1, loss, clip, most
    )
    run.step += 1
    return norm


def report(run: Run, loss: float, norm: float) -> None:
    """One row of metrics, one line for whoever watches."""
    last, rate = run.settings.train.max_steps, run.settings.rate(run.step)
    pace = run.pace.measure(run.step, run.feeder.waited)
    if not run.world.first:
        return
    run.recent.append(loss)
    row: dict[str, float] = {
        "train/loss": loss,
        "train/learning_rate": rate,
        **{f"train/{name}": count for name, count in run.consumed.items()},
        "train/grad_norm": norm,
        **pace.row,
    }
    if run.settings.staged:
        stage = run.settings.stage(run.step)
        row |= {
            "train/stage": stage.number,
            "train/seq_len": stage.seq_len,
            "train/batch_size": stage.batch_size,
        }
    run.log(row)
    run.status.write(
        "running",
        sync=False,
        step=run.step,
        **run.consumed,
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
    """Look at held-out text, with the length of the stage just trained and that of the probe.

    A signal ends it without a row: the checkpoint matters more, and the next attempt validates.
    """
    stage, probe = run.settings.validated(run.step), run.settings.train.validation.probe
    found = measure(run, stage.seq_len)
    fixed = measure(run, probe) if found and probe else None
    if found is None or run.halt:
        return
    values = found.row("val") | (fixed.row("probe") if fixed else {})
    if run.recent:  # how much better the model knows what it has seen
        gap = found.loss - sum(run.recent) / len(run.recent)
        values["val/gap"] = math.exp(min(gap, 700.0))
        run.recent.clear()
    run.log(values)
    best = run.best
    scope = {"stage": stage.number, "length": stage.seq_len}.get(best.rule.scope, 0)
    better = best.update(run.step, values[best.rule.metric], scope)
    if better and run.settings.train.keep_best:
        record.write_model(run, "best")
    run.status.facts |= {"val_loss": found.loss, "best": best.value, "best_step": best.step}
    if run.world.first:
        told = f"validation loss {found.loss:.4f} ({found.samples} samples of {found.length})"
        print(f"step {run.step}  {told}", flush=True)


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
    run.status.write("running", sync=True, step=run.step, **run.consumed, checkpoint=path.name)


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
    run.status.write("done", sync=True, step=run.step, **run.consumed, **why)
    if run.world.first:
        run.progress.report(train.max_steps, why.get("reason", "done"))
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
