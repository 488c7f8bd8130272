"""Checkpoints that are whole or absent: written aside, digested, renamed; read newest first."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch

from training.artifacts import read_manifest, write_manifest
from training.contract import BadInput, publish_directory
from training.metrics import warn
from training.resume import Position

STATE = "state.pt"
NAME = re.compile(r"step_(\d{8})")


def save_checkpoint(
    root: Path, position: Position, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Path:
    """Write `root`/step_00000060 whole and return it."""
    target = root / f"step_{position.step:08d}"
    with publish_directory(target) as directory:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, directory / STATE)
        write_manifest(directory, vars(position))
    return target


def prune_checkpoints(root: Path, keep: int) -> None:
    """Remove all but the newest `keep`; called once the newest one is on disk."""
    for path in list_checkpoints(root)[keep:]:
        shutil.rmtree(path)


def list_checkpoints(root: Path) -> list[Path]:
    """Checkpoint directories, newest first."""
    found = [path for path in root.iterdir() if NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted(found, reverse=True)


def find_checkpoint(root: Path) -> tuple[Path, Position] | None:
    """The newest complete checkpoint; those skipped are named on stderr. None when there is none.

    Raises BadInput when there are checkpoints and none is complete: to start from step 0 would
    throw away what the user believes is trained.
    """
    candidates = list_checkpoints(root)
    for path in candidates:
        try:
            manifest = read_manifest(path)
        except ValueError as error:
            warn(f"checkpoint {path.name} is skipped: {error}")
            continue
        del manifest["files"]
        return path, Position(**manifest)
    if candidates:
        raise BadInput(
            f"none of the {len(candidates)} checkpoints in {root} is complete",
            "Remove them to start from step 0, or restore one",
        )
    return None


def load_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """Put a checkpoint's tensors into model and optimizer."""
    state = torch.load(path / STATE, map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
