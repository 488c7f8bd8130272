"""Checkpoints that are whole or absent: written aside, digested, renamed; read newest first."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.contract import BadInput, file_digest, publish_directory
from training.metrics import warn

MANIFEST = "manifest.json"
STATE = "state.pt"
NAME = re.compile(r"step_(\d{8})")


@dataclass(frozen=True)
class Position:
    """What a checkpoint says beside tensors: enough to go on as if nothing had happened.

    Neither a data cursor nor random state is needed: samples follow from `consumed_samples`, and
    the model has no dropout.
    """

    step: int
    consumed_samples: int
    max_steps: int
    identity: dict[str, Any]


def write_manifest(directory: Path, facts: dict[str, Any]) -> None:
    """The last file into a directory: facts, and size and digest of all the others."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(directory.iterdir())
        if path.is_file()
    }
    text = json.dumps({**facts, "files": files}, indent=1, sort_keys=True)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a directory whose files all match it; ValueError saying what does not."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory / MANIFEST} cannot be read") from error
    for name, facts in manifest["files"].items():
        path = directory / name
        size = path.stat().st_size if path.is_file() else -1
        if size != facts["bytes"]:
            raise ValueError(f"{path} has {max(size, 0)} bytes of {facts['bytes']}")
        if file_digest(path) != facts["sha256"]:
            raise ValueError(f"{path} does not match its digest")
    return dict(manifest)


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


def refuse_other_run(position: Position, identity: dict[str, Any], max_steps: int) -> None:
    """BadInput when a checkpoint was made under other values; a growing max_steps only warns."""
    keys = sorted(identity.keys() | position.identity.keys())
    differing = [key for key in keys if identity.get(key) != position.identity.get(key)]
    if max_steps < position.max_steps:
        differing.append("train.max_steps")
    if differing:
        now = {**identity, "train.max_steps": max_steps}
        then = {**position.identity, "train.max_steps": position.max_steps}
        told = ", ".join(f"{key} {then.get(key)!r} -> {now.get(key)!r}" for key in differing)
        raise BadInput(
            f"the checkpoint of step {position.step} was made under other values ({told})",
            "Restore the values, or give the new run its own --checkpoint-dir",
        )
    if max_steps > position.max_steps:
        warn(
            f"max_steps grew from {position.max_steps} to {max_steps}: the learning rate of the "
            f"steps to come follows the longer schedule"
        )
