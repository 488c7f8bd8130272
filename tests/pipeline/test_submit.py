"""Submission, resubmission, cancellation, adoption: nothing lost, nothing doubled."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import NotStarted, Rejected, StateError, Unreachable
from pipeline.plan import Plan
from pipeline.schedulers.base import Completed, TaskReport
from pipeline.states import State
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "project with spaces")


def submit_stages(world: World, *stages: str, **options: bool) -> list[str]:
    jobs = world.plan.select(stages)
    return [o.job for o in world.engine.submit(jobs, whole="all" in stages, **options)]


def elsewhere(world: World) -> Plan:
    """The same study on another site."""
    other = msgspec.structs.replace(world.plan.site, site="elsewhere")
    return msgspec.structs.replace(world.plan, site=other)


def test_all_is_submitted_behind_what_it_needs(world: World) -> None:
    assert submit_stages(world, "all") == ["make", "cut_a", "cut_b", "fit_a", "fit_b", "tell"]
    after = {s.name: s.after for s in world.scheduler.submitted}
    assert after == {
        "make": (), "cut_a": ("F1",), "cut_b": ("F1",), "fit_a": ("F2",), "fit_b": ("F3",),
        "tell": ("F4", "F5"),
    }  # fmt: skip
    assert [s.array for s in world.scheduler.submitted] == [None, 6, 6, None, None, None]


def test_the_intent_is_on_disk_before_the_scheduler_is_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(argv: list[str], keep_fd: int | None = None) -> object:
        manifest = world.engine.store.read()
        assert manifest is not None and keep_fd is not None
        attempt = manifest.jobs["make"].attempts[-1]
        seen.append((attempt.state, attempt.id, (world.state_dir / attempt.script).exists()))
        raise KeyboardInterrupt

    monkeypatch.setattr(world.transport, "run", look)
    with pytest.raises(KeyboardInterrupt):
        submit_stages(world, "make")
    assert seen == [("submitting", "", True)]


def test_a_second_submit_is_refused_while_the_first_is_active(world: World) -> None:
    submit_stages(world, "make")
    with pytest.raises(StateError, match="make is active.*pipeline cancel make"):
        submit_stages(world, "make")
    assert len(world.scheduler.submitted) == 1
    assert submit_stages(world, "all") == ["cut_a", "cut_b", "fit_a", "fit_b", "tell"]


def test_a_job_whose_upstream_was_never_submitted_is_refused(world: World) -> None:
    with pytest.raises(StateError, match="fit_a needs cut_a"):
        submit_stages(world, "fit")
    assert not world.scheduler.submitted


def test_what_was_done_by_hand_needs_no_job(world: World) -> None:
    with pytest.raises(StateError, match="cut_a needs make"):
        submit_stages(world, "cut")
    (world.root / "made").touch()
    assert submit_stages(world, "cut") == ["cut_a", "cut_b"]
    assert world.scheduler.submitted[0].after == ()
    assert world.states("make") == {"planned": "1"}, "outputs alone make nothing completed"


def test_a_complete_job_is_run_again_only_by_force(world: World) -> None:
    submit_stages(world, "make")
    world.finish("make")
    with pytest.raises(StateError, match="make is complete"):
        submit_stages(world, "make")
    assert submit_stages(world, "make", force=True) == ["make"]
    assert world.states("make") == {"queued": "1"}, "an old receipt proves nothing of a new attempt"


def test_dry_run_changes_nothing(world: World) -> None:
    done = world.engine.submit(world.plan.jobs, dry_run=True, whole=True)
    assert {o.action for o in done} == {"would submit"}
    assert not world.scheduler.submitted and not world.engine.store.path.exists()


def test_a_rejected_job_leaves_no_trace_of_being_queued(world: World) -> None:
    world.scheduler.reject = "unknown queue"
    with pytest.raises(Rejected, match="make: unknown queue"):
        submit_stages(world, "make")
    assert world.states("make") == {"planned": "1"}
    world.scheduler.reject = ""
    assert submit_stages(world, "make") == ["make"]


def test_an_accepted_submission_whose_answer_was_lost_is_adopted(world: World) -> None:
    world.scheduler.lose_answer = True
    with pytest.raises(Unreachable, match="adopts it"):
        submit_stages(world, "make")
    world.scheduler.lose_answer = False
    with pytest.raises(StateError, match="make is active"):
        submit_stages(world, "make")
    manifest = world.engine.store.read()
    assert manifest and [a.id for a in manifest.jobs["make"].attempts] == ["F1"]
    assert len(world.scheduler.submitted) == 1


def test_status_adopts_too_and_says_so(world: World) -> None:
    world.scheduler.lose_answer = True
    with pytest.raises(Unreachable):
        submit_stages(world, "make")
    world.scheduler.lose_answer = False
    report = world.new_engine().status()
    assert report.adopted == ["make"] and report.jobs["make"].state == State.QUEUED


def test_a_submission_that_never_arrived_is_given_up(world: World) -> None:
    world.scheduler.down = True
    with pytest.raises(Unreachable):
        submit_stages(world, "make")
    report = world.engine.status()
    assert report.jobs["make"].state == State.SUBMITTING, "nobody knows yet"
    world.scheduler.down = False
    assert world.states("make") == {"planned": "1"}
    assert submit_stages(world, "make") == ["make"]


def test_one_that_ran_and_was_forgotten_is_adopted_from_its_receipt(world: World) -> None:
    world.scheduler.lose_answer = True
    with pytest.raises(Unreachable):
        submit_stages(world, "make")
    token = world.scheduler.submitted[0].token
    world.scheduler.jobs.clear(), world.scheduler.tokens.clear()
    world.receipt("make", 1, "F1", "ok", token=token)
    assert world.states("make") == {"completed": "1"}


def test_resubmit_takes_just_the_failed_tasks(world: World) -> None:
    submit_stages(world, "all")
    world.finish("make")
    for task in (1, 2, 4, 6):
        world.receipt("cut_a", task, f"F2_{task}", "ok")
    world.receipt("cut_a", 3, "F2_3", "fail-1")
    world.receipt("cut_a", 5, "F2_5", "fail-71")
    world.scheduler.jobs["F2"] = {}
    world.receipt("fit_a", 1, "F4", "fail-78")
    world.scheduler.jobs.pop("F4")
    done = world.engine.resubmit(list(world.plan.jobs), only_failed=True)
    assert [(o.job, o.action, o.tasks, o.attempt) for o in done] == [
        ("tell", "cancelled", "1", 1), ("cut_a", "submitted", "3,5", 2),
        ("fit_a", "submitted", "1", 2), ("tell", "submitted", "1", 2),
    ]  # fmt: skip
    array, plain, _ = world.scheduler.submitted[-3:]
    assert (array.array, plain.array) == (2, None)
    assert plain.after == ("F7",), "the blocked dependent waits for the new attempt"
    script = (world.state_dir / "attempts/cut_a.2.sbatch").read_text()
    assert re.search(r"^INDEX_MAP=\([^\n]*\n *3 5\n\)$", script, re.MULTILINE)
    world.receipt("cut_a", 5, "F7_2", "ok")
    assert world.states("cut_a") == {"completed": "1-2,4-6", "queued": "3"}


def test_a_dependent_that_is_still_queued_is_resubmitted_behind_the_new_attempt(
    world: World,
) -> None:
    submit_stages(world, "all")
    world.finish("make")
    for task in (1, 2, 4, 5, 6):
        world.receipt("cut_a", task, f"F2_{task}", "ok")
    world.receipt("cut_a", 3, "F2_3", "fail-1")
    world.scheduler.jobs["F2"] = {}
    jobs = list(world.plan.jobs)
    would = world.engine.resubmit(jobs, only_failed=True, dry_run=True)
    assert [(o.job, o.action) for o in would] == [
        ("tell", "would cancel"), ("fit_a", "would cancel"), ("cut_a", "would submit"),
        ("fit_a", "would submit"), ("tell", "would submit"),
    ]  # fmt: skip
    done = world.engine.resubmit(jobs, only_failed=True)
    assert [(o.job, o.action) for o in done] == [
        ("tell", "cancelled"), ("fit_a", "cancelled"), ("cut_a", "submitted"),
        ("fit_a", "submitted"), ("tell", "submitted"),
    ]  # fmt: skip
    ids = {outcome.job: outcome.id for outcome in done}
    again = {submission.name: submission for submission in world.scheduler.submitted[-3:]}
    assert again["fit_a"].after == (ids["cut_a"],)
    assert ids["fit_a"] in again["tell"].after
    assert world.states("fit_a") == {"queued": "1"}
    assert world.engine.resubmit(jobs, only_failed=True) == [], "nothing is left to do"


def test_queued_tasks_of_the_failed_job_itself_stay_where_they_are(world: World) -> None:
    submit_stages(world, "make", "cut")
    world.finish("make")
    world.receipt("cut_a", 3, "F2_3", "fail-1")
    done = world.engine.resubmit([world.plan.job("cut_a")], only_failed=True)
    assert [(o.job, o.action, o.tasks) for o in done] == [("cut_a", "submitted", "3")]


def test_one_failed_task_becomes_a_plain_job(world: World) -> None:
    submit_stages(world, "make", "cut")
    world.finish("make"), world.finish("cut_b"), world.finish("cut_a")
    folder = world.state_dir / "receipts/cut_a"
    (folder / "4.F2_4.ok").rename(folder / "4.F2_4.fail-9")
    done = world.engine.resubmit([world.plan.job("cut_a")], only_failed=True)
    assert [(o.job, o.tasks) for o in done] == [("cut_a", "4")]
    assert world.scheduler.submitted[-1].array is None
    world.finish("cut_a")
    assert world.states("cut_a") == {"completed": "1-6"}


def test_failed_only_leaves_cancelled_tasks_alone(world: World) -> None:
    submit_stages(world, "make")
    world.engine.cancel([world.plan.job("make")])
    assert world.engine.resubmit(list(world.plan.jobs), only_failed=True) == []
    assert [o.job for o in world.engine.resubmit(list(world.plan.jobs), only_failed=False)] == [
        "make"
    ]


def test_a_run_goes_on_where_it_stands(world: World) -> None:
    submit_stages(world, "all")
    world.finish("make"), world.finish("cut_a"), world.finish("cut_b", "fail-1")
    world.finish("fit_a"), world.finish("fit_b", "fail-78"), world.finish("tell", "fail-78")
    assert submit_stages(world, "all") == ["cut_b", "fit_b", "tell"]


def test_cancel_takes_the_dependents_first(world: World) -> None:
    submit_stages(world, "all")
    world.engine.cancel([world.plan.job("cut_a")])
    assert world.scheduler.cancelled == ["F6", "F4", "F2"]
    assert world.states("cut_a") == {"cancelled": "1-6"}
    assert world.states("cut_b") == {"queued": "1-6"}


def test_what_was_done_before_a_cancel_stays_done(world: World) -> None:
    submit_stages(world, "make", "cut")
    world.receipt("cut_a", 2, "F2_2", "ok")
    world.receipt("cut_a", 3, "F2_3", "fail-143")
    world.engine.cancel([world.plan.job("cut_a")])
    assert world.states("cut_a") == {"completed": "2", "cancelled": "1,3-6"}


def test_repair_rebuilds_a_manifest_with_a_conflict_marker(world: World) -> None:
    submit_stages(world, "all")
    world.finish("make")
    before = world.engine.store.read()
    path = world.engine.store.path
    path.write_text("<<<<<<< HEAD\n" + path.read_text())
    with pytest.raises(StateError, match="merge-conflict marker.*pipeline repair"):
        world.engine.status()
    manifest, aside = world.engine.repair()
    assert aside is not None and aside.read_text().startswith("<<<<<<<")
    assert before is not None and manifest.jobs.keys() == before.jobs.keys()
    for name, entry in before.jobs.items():
        assert [(a.id, a.tasks) for a in manifest.jobs[name].attempts] == [
            (a.id, a.tasks) for a in entry.attempts
        ]
    assert world.states("make") == {"completed": "1"}


def test_repair_after_the_manifest_was_deleted(world: World) -> None:
    submit_stages(world, "make", "cut")
    world.engine.store.path.unlink()
    world.engine.repair()
    assert world.states("cut_a") == {"queued": "1-6"}
    with pytest.raises(StateError, match="active"):
        submit_stages(world, "make")


def test_another_site_than_the_runs_own_is_refused(world: World) -> None:
    submit_stages(world, "make")
    world.plan = elsewhere(world)
    with pytest.raises(StateError, match="--site here"):
        world.new_engine().submit(world.plan.select(["cut"]))


def test_diff_shows_what_changed_since_the_submission(world: World) -> None:
    job = world.plan.job("make")
    assert world.engine.diffs([job])[0][1] == ""
    submit_stages(world, "make")
    name, before, after = world.engine.diffs([job])[0]
    assert name == "jobs/small/scripts/make.sbatch" and before == after


def test_unknown_tasks_are_not_submitted_again(world: World) -> None:
    submit_stages(world, "make")
    world.scheduler.jobs.clear()
    with pytest.raises(StateError, match="state of 1 tasks is unknown"):
        submit_stages(world, "make")
    assert len(world.scheduler.submitted) == 1


def test_a_job_that_the_scheduler_reports_failed_can_be_resubmitted(world: World) -> None:
    submit_stages(world, "make")
    world.scheduler.jobs.clear()
    world.scheduler.past["F1"] = {0: TaskReport(State.OOM, reason="out of memory")}
    assert world.states("make") == {"oom": "1"}
    assert [o.job for o in world.engine.resubmit([world.plan.job("make")], True)] == ["make"]


def test_a_cancel_that_stops_half_way_records_what_it_did(world: World) -> None:
    submit_stages(world, "all")
    world.scheduler.cancels = 2
    with pytest.raises(Unreachable, match="Before that: cancelled tell F6, cancelled fit_b F5"):
        world.engine.cancel(list(world.plan.jobs))
    world.scheduler.jobs["F6"] = {}
    manifest = world.engine.store.read()
    assert manifest is not None
    states = {name: entry.attempts[-1].state for name, entry in manifest.jobs.items()}
    assert [name for name, state in states.items() if state == "cancelled"] == ["fit_b", "tell"]
    assert world.states("fit_b") == {"cancelled": "1"} and world.states("fit_a") == {"queued": "1"}


def test_a_submission_that_stops_half_way_says_what_is_queued(world: World) -> None:
    submit_stages(world, "make")
    rejecting = world.scheduler.parse_submit

    def second(result: Completed) -> str:
        world.scheduler.reject = "too many" if len(world.scheduler.submitted) == 2 else ""
        return rejecting(result)

    world.scheduler.parse_submit = second  # type: ignore[method-assign]
    with pytest.raises(Rejected, match="cut_b: too many. Before that: submitted cut_a F2"):
        submit_stages(world, "cut")


def test_a_command_that_is_not_there_queued_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: list[str], keep_fd: int | None = None) -> Completed:
        raise NotStarted("sbatch: no such command here")

    monkeypatch.setattr(world.transport, "run", run)
    with pytest.raises(Unreachable, match="no such command here$"):
        submit_stages(world, "make")
    assert world.states("make") == {"planned": "1"}


def test_an_unsettled_submission_is_no_answer_in_a_status(world: World) -> None:
    world.scheduler.down = True
    with pytest.raises(Unreachable):
        submit_stages(world, "make")
    assert world.engine.status().silent == {"make": "no answer"}


def test_what_runs_by_hand_is_waited_for_and_never_cancelled(world: World) -> None:
    submit_stages(world, "make")
    world.finish("make", "fail-1")
    world.receipt("make", 1, "F9", "run", at=time.time() + 5)
    world.scheduler.jobs["F9"] = {0: TaskReport(State.RUNNING)}
    submit_stages(world, "cut")
    assert {s.after for s in world.scheduler.submitted[1:]} == {("F9",)}
    done = world.engine.cancel([world.plan.job("make")])
    assert world.scheduler.cancelled == ["F3", "F2"]
    assert (done[-1].action, done[-1].id) == ("submitted by hand, left alone:", "F9")
    assert world.states("make") == {"running": "1"}


def test_a_dead_run_by_hand_says_how_to_get_rid_of_it(world: World) -> None:
    path = world.receipt("make", 1, "manual-host-42", "run")
    with pytest.raises(StateError, match=f"by hand.*remove {re.escape(str(path))}"):
        submit_stages(world, "make")
    path.unlink()
    assert submit_stages(world, "make") == ["make"]


def test_an_old_run_by_hand_proves_nothing_of_a_submission_under_way(world: World) -> None:
    world.receipt("make", 1, "manual-host-42", "ok", at=time.time() - 5)
    world.scheduler.down = True
    with pytest.raises(Unreachable):
        submit_stages(world, "make", force=True)
    assert world.states("make") == {"submitting": "1"}


def test_a_lost_manifest_is_never_taken_for_a_new_run(world: World) -> None:
    submit_stages(world, "make")
    world.engine.store.path.unlink()
    for command in (world.engine.status, lambda: submit_stages(world, "all")):
        with pytest.raises(StateError, match="is gone.*pipeline repair"):
            command()
    assert len(world.scheduler.submitted) == 1


@pytest.mark.parametrize("loss", ["gone", "damaged"])
def test_repair_without_an_answer_loses_nothing(world: World, loss: str) -> None:
    submit_stages(world, "make", "cut")
    if loss == "gone":
        world.engine.store.path.unlink()
    else:
        world.engine.store.path.write_text("{")
    world.scheduler.down = True
    with pytest.raises(Unreachable):
        world.engine.repair()
    with pytest.raises(Unreachable):
        submit_stages(world, "all")
    world.scheduler.down = False
    assert submit_stages(world, "all") == ["fit_a", "fit_b", "tell"]
    assert len(world.scheduler.submitted) == 6


def test_repair_on_another_site_is_refused(world: World) -> None:
    submit_stages(world, "make")
    world.engine.store.path.unlink()
    here, world.plan = world.plan, elsewhere(world)
    with pytest.raises(StateError, match="--site here"):
        world.new_engine().repair()
    world.plan = here
    world.new_engine().repair()
    assert world.states("make") == {"queued": "1"}


def test_repair_passes_over_intents_that_are_none(world: World) -> None:
    submit_stages(world, "make")
    world.engine.store.path.unlink()
    good = (world.state_dir / "attempts/make.1.json").read_text()
    for number, text in enumerate(
        ('{"job": "make"}', good.replace('"tasks":"1"', '"tasks":"9-1"'), "[]", "\x00")
    ):
        (world.state_dir / f"attempts/odd.{number}.json").write_text(text)
    manifest, _ = world.engine.repair()
    assert [a.id for a in manifest.jobs["make"].attempts] == ["F1"]


def test_a_status_for_another_site_is_refused(world: World) -> None:
    submit_stages(world, "make")
    world.plan = elsewhere(world)
    with pytest.raises(StateError, match="--site here"):
        world.new_engine().status()


def test_attempts_of_attempts_keep_their_tasks(world: World) -> None:
    submit_stages(world, "make", "cut")
    world.finish("make"), world.finish("cut_b")
    jobs, cut = [world.plan.job("cut_a")], world.plan.job("cut_a")
    for task in range(1, 7):
        world.receipt("cut_a", task, f"F2_{task}", "fail-1" if task in (2, 3, 6) else "ok")
    world.engine.resubmit(jobs, only_failed=True)
    for index, kind in ((1, "ok"), (2, "fail-1"), (3, "fail-1")):  # tasks 2, 3, 6
        world.receipt("cut_a", (2, 3, 6)[index - 1], f"F4_{index}", kind)
    would = world.engine.resubmit(jobs, only_failed=True, dry_run=True)
    done = world.engine.resubmit(jobs, only_failed=True)
    assert [(o.job, o.tasks) for o in would] == [(o.job, o.tasks) for o in done]
    assert [(o.tasks, o.attempt) for o in done] == [("3,6", 3)]
    world.scheduler.jobs["F5"] = {1: TaskReport(State.RUNNING), 2: TaskReport(State.QUEUED)}
    assert world.states(cut.name) == {"completed": "1-2,4-5", "running": "3", "queued": "6"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_queues_nothing_and_loses_nothing(world: World) -> None:
    submit_stages(world, "make")
    world.finish("make")
    aside = world.root / "aside"
    world.state_dir.rename(aside)
    world.state_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(world.state_dir)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        shutil.copytree(aside, world.state_dir, dirs_exist_ok=True)
        before = world.engine.store.path.read_bytes()
        ballast = world.state_dir / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(StateError, match=r"No space left.*free space"):
            submit_stages(world, "cut")
        assert world.engine.store.path.read_bytes() == before
        assert len(world.scheduler.submitted) == 1, "nothing was queued"
        assert world.states("make") == {"completed": "1"}
        ballast.unlink()
        assert submit_stages(world, "cut") == ["cut_a", "cut_b"]
    finally:
        subprocess.run(["umount", str(world.state_dir)], check=True)
