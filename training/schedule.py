"""The learning rate of each step: linear warm-up, then cosine, linear or constant decay."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHAPES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class Schedule:
    """Rates from `lr` down to `min_lr` at `max_steps`, after `warmup_steps` up from 0."""

    lr: float
    min_lr: float
    warmup_steps: int
    max_steps: int
    shape: str = "cosine"

    def __call__(self, step: int) -> float:
        """The rate of update number `step`, counted from 1; at 0 it is 0 if there is a warm-up.

        Past `max_steps` it stays at the minimum (`constant` stays at `lr`).
        """
        if step <= self.warmup_steps:
            return self.lr * step / self.warmup_steps if self.warmup_steps else self.lr
        if self.shape == "constant":
            return self.lr
        span = max(self.max_steps - self.warmup_steps, 1)
        share = min((step - self.warmup_steps) / span, 1.0)
        left = (1 + math.cos(math.pi * share)) / 2 if self.shape == "cosine" else 1 - share
        return self.min_lr + (self.lr - self.min_lr) * left
