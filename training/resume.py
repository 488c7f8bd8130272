"""Whether a checkpoint may be gone on from under the values of this run. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.contract import BadInput
from training.metrics import warn


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
