"""The files of a training over padded examples: status, checkpoints, best and final model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from training.artifacts import write_manifest
from training.contract import Progress, publish_directory
from training.fit_settings import FitSettings
from training.hf.checkpoint import OPTIMIZER, find_checkpoint, gather_optimizer
from training.hf.record import copy_files
from training.hf.task import Place, Task
from training.metrics import Status
from training.naming import run_name
from training.resume import Position, finished, refuse_other_run


class ExampleProgress(Progress):
    """Progress whose rate counts examples."""

    rate_unit = "examples/s"


def open_status(settings: FitSettings, place: Place, examples: int, total: int) -> Status:
    """status.json with the facts about a run that it holds from its first line on."""
    device, options, batch = place.device, settings.train, settings.batch
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else device.type
    facts = {
        "run_name": run_name(settings.wandb.name, name),
        "seed": settings.seed,
        "step": 0,
        "max_steps": total,
        "steps_per_epoch": settings.steps_per_epoch(examples),
        "examples": examples,
        "consumed_samples": 0,
        "device": name,
        "device_memory": torch.cuda.get_device_properties(device).total_memory if gpu else None,
        "precision": place.precision,
        "tf32": place.tf32,
        "activation_checkpointing": options.activation_checkpointing,
        "accumulation": batch.accumulation,
        "effective_batch": batch.effective,
        "config": str(settings.config_path),
        "torch": torch.__version__,
    }
    return Status(options.checkpoint_dir / "status.json", facts)


def told_finished(
    settings: FitSettings, identity: dict[str, Any], total: int, status: Status
) -> bool:
    """Whether the run is at its end, which its status then says; BadInput if it is another's."""
    train = settings.train
    at = finished(train.checkpoint_dir / "final", identity, total, train.early_stopping)
    if at and not status.done():
        status.write("done", step=at.step, consumed_samples=at.consumed_samples)
    return at is not None


def newest(root: Path, identity: Mapping[str, Any], total: int) -> tuple[Path, Position] | None:
    """The checkpoint to go on from; BadInput when it is another run's."""
    found = find_checkpoint(root)
    if found:
        refuse_other_run(found[1], dict(identity), total)
    return found


def save_checkpoint(
    settings: FitSettings, task: Task, optimizer: torch.optim.Optimizer, position: Position
) -> Path:
    """Write step_00000060 whole and return it."""
    target = settings.train.checkpoint_dir / f"step_{position.step:08d}"
    with publish_directory(target) as directory:
        task.save(directory)
        save_file(gather_optimizer(task.model, optimizer, True), directory / OPTIMIZER)
        write_versions(directory)
        write_manifest(directory, position.facts())
    return target


def write_model(
    settings: FitSettings, task: Task, position: Position, name: str, of: str = ""
) -> None:
    """Write the model to `<checkpoint-dir>/name`, whole: this step's, or a copy of `of`."""
    root = settings.train.checkpoint_dir
    with publish_directory(root / name) as directory:
        if of:
            copy_files(root / of, directory)
        else:
            task.save(directory)
            write_versions(directory)
        write_manifest(directory, position.facts())


def write_versions(directory: Path) -> None:
    """With which packages the files of a directory were written."""
    import transformers

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (directory / "versions.json").write_text(json.dumps(versions) + "\n", encoding="utf-8")
