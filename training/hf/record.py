"""What a run leaves for others: its facts, and its models in Hugging Face format."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.artifacts import MANIFEST, read_manifest, write_manifest
from training.contract import publish_directory
from training.hf import checkpoint
from training.hf.parallel import World
from training.metrics import Status
from training.resume import Position, refuse_other_run
from training.settings import Settings
from training.stopping import WATCH_ONLY, Best

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


def finished(settings: Settings, identity: dict[str, Any], status: Status) -> bool:
    """Whether final/ is whole and holds what these settings ask for; BadInput if another run's."""
    train = settings.train
    final = train.checkpoint_dir / "final"
    if not final.is_dir():
        return False
    try:
        manifest = read_manifest(final)
    except ValueError as error:
        print(f"warning: {error}, so it is written again", file=sys.stderr)
        return False
    del manifest["files"]
    at = Position(**manifest)
    refuse_other_run(at, identity, train.max_steps)
    best = Best(train.early_stopping or WATCH_ONLY, at.best, at.best_step, at.bad, at.scope)
    if at.step < train.max_steps and not best.exhausted:
        return False
    print(f"{final} is complete at step {at.step}; nothing to do")
    if '"done"' not in (status.path.read_text() if status.path.exists() else ""):
        samples, tokens = settings.consumed(at.step)
        status.write("done", step=at.step, consumed_samples=samples, consumed_tokens=tokens)
    return True


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
