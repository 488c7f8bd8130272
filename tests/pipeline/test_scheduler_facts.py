"""Whole runs through what docs/schedulers.md says of sites: no history, no accounts, lost answers,
jobs deleted behind our back."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.schedulers.base import WAITS_FOR_JOBS, TaskReport
from pipeline.states import State
from tests.cluster.fixture import Slurm
from tests.pipeline.clusters import Project, site_yaml
from tests.pipeline.schedulers.recorded import load
from tests.pipeline.test_end_to_end import EVERYTHING, completed
from tests.pipeline.world import World

# Dies where control/kill_* says so, and its script with it: no final receipt.
MORTAL = '[ ! -e "control/kill_$1_$2" ] || { kill -9 $PPID; exit 9; }\n'


def mortal(project: Project) -> Project:
    script = project.root / "work.sh"
    script.write_text(MORTAL + script.read_text())
    return project


def wrap(folder: Path, name: str, text: str) -> None:
    """A program that stands before the real one on PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(0o755)


def replay(name: str) -> str:
    """Shell that fails as a recorded command of Slurm did."""
    result = load("slurm", name)
    return f"cat >&2 <<'END'\n{result.stderr.strip()}\nEND\nexit {result.returncode}\n"


# ---- any


@pytest.mark.parametrize("state", [State.FAILED, State.TIMEOUT, State.OOM, State.CANCELLED])
def test_what_the_scheduler_said_outlives_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """squeue forgets after minutes, PBS after a day: what was cancelled does not become lost."""
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make"]))
    world.scheduler.jobs.clear()
    world.scheduler.past["F1"] = {0: TaskReport(state)}
    assert world.states("make") == {str(state): "1"}
    world.scheduler.past.clear()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    assert world.states("make") == {str(state): "1"}
    monkeypatch.undo()
    world.engine.submit(world.plan.select(["make"]), force=True)
    world.scheduler.jobs.clear()
    assert world.states("make") == {"unknown": "1"}, "of another attempt it said nothing"


def test_a_job_held_for_others_that_have_ended_says_so(tmp_path: Path) -> None:
    world = World(tmp_path / "p")
    world.engine.submit(world.plan.select(["make", "cut"]))
    held = {i: TaskReport(State.HELD, reason=WAITS_FOR_JOBS) for i in range(1, 7)}
    world.scheduler.jobs["F2"] = held
    assert {t.reason for t in world.engine.status().jobs["cut_a"].tasks.values()} == {
        WAITS_FOR_JOBS
    }, "what it waits for is still queued"
    world.scheduler.jobs.pop("F1")
    world.scheduler.past["F1"] = {0: TaskReport(State.CANCELLED)}
    found = world.engine.status().jobs["cut_a"]
    assert found.state == State.HELD
    assert "`pipeline cancel cut_a`, then submit it again" in found.tasks[1].reason


# ---- PBS


@pytest.fixture
def forgetful(tmp_path: Path, pbs_env: dict[str, str]) -> Project:
    """A PBS without job history, as it is unless its operator says otherwise."""
    folder = tmp_path / "p"
    env = {**pbs_env, "FAKEPBS_HISTORY": "0"}
    return mortal(Project(folder, site_yaml("pbs", folder), env))


def test_a_pbs_without_history(forgetful: Project) -> None:
    """Receipts tell what it does not; one that was never written makes a task lost."""
    forgetful.control("exit_cut_a_2", "7")
    forgetful.control("kill_cut_b_3", "")
    forgetful.run("submit", "all")
    states = forgetful.wait(lambda s: "lost" in s["cut_b"] and "blocked" in s["tell"])
    assert states["cut_a"] == {"completed": "1,3-4", "failed": "2"}
    assert states["cut_b"] == {"completed": "1-2,4", "lost": "3"}
    for name in ("exit_cut_a_2", "kill_cut_b_3"):
        (forgetful.root / "control" / name).unlink()
    forgetful.run("resubmit", "--failed")
    forgetful.wait(completed)
    assert forgetful.ran() == EVERYTHING


def test_dependents_of_a_job_deleted_in_the_queue(tmp_path: Path, pbs_env: dict[str, str]) -> None:
    """PBS keeps them for ever: status says so, and what it advises helps."""
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("pbs", folder, "directives: [-h]\n"), pbs_env)
    project.run("submit", "make")
    project.run("submit", "cut", "--variant", "a")
    ids = {job["name"]: job["id"] for job in project.status()["jobs"]}
    subprocess.run(["qdel", ids["make"]], env=project.env, check=True)
    project.wait(lambda s: "cancelled" in s["make"])
    assert project.states()["cut_a"] == {"held": "1-4"}
    said = " ".join(project.run("status", code=None).split())  # however its lines are folded
    assert "`pipeline cancel cut_a`, then submit it again" in said
    (folder / "sites/default.yaml").write_text(site_yaml("pbs", folder))
    project.run("cancel", "cut_a")
    project.wait(lambda s: s["cut_a"] == {"cancelled": "1-4"})
    project.run("run", "--interval", "0.5")
    assert project.ran() == EVERYTHING


def test_more_tasks_than_one_array_takes(tmp_path: Path, pbs_env: dict[str, str]) -> None:
    """Refused with the key to set; with it, they go in several arrays."""
    folder = tmp_path / "p"
    project = Project(folder, site_yaml("pbs", folder), {**pbs_env, "FAKEPBS_MAX_ARRAY": "3"})
    project.run("submit", "make")
    said = project.run("submit", "cut", code=1)
    assert "Array job exceeds server or queue size limit" in said
    assert "`max_array` in the site's file" in said
    (folder / "sites/default.yaml").write_text(site_yaml("pbs", folder, "max_array: 3\n"))
    assert "4 in 2 arrays" in project.run("plan")
    dry = project.run("submit", "all", "--dry-run")
    assert [line for line in dry.splitlines() if "cut_a" in line] == [
        "would submit cut_a tasks 1-2", "would submit cut_a tasks 3-4",
    ]  # fmt: skip
    project.control("exit_cut_a_4", "7")
    project.run("submit", "all")
    project.wait(lambda s: "blocked" in s["tell"])
    (folder / "control/exit_cut_a_4").unlink()
    project.run("resubmit", "--failed")
    project.wait(completed)
    assert project.ran() == EVERYTHING


# ---- Slurm


@pytest.fixture
def bare(tmp_path: Path, slurm: Slurm) -> Project:
    """A Slurm without accounts: `sacct` says what it was recorded to say there."""
    wrap(tmp_path / "bin", "sacct", replay("nodb-sacct"))
    folder = tmp_path / "p"
    env = {"SLURM_CONF": slurm.env["SLURM_CONF"], "PATH": f"{tmp_path}/bin:{slurm.env['PATH']}"}
    return mortal(Project(folder, site_yaml("slurm", folder), env))


def test_a_slurm_without_accounts(bare: Project) -> None:
    bare.control("exit_cut_a_2", "7")
    bare.control("kill_cut_b_3", "")
    bare.run("submit", "all")
    # squeue knows it for a while; if nobody looked in time, nobody knows how it ended.
    states = bare.wait(
        lambda s: bool({"failed", "lost"} & s["cut_b"].keys()) and "blocked" in s["tell"]
    )
    assert states["cut_a"] == {"completed": "1,3-4", "failed": "2"}
    assert states["cut_b"]["completed"] == "1-2,4"
    for name in ("exit_cut_a_2", "kill_cut_b_3"):
        (bare.root / "control" / name).unlink()
    bare.run("resubmit", "--failed")
    bare.wait(completed)
    assert bare.ran() == EVERYTHING


def test_a_submission_that_timed_out_is_adopted_without_accounts(bare: Project) -> None:
    """sbatch said `Socket timed out`, and the job was queued: found by its name, run once."""
    folder = Path(bare.env["PATH"].partition(":")[0])
    real = shutil.which("sbatch", path=bare.env["PATH"])
    wrap(folder, "sbatch", f'{real} "$@" >/dev/null\n' + replay("ctld-hung-sbatch"))
    assert "timed out" in bare.run("submit", "make", code=3)
    (folder / "sbatch").unlink()
    assert re.search("make is (active|complete)", bare.run("submit", "make", code=2))
    bare.run("run", "--interval", "0.5")
    assert bare.ran() == EVERYTHING
    assert [job["attempt"] for job in bare.status()["jobs"]] == [1] * 6
