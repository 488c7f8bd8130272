"""The plan's learning rates, to the last digit that floats give."""

from __future__ import annotations

import pytest

from training.schedule import Schedule

PLAN = Schedule(lr=1e-4, min_lr=1e-5, warmup_steps=500, max_steps=10_000)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (250, 5e-5), (500, 1e-4), (5250, 5.5e-5), (10_000, 1e-5), (12_000, 1e-5)],
)
def test_the_plan(step: int, rate: float) -> None:
    assert PLAN(step) == pytest.approx(rate, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("shape", "halfway"), [("cosine", 5.5e-5), ("linear", 5.5e-5), ("constant", 1e-4)]
)
def test_shapes(shape: str, halfway: float) -> None:
    schedule = Schedule(1e-4, 1e-5, 500, 10_000, shape)
    assert schedule(5250) == pytest.approx(halfway)
    assert schedule(500) == 1e-4


def test_cosine_is_above_the_line_at_first_and_below_later() -> None:
    line = Schedule(1e-4, 1e-5, 500, 10_000, "linear")
    assert PLAN(2000) > line(2000)
    assert PLAN(8000) < line(8000)


def test_without_warmup_it_starts_at_the_top() -> None:
    assert Schedule(1e-3, 0.0, 0, 10)(0) == 1e-3
    assert Schedule(1e-3, 0.0, 0, 10)(10) == 0.0


def test_a_run_shorter_than_its_warmup_only_warms_up() -> None:
    assert Schedule(1e-3, 0.0, 100, 10)(10) == pytest.approx(1e-4)
