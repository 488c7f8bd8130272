"""Clocks of nodes, login nodes and file servers that differ by ten minutes decide nothing."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.manifest import now
from pipeline.states import State
from tests.pipeline.world import World

TEN_MINUTES = 600


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "p")


def submit(world: World, *stages: str, **options: bool) -> None:
    world.engine.submit(world.plan.select(stages), **options)


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES], ids=["behind", "ahead"])
def test_an_attempts_own_receipts_count_whatever_their_times(world: World, skew: int) -> None:
    submit(world, "make")
    world.receipt("make", 1, "F1", "run", at=time.time() + skew)
    assert world.states("make") == {"queued": "1"}, "the scheduler knows better"
    world.receipt("make", 1, "F1", "fail-1", at=time.time() + skew)
    assert world.states("make") == {"failed": "1"}
    world.engine.resubmit([world.plan.job("make")], only_failed=True)
    world.receipt("make", 1, "F2", "ok", at=time.time() - skew)
    assert world.states("make") == {"completed": "1"}


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES], ids=["behind", "ahead"])
def test_an_old_run_by_hand_is_older_whatever_its_time(world: World, skew: int) -> None:
    world.receipt("make", 1, "manual-n1-42", "ok", at=time.time() + skew)
    submit(world, "make", force=True)
    assert world.states("make") == {"queued": "1"}


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES], ids=["behind", "ahead"])
def test_a_later_run_by_hand_counts_whatever_its_time(world: World, skew: int) -> None:
    submit(world, "make")
    world.scheduler.jobs.clear()
    world.receipt("make", 1, "manual-n1-42", "ok", at=time.time() + skew)
    assert world.states("make") == {"completed": "1"}


def test_a_run_by_hand_of_last_week_that_shows_late_does_not_count(world: World) -> None:
    submit(world, "make")
    world.receipt("make", 1, "manual-n1-42", "ok", at=time.time() - 7 * 86400)
    assert world.states("make") == {"queued": "1"}


@pytest.mark.parametrize("ahead", [0, 200 * TEN_MINUTES], ids=["same", "ahead"])
def test_each_host_counts_the_grace_by_its_own_clock(
    world: World, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    submit(world, "make")
    world.scheduler.jobs.clear()
    assert world.states("make") == {"unknown": "1"}, "seen here first"
    clock = time.time
    monkeypatch.setattr("pipeline.evidence.hostname", lambda: "login2")
    monkeypatch.setattr(time, "time", lambda: clock() + ahead)
    monkeypatch.setattr("pipeline.evidence.now", lambda: later(ahead))
    assert world.states("make") == {"unknown": "1"}, "login2 sees it for the first time"
    manifest = world.engine.store.read()
    assert manifest and len(manifest.jobs["make"].attempts[0].gone) == 2
    monkeypatch.setattr(time, "time", lambda: clock() + ahead + 121)
    assert world.states("make") == {"lost": "1"}
    world.receipt("make", 1, "F1", "ok")
    assert world.states("make") == {"completed": "1"}
    manifest = world.engine.store.read()
    assert manifest and manifest.jobs["make"].attempts[0].gone == {}, "both hosts' are forgotten"


def later(seconds: float) -> str:
    from datetime import datetime, timedelta

    moment = datetime.fromisoformat(now()) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("old", "new", "opens"), [("fail-1", "ok", True), ("ok", "fail-1", False)],
    ids=["failed, then done", "done, then failed"],
)  # fmt: skip
def test_the_gate_goes_by_the_attempts_numbers(
    world: World, old: str, new: str, opens: bool
) -> None:
    submit(world, "make", "cut", "fit")
    for task in range(1, 7):  # the second attempt ran on nodes whose clocks are behind
        world.receipt("cut_a", task, f"F2_{task}", old, at=time.time() + TEN_MINUTES, attempt=1,
                      digest="x")  # fmt: skip
        world.receipt("cut_a", task, f"F9_{task}", new, at=time.time() - TEN_MINUTES, attempt=2,
                      digest="x")  # fmt: skip
    script = world.state_dir / "attempts/fit_a.1.sbatch"
    done = subprocess.run(
        ["bash", str(script)], cwd=world.root, capture_output=True, text=True, check=False,
        env={**os.environ, "PIPELINE_GATE_WAIT": "0"},
    )  # fmt: skip
    assert (done.returncode == 0) == opens, done.stdout + done.stderr
    if not opens:
        assert done.returncode == 78 and "cut_a (task 1-6 of 6)" in done.stderr


def test_lost_needs_the_grace_and_cancelled_does_not(world: World) -> None:
    submit(world, "make")
    world.engine.cancel([world.plan.job("make")])
    assert world.engine.status().jobs["make"].state == State.CANCELLED
