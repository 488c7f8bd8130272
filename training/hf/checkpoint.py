"""Checkpoints that are whole or absent: written aside, digested, renamed; read newest first.

Each holds a model that transformers loads as it is (safetensors, configuration, tokenizer), and
beside it the optimizer's state by parameter name. Nothing in it depends on how many processes
wrote it, so any number may go on from it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from training.artifacts import copy_tokenizer, read_manifest, write_manifest
from training.contract import BadInput, publish_directory
from training.hf.parallel import World, put, whole
from training.metrics import warn
from training.resume import Position

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
NAME = re.compile(r"step_(\d{8})")

Tensors = dict[str, torch.Tensor]


def gather_weights(model: torch.nn.Module, first: bool) -> Tensors:
    """All weights by name, whole, on the host of the first process; elsewhere nothing is kept."""
    made = {}
    for name, tensor in model.named_parameters():
        full = whole(tensor)
        if first:
            made[name] = full
    return made


def gather_optimizer(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, first: bool
) -> Tensors:
    """The optimizer's state as `exp_avg/<parameter>` and so on, as gather_weights does."""
    made = {}
    for name, tensor in model.named_parameters():
        for key, value in sorted(optimizer.state[tensor].items()):
            full = whole(value)
            if first:
                made[f"{key}/{name}"] = full
    return made


def save_checkpoint(
    root: Path,
    position: Position,
    model: Any,
    optimizer: torch.optim.Optimizer,
    tokenizer: Path,
    world: World,
) -> Path:
    """Write `root`/step_00000060 whole and return it. All processes call this together."""
    target = root / f"step_{position.step:08d}"
    weights = gather_weights(model, world.first)
    states = gather_optimizer(model, optimizer, world.first)

    def write() -> None:
        with publish_directory(target) as directory:
            save_file(states, directory / OPTIMIZER)
            write_model(directory, model, weights, tokenizer)
            write_manifest(directory, position.facts())

    world.together(write)
    return target


def write_model(directory: Path, model: Any, weights: Tensors, tokenizer: Path) -> None:
    """What transformers loads, and the tokenizer."""
    save_file(weights, directory / MODEL, {"format": "pt"})
    model.config.save_pretrained(directory)
    model.generation_config.save_pretrained(directory)
    copy_tokenizer(tokenizer, directory)


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


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors into model and optimizer, of each this process's share."""
    load_weights(path, model)
    load_optimizer(path, model, optimizer)


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """The weights by parameter name."""
    with torch.no_grad(), safe_open(path / MODEL, "pt") as weights:
        for name, tensor in model.named_parameters():
            tensor.copy_(put(tensor, weights.get_tensor(name)))


def load_optimizer(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The optimizer's state by parameter name, as gather_optimizer gave it."""
    fused = any(group.get("fused") for group in optimizer.param_groups)
    with safe_open(path / OPTIMIZER, "pt") as states:
        saved: dict[str, list[str]] = {}
        for entry in states.keys():  # noqa: SIM118 (it is no mapping)
            key, name = entry.split("/", 1)
            saved.setdefault(name, []).append(key)
        for name, tensor in model.named_parameters():
            for key in saved.get(name, []):
                value = states.get_tensor(f"{key}/{name}")
                if value.dim() == 0:  # a count of steps, which only fused kernels keep on the GPU
                    value = value.to(tensor.device) if fused else value
                else:
                    value = put(tensor, value)
                optimizer.state[tensor][key] = value
