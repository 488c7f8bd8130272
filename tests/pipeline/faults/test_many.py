"""Ten thousand tasks, fifty scattered failures, resubmitted twice."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from pipeline.ranges import from_ranges, to_ranges
from tests.pipeline.world import STUDY, World

TASKS = 10_000


def test_fifty_scattered_failures_twice(tmp_path: Path) -> None:
    world = World(tmp_path / "p", STUDY.replace("count: 6", f"count: {TASKS}"))
    world.engine.submit([world.plan.job("make"), world.plan.job("cut_a")])
    world.finish("make")
    cut = [world.plan.job("cut_a")]
    wanted = sorted(random.Random("ten thousand").sample(range(1, TASKS + 1), 50))
    assert any(b - a > 1 for a, b in itertools.pairwise(wanted))
    world.finish("cut_a")
    folder = world.state_dir / "receipts/cut_a"
    for task in wanted:
        (folder / f"{task}.F2_{task}.ok").rename(folder / f"{task}.F2_{task}.fail-1")
    submissions = len(world.scheduler.submitted)

    first = world.engine.resubmit(cut, only_failed=True)
    assert [from_ranges(o.tasks) for o in first] == [wanted], "exactly those, in one submission"
    assert world.scheduler.submitted[-1].array == 50
    script = (world.state_dir / "attempts/cut_a.2.sbatch").read_text()
    index_map = script.partition("INDEX_MAP=(")[2].partition("\n)")[0].splitlines()[1:]
    assert [int(word) for line in index_map for word in line.split()] == wanted
    assert world.engine.resubmit(cut, only_failed=True) == [], "nothing twice"

    again = wanted[::7]
    for index, task in enumerate(wanted, 1):
        world.receipt("cut_a", task, f"F3_{index}", "fail-1" if task in again else "ok")
    world.scheduler.jobs.pop("F3")
    second = world.engine.resubmit(cut, only_failed=True)
    assert [from_ranges(o.tasks) for o in second] == [again]
    assert len(world.scheduler.submitted) == submissions + 2
    rest = to_ranges(set(range(1, TASKS + 1)) - set(again))
    assert world.states("cut_a") == {"completed": rest, "queued": to_ranges(again)}

    for index, task in enumerate(again, 1):
        world.receipt("cut_a", task, f"F4_{index}", "ok")
    world.scheduler.jobs.pop("F4")
    report = world.engine.status()
    assert report.scheduler_calls == 0 and len(report.jobs["cut_a"].of()) == 0
    assert world.states("cut_a") == {"completed": f"1-{TASKS}"}
    assert world.engine.store.path.stat().st_size < 10_000, "bytes"
