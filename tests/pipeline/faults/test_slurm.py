"""A real Slurm whose controller dies, hangs and comes back; a cluster of these tests' own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import schedulers
from pipeline.manifest import Store
from pipeline.schedulers.base import Completed
from tests.cluster.fixture import Slurm
from tests.pipeline.clusters import Project, site_yaml

ALL_ONCE = sorted(
    ["make 1", "tell 1", "fit_a 1", "fit_b 1"] + [f"cut_{a} {t}" for a in "ab" for t in range(1, 5)]
)


class Controller:
    """The cluster's slurmctld."""

    def __init__(self, slurm: Slurm) -> None:
        self.slurm = slurm
        self.pid_file = Path(slurm.env["SLURM_CONF"]).parent / "run/slurmctld.pid"

    def signal(self, number: signal.Signals) -> None:
        pid = int(self.pid_file.read_text())
        assert Path(f"/proc/{pid}/comm").read_text().strip() == "slurmctld"
        os.kill(pid, number)
        until = time.monotonic() + 20
        while number == signal.SIGKILL and Path(f"/proc/{pid}").exists():
            assert time.monotonic() < until, "it does not die"
            time.sleep(0.05)

    def start(self) -> None:
        subprocess.run(["slurmctld"], env=self.slurm.env, check=True, timeout=60)
        until = time.monotonic() + 60
        while "UP" not in self.slurm.run("scontrol", "ping", check=False):
            assert time.monotonic() < until, "it does not come back"
            time.sleep(0.2)


@pytest.fixture
def controller(own_slurm: Slurm) -> Iterator[Controller]:
    made = Controller(own_slurm)
    yield made
    if "UP" not in own_slurm.run("scontrol", "ping", check=False):
        made.start()


@pytest.fixture
def project(own_slurm: Slurm, tmp_path: Path) -> Project:
    env = {"SLURM_CONF": own_slurm.env["SLURM_CONF"]}
    return Project(tmp_path / "p", site_yaml("slurm", tmp_path / "p"), env)


def test_a_controller_that_dies_in_mid_array_and_comes_back(
    project: Project, controller: Controller
) -> None:
    project.control("sleep_cut_a", "15")
    project.run("submit", "all")
    project.wait(lambda s: "running" in s["cut_a"] and s["cut_b"] == {"completed": "1-4"})
    time.sleep(6)  # it writes its state down every five seconds
    controller.signal(signal.SIGKILL)
    found = project.status()
    states = {job["name"]: job["tasks"] for job in found["jobs"]}
    assert states["cut_b"] == {"completed": "1-4"}, "receipts tell without it"
    assert "completed" not in states["tell"] and "lost" not in str(states)
    assert found["silent"], "and it is said that nobody answered"
    project.run("status", code=3)
    assert "Nothing to submit" in project.run("submit", "all"), "what is unknown is left alone"
    controller.start()
    project.wait(lambda s: all(set(tasks) == {"completed"} for tasks in s.values()))
    assert project.ran() == ALL_ONCE


def test_a_submission_to_a_controller_that_is_down_is_made_once(
    project: Project, controller: Controller
) -> None:
    controller.signal(signal.SIGKILL)
    said = project.run("submit", "make", code=3)
    assert "Slurm does not answer" in said and "nothing is submitted twice" in said
    assert project.states()["make"] == {"submitting": "1"}
    controller.start()
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE


def test_a_submission_to_a_hung_controller_is_made_once(
    project: Project, controller: Controller
) -> None:
    controller.signal(signal.SIGSTOP)
    try:
        project.run("submit", "make", code=3)
    finally:
        controller.signal(signal.SIGCONT)
    project.run("run", "--interval", "0.5")
    assert project.ran() == ALL_ONCE


def test_a_node_that_dies_under_a_task_costs_one_more_run_of_it(
    project: Project, own_slurm: Slurm
) -> None:
    project.control("sleep_make", "100")
    project.run("submit", "make")
    folder = project.root / "jobs/small/receipts/make"
    project.wait(lambda s: s["make"] == {"running": "1"} and any(folder.glob("1.*.run")))
    receipt = next(folder.glob("1.*.run"))
    script = int(json.loads(receipt.read_text())["pid"])
    own = next(job["id"] for job in project.status()["jobs"] if job["name"] == "make")
    node = own_slurm.run("squeue", "-h", "-j", own, "-o", "%N").strip()
    daemon = Path(own_slurm.env["SLURM_CONF"]).parent / f"run/slurmd.{node}.pid"
    step = int(Path(f"/proc/{script}/stat").read_text().rpartition(")")[2].split()[1])
    assert Path(f"/proc/{step}/comm").read_text().startswith("slurmstepd")
    for pid in (int(daemon.read_text()), step):  # nobody is left to tell of it
        os.kill(pid, signal.SIGKILL)
    os.killpg(os.getpgid(script), signal.SIGKILL)
    own_slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=dead")
    try:
        states = project.wait(lambda s: "running" not in s["make"] and "unknown" not in s["make"])
        assert states["make"] == {"failed": "1"} and receipt.exists()
        assert "its node failed" in project.run("why", "make")
        (project.root / "control/sleep_make").unlink()
        project.run("resubmit", "--failed")
        project.run("run", "--interval", "0.5")
        assert project.ran() == ALL_ONCE
    finally:
        subprocess.run(["slurmd", "-N", node], env=own_slurm.env, check=True, timeout=60)
        own_slurm.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)


def test_squeue_and_sacct_show_whose_a_job_is(project: Project, own_slurm: Slurm) -> None:
    project.control("sleep_cut_a", "2")
    project.run("submit", "make", "cut")
    manifest = Store(project.root / "jobs/small").read()
    assert manifest
    attempts = [entry.attempts[0] for entry in manifest.jobs.values()]
    ids = [attempt.id for attempt in attempts]
    scheduler = schedulers.get("slurm", "")

    def ask(argvs: list[list[str]]) -> list[Completed]:
        return [Completed(tuple(argv), 0, own_slurm.run(*argv), "") for argv in argvs]

    wanted = {attempt.id: attempt.token for attempt in attempts}
    assert scheduler.parse_query(ids, ask(scheduler.query_argvs(ids))).tokens == wanted
    project.wait(lambda s: s["cut_a"] == s["cut_b"] == {"completed": "1-4"})
    until = time.monotonic() + 60
    while scheduler.parse_history(ids, ask(scheduler.history_argvs(ids))).tokens != wanted:
        assert time.monotonic() < until
        time.sleep(0.5)
