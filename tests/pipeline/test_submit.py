"""Submission, resubmission, cancellation, adoption: nothing lost, nothing doubled."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import Rejected, StateError, Unreachable
from pipeline.schedulers.base import TaskReport
from pipeline.states import State
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "project with spaces")


def submit_stages(world: World, *stages: str, **options: bool) -> list[str]:
    jobs = world.plan.select(stages)
    return [o.job for o in world.engine.submit(jobs, whole="all" in stages, **options)]


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
    assert [(o.job, o.tasks, o.attempt) for o in done] == [("cut_a", "3,5", 2), ("fit_a", "1", 2)]
    array, plain = world.scheduler.submitted[-2:]
    assert (array.array, plain.array) == (2, None)
    assert plain.after == ("F7",), "the blocked dependent waits for the new attempt"
    script = (world.state_dir / "attempts/cut_a.2.sbatch").read_text()
    assert re.search(r"^INDEX_MAP=\([^\n]*\n *3 5\n\)$", script, re.MULTILINE)
    world.receipt("cut_a", 5, "F7_2", "ok")
    assert world.states("cut_a") == {"completed": "1-2,4-6", "queued": "3"}


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
    import msgspec

    submit_stages(world, "make")
    other = msgspec.structs.replace(world.plan.site, site="elsewhere")
    world.plan = msgspec.structs.replace(world.plan, site=other)
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
