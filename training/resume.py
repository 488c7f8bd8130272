"""Whether a checkpoint may be gone on from under the values of this run. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.artifacts import read_manifest
from training.contract import BadInput
from training.metrics import warn
from training.settings import EarlyStopping
from training.stopping import WATCH_ONLY, Best


@dataclass(frozen=True)
class Position:
    """What a checkpoint says beside tensors: enough to go on as if nothing had happened.

    Neither a data cursor nor random state is needed: samples follow from `step`, and dropout from
    the seed and the step. `best`, `best_step`, `bad` and `scope` are those of training.stopping;
    `scale` and `scale_good` are fp16's loss scale; `stage` and the tokens say where `step` is.
    """

    step: int
    consumed_samples: int
    max_steps: int
    identity: dict[str, Any]
    best: float | None = None
    best_step: int = 0
    bad: int = 0
    scale: float = 1.0
    scale_good: int = 0
    scope: int = 0
    stage: int = 0
    consumed_tokens: int = 0

    def facts(self) -> dict[str, Any]:
        """For a manifest."""
        return dict(vars(self))


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


def finished(
    final: Path, identity: dict[str, Any], max_steps: int, rule: EarlyStopping | None
) -> Position | None:
    """Where the run ended whose last model is whole and all that this one asks for; None to train.

    Raises BadInput where the model is another run's.
    """
    if not final.is_dir():
        return None
    try:
        manifest = read_manifest(final)
    except ValueError as error:
        warn(f"{error}, so it is written again")
        return None
    del manifest["files"]
    at = Position(**manifest)
    refuse_other_run(at, identity, max_steps)
    best = Best(rule or WATCH_ONLY, at.best, at.best_step, at.bad, at.scope)
    if at.step < max_steps and not best.exhausted:
        return None
    print(f"{final} is complete at step {at.step}; nothing to do")
    return at
