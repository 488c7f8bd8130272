"""The files of a training over padded examples: status, checkpoints, best and final model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from training.artifacts import read_manifest, write_manifest
from training.contract import Progress, publish_directory
from training.fit_settings import FitSettings
from training.hf.checkpoint import OPTIMIZER, find_checkpoint, gather_optimizer
from training.hf.record import copy_files
from training.hf.task import Place, Task
from training.metrics import Status, warn
from training.naming import run_name
from training.resume import Position, refuse_other_run
from training.stopping import WATCH_ONLY, Best


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


def finished(
    settings: FitSettings, identity: dict[str, Any], total: int, status: Status
) -> bool:
    """Whether final/ is whole and holds what these settings ask for; BadInput if another run's."""
    final = settings.train.checkpoint_dir / "final"
    if not final.is_dir():
        return False
    try:
        manifest = read_manifest(final)
    except ValueError as error:
        warn(f"{error}, so it is written again")
        return False
    del manifest["files"]
    at = Position(**manifest)
    refuse_other_run(at, identity, total)
    best = Best(settings.train.early_stopping or WATCH_ONLY, at.best, at.best_step, at.bad)
    if at.step < total and not best.exhausted:
        return False
    print(f"{final} is complete at step {at.step}; nothing to do")
    if '"done"' not in (status.path.read_text() if status.path.exists() else ""):
        status.write("done", step=at.step, consumed_samples=at.consumed_samples)
    return True


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
