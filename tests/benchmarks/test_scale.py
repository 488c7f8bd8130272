"""The scale benchmark's simulated schedulers say what real ones would, and its bounds can break."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale_cluster import Simulated


def summary(world: Simulated) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "status", "--json"], cwd=world.root, env=world.env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)["summary"]
    return found


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_a_simulated_study_goes_its_way(tmp_path: Path, scheduler: str) -> None:
    world = Simulated(tmp_path, scheduler, arms=2, tasks=300)
    assert world.pipeline("submit", "all").calls == {scale.SUBMIT[scheduler]: 2}
    for job in range(2):
        world.advance(job, 100, failed=(7, 8) if job else ())
    world.show()
    assert summary(world) == {"completed": 198, "failed": 2, "queued": 144, "running": 256}
    cost = world.pipeline("status")
    assert cost.code == 1 and cost.cpu > 0 and cost.peak > 1
    assert cost.calls == {scale.QUERY[scheduler]: 2 if scheduler == "pbs" else 1}
    for job in range(2):
        world.advance(job, 200)
    world.pipeline("status")
    assert world.pipeline("resubmit", "--failed").calls == {scale.SUBMIT[scheduler]: 1}
    world.finish_again([(1, (7, 8))])
    assert summary(world) == {"completed": 600}
    assert world.pipeline("status").calls == {}


def row(operation: str, wall: float, calls: int) -> scale.Row:
    return scale.Row("slurm", 1, scale.BOUND_TASKS, operation, 0.2, wall, 30, calls, 0.1, 1)


def test_bounds_hold_or_break() -> None:
    good = [row("submit", 0.35, 1), row("status, nothing changed", 0.39, 1)]
    assert [holds for _, holds in scale.bounds(good, busy=False)] == [True, True, True]
    bad = [row("submit", 0.45, 1), row("status, nothing changed", 0.39, 2)]
    assert [holds for _, holds in scale.bounds(bad, busy=False)] == [False, True, False]
    assert [holds for _, holds in scale.bounds(bad, busy=True)] == [True, True, False]
