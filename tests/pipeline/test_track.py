"""States and their evidence: receipts first, silence is never success."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import plan, study
from pipeline.schedulers.base import TaskReport
from pipeline.states import State
from pipeline.submit import Engine
from pipeline.track import check_outputs
from pipeline.transport import Here
from tests.pipeline.world import STUDY, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make", "cut"]))
    return world


def report(world: World, job: str, task: int = 1) -> tuple[State, str, str]:
    found = world.engine.status().jobs[job].tasks[task]
    return found.state, found.evidence, found.reason


@pytest.mark.parametrize(
    ("kind", "content", "state"),
    [
        ("ok", {}, State.COMPLETED),
        ("fail-1", {}, State.FAILED),
        ("fail-65", {}, State.FAILED),
        ("fail-71", {}, State.OOM),
        ("fail-75", {}, State.FAILED),
        ("fail-78", {}, State.BLOCKED),
        ("fail-143", {"start": 0, "end": 100, "walltime": 3600}, State.FAILED),
        ("fail-143", {"start": 0, "end": 3599, "walltime": 3600}, State.TIMEOUT),
        ("fail-143", {"start": "x"}, State.FAILED),
        ("fail-137", {}, State.FAILED),
    ],
    ids=lambda value: str(value),
)
def test_a_final_receipt_decides(
    world: World, kind: str, content: dict[str, Any], state: State
) -> None:
    world.receipt("make", 1, "F1", kind, **content)
    assert report(world, "make")[:2] == (state, "receipt")


def test_a_final_receipt_needs_no_scheduler(world: World) -> None:
    for job in ("make", "cut_a", "cut_b"):
        world.finish(job)
    found = world.engine.status()
    assert found.scheduler_calls == 0
    assert found.jobs["cut_a"].state == State.COMPLETED


@pytest.mark.parametrize("state", [State.QUEUED, State.HELD, State.RUNNING])
def test_the_scheduler_tells_of_what_is_active(world: World, state: State) -> None:
    world.scheduler.jobs["F1"] = {0: TaskReport(state, reason="Priority")}
    assert report(world, "make") == (state, "scheduler", "Priority")


def test_a_started_receipt_and_a_silent_scheduler_is_unknown(world: World) -> None:
    world.receipt("make", 1, "F1", "run")
    world.scheduler.down = True
    found = world.engine.status()
    assert found.jobs["make"].state == State.UNKNOWN
    assert found.silent["F1"] == "no answer"


def test_a_forgotten_job_is_unknown_first_and_lost_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.scheduler.jobs.pop("F1")
    assert report(world, "make")[0] == State.UNKNOWN
    assert report(world, "make")[0] == State.UNKNOWN
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 121)
    assert report(world, "make")[:2] == (State.LOST, "scheduler")
    world.receipt("make", 1, "F1", "ok")
    assert report(world, "make")[0] == State.COMPLETED, "a late receipt still counts"


def test_success_in_the_schedulers_eyes_alone_is_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.scheduler.jobs.pop("F1")
    world.scheduler.past["F1"] = {0: TaskReport(State.COMPLETED, exit_code=0)}
    assert report(world, "make")[0] == State.UNKNOWN
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 121)
    state, _, reason = report(world, "make")
    assert state == State.LOST and "says it ended well" in reason


@pytest.mark.parametrize("state", [State.FAILED, State.TIMEOUT, State.OOM, State.CANCELLED])
def test_history_tells_how_a_task_ended_that_could_not_write(world: World, state: State) -> None:
    world.scheduler.jobs.pop("F1")
    world.scheduler.past["F1"] = {0: TaskReport(state, exit_code=9)}
    assert report(world, "make")[:2] == (state, "scheduler")


def test_half_an_array_left_the_queue(world: World) -> None:
    for task in (1, 2):
        world.receipt("cut_a", task, f"F2_{task}", "ok")
    world.scheduler.jobs["F2"] = {5: TaskReport(State.RUNNING), 6: TaskReport(State.QUEUED)}
    world.scheduler.past["F2"] = {3: TaskReport(State.FAILED, exit_code=3)}
    assert world.states("cut_a") == {
        "completed": "1-2", "failed": "3", "unknown": "4", "running": "5", "queued": "6",
    }  # fmt: skip


def test_the_departure_of_each_task_is_remembered_and_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.scheduler.jobs["F2"] = {i: TaskReport(State.RUNNING) for i in (3, 4, 5, 6)}
    world.engine.status()
    manifest = world.engine.store.read()
    assert manifest and list(manifest.jobs["cut_a"].attempts[0].gone.values()) == ["1-2"]
    world.receipt("cut_a", 1, "F2_1", "ok")
    world.scheduler.jobs["F2"] = {i: TaskReport(State.RUNNING) for i in (2, 3, 4, 5, 6)}
    world.engine.status()
    manifest = world.engine.store.read()
    assert manifest and manifest.jobs["cut_a"].attempts[0].gone == {}


def test_a_half_written_receipt_still_counts_by_its_name(world: World) -> None:
    path = world.receipt("make", 1, "F1", "fail-143")
    path.write_bytes(path.read_bytes()[:7])
    assert report(world, "make")[0] == State.FAILED


def test_files_that_are_no_receipts_are_passed_over(world: World) -> None:
    folder = world.receipt("make", 1, "F1", "run").parent
    for name in (".1.F1.ok.tmp", "notes.txt", "1.ok", "x.F1.ok", "99.F1.ok", "0.F1.ok"):
        (folder / name).write_text("")
    assert report(world, "make")[0] == State.QUEUED


def test_a_job_submitted_by_hand_is_followed_by_its_receipts(tmp_path: Path) -> None:
    world = World(tmp_path / "p")
    world.receipt("make", 1, "F9", "run")
    world.scheduler.jobs["F9"] = {0: TaskReport(State.RUNNING, host="n1")}
    assert report(world, "make")[:2] == (State.RUNNING, "scheduler")
    world.receipt("make", 1, "F9", "ok")
    assert report(world, "make")[:2] == (State.COMPLETED, "receipt")


def test_a_run_by_hand_outside_any_scheduler_is_running_by_its_receipt(tmp_path: Path) -> None:
    world = World(tmp_path / "p")
    world.receipt("make", 1, "manual-host-42", "run")
    assert report(world, "make")[:2] == (State.RUNNING, "receipt")


def test_a_later_run_by_hand_beats_the_attempt(world: World) -> None:
    world.receipt("make", 1, "F1", "fail-1")
    world.receipt("make", 1, "manual-host-42", "ok", at=time.time() + 5)
    assert report(world, "make")[0] == State.COMPLETED


def test_outputs_are_looked_for(world: World) -> None:
    world.finish("cut_a")
    (world.root / "out").mkdir()
    for task in range(1, 6):
        (world.root / f"out/a_{task:04d}.txt").write_text("")
    found = world.engine.status()
    check_outputs([world.plan.job("cut_a")], found, Here(str(world.root)))
    assert [t.output for t in found.jobs["cut_a"].tasks.values()] == [True] * 5 + [False]


def test_running_tasks_progress_is_summed(world: World) -> None:
    world.scheduler.jobs["F2"] = {i: TaskReport(State.RUNNING) for i in range(1, 7)}
    folder = world.state_dir / "progress/cut_a"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text('{"done": 3, "total": 10, "rate": 2.5, "unit": "documents"}')
    (folder / "2.json").write_text('{"done": 4, "total": 10, "rate": 2.5, "unit": "documents"}')
    (folder / "3.json").write_text('{"done": 4, "tot')
    found = world.engine.status().jobs["cut_a"].progress
    assert (found["done"], found["total"], found["rate"]) == (7, 20, 5.0)


def test_ten_thousand_tasks_cost_one_query_and_a_small_manifest(tmp_path: Path) -> None:
    world = World(tmp_path / "p", STUDY.replace("count: 6", "count: 10000"))
    world.engine.submit(world.plan.select(["make", "cut"]))
    world.finish("make")
    for task in range(1, 10001, 2):
        world.receipt("cut_a", task, f"F2_{task}", "ok")
        world.scheduler.jobs["F2"].pop(task)
    found = world.engine.status()
    assert found.scheduler_calls == 1
    assert found.jobs["cut_a"].counts() == {State.COMPLETED: 5000, State.QUEUED: 5000}
    assert world.engine.store.path.stat().st_size < 100_000


def edited(world: World, old: str, new: str) -> Engine:
    """What a command starts with after the study was edited."""
    path = world.root / "studies/small.yaml"
    path.write_text(path.read_text().replace(old, new))
    world.plan = plan.make(study.load(path), world.plan.site)
    return world.new_engine()


def test_a_job_taken_out_of_the_study_is_followed_and_cancelled(world: World) -> None:
    engine = edited(world, ", b: {}}", "}")
    found = engine.status()
    assert "cut_b" not in found.jobs and found.removed["cut_b"].state == State.QUEUED
    assert engine.cancel(list(engine.plan.jobs)) and world.scheduler.cancelled == ["F2", "F1"]
    assert [o.job for o in engine.cancel([], removed=True)] == ["cut_b"]
    assert engine.status().removed["cut_b"].state == State.CANCELLED
    assert not engine.status().removed, "it has ended: there is no more to say of it"


def test_of_an_array_that_shrank_only_what_is_left_counts(world: World) -> None:
    world.finish("make")
    world.finish("cut_b")
    world.receipt("cut_a", 1, "F2_1", "ok")
    world.receipt("cut_a", 2, "F2_2", "ok")
    found = edited(world, "count: 6", "count: 2").status()
    assert found.jobs["cut_a"].counts() == {State.COMPLETED: 2} and found.scheduler_calls == 0


def test_progress_that_is_no_number_is_left_out(world: World) -> None:
    world.scheduler.jobs["F1"] = {0: TaskReport(State.RUNNING)}
    folder = world.state_dir / "progress/make"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text('{"done": 3, "loss": NaN, "rate": Infinity}')
    assert world.engine.status().jobs["make"].progress == {"done": 3}


def test_a_task_that_ends_while_the_scheduler_is_asked_is_completed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.transport.run

    def end_meanwhile(argv: list[str], keep_fd: int | None = None) -> object:
        if argv[0] == "query":
            world.scheduler.jobs.pop("F1", None)
            world.receipt("make", 1, "F1", "ok")
        return run(argv, keep_fd)

    monkeypatch.setattr(world.transport, "run", end_meanwhile)
    found = world.engine.status()
    assert found.jobs["make"].state == State.COMPLETED
    assert "history" not in world.transport.log
