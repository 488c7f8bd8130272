"""The best value of a metric so far, and whether it is time to stop. Standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.settings import EarlyStopping

WATCH_ONLY = EarlyStopping("val/loss", "min", 0.0, 0)  # keeps the best, never stops


@dataclass
class Best:
    """The best value, where it was, and how many validations in a row brought nothing better.

    A value counts as better when it beats the best by more than `min_delta`. `bad` starts again
    from 0 with every better one, and the run ends when it reaches `patience`. With a value of
    another `scope` (the stage, or the length of what was looked at) all starts anew, since the two
    do not compare.
    """

    rule: EarlyStopping
    value: float | None = None
    step: int = 0
    bad: int = 0
    scope: int = 0

    def update(self, step: int, value: float, scope: int = 0) -> bool:
        """Take in one validation; whether it is the best one. A value that is no number is not."""
        if scope != self.scope:
            self.scope, self.value, self.step, self.bad = scope, None, 0, 0
        sign = 1.0 if self.rule.mode == "min" else -1.0
        bound = math.inf if self.value is None else sign * self.value - self.rule.min_delta
        better = sign * value < bound
        if better:
            self.value, self.step, self.bad = value, step, 0
        else:
            self.bad += 1
        return better

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.rule.patience <= self.bad
