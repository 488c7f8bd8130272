"""More tasks than one array takes: several arrays, none lost, none doubled."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StateError, Unreachable
from pipeline.limits import parts
from pipeline.schedulers.base import Completed
from pipeline.site import Queue, Site
from tests.pipeline.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Arrays of 6 tasks, 4 to an array."""
    return limited(World(tmp_path / "p"), 4)


def limited(world: World, most: int) -> World:
    site = msgspec.structs.replace(world.plan.site, max_array=most)
    world.plan = msgspec.structs.replace(world.plan, site=site)
    world.engine = world.new_engine()
    return world


@given(st.sets(st.integers(1, 500), min_size=1), st.integers(1, 60))
def test_the_fewest_parts_of_one_size(tasks: set[int], most: int) -> None:
    wanted = sorted(tasks)
    found = parts(Site("s", "pbs", max_array=most), "gpu", wanted)
    sizes = [len(part) for part in found]
    assert [task for part in found for task in part] == wanted
    assert len(found) == -(-len(wanted) // most)
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= most


@pytest.mark.parametrize(
    ("site", "count"),
    [
        (Site("s", "pbs"), 1),
        (Site("s", "pbs", max_array=100, queues={"gpu": Queue(max_array=10)}), 10),
        (Site("s", "pbs", max_array=10, queues={"gpu": Queue(max_array=100)}), 10),
        (Site("s", "pbs", queues={"cpu": Queue(max_array=10)}), 1),
        (Site("s", "local", max_array=10), 1),
    ],
    ids=["none", "queue", "site", "other-queue", "local"],
)
def test_the_smaller_limit_counts(site: Site, count: int) -> None:
    assert len(parts(site, "gpu", range(1, 101))) == count


def test_dependents_wait_for_every_part(world: World) -> None:
    world.engine.submit(world.plan.jobs, whole=True)
    sent = [(s.name, s.array, s.after) for s in world.scheduler.submitted]
    assert sent == [
        ("make", None, ()), ("cut_a", 3, ("F1",)), ("cut_a", 3, ("F1",)), ("cut_b", 3, ("F1",)),
        ("cut_b", 3, ("F1",)), ("fit_a", None, ("F2", "F3")), ("fit_b", None, ("F4", "F5")),
        ("tell", None, ("F6", "F7")),
    ]  # fmt: skip
    script = (world.state_dir / "attempts/cut_a.2.sbatch").read_text()
    assert re.search(r"^INDEX_MAP=\([^\n]*\n *4 5 6\n\)$", script, re.MULTILINE)
    world.receipt("cut_a", 2, "F2_2", "ok")
    world.receipt("cut_a", 5, "F3_2", "fail-1")
    assert world.states("cut_a") == {"completed": "2", "queued": "1,3-4,6", "failed": "5"}


def test_a_command_killed_between_two_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = world.scheduler.parse_submit

    def kill(result: Completed) -> str:
        if len(world.scheduler.submitted) == 2:
            raise KeyboardInterrupt
        return taking(result)

    monkeypatch.setattr(world.scheduler, "parse_submit", kill)
    with pytest.raises(KeyboardInterrupt):
        world.engine.submit(world.plan.jobs, whole=True)
    monkeypatch.undo()
    assert world.states("cut_a") == {"queued": "1-3", "planned": "4-6"}
    with pytest.raises(StateError, match="3 of 6 tasks.*`pipeline submit all` queues the others"):
        world.engine.submit([world.plan.job("cut_a")])
    with pytest.raises(StateError, match="fit_a needs cut_a"):
        world.engine.submit([world.plan.job("fit_a")])
    done = world.engine.submit(world.plan.jobs, whole=True)
    assert [(o.job, o.tasks) for o in done][:2] == [("cut_a", "4-6"), ("cut_b", "1-3")]
    assert next(s.after for s in world.scheduler.submitted if s.name == "fit_a") == ("F2", "F3")
    assert world.states("cut_a") == {"queued": "1-6"}


def test_a_part_whose_answer_was_lost_is_adopted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = world.scheduler.parse_submit

    def lose(result: Completed) -> str:
        world.scheduler.lose_answer = len(world.scheduler.submitted) == 2
        return taking(result)

    monkeypatch.setattr(world.scheduler, "parse_submit", lose)
    with pytest.raises(Unreachable, match="Before that: submitted make F1, submitted cut_a F2"):
        world.engine.submit(world.plan.jobs, whole=True)
    monkeypatch.undo()
    world.scheduler.lose_answer = False
    assert world.states("cut_a") == {"queued": "1-6"}
    world.engine.submit(world.plan.jobs, whole=True)
    assert [s.name for s in world.scheduler.submitted].count("cut_a") == 2


def test_scattered_failures_beyond_the_limit_go_in_parts_too(world: World) -> None:
    world.engine.submit(world.plan.select(["make", "cut"]))
    world.finish("make")
    for task in range(1, 7):
        job_id, index = ("F2", task) if task < 4 else ("F3", task - 3)
        world.receipt("cut_a", task, f"{job_id}_{index}", "ok" if task == 2 else "fail-1")
    done = world.engine.resubmit([world.plan.job("cut_a")], only_failed=True)
    assert [(o.tasks, o.attempt) for o in done] == [("1,3", 3), ("4-6", 4)]
    assert [s.array for s in world.scheduler.submitted[-2:]] == [2, 3]
    world.receipt("cut_a", 3, "F6_2", "ok")
    world.receipt("cut_a", 4, "F7_1", "ok")
    assert world.states("cut_a") == {"completed": "2-4", "queued": "1,5-6"}


def test_cancel_ends_every_part(world: World) -> None:
    world.engine.submit(world.plan.select(["make", "cut"]))
    world.engine.cancel([world.plan.job("cut_a")])
    assert sorted(world.scheduler.cancelled) == ["F2", "F3"]
    assert world.states("cut_a") == {"cancelled": "1-6"}


def test_arrays_of_one_are_plain_jobs_and_share_the_throttle(world: World) -> None:
    limited(world, 2)
    job = msgspec.structs.replace(world.plan.job("cut_a"), throttle=5, upstream=())
    world.plan = msgspec.structs.replace(world.plan, jobs=(job,))
    world.engine = world.new_engine()
    world.engine.submit([job])
    assert [s.array for s in world.scheduler.submitted] == [2, 2, 2]
    for number in (1, 2, 3):
        script = (world.state_dir / f"attempts/cut_a.{number}.sbatch").read_text()
        assert "#SBATCH --array=1-2%1\n" in script, "5 over three arrays"
    limited(world, 1)
    world.scheduler.jobs.clear()
    world.engine.submit([job], force=True)
    assert [s.array for s in world.scheduler.submitted[3:]] == [None] * 6
