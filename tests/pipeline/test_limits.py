"""What is said of a job that a site does not hold, and of a submission that is too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits, plan, site, study
from pipeline.errors import ConfigError
from pipeline.job import Job, Resources
from pipeline.site import Queue, Site
from pipeline.study import Array, ChainSpec, Stage
from tests.pipeline.clusters import ROOT, Project, site_yaml

GPU = Queue(
    max_walltime="24:00:00", max_nodes=4, max_gpus=8, max_cpus=64, max_mem="500GB", min_gpus=1,
    max_array=100, max_queued=50,
)  # fmt: skip
LONG = Queue(max_walltime="48:00:00", max_nodes=1, max_gpus=8, max_cpus=64, max_mem="1TB")
WIDE = Queue(max_walltime="06:00:00", max_nodes=64, min_nodes=8, max_gpus=8)
SITE = Site(
    site="mine", scheduler="slurm", queues={"gpu": GPU, "long": LONG, "wide": WIDE},
    max_array=1000, max_jobs=70,
)  # fmt: skip
FITS = Resources(nodes=1, gpus=8, cpus=64, mem_bytes=480 * 10**9, walltime_s=86400)


def problems(changes: dict[str, Any], tasks: int = 1, on: Site = SITE, **more: Any) -> list[str]:
    stage = msgspec.structs.replace(Stage("train"), **more)
    wanted = msgspec.structs.replace(FITS, **changes)
    return limits.problems(on, limits.Request("stages.x", stage, "gpu", wanted, tasks))


CASES = [
    ("fits", {}, {}, ""),
    (
        "walltime", {"walltime_s": 30 * 3600}, {},
        "stages.x.resources.walltime: 30:00:00 is over queue 'gpu''s 24:00:00: "
        "chain it (`--set stages.x.chain.links=2`), "
        "lower it (`--set stages.x.resources.walltime=24:00:00`), "
        "or use queue 'long' (48:00:00; `--set stages.x.resources.queue=long`)",
    ),
    (
        "walltime-of-no-queue", {"walltime_s": 90 * 3600}, {},
        "stages.x.resources.walltime: 90:00:00 is over queue 'gpu''s 24:00:00: "
        "chain it (`--set stages.x.chain.links=4`), "
        "or lower it (`--set stages.x.resources.walltime=24:00:00`)",
    ),
    (
        "walltime-of-too-many-links", {"walltime_s": 9000 * 3600}, {},
        "stages.x.resources.walltime: 9000:00:00 is over queue 'gpu''s 24:00:00: "
        "lower it (`--set stages.x.resources.walltime=24:00:00`)",
    ),
    (
        "walltime-of-what-does-not-resume", {"walltime_s": 90 * 3600}, {"kind": "preprocess"},
        "stages.x.resources.walltime: 90:00:00 is over queue 'gpu''s 24:00:00: "
        "lower it (`--set stages.x.resources.walltime=24:00:00`)",
    ),
    (
        "walltime-of-a-link", {"walltime_s": 90 * 3600},
        {"chain": ChainSpec(3, walltime="90:00:00")},
        "stages.x.resources.walltime: 90:00:00 is over queue 'gpu''s 24:00:00: "
        "lower it (`--set stages.x.chain.walltime=24:00:00`)",
    ),
    (
        "memory", {"mem_bytes": 600 * 10**9}, {},
        "stages.x.resources.mem: 600GB is over queue 'gpu''s 500GB: "
        "lower it (`--set stages.x.resources.mem=500GB`), "
        "or use queue 'long' (1000GB; `--set stages.x.resources.queue=long`)",
    ),
    (
        "memory-of-no-queue", {"mem_bytes": 2 * 10**12}, {},  # `wide` takes no job of one node
        "stages.x.resources.mem: 2000GB is over queue 'gpu''s 500GB: "
        "lower it (`--set stages.x.resources.mem=500GB`)",
    ),
    (
        "nodes", {"nodes": 8, "walltime_s": 3600}, {},
        "stages.x.resources.nodes: 8 is over queue 'gpu''s 4: "
        "lower it (`--set stages.x.resources.nodes=4`), "
        "or use queue 'wide' (64; `--set stages.x.resources.queue=wide`)",
    ),
    (
        "too-few-gpus", {"gpus": 0}, {},
        "stages.x.resources.gpus: 0 is under queue 'gpu''s 1: "
        "raise it (`--set stages.x.resources.gpus=1`), "
        "or use queue 'long' (8; `--set stages.x.resources.queue=long`)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "more", "message"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_what_is_said(changes: dict[str, Any], more: dict[str, Any], message: str) -> None:
    assert problems(changes, **more) == ([message] if message else [])


def test_the_links_that_are_proposed_are_enough() -> None:
    sets = ["stages.train.resources.walltime=90:00:00"]
    with pytest.raises(ConfigError) as caught:
        plan.make(study.load(ROOT / "studies/filipino-cpt.yaml", sets=sets), _example("24:00:00"))
    proposed = str(caught.value).partition("--set ")[2].partition("`")[0]
    assert proposed == "stages.train.chain.links=4"
    made = plan.make(
        study.load(ROOT / "studies/filipino-cpt.yaml", sets=[*sets, proposed]), _example("24:00:00")
    )
    assert {job.chain.links for job in made.jobs if job.chain} == {4}


def _example(walltime: str) -> Site:
    found = site.load(ROOT, "example-pbs")
    queues = {
        name: msgspec.structs.replace(queue, max_walltime=walltime)
        for name, queue in found.queues.items()
    }
    defaults = msgspec.structs.replace(found.defaults, walltime=walltime)
    return msgspec.structs.replace(found, queues=queues, defaults=defaults)


ARRAYS = [
    ("queue-s-jobs", 51, "${corpus.chunks}", "gpu",
     "51 tasks are over the 50 jobs that queue 'gpu' lets a user have. Make fewer and larger "
     "chunks (`--set corpus.chunks=50`), or use queue 'long' "
     "(`--set stages.x.resources.queue=long`)"),
    ("site-s-jobs", 71, 71, "long",
     "71 tasks are over the 70 jobs that site 'mine' lets a user have. Make fewer and larger "
     "chunks (`--set stages.x.array.count=70`)"),
    ("queue-unknown", 71, "${corpus.chunks}", "other",
     "71 tasks are over the 70 jobs that site 'mine' lets a user have. Make fewer and larger "
     "chunks (`--set corpus.chunks=70`)"),
]  # fmt: skip


@pytest.mark.parametrize(("tasks", "count", "queue", "message"),
                         [c[1:] for c in ARRAYS], ids=[c[0] for c in ARRAYS])  # fmt: skip
def test_more_tasks_than_a_user_may_have_queued(
    tasks: int, count: int | str, queue: str, message: str
) -> None:
    stage = msgspec.structs.replace(Stage("preprocess"), array=Array("chunks", count))
    request = limits.Request("stages.x", stage, queue, FITS, tasks)
    assert limits.problems(SITE, request) == [f"stages.x.array.count: {message}"]
    assert limits.problems(SITE, msgspec.structs.replace(request, tasks=50)) == []


def test_a_queue_that_the_site_does_not_list_is_not_checked() -> None:
    stage = Stage("train")
    wanted = msgspec.structs.replace(FITS, nodes=999)
    assert limits.problems(SITE, limits.Request("x", stage, "else", wanted, 1)) == []


# --- a submission as a whole


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    made = plan.make(study.load(ROOT / "studies/filipino-cpt.yaml"), site.load(ROOT, "example-pbs"))
    return {job.name: job for job in made.jobs}


def work(jobs: dict[str, Job], **tasks: int) -> list[tuple[Job, list[int]]]:
    return [(jobs[name], list(range(1, count + 1))) for name, count in tasks.items()]


def full(queued: int | None = None, all_jobs: int | None = None) -> Site:
    cpu = Queue(max_queued=queued)
    return msgspec.structs.replace(SITE, queues={"cpu": cpu, "gpu": Queue()}, max_jobs=all_jobs)


def test_what_fits_is_taken(jobs: dict[str, Job]) -> None:
    chosen = work(jobs, preprocess_vanilla=20, preprocess_patok=20)
    assert limits.crowded(full(40), chosen, {}) == ""
    assert limits.crowded(full(), chosen, {"cpu": 10**6}) == ""


def test_a_queue_that_would_be_too_full(jobs: dict[str, Job]) -> None:
    chosen = work(jobs, preprocess_vanilla=20, preprocess_patok=20, train_vanilla=1)
    said = limits.crowded(full(45), chosen, {"cpu": 6, "gpu": 99})
    assert said.startswith(
        "40 jobs to submit and 6 of this run in the queue are over the 45 jobs that queue 'cpu' "
        "lets a user have"
    )
    assert "There is room for preprocess_vanilla now" in said


def test_a_site_that_would_be_too_full(jobs: dict[str, Job]) -> None:
    chosen = work(jobs, preprocess_vanilla=20, train_vanilla=1)
    said = limits.crowded(full(all_jobs=20), chosen, {})
    assert "21 jobs to submit and 0 of this run" in said
    assert "20 jobs that site 'mine' lets a user have" in said
    assert "Wait until some have ended" in limits.crowded(full(all_jobs=20), chosen, {"gpu": 1})


def test_submit_refuses_what_is_too_much_and_takes_a_part(
    tmp_path: Path, pbs_env: dict[str, str]
) -> None:
    more = "defaults: {queue: workq}\nqueues: {workq: {max_queued: 5}}\n"
    project = Project(tmp_path / "p", site_yaml("pbs", tmp_path / "p", more), pbs_env)
    for words in (["--dry-run"], []):
        said = project.run("submit", "all", *words, code=2)  # 1 + 2 x 4 + 2 + 1 jobs
        assert "12 jobs to submit and 0 of this run" in said
        assert "the 5 jobs that queue 'workq' lets a user have" in said
        assert "There is room for make, cut_a now" in said
    project.control("sleep_make", "30")  # keeps what comes behind it in the queue
    project.run("submit", "make")
    project.run("submit", "cut", "--variant", "a")
    said = project.run("submit", "cut", "--variant", "b", code=2)
    assert "4 jobs to submit and 5 of this run in the queue" in said
    project.run("cancel", "make")


def test_each_link_of_a_chain_is_a_job(jobs: dict[str, Job]) -> None:
    from pipeline.job import Chain

    chained = msgspec.structs.replace(jobs["train_vanilla"], chain=Chain(3, 60, 3600))
    assert limits.crowded(full(all_jobs=3), [(chained, [1])], {}) == ""
    assert "3 jobs to submit" in limits.crowded(full(all_jobs=2), [(chained, [1])], {})


def test_as_much_as_has_room_is_taken_from_the_start(jobs: dict[str, Job]) -> None:
    array, last = jobs["preprocess_vanilla"], jobs["train_vanilla"]
    work = [(array, list(range(1, 9))), (last, [1])]
    site = msgspec.structs.replace(SITE, queues={}, max_jobs=10)
    assert limits.fitting(site, work, {}) == work
    assert limits.fitting(site, work, {"gpu": 2}) == [(array, list(range(1, 9)))]
    assert limits.fitting(site, work, {"gpu": 7}) == [(array, [1, 2, 3])]  # and not the last
    assert limits.fitting(site, work, {"gpu": 12}) == []


def test_a_run_submits_the_rest_as_others_end(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", site_yaml("local", tmp_path / "p", "max_jobs: 3\n"), {})
    assert "12 jobs to submit" in project.run("submit", "all", code=2)
    project.run("run", "--interval", "0.1")
    assert len(project.ran()) == len(set(project.ran())) == 12
    assert project.states()["tell"] == {"completed": "1"}


def test_a_run_with_little_room_ends_where_something_fails(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", site_yaml("local", tmp_path / "p", "max_jobs: 3\n"), {})
    project.control("exit_cut_a_2", "1")
    project.run("run", "--interval", "0.1", "--retries", "0", code=1)
    states = project.states()
    assert states["cut_a"] == {"completed": "1,3-4", "failed": "2"}
    assert "fit_a 1" not in project.ran()
