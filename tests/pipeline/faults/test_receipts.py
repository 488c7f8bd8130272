"""Receipts that come late, cut off or empty."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.errors import StateError
from pipeline.schedulers.base import TaskReport
from pipeline.states import State
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make", "cut"]))
    return world


def test_receipts_that_come_a_minute_late(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file server shows nothing new for 60 s, in which the scheduler forgets the job."""
    clock, begun = time.time, time.time()
    world.scheduler.jobs.clear()
    world.scheduler.past["F2"] = {i: TaskReport(State.COMPLETED) for i in range(1, 7)}
    for seconds in (0, 20, 40, 59):
        monkeypatch.setattr(time, "time", lambda at=seconds: clock() + at)
        assert world.states("make") == {"unknown": "1"}
        assert world.states("cut_a") == {"unknown": "1-6"}, "its word alone is no success"
        assert world.engine.resubmit(list(world.plan.jobs), only_failed=True) == []
        with pytest.raises(StateError, match="unknown"):
            world.engine.submit([world.plan.job("make")])
    world.receipt("make", 1, "F1", "ok", at=begun)
    for task in range(1, 7):
        world.receipt("cut_a", task, f"F2_{task}", "ok", at=begun)
    assert world.states("make") == {"completed": "1"}
    assert world.states("cut_a") == {"completed": "1-6"}
    assert len(world.scheduler.submitted) == 3


@pytest.mark.parametrize("length", [0, 1, 20], ids=["empty", "a brace", "half"])
@pytest.mark.parametrize(
    ("kind", "state"), [("ok", "completed"), ("fail-71", "oom"), ("fail-143", "failed")]
)
def test_a_cut_receipt_counts_by_its_name(world: World, kind: str, state: str, length: int) -> None:
    """It got that name after all of its content was on the disk; a cache may show less of it."""
    path = world.receipt("make", 1, "F1", kind)
    path.write_bytes(path.read_bytes()[:length])
    assert world.states("make") == {state: "1"}


@pytest.mark.parametrize("length", [0, 20], ids=["empty", "half"])
def test_a_cut_start_proves_nothing(world: World, length: int) -> None:
    path = world.receipt("make", 1, "F1", "run")
    path.write_bytes(path.read_bytes()[:length])
    world.scheduler.jobs.clear()
    assert world.states("make") == {"unknown": "1"}


def test_a_name_that_is_not_whole_yet_is_no_receipt(world: World) -> None:
    path = world.receipt("make", 1, "F1", "ok")
    path.rename(path.with_name(f".{path.name}.tmp"))
    assert world.states("make") == {"queued": "1"}


def test_of_an_id_given_out_twice_a_cut_receipt_proves_nothing(world: World) -> None:
    """Only its content could tell whose it is."""
    world.receipt("make", 1, "F1", "ok", token=world.scheduler.submitted[0].token)
    assert world.states("make") == {"completed": "1"}
    submitted, world.scheduler.submitted = world.scheduler.submitted, []  # a reset: F1 comes again
    world.engine.submit([world.plan.job("make")], force=True)
    token = world.scheduler.submitted[0].token
    assert token != submitted[0].token
    assert world.states("make") == {"queued": "1"}
    path = world.receipt("make", 1, "F1", "ok", token=token)
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert world.states("make") == {"queued": "1"}
    path.write_bytes(whole)
    assert world.states("make") == {"completed": "1"}
