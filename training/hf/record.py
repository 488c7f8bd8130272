"""What a run leaves for others: its facts, and its models in Hugging Face format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.artifacts import MANIFEST, write_manifest
from training.contract import publish_directory
from training.hf import checkpoint
from training.hf.parallel import World
from training.metrics import Status
from training.resume import finished
from training.settings import Settings

if TYPE_CHECKING:
    from training.hf.run import Run


class NoStatus(Status):
    """Of all processes but the first: facts are kept and no file is written."""

    def write(self, state: str, sync: bool = True, **values: Any) -> None:
        """Keep the values."""
        self.facts |= values


def open_status(settings: Settings, world: World, how: dict[str, Any]) -> Status:
    """status.json with the facts about a run that it holds from its first line on."""
    device, train = world.device, settings.train
    facts = {
        "step": 0,
        "max_steps": train.max_steps,
        "consumed_samples": 0,
        "consumed_tokens": 0,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": world.size,
        **how,
        "activation_checkpointing": train.activation_checkpointing,
        "config": str(settings.config_path),
        "torch": torch.__version__,
    }
    return (Status if world.first else NoStatus)(train.checkpoint_dir / "status.json", facts)


def told_finished(settings: Settings, identity: dict[str, Any], status: Status) -> bool:
    """Whether the run is at its end, which its status then says; BadInput if it is another's."""
    train = settings.train
    at = finished(train.checkpoint_dir / "final", identity, train.max_steps, train.early_stopping)
    if at and not status.done():
        samples, tokens = settings.consumed(at.step)
        status.write("done", step=at.step, consumed_samples=samples, consumed_tokens=tokens)
    return at is not None


def write_model(run: Run, name: str, of: str = "") -> None:
    """Write the model to `<checkpoint-dir>/name`, whole: this step's, or a copy of `of`.

    All processes call this together.
    """
    root = run.settings.train.checkpoint_dir
    weights = {} if of else checkpoint.gather_weights(run.model, run.world.first)

    def write() -> None:
        with publish_directory(root / name) as directory:
            if of:
                copy_files(root / of, directory)
            else:
                tokenizer = run.settings.tokenizer_path
                checkpoint.write_model(directory, run.model, weights, tokenizer)
            write_manifest(directory, run.position().facts())

    with run.pace.pause():
        run.world.together(write)


def copy_files(source: Path, target: Path) -> None:
    """All files but the manifest."""
    for path in sorted(source.iterdir()):
        if path.name != MANIFEST:
            shutil.copyfile(path, target / path.name)
