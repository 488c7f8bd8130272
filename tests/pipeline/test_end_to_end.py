"""The same study, the same commands, on every scheduler: this machine, PBS, Slurm."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pipeline import yamlio
from tests.cluster.fixture import Slurm
from tests.pipeline.clusters import ROOT, Project, end_group, site_yaml

EVERYTHING = sorted(
    ["make 1", "tell 1", "fit_a 1", "fit_b 1"] + [f"cut_{a} {t}" for a in "ab" for t in range(1, 5)]
)


@pytest.fixture(params=["local", "pbs", "slurm"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    # A log's path stands in a directive, where neither PBS nor Slurm takes a quote.
    folder = tmp_path / ("a project's folder, é" if request.param == "local" else "a project é")
    env = {} if request.param == "local" else request.getfixturevalue(f"{request.param}_env")
    return Project(folder, site_yaml(request.param, folder), env)


def scheduler_of(project: Project) -> str:
    found = re.search(r"scheduler: (\w+)", (project.root / "sites/default.yaml").read_text())
    assert found
    return found[1]


def completed(states: dict[str, dict[str, str]]) -> bool:
    return all(set(tasks) == {"completed"} for tasks in states.values())


def test_a_study_runs_to_its_end_each_task_once(project: Project) -> None:
    out = project.run("run", "--interval", "0.5")
    assert "tell: completed 1/1" in out
    found = project.status("cut_a")
    details = found["jobs"][0]["details"]
    assert [d["evidence"] for d in details] == ["receipt"] * 4
    assert all(d["host"] and d["output"] for d in details)
    assert project.ran() == EVERYTHING
    assert project.status()["scheduler_calls"] == 0, "receipts tell it all"
    assert "is complete" in project.run("submit", "make", code=2)
    project.run("run")
    assert project.ran() == EVERYTHING


def test_a_failure_is_explained_and_only_it_is_run_again(project: Project) -> None:
    project.control("exit_cut_a_3", "7")
    project.run("submit", "all")
    states = project.wait(lambda s: "planned" not in s["tell"] and "blocked" in s["tell"])
    assert states["cut_a"] == {"completed": "1-2,4", "failed": "3"}
    assert states["fit_a"] == {"blocked": "1"} and states["fit_b"] == {"completed": "1"}
    why = project.run("why", "cut_a", "3")
    assert "exit code 7" in why and "told to fail" in why
    assert "cut_a" in project.run("why", "fit_a") and "task 3 of 4" in project.run("why", "fit_a")
    assert "told to fail" in project.run("logs", "cut_a", "--failed")
    assert project.run("status", code=1)
    (project.root / "control/exit_cut_a_3").unlink()
    plan = project.run("resubmit", "--failed", "--dry-run")
    assert [line.split()[2] for line in plan.splitlines()] == ["cut_a", "fit_a", "tell"]
    project.run("resubmit", "--failed")
    project.wait(completed)
    assert project.ran() == EVERYTHING, "every task succeeded exactly once"


def test_what_is_queued_behind_a_failure_is_queued_anew_behind_its_next_attempt(
    project: Project,
) -> None:
    project.control("sleep_fit_b", "30")
    project.control("exit_cut_a_3", "7")
    project.run("submit", "all")
    states = project.wait(lambda s: s["fit_a"] == {"blocked": "1"})
    assert states["tell"] in ({"queued": "1"}, {"held": "1"})
    for name in ("sleep_fit_b", "exit_cut_a_3"):
        (project.root / "control" / name).unlink()
    said = project.run("resubmit", "--failed")
    assert [line.split()[0] for line in said.splitlines()[:1]] == ["cancelled"], said
    project.wait(completed)
    assert project.ran() == EVERYTHING, "every task succeeded exactly once"


def test_two_scattered_failures_become_a_dense_array(project: Project) -> None:
    for task in (1, 4):
        project.control(f"exit_cut_b_{task}", "1")
    project.run("submit", "make", "cut")
    project.wait(lambda s: s["cut_b"] == {"completed": "2-3", "failed": "1,4"})
    for task in (1, 4):
        (project.root / f"control/exit_cut_b_{task}").unlink()
    project.run("resubmit", "cut_b", "--failed")
    project.wait(lambda s: s["cut_b"] == {"completed": "1-4"})
    assert project.ran().count("cut_b 2") == 1


def test_cancel_ends_what_runs_and_what_waits(project: Project) -> None:
    project.control("sleep_make", "100")
    project.run("submit", "all")
    project.wait(lambda s: s["make"] == {"running": "1"})
    assert "is active" in project.run("submit", "make", code=2)
    out = project.run("cancel", "--all")
    assert out.index("tell") < out.index("make")
    states = project.wait(lambda s: all(set(t) == {"cancelled"} for t in s.values()))
    assert states["cut_a"] == {"cancelled": "1-4"}
    assert project.ran() == []
    (project.root / "control/sleep_make").unlink()
    project.run("run", "--interval", "0.5")
    assert project.ran() == EVERYTHING


def test_a_job_over_its_walltime_is_a_timeout(project: Project) -> None:
    project.control("sleep_make", "200")
    options = ("--profile", "short")
    project.run("submit", "make", *options)
    project.wait(lambda s: "timeout" in s["make"], *options, seconds=150)
    assert "walltime" in project.run("why", "make", *options)


def test_a_job_that_everyone_forgot_is_lost_not_completed(project: Project) -> None:
    project.run("submit", "make")
    project.wait(completed_make)
    shutil.rmtree(project.root / "jobs/small/receipts/make")
    shutil.rmtree(project.root / "jobs/small/local", ignore_errors=True)
    states = project.states()
    assert states["make"] == {"unknown": "1"}
    time.sleep(5)
    assert project.states()["make"] == {"lost": "1"}
    assert "resubmit" in project.run("why", "make")


def test_the_controller_forgot_a_job(slurm: Slurm, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("slurm", folder), {"SLURM_CONF": slurm.env["SLURM_CONF"]})
    project.run("submit", "make")
    project.run("submit", "cut", "--variant", "a")
    states = project.wait(lambda s: s["cut_a"] == {"completed": "1-4"})
    ids = [job["id"] for job in project.status()["jobs"] if job["id"]]
    until = time.monotonic() + 150  # it forgets what ended MinJobAge ago, once a minute
    while any(job in slurm.run("squeue", "-h", "-t", "all", "-o", "%A %F").split() for job in ids):
        assert time.monotonic() < until, "the controller still knows them"
        time.sleep(2)
    found = project.status()
    assert found["scheduler_calls"] == 0, "the receipts tell"
    assert {job["name"]: job["tasks"] for job in found["jobs"]} == states
    (folder / "jobs/small/receipts/cut_a").rename(folder / "receipts lost")
    assert project.states()["cut_a"] == {"unknown": "1-4"}
    time.sleep(5)
    assert project.states()["cut_a"] == {"lost": "1-4"}, "sacct's word alone completes nothing"
    (folder / "receipts lost").rename(folder / "jobs/small/receipts/cut_a")
    assert project.states()["cut_a"] == {"completed": "1-4"}


def completed_make(states: dict[str, dict[str, str]]) -> bool:
    return states["make"] == {"completed": "1"}


def test_a_script_run_by_hand_is_followed(project: Project) -> None:
    paths = project.run("render", "make").split("\n")
    script = project.root / paths[0]
    submit = {"pbs": "qsub", "slurm": "sbatch", "local": "bash"}[scheduler_of(project)]
    subprocess.run([submit, str(script)], env=project.env, cwd=project.root, check=True)
    project.wait(completed_make)


def test_an_array_submitted_by_hand_with_its_range(project: Project) -> None:
    scheduler = scheduler_of(project)
    project.run("run", "--interval", "0.5")
    (project.root / "out/ran").unlink()
    shutil.rmtree(project.root / "jobs/small/receipts/cut_b")
    script = str(project.root / project.run("render", "cut", "--variant", "b").split("\n")[0])
    argv = {
        "pbs": ["qsub", "-J", "1-4", script],
        "slurm": ["sbatch", "--array=1-4", script],
        "local": ["bash", script],
    }[scheduler]
    for index in ("1", "2", "3", "4") if scheduler == "local" else ("",):
        env = {**project.env, "LOCAL_ARRAY_INDEX": index}
        subprocess.run(argv, env=env, cwd=project.root, check=True, stdout=subprocess.DEVNULL)
    project.wait(lambda s: s["cut_b"] == {"completed": "1-4"})
    assert project.ran() == [f"cut_b {task}" for task in range(1, 5)]


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_any_moment_loses_and_doubles_nothing(project: Project, seed: int) -> None:
    chance = random.Random(f"{seed}")
    for _ in range(5):
        command = chance.choice([("submit", "all"), ("submit", "all"), ("status",)])
        process = project.start(*command)
        time.sleep(chance.uniform(0.1, 1.2))
        end_group(process)
        project.run("status", code=None)
    project.run("run", "--interval", "0.5")
    assert project.ran() == EVERYTHING, "each task ran, and ran once"


def test_two_commands_at_once_submit_everything_once(project: Project) -> None:
    both = [project.start("submit", "all") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    project.wait(completed)
    assert project.ran() == EVERYTHING


def test_the_demos_preprocessing_as_arrays(project: Project) -> None:
    if scheduler_of(project) == "local":
        pytest.skip("`make demo` runs all of it here")
    for name in ("corpus", "training", "evaluation", "data"):
        (project.root / name).symlink_to(ROOT / name)
    study = yamlio.load(ROOT / "studies/filipino-cpt.yaml")
    # The data of this run belong into the project, not beside the project's own.
    text = (ROOT / "studies/filipino-cpt.yaml").read_text().replace("${data}", "work")
    (project.root / "studies/small.yaml").write_text(text)
    options = ("--profile", "demo")
    project.run("submit", "download", "split", "tokenizer", "preprocess", *options)
    arms = list(study["arms"])
    project.wait(
        lambda s: all(s[f"preprocess_{arm}"] == {"completed": "1-4"} for arm in arms),
        *options,
        seconds=400,  # its folder is new, so its kernels are compiled once
    )
    for arm in arms:
        made = sorted(p.name for p in (project.root / f"work/processed/{arm}").glob("*.idx"))
        assert made == [f"seapile_{task:04d}.idx" for task in range(1, 5)]
    sizes = {arm: tokens_of(project.root / f"work/processed/{arm}") for arm in arms}
    assert sizes["vanilla"] < sizes["stochastok"] < sizes["patok"], "the expanded ids arrived"


def tokens_of(folder: Path) -> int:
    return sum(json.loads(p.read_bytes())["tokens"] for p in folder.glob("seapile_????.json"))
