"""Continued pretraining in one process, on one GPU or a CPU: setup -> main -> fit -> validate.

    python training/hf/run_cpt.py --config jobs/configs/run_cpt_baseline.yaml

Update s learns samples (s-1) x global ... s x global - 1 at the rate lr(s), so that a checkpoint
needs no data cursor: a run that was killed goes on exactly where it stood, to the bit on a CPU.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started by path: its own folder must not shadow other modules
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from training.artifacts import copy_tokenizer, read_manifest, tokenizer_files, write_manifest
from training.contract import (
    BadInput,
    Exit,
    ProgramError,
    Progress,
    mark_checkpoint,
    publish_directory,
    run_program,
)
from training.data import Corpus, open_corpus
from training.hf import checkpoint
from training.hf.guards import Stop, catch_signals, tell_out_of_memory
from training.hf.model import (
    autocast,
    build_model,
    build_optimizer,
    pick_device,
    pick_precision,
    token_loss,
)
from training.metrics import JsonlSink, Sink, Status, open_wandb
from training.resume import Position, refuse_other_run
from training.settings import Settings, load_settings, parse_arguments


@dataclass
class Run:
    """All that one training holds."""

    settings: Settings
    identity: dict[str, Any]
    device: torch.device
    precision: str
    corpus: Corpus
    model: Any
    optimizer: torch.optim.AdamW
    rows: JsonlSink
    status: Status
    progress: Progress
    stop: Stop
    sinks: list[Sink] = field(default_factory=list)
    step: int = 0
    resumed: list[dict[str, float]] = field(default_factory=list)

    @property
    def consumed(self) -> int:
        """Training samples seen so far."""
        return self.step * self.settings.batch.global_size

    def log(self, values: dict[str, float]) -> None:
        """The same row to every sink."""
        for sink in self.sinks:
            sink.log(self.step, values)


def setup(settings: Settings, stop: Stop) -> Run | None:
    """Check every input, build the model, go back to the newest checkpoint; None when finished."""
    root = settings.train.checkpoint_dir
    tokenizer_files(settings.tokenizer_path)
    progress = Progress(settings.train.max_steps)
    progress.report(0, "opening data")
    corpus = open_corpus(settings.data, settings.model, settings.seed)
    device = pick_device()
    precision = pick_precision(settings.train.precision, device)
    identity = {**settings.identity(), **corpus.identity(), "train.precision": precision}
    root.mkdir(parents=True, exist_ok=True)
    status = Status(root / "status.json", describe(settings, device, precision))
    if finished(settings, identity, status):
        return None
    found = checkpoint.find_checkpoint(root)
    if found:
        refuse_other_run(found[1], identity, settings.train.max_steps)
    progress.report(0, "building the model")
    model = build_model(settings).to(device)
    model.train()
    run = Run(
        settings=settings,
        identity=identity,
        device=device,
        precision=precision,
        corpus=corpus,
        model=model,
        optimizer=build_optimizer(model, settings.optimizer),
        rows=JsonlSink(root / "metrics.jsonl"),
        status=status,
        progress=progress,
        stop=stop,
    )
    if found:
        checkpoint.load_checkpoint(found[0], model, run.optimizer, device)
        run.step = found[1].step
        print(f"resumed from {found[0]}", flush=True)
    run.resumed = run.rows.trim(run.step)
    status.facts["parameters"] = sum(p.numel() for p in model.parameters())
    return run


def describe(settings: Settings, device: torch.device, precision: str) -> dict[str, Any]:
    """The facts about a run that status.json holds from its first line on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "step": 0,
        "max_steps": settings.train.max_steps,
        "consumed_samples": 0,
        "device": name,
        "precision": precision,
        "accumulation": settings.batch.accumulation,
        "tokens_per_step": settings.tokens_per_step,
        "config": str(settings.config_path),
        "torch": torch.__version__,
    }


def finished(settings: Settings, identity: dict[str, Any], status: Status) -> bool:
    """Whether final/ is whole and holds what these settings ask for; BadInput if another run's."""
    final = settings.train.checkpoint_dir / "final"
    if not final.is_dir():
        return False
    try:
        manifest = read_manifest(final)
    except ValueError as error:
        print(f"warning: {error}, so it is written again", file=sys.stderr)
        return False
    del manifest["files"]
    position = Position(**manifest)
    refuse_other_run(position, identity, settings.train.max_steps)
    if position.step < settings.train.max_steps:
        return False
    print(f"{final} is complete at step {position.step}; nothing to do")
    if '"done"' not in (status.path.read_text() if status.path.exists() else ""):
        status.write("done", step=position.step, consumed_samples=position.consumed_samples)
    return True


def main(argv: list[str]) -> Exit:
    """Train to the end, or as far as it goes; the exit code says which."""
    args = parse_arguments(argv, "Train one arm in one process (GPU or CPU).")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadInput(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and this trainer is one process",
            "Start it without torchrun or srun -n, or set train.backend to nemo",
        )
    settings = load_settings(args, world=1)
    with catch_signals() as stop, tell_out_of_memory(settings):
        run = setup(settings, stop)
        if run is None:
            return Exit.OK
        root = settings.train.checkpoint_dir
        wandb = open_wandb(settings.wandb, root, {**run.identity, **run.status.facts})
        run.sinks = [run.rows, *([wandb] if wandb else [])]
        try:
            run.status.write("running", step=run.step, consumed_samples=run.consumed)
            return fit(run)
        except ProgramError as error:
            state = "diverged" if error.code is Exit.DIVERGED else "failed"
            run.status.write(state, step=run.step, reason=str(error))
            raise
        finally:
            for sink in run.sinks:
                sink.close()


def fit(run: Run) -> Exit:
    """The loop: steps, rows, validation, checkpoints, until max_steps or a signal."""
    train = run.settings.train
    if due(run, train.validate_every) and not any(
        row["step"] == run.step and "val/loss" in row for row in run.resumed
    ):
        validate(run)  # a signal came between this step's checkpoint and its validation
    tokens, seconds = 0, 0.0
    while run.step < train.max_steps:
        start = time.perf_counter()
        loss, norm = learn(run)
        tokens, seconds = (
            tokens + run.settings.tokens_per_step,
            seconds + time.perf_counter() - start,
        )
        if due(run, train.log_every):
            report(run, loss, norm, tokens / seconds)
            tokens, seconds = 0, 0.0
        if due(run, train.validate_every) and not run.stop.signal:
            validate(run)
        if due(run, train.checkpoint_every) or run.stop.signal:
            save(run)
        if run.stop.signal and run.step < train.max_steps:
            run.status.write("stopped", reason=run.stop.signal)
            print(f"stopped by {run.stop.signal} after step {run.step}", file=sys.stderr)
            return Exit.PREEMPTED
    return finish(run)


def due(run: Run, every: int) -> bool:
    """Whether this step is one of every so many, or the last."""
    return run.step > 0 and (run.step % every == 0 or run.step == run.settings.train.max_steps)


def learn(run: Run) -> tuple[float, float]:
    """One update. Returns the mean loss in nats a token and the gradient norm before clipping."""
    batch, clip = run.settings.batch, run.settings.optimizer.clip
    step = run.step + 1
    for group in run.optimizer.param_groups:
        group["lr"] = run.settings.schedule(step)
    length = run.settings.model.seq_length + 1
    tokens = torch.from_numpy(run.corpus.train.batch(run.consumed, batch.global_size, length))
    total = torch.zeros((), device=run.device)
    for micro in torch.split(tokens, batch.micro):
        with autocast(run.precision, run.device):
            loss = token_loss(run.model, micro.to(run.device)) / batch.accumulation
        torch.autograd.backward(loss)
        total += loss.detach()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), clip if clip > 0 else math.inf)
    loss_value, norm_value = float(total), float(norm)
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
        raise ProgramError(
            Exit.DIVERGED,
            f"step {step}: loss is {loss_value}, gradient norm {norm_value}",
            "Lower optimizer.lr or lengthen the warm-up; the last checkpoint is from before",
        )
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.step = step
    return loss_value, norm_value


def report(run: Run, loss: float, norm: float, rate: float) -> None:
    """One row of metrics, one line for whoever watches."""
    rate_now = run.settings.schedule(run.step)
    run.log(
        {
            "train/loss": loss,
            "train/learning_rate": rate_now,
            "train/consumed_samples": run.consumed,
            "train/tokens_per_second": rate,
            "train/grad_norm": norm,
        }
    )
    last = run.settings.train.max_steps
    run.status.facts |= {"step": run.step, "consumed_samples": run.consumed, "loss": loss}
    run.progress.report(run.step, "training", rate, loss)
    print(
        f"step {run.step}/{last}  loss {loss:.4f}  lr {rate_now:.3g}  norm {norm:.3f}  "
        f"{rate:.0f} tokens/s",
        flush=True,
    )


def validate(run: Run) -> None:
    """Mean loss over the first validate_batches global batches of held-out text, fewer if short.

    A signal ends it without a row: the checkpoint matters more, and the next attempt validates.
    """
    length, micro = run.settings.model.seq_length + 1, run.settings.batch.micro
    stream = run.corpus.validation
    most = run.settings.train.validate_batches * run.settings.batch.global_size
    samples = min((stream.total - 1) // (length - 1), most)
    total = 0.0
    run.model.eval()
    with torch.inference_mode(), autocast(run.precision, run.device):
        for first in range(0, samples, micro):
            if run.stop.signal:
                break
            tokens = torch.from_numpy(stream.batch(first, min(micro, samples - first), length))
            total += float(token_loss(run.model, tokens.to(run.device))) * len(tokens)
    run.model.train()
    if run.stop.signal:
        return
    loss = total / samples
    run.log({"val/loss": loss})
    run.status.facts["val_loss"] = loss
    print(f"step {run.step}  validation loss {loss:.4f} ({samples} samples)", flush=True)


def position(run: Run) -> Position:
    """Where the run stands, for a manifest."""
    return Position(run.step, run.consumed, run.settings.train.max_steps, run.identity)


def save(run: Run) -> None:
    """Write a checkpoint, then let go of the oldest."""
    train = run.settings.train
    run.progress.report(run.step, "writing a checkpoint")
    path = checkpoint.save_checkpoint(train.checkpoint_dir, position(run), run.model, run.optimizer)
    mark_checkpoint(run.step)
    checkpoint.prune_checkpoints(train.checkpoint_dir, train.keep_checkpoints)
    run.status.write("running", step=run.step, consumed_samples=run.consumed, checkpoint=path.name)


def finish(run: Run) -> Exit:
    """Write final/ in Hugging Face format with its tokenizer, then say that it is done."""
    import transformers

    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()
    final = run.settings.train.checkpoint_dir / "final"
    with publish_directory(final) as directory:
        run.model.save_pretrained(directory)
        copy_tokenizer(run.settings.tokenizer_path, directory)
        write_manifest(directory, vars(position(run)))
    run.status.write("done", step=run.step, consumed_samples=run.consumed)
    run.progress.report(run.step, "done")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
