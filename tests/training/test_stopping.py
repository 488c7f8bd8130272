"""Patience: consecutive, reset by a gain, spent at its number."""

from __future__ import annotations

import math

import pytest

from training.settings import EarlyStopping
from training.stopping import WATCH_ONLY, Best


@pytest.mark.parametrize(
    ("rule", "values", "best", "bad", "stops"),
    [
        (("min", 0.0, 2), [3, 2, 2, 2], 2, 2, True),
        (("min", 0.0, 2), [3, 4, 2, 3], 2, 1, False),
        (("min", 0.5, 2), [3, 2.6, 2.5], 3, 2, True),
        (("min", 0.5, 2), [3, 2.4], 2.4, 0, False),
        (("max", 0.0, 1), [1, 2], 2, 0, False),
        (("max", 0.0, 1), [1, 2, 1], 2, 1, True),
        (("min", 0.0, 1), [math.nan], None, 1, True),
    ],
    ids=["equal is no gain", "reset", "too small", "enough", "up", "down", "no number"],
)
def test_patience(
    rule: tuple[str, float, int], values: list[float], best: float, bad: int, stops: bool
) -> None:
    found = Best(EarlyStopping("val/loss", *rule))
    gains = [found.update(step, value) for step, value in enumerate(values)]
    assert (found.value, found.bad, found.exhausted) == (best, bad, stops)
    assert gains.count(True) == 0 or found.step == len(gains) - 1 - gains[::-1].index(True)


def test_without_patience_it_never_stops() -> None:
    found = Best(WATCH_ONLY)
    for step in range(50):
        found.update(step, 1.0)
    assert (found.value, found.step, found.exhausted) == (1.0, 0, False)
